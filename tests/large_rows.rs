//! Rows too large for COPY, which travel a few columns at a time.
//!
//! The tests that always run call a row large from 64 kB on, and play the server's refusal. Those
//! with the real limit of a gigabyte are ignored, because they need 8 GB of memory and as much
//! disk: `cargo nextest run -p pghaul-cli --run-ignored only gigabyte`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pghaul_extract::{Config, CopyFormat, PgSource, Split};
use pghaul_load::PgTarget;
use pghaul_relay::{Runner, Summary};
use pghaul_spool::{FileEncoding, Garbage, Role, Spool, SpoolSource, SpoolTarget, Storing, Worker};
use pghaul_stage::{
    Batches, Catalog, Error, Format, Kind, Part, Plan, Result, Shape, Silent, Source, SourceLayer,
};
use pghaul_wire::Conninfo;
use tokio::runtime::Runtime;

use crate::support::oracle::assert_migrated;
use crate::support::{Cluster, Pair, Way, both_ways};

/// Rows of 100 kB and more among small ones, in tables whose columns are awkward to move apart.
const TABLES: &str = r#"
CREATE SCHEMA "Odd "".""s";
CREATE DOMAIN body AS text NOT NULL CHECK (value <> 'forbidden');
CREATE TYPE pair AS (n int, t text);
CREATE TABLE keyed (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, gone int, plain bytea NOT NULL,
  b body, doc jsonb, list text[], kind regclass, pairs pair[], n numeric CHECK (n > 0),
  fixed char(5), none text);
ALTER TABLE keyed DROP COLUMN gone, ALTER plain SET STORAGE EXTERNAL, ALTER b SET STORAGE MAIN;
INSERT INTO keyed (plain, b, doc, list, kind, pairs, n, fixed)
SELECT CASE WHEN g % 7 = 0 THEN decode(repeat(md5(g::text), 8000), 'hex') ELSE '\x00' END,
  CASE WHEN g % 5 = 0 THEN repeat('b\\' || g || E'\t\n', 20000) ELSE '' END,
  CASE WHEN g % 11 = 0 THEN jsonb_build_object('k', repeat('long ', 200000)) END,
  CASE WHEN g % 13 = 0 THEN array_fill(md5(g::text), ARRAY[2000]) ELSE '[0:1]={NULL,""}' END,
  'pg_class', ARRAY[ROW(g, NULL)::pair, NULL], g, 'x'
FROM generate_series(1, 100) AS g;
CREATE TABLE keyless ("place" text, "c1" bytea, """" text);
CREATE TABLE "Odd "".""s"."all large" (pghaul text, "ctid "" " text);
INSERT INTO "Odd "".""s"."all large" SELECT repeat('a', 70000), repeat('b', 70000) FROM generate_series(1, 3);
CREATE TABLE no_large_row AS SELECT g AS n FROM generate_series(1, 50) AS g;
CREATE TABLE parent (a text, b text);
CREATE TABLE child (c text) INHERITS (parent);
INSERT INTO parent VALUES (repeat('p', 80000), 'small'), ('p', 'q');
INSERT INTO child VALUES (repeat('c', 80000), NULL, repeat('c', 80000));
CREATE TABLE many_columns ();
SELECT format('ALTER TABLE many_columns ADD "c %s" text', n) FROM generate_series(1, 40) AS n
\gexec
SELECT format('INSERT INTO many_columns VALUES (%s)', string_agg(format('repeat(%L, 20000)', chr(64 + n)), ','))
FROM generate_series(1, 40) AS n
\gexec
"#;

/// How rows of [`TABLES`] are stored, value by value.
const STORAGE: &str = "SELECT sum(pg_column_size(plain)), sum(pg_column_size(b)),
  sum(pg_column_size(doc)) FROM keyed";

both_ways!(large_rows_travel_by_column);
fn large_rows_travel_by_column(way: Way) {
    for (versions, format, split) in [
        (None, CopyFormat::Auto, Split::Never),
        (None, CopyFormat::Text, Split::LargerThan(200_000)),
        (Some((10, 13)), CopyFormat::Auto, Split::Never),
    ] {
        let mut pair = match versions {
            Some((source, target)) => Pair::of_versions(source, target),
            None => Pair::start(),
        };
        pair.source.create_db("d");
        pair.source.psql("d", TABLES);
        pair.source.psql(
            "d",
            "INSERT INTO keyless SELECT repeat('x', 90000), convert_to(repeat('y', 90000), 'UTF8'), NULL
             FROM generate_series(1, 4); INSERT INTO keyless SELECT FROM generate_series(1, 4)",
        );
        pair.target.create_db("d");
        let config = Config {
            copy_format: format,
            split,
            large_row: 65_536,
            ..Config::default()
        };
        let summary = match way {
            Way::Channel => migrate(&pair, config),
            Way::Spool => migrate_over_a_spool(&mut pair, config),
        };
        let rows = "SELECT (SELECT count(*) FROM keyed) + (SELECT count(*) FROM keyless)
            + (SELECT count(*) FROM no_large_row) + (SELECT count(*) FROM parent)
            + (SELECT count(*) FROM many_columns)
            + (SELECT count(*) FROM \"Odd \"\".\"\"s\".\"all large\")";
        assert_eq!(summary.rows.to_string(), pair.source.psql("d", rows));
        assert_eq!(
            pair.target.psql("d", STORAGE),
            pair.source.psql("d", STORAGE)
        );
        assert_migrated(&pair.source, "d", &pair.target, "d");
    }
}

/// Migrates the database `d` with a source that refuses to send whole rows where some are large.
fn migrate(pair: &Pair, config: Config) -> Summary {
    let runtime = Runtime::new().expect("a runtime");
    let config = Config {
        target_version: Some(pair.target.version() * 10_000),
        ..config
    };
    let (source, catalog, plan) = runtime.block_on(open(pair, config));
    let target = target(pair);
    let refusing = Arc::new(Refusing(Arc::clone(&source)));
    let summary = Runner::new(
        refusing,
        Arc::<PgTarget>::clone(&target),
        runtime.handle().clone(),
    )
    .run(&catalog, &plan)
    .expect("it migrates");
    runtime.block_on(source.close()).expect("the source closes");
    target.close();
    summary
}

/// As above over a spool, whose source is stopped before the load begins.
fn migrate_over_a_spool(pair: &mut Pair, config: Config) -> Summary {
    let runtime = Runtime::new().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let place = folder.path().join("spool");
    let store = pghaul_spool::open(place.to_str().expect("a path"), true).expect("a store");

    let (source, catalog, plan) = runtime.block_on(open(pair, config));
    let spool = runtime.block_on(Spool::create(store.clone(), FileEncoding::Typed, None));
    let worker = Worker::enter(Arc::new(spool.expect("a spool")), Role::Extract);
    let worker = Arc::new(runtime.block_on(worker).expect("a worker"));
    let storing = SpoolTarget::new(Arc::clone(&worker), Storing::default());
    Runner::new(
        Arc::new(Refusing(Arc::clone(&source))),
        Arc::new(storing),
        runtime.handle().clone(),
    )
    .run(&catalog, &plan)
    .expect("it is extracted");
    runtime.block_on(source.close()).expect("the source closes");
    runtime.block_on(worker.leave());
    drop(source);
    pair.source.stop();

    let spool = runtime.block_on(Spool::open(store, None)).expect("a spool");
    let spool = Arc::new(spool.expect("the spool is there"));
    let worker = Worker::enter(Arc::clone(&spool), Role::Load);
    let worker = Arc::new(runtime.block_on(worker).expect("a worker"));
    let source = Arc::new(SpoolSource::new(Arc::clone(&worker), false));
    let read = async { Ok::<_, Error>((source.catalog().await?, source.plan().await?)) };
    let (catalog, plan) = runtime.block_on(read).expect("the spool is read");
    let target = target(pair);
    let summary = Runner::new(
        source,
        Arc::<PgTarget>::clone(&target),
        runtime.handle().clone(),
    )
    .run(&catalog, &plan)
    .expect("it is loaded");
    target.close();
    let left = runtime.block_on(pghaul_spool::garbage(&spool, false));
    assert_eq!(left.expect("a listing"), Garbage::default());
    runtime.block_on(worker.leave());
    pair.source.start_again();
    summary
}

/// Opens the database `d` of the source.
async fn open(pair: &Pair, config: Config) -> (Arc<PgSource>, Catalog, Plan) {
    let config = Config {
        pg_bindir: Some(programs(&pair.source)),
        ..config
    };
    let source = PgSource::open(conninfo(&pair.source), config, Arc::new(Silent)).await;
    let source = source.expect("the source opens");
    let catalog = source.catalog().await.expect("a catalog");
    let plan = source.plan().await.expect("a plan");
    (Arc::new(source), catalog, plan)
}

/// The database `d` of the target.
fn target(pair: &Pair) -> Arc<PgTarget> {
    let config = pghaul_load::Config::default();
    let target = PgTarget::fresh(conninfo(&pair.target), config, Arc::new(Silent));
    Arc::new(target.expect("a target"))
}

fn conninfo(cluster: &Cluster) -> Conninfo {
    Conninfo::parse(&cluster.dsn("d")).expect("a connection string")
}

/// Where the client programs for this cluster are.
fn programs(cluster: &Cluster) -> std::path::PathBuf {
    let command = cluster.client("pg_dump", "d");
    let folder = Path::new(command.get_program()).parent();
    folder.expect("a program in a folder").to_owned()
}

/// A source on a server that fails as one does whose limit is the size from which rows are large.
struct Refusing(Arc<PgSource>);

#[async_trait]
impl SourceLayer for Refusing {
    fn inside(&self) -> &dyn Source {
        &*self.0
    }

    async fn read(&self, part: &Part, format: Format) -> Result<Batches> {
        let refusal = Error::new(Kind::Permanent, "out of memory").sqlstate("54000");
        let whole = part
            .slices()
            .iter()
            .all(|slice| slice.shape == Shape::Whole);
        if whole && self.0.reconsider(part, refusal).await.is_ok() {
            return Err(Error::new(Kind::Permanent, "out of memory").sqlstate("54000"));
        }
        self.0.read(part, format).await
    }
}

/// A row of two values of 600 MB and a value of 600 MB of text form 1.2 GB, in every format.
fn gigabyte_row(way: Way) {
    let mut pair = Pair::start();
    pair.source.create_db("d");
    pair.source.psql(
        "d",
        "CREATE TABLE wide (id int PRIMARY KEY, a bytea, b bytea, note text);
         INSERT INTO wide VALUES (1, '', '', 'before'), (3, '', '', 'after');
         INSERT INTO wide VALUES (2, convert_to(repeat('x', 600000000), 'UTF8'), NULL, 'two values');
         UPDATE wide SET b = convert_to(repeat('y', 600000000), 'UTF8') WHERE id = 2;
         INSERT INTO wide VALUES (4, convert_to(repeat('z', 600000000), 'UTF8'), NULL, 'one value');
         CREATE TABLE bits (id int PRIMARY KEY, b varbit);
         INSERT INTO bits VALUES (1, repeat('10', 70000000)::varbit);
         CREATE TABLE texts (t text); INSERT INTO texts VALUES (repeat(E'\\t', 700000000));
         CREATE TABLE arrays (a bytea[]);
         INSERT INTO arrays SELECT ARRAY[a, a] FROM (SELECT convert_to(repeat('x', 300000000), 'UTF8') AS a) AS s;",
    );
    for format in ["auto", "text"] {
        let args = ["--overwrite", "--verify", "--jobs", "1"];
        let args = [&args[..], &["--copy-format", format]].concat();
        let mut haul = way.of("d").timeout(Duration::from_secs(900));
        haul.run(&mut pair, &args).expect(0);
        let values = "SELECT id, octet_length(a), octet_length(b), encode(sha256(a), 'hex'),
            encode(sha256(b), 'hex'), note FROM wide ORDER BY id";
        assert_eq!(pair.target.psql("d", values), pair.source.psql("d", values));
    }
}

both_ways!(
    #[ignore = "needs 8 GB of memory: cargo nextest run -p pghaul-cli --run-ignored only gigabyte"]
    gigabyte_row
);
