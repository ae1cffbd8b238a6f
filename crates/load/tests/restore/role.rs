//! Roles, memberships, settings.

use pghaul_load::Config;
use pghaul_stage::{Membership, Role, Setting, Target};

use crate::server::Server;
use crate::source::{Source, Told};

const HASH: &str = "SCRAM-SHA-256$4096:c2FsdHNhbHRzYWx0c2E=$\
    AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

fn role(name: &str) -> Role {
    Role {
        name: name.into(),
        inherit: true,
        login: true,
        connection_limit: -1,
        password_readable: true,
        ..Role::default()
    }
}

fn membership(role: &str, member: &str, admin: bool) -> Membership {
    Membership {
        role: role.into(),
        member: member.into(),
        grantor: "postgres".into(),
        admin,
        inherit: None,
        set: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn absent_roles_are_created_and_present_ones_left_alone() {
    let server = Server::get();
    let (full, group, there) = (
        server.name("Ro'le \"x\""),
        server.name("group"),
        server.name("there"),
    );
    server.psql("postgres", &format!("CREATE ROLE {there} NOLOGIN"));
    let mut source = Source::new("");
    source.catalog.roles = vec![
        Role {
            create_db: true,
            bypass_rls: true,
            connection_limit: 7,
            valid_until: Some("2031-02-03 04:05:06+00".into()),
            comment: Some("it's\\".into()),
            password: Some(HASH.into()),
            ..role(&full)
        },
        Role {
            login: false,
            inherit: false,
            superuser: true,
            ..role(&group)
        },
        role(&there),
        role("pg_something"),
        role("rdsadmin"),
    ];
    source.catalog.memberships = vec![
        membership(&group, &full, true),
        membership("pg_monitor", &group, false),
    ];
    let setting = |name: &str, value: &str| Setting {
        role: Some(full.clone()),
        name: name.into(),
        value: value.into(),
    };
    source.catalog.role_settings = vec![
        setting("search_path", "\"$user\", public"),
        setting("work_mem", "7MB"),
    ];
    let db = server.database();
    let memory = source.migrate(&db, Config::default()).await.unwrap();

    let quoted = full.replace('\'', "''");
    let facts = format!(
        "SELECT rolsuper, rolinherit, rolcreatedb, rolcanlogin, rolbypassrls, rolconnlimit,
                rolvaliduntil AT TIME ZONE 'UTC', rolpassword, shobj_description(oid, 'pg_authid'),
                (SELECT setconfig FROM pg_db_role_setting WHERE setrole = a.oid)
         FROM pg_authid a WHERE rolname = '{quoted}'"
    );
    assert_eq!(
        server.psql("postgres", &facts),
        format!(
            "f|t|t|t|t|7|2031-02-03 04:05:06|{HASH}|it's\\|\
             {{\"search_path=\\\"$user\\\", public\",work_mem=7MB}}"
        )
    );
    let members = format!(
        "SELECT r.rolname, m.rolname, admin_option FROM pg_auth_members
         JOIN pg_roles r ON r.oid = roleid JOIN pg_roles m ON m.oid = member
         WHERE m.rolname IN ('{quoted}', '{group}') ORDER BY 1"
    );
    assert_eq!(
        server.psql("postgres", &members),
        format!("{group}|{full}|t\npg_monitor|{group}|f")
    );
    assert_eq!(
        server.psql(
            "postgres",
            &format!("SELECT rolcanlogin FROM pg_roles WHERE rolname = '{there}'")
        ),
        "f"
    );
    assert_eq!(memory.warnings(), [""; 0]);
    let told = memory.all();
    let info = |text: &str| {
        told.iter()
            .any(|told| matches!(told, Told::Info(said) if said.contains(text)))
    };
    assert!(
        info(&format!("{there:?} exists")) && info("LOGIN"),
        "{told:?}"
    );
    assert!(info("\"pg_something\", \"rdsadmin\""), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loader_without_privileges_warns_and_never_shows_a_hash() {
    let server = Server::get();
    let (loader, wanted, unreadable) = (
        server.name("loader"),
        server.name("wanted"),
        server.name("unreadable"),
    );
    server.psql(
        "postgres",
        &format!("CREATE ROLE {loader} LOGIN CREATEROLE"),
    );
    let db = server.database();
    server.psql(
        "postgres",
        &format!("ALTER DATABASE {db} OWNER TO {loader}"),
    );
    let mut source = Source::new("CREATE TABLE t (x int)");
    source.catalog.roles = vec![
        Role {
            superuser: true,
            password: Some(HASH.into()),
            ..role(&wanted)
        },
        Role {
            password_readable: false,
            ..role(&unreadable)
        },
    ];
    source.catalog.memberships = vec![membership("postgres", &wanted, false)];
    source.catalog.role_settings = vec![Setting {
        role: Some(wanted.clone()),
        name: "log_statement".into(),
        value: "all".into(),
    }];
    let (target, memory) = source.target_as(&db, &loader);
    target
        .prepare(&source.catalog, &Source::plan())
        .await
        .unwrap();
    target.complete(&[]).await.unwrap();
    let facts = format!(
        "SELECT rolsuper, rolcanlogin, rolpassword FROM pg_authid WHERE rolname = '{wanted}'"
    );
    assert_eq!(server.psql("postgres", &facts), format!("f|t|{HASH}"));
    let warnings = memory.warnings().join("\n");
    for part in [
        "SUPERUSER",
        "GRANT \"postgres\"",
        "log_statement",
        &unreadable,
    ] {
        assert!(warnings.contains(part), "{part}: {warnings}");
    }
    assert!(
        !format!("{:?}", memory.all()).contains("SCRAM"),
        "{warnings}"
    );
}
