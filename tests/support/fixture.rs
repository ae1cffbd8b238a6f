//! Databases to migrate: the shop with every kind of object, pgbench's tables, many small tables.

use std::path::{Path, PathBuf};

use super::cluster::Cluster;
use super::pg;

/// Creates a database that holds every common kind of object, and about 2 MB of rows per unit
/// of `scale`; its roles too.
pub(crate) fn shop(cluster: &Cluster, db: &str, scale: u32) {
    cluster.create_db(db);
    cluster.psql_file(db, &file("shop.sql"), &[("scale", &scale.to_string())]);
}

/// Creates a database that holds every kind of object and value that the server's version knows;
/// its roles too.
pub(crate) fn ages(cluster: &Cluster, db: &str) {
    cluster.create_db(db);
    cluster.psql_file(db, &file("ages.sql"), &[]);
}

/// Creates a database with pgbench's tables and the foreign keys between them; 100,000 accounts
/// per unit of `scale`.
pub(crate) fn pgbench(cluster: &Cluster, db: &str, scale: u32) {
    cluster.create_db(db);
    let mut command = pg::program("pgbench");
    command
        .args(["--initialize", "--foreign-keys", "--quiet", "--scale"])
        .arg(scale.to_string());
    pg::run(command.arg(cluster.dsn(db))).unwrap_or_else(|error| panic!("{error}"));
}

/// Creates a database with this many small tables.
pub(crate) fn many_tables(cluster: &Cluster, db: &str, tables: u32) {
    cluster.create_db(db);
    cluster.psql_file(
        db,
        &file("many_tables.sql"),
        &[("tables", &tables.to_string())],
    );
}

/// The path of a fixture.
fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures")
        .join(name)
}
