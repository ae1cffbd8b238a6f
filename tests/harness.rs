//! The harness tested by itself: an oracle is worth something only if it can say no.

use std::net::TcpListener;
use std::time::Duration;

use crate::support::oracle::{assert_no_leftovers, assert_same, differences, leftovers};
use crate::support::tls::Authority;
use crate::support::{Cluster, Pair, Pghaul, fixture, pg};

#[test]
fn a_cluster_starts_crashes_recovers_and_goes() {
    let mut cluster = Cluster::start();
    let db = "we\"ird / name";
    cluster.create_db(db);
    cluster.psql(db, "CREATE TABLE t AS SELECT 1 AS n");
    let pid = cluster.pid();
    cluster.stop_immediate();
    assert!(!pg::is_alive(pid));
    cluster.start_again();
    assert_eq!(cluster.psql(db, "SELECT n FROM t"), "1");
    assert_eq!(cluster.databases(), ["postgres", db]);
    assert!(
        cluster
            .try_psql(db, "SELECT 1/0")
            .is_err_and(|error| error.contains("division"))
    );
    assert!(cluster.log().contains("division by zero"));

    let (pid, folder) = (cluster.pid(), cluster.socket_dir().to_owned());
    assert!(folder.join(format!(".s.PGSQL.{}", cluster.port())).exists());
    drop(cluster);
    assert!(!pg::is_alive(pid));
    assert!(!folder.exists());
}

/// Killed, a test removes nothing; the next one does.
#[test]
fn folders_of_dead_processes_go_when_a_cluster_starts() {
    let mut process = std::process::Command::new("true").spawn().expect("true");
    process.wait().expect("its end");
    let (dead, alive) = (process.id(), std::process::id());
    let folder = |name: String| {
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir(&folder).expect("a folder");
        folder
    };
    let dead = [format!("pghaul-{dead}-9"), format!("pghaul-home-{dead}-x")].map(folder);
    let alive = folder(format!("pghaul-home-{alive}-x"));
    drop(Cluster::start());
    assert!(alive.exists());
    std::fs::remove_dir(alive).expect("it is empty");
    for folder in dead {
        assert!(!folder.exists(), "{}", folder.display());
    }
}

#[test]
fn a_cluster_differs_as_told() {
    let cluster = Cluster::builder()
        .conf("wal_level", "logical")
        .hba("host all nobody 127.0.0.1/32 reject")
        .initdb("--data-checksums")
        .start();
    assert_eq!(cluster.psql("postgres", "SHOW wal_level"), "logical");
    assert_eq!(cluster.psql("postgres", "SHOW data_checksums"), "on");
    let rules = "SELECT user_name[1], auth_method FROM pg_hba_file_rules LIMIT 1";
    assert_eq!(cluster.psql("postgres", rules), "nobody|reject");
}

#[test]
fn tcp_asks_for_the_password() {
    let cluster = Cluster::start();
    let dsn = cluster.tcp_dsn("postgres");
    assert_eq!(psql(&dsn), Ok("1\n".to_owned()));
    let wrong = dsn.replace("hidden", "forgotten");
    assert!(psql(&wrong).is_err_and(|error| error.contains("password authentication failed")));
}

#[test]
fn certificates_are_checked_on_both_sides() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let server = authority.issue("server", &["DNS:localhost", "IP:127.0.0.1"]);
    let client = authority.issue("postgres", &[]);
    let cluster = Cluster::builder()
        .tls(&server)
        .client_authority(authority.root())
        .hba("hostssl all all 127.0.0.1/32 cert")
        .start();
    let dsn = |root: &Authority, cert: &str| {
        let root = root.root();
        let options = format!("sslmode=verify-full&sslrootcert={}{cert}", root.display());
        format!("{}?{options}", cluster.tcp_dsn("postgres"))
    };
    let identity = format!(
        "&sslcert={}&sslkey={}",
        client.cert.display(),
        client.key.display()
    );
    assert_eq!(psql(&dsn(&authority, &identity)), Ok("1\n".to_owned()));
    assert!(psql(&dsn(&stranger, &identity)).is_err_and(|error| error.contains("verify failed")));
    assert!(psql(&dsn(&authority, "")).is_err_and(|error| error.contains("client certificate")));
}

#[test]
fn the_binary_is_run_and_killed() {
    let output = Pghaul::new(&["--version"]).run().expect(0);
    assert!(output.stdout.starts_with("pghaul "), "{output:?}");
    assert_eq!(output.stderr, "");

    // A server that takes the connection and never answers.
    let silence = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = silence.local_addr().expect("its address");
    let dsn = format!("postgresql://postgres:x@{address}/postgres");
    let hang = || Pghaul::new(&["migrate"]).source(&dsn).target(&dsn);
    let mut pghaul = hang().spawn();
    pghaul.signal("STOP");
    pghaul.signal("CONT");
    assert!(
        pghaul.is_running(),
        "stdout: {}\nstderr: {}",
        pghaul.stdout(),
        pghaul.stderr()
    );
    pghaul.signal("KILL");
    assert_eq!(pghaul.wait().code, -9);

    let pid = {
        let pghaul = hang().timeout(Duration::from_secs(5)).spawn();
        assert!(pg::is_alive(pghaul.pid()));
        pghaul.pid()
    };
    assert!(!pg::is_alive(pid), "dropped, yet alive");
}

#[test]
fn the_oracle_accepts_a_copy_and_refuses_each_change() {
    let pair = Pair::start();
    fixture::shop(&pair.source, "shop", 1);
    dump_and_restore(&pair, "shop");
    // A dump leaves it to whoever restores it, on servers before 17.
    pair.target
        .psql("shop", "ALTER TYPE shop.price_ranges OWNER TO shop_owner");
    assert_same(&pair.source, "shop", &pair.target, "shop");

    // What is done to the copy, and how the oracle's line about it begins.
    let changes = [
        (
            "UPDATE shop.products SET price = 0.01 WHERE id = 7",
            r#"rows of ["shop", "products"]"#,
        ),
        (
            "DELETE FROM shop.carts WHERE id = 1",
            r#"rows of ["shop", "carts"]"#,
        ),
        (
            "DELETE FROM audit.events WHERE ctid = (SELECT min(ctid) FROM audit.events);
             INSERT INTO audit.events
             SELECT * FROM audit.events WHERE ctid = (SELECT max(ctid) FROM audit.events)",
            r#"rows of ["audit", "events"]"#,
        ),
        (
            "INSERT INTO shop.no_columns DEFAULT VALUES",
            r#"rows of ["shop", "no_columns"]"#,
        ),
        (
            "UPDATE shop.orders SET note = '' WHERE note IS NULL AND placed < '2024-02-01'",
            r#"rows of ["shop", "orders_2024_01"]"#,
        ),
        (
            r#"UPDATE zoo."numeric" SET value = 1.0 WHERE value::text = '1.00'"#,
            r#"rows of ["zoo", "numeric"]"#,
        ),
        (
            "UPDATE zoo.real SET value = '0' WHERE value::text = '-0'",
            r#"rows of ["zoo", "real"]"#,
        ),
        (
            "SELECT setval('shop.never_used', 42, true)",
            r#"sequence ["shop", "never_used"]"#,
        ),
        ("SELECT lo_put(4100001, 5, '\\x01')", "large object 4100001"),
        (
            "ALTER LARGE OBJECT 4000005 OWNER TO shop_app",
            "large object 4000005",
        ),
        (
            "COMMENT ON LARGE OBJECT 4000001 IS NULL",
            "large object 4000001",
        ),
        ("SELECT lo_unlink(4000006)", "large object 4000006"),
        (
            "REFRESH MATERIALIZED VIEW billing.sales_by_month WITH NO DATA",
            r#"materialized view ["billing", "sales_by_month"]"#,
        ),
        (
            "UPDATE pg_index SET indisvalid = false
             WHERE indexrelid = 'shop.customers_uid'::regclass",
            r#"index ["shop", "customers_uid"]"#,
        ),
        (
            "ALTER TABLE shop.orders_2024_01 DISABLE TRIGGER stamp_order",
            r#"triggers ["shop", "orders_2024_01"]"#,
        ),
        (
            "ALTER EVENT TRIGGER guard_billing DISABLE",
            r#"event trigger "guard_billing""#,
        ),
        ("ALTER DATABASE shop CONNECTION LIMIT 51", "database"),
        (
            "ALTER DATABASE shop RESET bytea_output",
            r#"setting of ["this database", null]"#,
        ),
        (
            "ALTER ROLE shop_app PASSWORD 'another'",
            r#"role "shop_app""#,
        ),
        (
            "REVOKE ADMIN OPTION FOR shop_reader FROM shop_app",
            r#"membership of "shop_app" in "shop_reader""#,
        ),
        (
            "CREATE TABLE shop.surplus ()",
            r#"rows of ["shop", "surplus"]"#,
        ),
        (
            "ALTER TABLE shop.products ALTER price DROP NOT NULL",
            "    price numeric(10,2)",
        ),
        (
            "COMMENT ON COLUMN shop.customers.id IS NULL",
            "COMMENT ON COLUMN shop.customers.id",
        ),
        (
            "REVOKE INSERT ON shop.orders FROM shop_app",
            "GRANT SELECT,INSERT,UPDATE ON TABLE shop.orders",
        ),
    ];
    let setup = "SET session_replication_role = replica; SET allow_system_table_mods = on;";
    for (sql, _) in changes {
        pair.target.psql("shop", &format!("{setup} {sql}"));
    }
    let found = differences(&pair.source, "shop", &pair.target, "shop");
    for (sql, expected) in changes {
        assert!(
            found.lines().any(|line| line[2..].starts_with(expected)),
            "after {sql}\nexpected {expected}\nfound\n{found}"
        );
    }
}

#[test]
fn the_oracle_forgives_what_dump_and_restore_cannot_do() {
    let pair = Pair::start();
    // The child's own order of columns is lost: its parent's columns come first.
    pair.source.create_db("family");
    pair.source.psql(
        "family",
        "CREATE TABLE parent (a int, b int);
         CREATE TABLE child (b int DEFAULT 1, a int DEFAULT 2, c int);
         ALTER TABLE child INHERIT parent;
         INSERT INTO child VALUES (1, 2, 3)",
    );
    dump_and_restore(&pair, "family");
    assert_same(&pair.source, "family", &pair.target, "family");
    pair.target
        .psql("family", "ALTER TABLE child ALTER c SET NOT NULL");
    let found = differences(&pair.source, "family", &pair.target, "family");
    assert!(found.contains("+     c integer NOT NULL"), "{found}");
    assert_eq!(pair.target.databases(), ["family", "postgres"]);
}

#[test]
fn leftovers_are_found() {
    let cluster = Cluster::start();
    assert_no_leftovers(&cluster, "postgres");
    cluster.psql(
        "postgres",
        "SELECT pg_create_physical_replication_slot('pghaul_slot');
         SELECT pg_replication_origin_create('pghaul_origin');
         CREATE PUBLICATION pghaul_publication;
         BEGIN; CREATE TABLE t (); PREPARE TRANSACTION 'pghaul_transaction';",
    );
    let found = leftovers(&cluster, "postgres");
    for kind in ["slot", "origin", "publication", "transaction"] {
        assert!(
            found.contains(&format!("pghaul_{kind}")),
            "no {kind} in\n{found}"
        );
    }
}

#[test]
fn every_fixture_loads() {
    let pair = Pair::start();
    fixture::pgbench(&pair.source, "bench", 1);
    assert_eq!(
        pair.source
            .psql("bench", "SELECT count(*) FROM pgbench_accounts"),
        "100000"
    );
    fixture::many_tables(&pair.source, "many", 20);
    let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'small'";
    assert_eq!(pair.source.psql("many", tables), "20");
    let output = pair
        .pghaul("many", &["no such verb"])
        .env("PGHAUL_LOG", "info")
        .run();
    output.expect(2);
}

/// Answers `SELECT 1` through this connection string.
fn psql(dsn: &str) -> Result<String, String> {
    pg::run(pg::program("psql").args(["-XAtq", "-c", "SELECT 1", "-d", dsn]))
}

/// Copies a database and all roles with PostgreSQL's own programs.
fn dump_and_restore(pair: &Pair, db: &str) {
    let mut globals = pg::program("pg_dumpall");
    globals
        .args(["--globals-only", "-d"])
        .arg(pair.source.dsn("postgres"));
    let globals = pg::run(&mut globals).expect("the roles are dumped");
    let globals = globals.replace("CREATE ROLE postgres;", "");
    pair.target.psql("postgres", &globals);

    let folder = tempfile::tempdir().expect("a folder");
    let archive = folder.path().join("archive");
    let mut dump = pair.source.client("pg_dump", db);
    pg::run(dump.args(["--format=custom", "--file"]).arg(&archive))
        .expect("the database is dumped");
    let mut restore = pair.target.client("pg_restore", "postgres");
    restore.args(["--exit-on-error", "--create"]).arg(&archive);
    pg::run(&mut restore).unwrap_or_else(|error| panic!("{error}"));
}
