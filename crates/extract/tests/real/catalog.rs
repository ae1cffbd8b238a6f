//! The catalog names what PostgreSQL has, and nothing that is not to be moved.

use pghaul_extract::{Config, probe};
use pghaul_stage::{Catalog, Index, Kind, Setting, Side, Source, TableId, Type};
use secrecy::ExposeSecret;

use crate::server::Server;

fn names<'a>(ids: impl Iterator<Item = &'a TableId>) -> Vec<String> {
    ids.map(ToString::to_string).collect()
}

fn index<'a>(catalog: &'a Catalog, name: &str) -> &'a Index {
    catalog
        .indexes
        .iter()
        .find(|index| &*index.name == name)
        .unwrap()
}

#[tokio::test]
async fn tables_have_their_columns_in_order_and_only_those_that_copy_moves() {
    let server = Server::start().await;
    server
        .run(
            r#"CREATE TABLE plain (b int, gone text, "A" varchar(7)[], g int GENERATED ALWAYS AS (1) STORED,
                                   i int GENERATED ALWAYS AS IDENTITY);
               ALTER TABLE plain DROP COLUMN gone;
               CREATE TABLE none ();
               CREATE TABLE parent (k int) PARTITION BY LIST (k);
               CREATE TABLE leaf PARTITION OF parent DEFAULT;
               CREATE TABLE root (k int); CREATE TABLE heir () INHERITS (root);
               CREATE UNLOGGED TABLE unlogged (k int);
               CREATE TEMP TABLE temporary (k int);
               CREATE VIEW view AS SELECT 1; CREATE MATERIALIZED VIEW matview AS SELECT 1 AS x;
               CREATE SCHEMA pghaul; CREATE TABLE pghaul.progress (k int);
               CREATE SCHEMA "Sch"; CREATE TABLE "Sch"."Tab" (k int);
               CREATE TABLE big (v text);
               ALTER TABLE big ALTER v SET STORAGE EXTERNAL;
               INSERT INTO big SELECT repeat(md5(g::text), 300) FROM generate_series(1, 100) g;
               INSERT INTO big SELECT v FROM big; ANALYZE big;"#,
        )
        .await;
    let catalog = server.source().await.catalog().await.unwrap();
    assert_eq!(
        names(catalog.tables.iter().map(|table| &table.id)),
        [
            "\"Sch\".\"Tab\"",
            "public.big",
            "public.heir",
            "public.leaf",
            "public.none",
            "public.plain",
            "public.root",
            "public.unlogged"
        ]
    );
    let table = |name: &str| {
        catalog
            .tables
            .iter()
            .find(|table| &*table.id.name == name)
            .unwrap()
    };
    let columns: Vec<(&str, &str)> = table("plain")
        .columns
        .iter()
        .map(|column| (&*column.name, column.type_name.as_ref()))
        .collect();
    assert_eq!(
        columns,
        [
            ("b", "integer"),
            ("A", "character varying(7)[]"),
            ("i", "integer")
        ]
    );
    assert!(table("none").columns.is_empty());
    assert!(table("leaf").child && table("heir").child && !table("root").child);
    let big = table("big");
    assert_eq!(big.rows, 200);
    assert_eq!(
        big.filenode.to_string(),
        server.ask("SELECT pg_relation_filenode('big')").await
    );
    let heap = server.ask("SELECT pg_relation_size('big')").await;
    assert_eq!(big.heap.to_string(), heap);
    let toast = "SELECT pg_relation_size(reltoastrelid) FROM pg_class WHERE relname = 'big'";
    assert_eq!(big.toast.to_string(), server.ask(toast).await);
    assert!(big.toast > 500_000);
}

#[tokio::test]
async fn types_say_in_whose_binary_form_values_travel() {
    let server = Server::start().await;
    server
        .run(
            "CREATE EXTENSION citext; CREATE TYPE mood AS ENUM ('ok'); \
             CREATE DOMAIN price AS numeric(8, 2); CREATE DOMAIN cheap AS price; \
             CREATE TYPE pair AS (a int, b text); \
             CREATE TABLE t (a int, b varchar(7)[], c mood, d cheap, e citext, f pair, g numeric(8, 2))",
        )
        .await;
    let catalog = server.source().await.catalog().await.unwrap();
    let oid = async |name: &str| -> u32 {
        let sql = format!("SELECT '{name}'::regtype::oid");
        server.ask(&sql).await.parse().unwrap()
    };
    let columns = &catalog.tables[0].columns;
    let types: Vec<_> = columns
        .iter()
        .map(|column| catalog.types[&column.type_name])
        .collect();
    let expected = [
        ("int4", -1, oid("int4").await),
        ("varchar[]", 11, oid("varchar[]").await),
        ("mood", -1, oid("text").await),
        ("cheap", -1, oid("numeric").await),
        ("citext", -1, oid("text").await),
        ("pair", -1, 0),
        ("numeric", (8 << 16) + 2 + 4, oid("numeric").await),
    ];
    for ((name, modifier, sent_as), found) in expected.into_iter().zip(types) {
        let oid = oid(name).await;
        assert_eq!(
            found,
            Type {
                oid,
                modifier,
                sent_as
            },
            "{name}"
        );
    }
}

#[tokio::test]
async fn tables_of_extensions_stay_with_their_extension() {
    let server = Server::start().await;
    server
        .run(
            "CREATE TABLE mine (k int); CREATE TABLE theirs (k serial); \
             CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'; \
             CREATE EXTENSION IF NOT EXISTS plpgsql; ALTER EXTENSION plpgsql ADD TABLE theirs; \
             ALTER EXTENSION plpgsql ADD SEQUENCE theirs_k_seq",
        )
        .await;
    let catalog = server.source().await.catalog().await.unwrap();
    assert_eq!(
        names(catalog.tables.iter().map(|table| &table.id)),
        ["public.mine"]
    );
    assert!(catalog.sequences.is_empty());
}

#[tokio::test]
async fn indexes_say_which_of_them_a_constraint_can_adopt() {
    let server = Server::start().await;
    server
        .run(
            "CREATE TABLE t (a int PRIMARY KEY, b int CONSTRAINT u UNIQUE DEFERRABLE, c int, r int4range, \
                             CONSTRAINT x EXCLUDE USING gist (r WITH &&), \
                             CONSTRAINT i UNIQUE (c) INCLUDE (a)); \
             CREATE INDEX plain ON t (lower(b::text), c DESC) WHERE a > 0; \
             CREATE UNIQUE INDEX uniq ON t (b DESC); \
             INSERT INTO t SELECT n, n, n FROM generate_series(1, 15000) n; \
             CREATE TABLE p (k int PRIMARY KEY) PARTITION BY RANGE (k); \
             CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10)",
        )
        .await;
    let catalog = server.source().await.catalog().await.unwrap();
    let list: Vec<(&str, Option<char>, bool)> = catalog
        .indexes
        .iter()
        .map(|index| (&*index.name, index.constraint_type, index.separable))
        .collect();
    assert_eq!(
        list,
        [
            // Of p1, which is small, the archive says enough.
            ("i", Some('u'), true),
            ("plain", None, false),
            ("t_pkey", Some('p'), true),
            ("u", Some('u'), true),
            ("uniq", None, false),
            ("x", Some('x'), false),
        ]
    );
    let expected = server.ask("SELECT pg_get_indexdef('i'::regclass)").await;
    assert_eq!(*index(&catalog, "i").definition, *expected);
    let plain = index(&catalog, "plain");
    assert_eq!(&*plain.definition, "", "asked for where nobody needs it");
    assert_eq!(plain.table, TableId::new("public", "t"));
    assert_eq!(plain.constraint, None);
    let oid = server
        .ask("SELECT oid FROM pg_constraint WHERE conname = 'u'")
        .await;
    assert_eq!(
        index(&catalog, "u").constraint.map(|oid| oid.to_string()),
        Some(oid)
    );

    // What is called separable must be so.
    for index in catalog
        .indexes
        .iter()
        .filter(|index| index.separable && &*index.table.name == "t")
    {
        let kind = if index.constraint_type == Some('p') {
            "PRIMARY KEY"
        } else {
            "UNIQUE"
        };
        let definition = index.definition.replace(" public.t ", " public.copy ");
        server
            .run(&format!(
                "CREATE TABLE copy (LIKE t); {definition_renamed}; \
                 ALTER TABLE copy ADD CONSTRAINT c {kind} USING INDEX again; DROP TABLE copy",
                definition_renamed =
                    definition.replace(&format!("INDEX {} ON", index.name), "INDEX again ON"),
            ))
            .await;
    }
}

#[tokio::test]
async fn sequences_tell_whether_their_value_was_used() {
    let server = Server::start().await;
    server
        .run(
            "CREATE SEQUENCE unused START 5; CREATE SEQUENCE down INCREMENT -1 MINVALUE -100; \
             SELECT nextval('down'), nextval('down'); \
             CREATE SEQUENCE \"Big one\" AS int8; SELECT setval('\"Big one\"', 9223372036854775807); \
             CREATE TABLE t (i int GENERATED BY DEFAULT AS IDENTITY, s serial); \
             INSERT INTO t DEFAULT VALUES",
        )
        .await;
    let source = server.source().await;
    let catalog = source.catalog().await.unwrap();
    // Sequences move on outside the snapshot, also after it has been given back.
    server
        .run("INSERT INTO t DEFAULT VALUES; DROP SEQUENCE unused")
        .await;
    source.close().await.unwrap();
    let values: Vec<(String, i64, bool)> = source
        .sequences()
        .await
        .unwrap()
        .into_iter()
        .map(|value| (value.id.to_string(), value.last_value, value.is_called))
        .collect();
    let value = |name: &str, last, called| (name.to_owned(), last, called);
    assert_eq!(
        values,
        [
            value("public.\"Big one\"", i64::MAX, true),
            value("public.down", -2, true),
            value("public.t_i_seq", 2, true),
            value("public.t_s_seq", 2, true),
        ]
    );
    assert_eq!(catalog.sequences.len(), 5);
    server.run("CREATE SEQUENCE unused START 5").await;
    let values = server.source().await.sequences().await.unwrap();
    let unused = values
        .iter()
        .find(|value| &*value.id.name == "unused")
        .unwrap();
    assert_eq!((unused.last_value, unused.is_called), (5, false));
}

const ROLES: &str = "\
    CREATE ROLE boss SUPERUSER CREATEROLE CONNECTION LIMIT 3 VALID UNTIL '2040-01-02 03:04:05+00'; \
    CREATE ROLE \"Web app\" LOGIN NOINHERIT PASSWORD 'sesame'; COMMENT ON ROLE boss IS 'in charge'; \
    GRANT boss TO \"Web app\" WITH ADMIN OPTION; GRANT pg_monitor TO \"Web app\"; \
    ALTER ROLE boss SET work_mem = '9MB'; ALTER ROLE ALL SET lock_timeout = '1h'; \
    ALTER ROLE boss IN DATABASE postgres SET search_path = 'a', '$user'; \
    ALTER DATABASE postgres SET timezone = 'Asia/Tokyo'; ALTER DATABASE postgres CONNECTION LIMIT 42; \
    COMMENT ON DATABASE postgres IS 'the one'; REVOKE CONNECT ON DATABASE postgres FROM PUBLIC; \
    GRANT CONNECT ON DATABASE postgres TO \"Web app\"";

#[tokio::test]
async fn roles_and_the_database_come_with_their_settings() {
    let server = Server::start().await;
    server.run(ROLES).await;
    let catalog = server.source().await.catalog().await.unwrap();
    let roles: Vec<&str> = catalog
        .roles
        .iter()
        .map(|role| role.name.as_str())
        .collect();
    assert_eq!(roles, ["Web app", "boss", "postgres"]);
    let [app, boss, _] = catalog.roles.as_slice() else {
        panic!()
    };
    assert!(boss.superuser && boss.create_role && !boss.login && boss.inherit);
    assert_eq!(boss.connection_limit, 3);
    assert_eq!(boss.valid_until.as_deref(), Some("2040-01-02 03:04:05+00"));
    assert_eq!(boss.comment.as_deref(), Some("in charge"));
    assert!(app.login && !app.inherit && app.password_readable);
    let hash = server
        .ask("SELECT rolpassword FROM pg_authid WHERE rolname = 'Web app'")
        .await;
    assert_eq!(
        app.password
            .as_ref()
            .map(|password| password.expose_secret().to_owned()),
        Some(hash)
    );
    let members: Vec<(&str, &str, bool)> = catalog
        .memberships
        .iter()
        .map(|one| (one.role.as_str(), one.member.as_str(), one.admin))
        .collect();
    assert_eq!(
        members,
        [("boss", "Web app", true), ("pg_monitor", "Web app", false)]
    );
    let setting = |role: Option<&str>, name: &str, value: &str| Setting {
        role: role.map(str::to_owned),
        name: name.into(),
        value: value.into(),
    };
    assert_eq!(
        catalog.role_settings,
        [
            setting(None, "lock_timeout", "1h"),
            setting(Some("boss"), "work_mem", "9MB")
        ]
    );
    let database = &catalog.database;
    assert_eq!(
        database.settings,
        [
            setting(None, "TimeZone", "Asia/Tokyo"),
            setting(Some("boss"), "search_path", "a, \"$user\"")
        ]
    );
    assert_eq!(
        (database.name.as_str(), database.owner.as_str()),
        ("postgres", "postgres")
    );
    assert_eq!(
        (database.encoding.as_str(), database.collate.as_str()),
        ("UTF8", "C")
    );
    assert_eq!(database.provider, "c");
    assert_eq!(database.connection_limit, 42);
    assert_eq!(database.comment.as_deref(), Some("the one"));
    let acl = server
        .ask("SELECT datacl FROM pg_database WHERE datname = 'postgres'")
        .await;
    let found = database.acl.clone().unwrap();
    assert_eq!(found.len(), 3, "{acl}");
    for item in found {
        assert!(
            acl.replace("\\\"", "").contains(&item.replace('"', "")),
            "{item} in {acl}"
        );
    }
    let system = server
        .ask("SELECT system_identifier FROM pg_control_system()")
        .await;
    assert_eq!(catalog.server.system.to_string(), system);
}

#[tokio::test]
async fn an_ordinary_role_gets_no_passwords_and_says_so() {
    let server = Server::start().await;
    server.run(ROLES).await;
    let source = server.open("Web app", Config::default()).await.unwrap();
    let catalog = source.catalog().await.unwrap();
    assert_eq!(catalog.roles.len(), 3);
    assert!(
        catalog
            .roles
            .iter()
            .all(|role| role.password.is_none() && !role.password_readable)
    );
}

#[tokio::test]
async fn the_archive_is_the_schema_under_the_snapshot_without_rows_and_large_objects() {
    let server = Server::start().await;
    server
        .run(
            "CREATE TABLE early (v text); INSERT INTO early VALUES ('a-value'); \
             CREATE SCHEMA pghaul; CREATE TABLE pghaul.left_over (k int); \
             SELECT lo_from_bytea(4711, 'content')",
        )
        .await;
    let source = server.source().await;
    server.run("CREATE TABLE too_late (k int)").await;
    let archive = source.catalog().await.unwrap().archive;
    let bytes = archive.unpack().unwrap();
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.starts_with("PGDMP"));
    assert!(text.contains("CREATE TABLE public.early"));
    for absent in ["too_late", "left_over", "a-value", "4711"] {
        assert!(!text.contains(absent), "{absent}");
    }
}

#[tokio::test]
async fn without_pg_dump_the_error_says_what_is_needed() {
    let server = Server::start().await;
    let empty = tempfile::tempdir().unwrap();
    let config = Config {
        pg_bindir: Some(empty.path().to_owned()),
        ..Config::default()
    };
    let error = server
        .source_with(config)
        .await
        .catalog()
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Input);
    assert!(error.message().contains("none was found"), "{error}");
    assert!(
        error
            .hint()
            .unwrap_or_default()
            .contains("PGHAUL_PG_BINDIR"),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_probe_tells_who_is_there() {
    let server = Server::start().await;
    let found = probe(&server.info("postgres"), Side::Target).await.unwrap();
    assert_eq!(
        found.version.to_string(),
        server.ask("SHOW server_version_num").await
    );
    let system = server
        .ask("SELECT system_identifier FROM pg_control_system()")
        .await;
    assert_eq!(found.system.map(|system| system.to_string()), Some(system));
    assert_eq!(
        (found.database.as_str(), found.encoding.as_str()),
        ("postgres", "UTF8")
    );
    assert!(!found.in_recovery);
    let error = probe(&server.info("nobody"), Side::Target)
        .await
        .unwrap_err();
    assert_eq!(error.side(), Some(Side::Target));
}
