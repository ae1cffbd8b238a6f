//! What is in a target database is found, whatever it is.

use pghaul_load::{State, inspect};

use crate::server::Server;

#[tokio::test]
async fn an_absent_database_is_absent() {
    let server = Server::get();
    let state = inspect(&server.conninfo("no such database")).await.unwrap();
    assert!(matches!(state, State::Absent), "{state:?}");
}

#[tokio::test]
async fn a_new_database_is_empty() {
    let server = Server::get();
    let db = server.database();
    server.psql(
        &db,
        "CREATE SCHEMA pghaul; COMMENT ON SCHEMA public IS 'changed'",
    );
    let state = inspect(&server.conninfo(&db)).await.unwrap();
    assert!(matches!(state, State::Empty), "{state:?}");
}

#[tokio::test]
async fn every_kind_of_object_is_in_the_way() {
    let server = Server::get();
    let role = server.name("inspect_role");
    server.psql("postgres", &format!("CREATE ROLE {role}"));
    let kinds = [
        ("CREATE TABLE o (i int)", "table public.o"),
        ("CREATE VIEW o AS SELECT 1", "view public.o"),
        ("CREATE SEQUENCE o", "sequence public.o"),
        ("CREATE TYPE o AS (i int)", "public.o"),
        ("CREATE TYPE o AS ENUM ('a')", "type public.o"),
        ("CREATE TYPE o", "type public.o"),
        ("CREATE DOMAIN o AS int", "type public.o"),
        (
            "CREATE FUNCTION o() RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "function public.o()",
        ),
        ("CREATE SCHEMA o", "schema o"),
        ("CREATE EXTENSION citext", "extension citext"),
        ("SELECT lo_create(42)", "large object 42"),
        ("CREATE PUBLICATION o", "publication o"),
        (
            "CREATE SUBSCRIPTION o CONNECTION 'dbname=x' PUBLICATION p WITH (connect = false, slot_name = NONE)",
            "subscription o",
        ),
        (
            "CREATE SCHEMA pghaul;
             CREATE FUNCTION pghaul.o() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
             CREATE EVENT TRIGGER o ON ddl_command_end EXECUTE FUNCTION pghaul.o()",
            "event trigger o",
        ),
        ("CREATE FOREIGN DATA WRAPPER o", "foreign-data wrapper o"),
        ("CREATE COLLATION o FROM \"C\"", "collation public.o"),
        (
            "CREATE TEXT SEARCH CONFIGURATION o (PARSER = default)",
            "text search configuration",
        ),
        (
            "CREATE CAST (point AS text) WITH INOUT",
            "cast from point to text",
        ),
        (
            "CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq)",
            "operator public.===",
        ),
        (
            &format!("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO {role}"),
            "default privileges",
        ),
    ];
    for (ddl, name) in kinds {
        let db = server.database();
        server.psql(&db, ddl);
        match inspect(&server.conninfo(&db)).await.unwrap() {
            State::Occupied(found) => {
                assert!(
                    found.sample.iter().any(|object| object.contains(name)),
                    "{found:?}"
                );
                assert_eq!(found.count, found.sample.len() as u64, "{found:?}");
            }
            state => panic!("{ddl}: {state:?}"),
        }
        server.psql(&db, "DROP SUBSCRIPTION IF EXISTS o");
        server.psql("postgres", &format!("DROP DATABASE {db} WITH (FORCE)"));
    }
}

#[tokio::test]
async fn many_objects_are_counted_and_some_named() {
    let server = Server::get();
    let db = server.database();
    server.psql(
        &db,
        "SELECT format('CREATE TABLE t%s ()', i) FROM generate_series(1, 40) i \\gexec",
    );
    match inspect(&server.conninfo(&db)).await.unwrap() {
        State::Occupied(found) => {
            assert_eq!(found.count, 40);
            assert_eq!(found.sample.len(), 5);
        }
        state => panic!("{state:?}"),
    }
}
