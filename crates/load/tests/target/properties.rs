//! The database gets the source's properties at the end.

use pghaul_stage::{Setting, Target};

use crate::migration::Migration;

/// Everything about a database that should be equal, by PostgreSQL itself.
const PROPERTIES: &str = "
SELECT pg_get_userbyid(datdba), datconnlimit, datacl::text, shobj_description(oid, 'pg_database')
FROM pg_database WHERE datname = current_database();
SELECT coalesce(r.rolname, '-'), s.setconfig::text
FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase
LEFT JOIN pg_roles r ON r.oid = s.setrole
WHERE d.datname = current_database() ORDER BY 1";

fn lines(text: &str) -> Option<Vec<String>> {
    (!text.is_empty()).then(|| text.lines().map(str::to_owned).collect())
}

#[tokio::test]
async fn all_properties_are_equal() {
    let mut m = Migration::one();
    let server = m.server;
    let source = server.database();
    let roles = ["owner", "a", "Odd \"role\"", "c"].map(|prefix| server.name(prefix));
    let [owner, a, odd, c] = &roles;
    let quoted = odd.replace('"', "\"\"");
    server.psql(
        &source,
        &format!(
            r#"CREATE ROLE {owner}; CREATE ROLE {a}; CREATE ROLE "{quoted}"; CREATE ROLE {c};
            ALTER DATABASE {source} OWNER TO {owner};
            REVOKE ALL ON DATABASE {source} FROM PUBLIC;
            GRANT CONNECT, TEMPORARY ON DATABASE {source} TO {a} WITH GRANT OPTION;
            GRANT CREATE ON DATABASE {source} TO "{quoted}";
            SET ROLE {a}; GRANT CONNECT ON DATABASE {source} TO {c}; RESET ROLE;
            REVOKE TEMPORARY ON DATABASE {source} FROM {owner};
            COMMENT ON DATABASE {source} IS 'it''s \a comment';
            ALTER DATABASE {source} CONNECTION LIMIT 55;
            ALTER DATABASE {source} SET search_path = "$user", public, "Odd, path";
            ALTER DATABASE {source} SET work_mem = '7MB';
            ALTER DATABASE {source} SET "DateStyle" = 'SQL, DMY';
            ALTER DATABASE {source} SET my.setting = 'a ''b'' \c';
            ALTER ROLE "{quoted}" IN DATABASE {source} SET search_path = '';
            ALTER ROLE "{quoted}" IN DATABASE {source} SET statement_timeout = '1s';"#
        ),
    );
    let database = &mut m.catalog.database;
    database.owner.clone_from(owner);
    database.connection_limit = 55;
    database.comment = Some(r"it's \a comment".into());
    database.acl = lines(&server.psql(
        &source,
        "SELECT unnest(datacl)::text FROM pg_database WHERE datname = current_database()",
    ));
    let settings = server.psql(
        &source,
        "SELECT coalesce(pg_get_userbyid(nullif(setrole, 0)), ''), unnest(setconfig)
         FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase
         WHERE datname = current_database()",
    );
    database.settings = settings
        .lines()
        .map(|line| {
            let (role, setting) = line.split_once('|').unwrap();
            let (name, value) = setting.split_once('=').unwrap();
            let role = (!role.is_empty()).then(|| role.to_owned());
            Setting {
                role,
                name: name.into(),
                value: value.into(),
            }
        })
        .collect();
    assert_eq!(m.catalog.database.settings.len(), 6);

    let target = m.prepared().await;
    target.complete(&[]).await.unwrap();
    assert_eq!(m.psql(PROPERTIES), server.psql(&source, PROPERTIES));
    assert_eq!(m.notices.all(), Vec::<String>::new());
}

#[tokio::test]
async fn what_cannot_be_carried_over_is_said() {
    let mut m = Migration::one();
    let database = &mut m.catalog.database;
    database.owner = "gone".into();
    database.acl = Some(vec![
        "=Tc/gone".into(),
        "gone=CTc/gone".into(),
        "lost=c/gone".into(),
    ]);
    let setting = |role: Option<&str>, name: &str, value: &str| Setting {
        role: role.map(str::to_owned),
        name: name.into(),
        value: value.into(),
    };
    database.settings = vec![
        setting(None, "no_such_parameter", "1"),
        setting(None, "work_mem", "lots"),
        setting(None, "shared_buffers", "1GB"),
        setting(Some("lost"), "work_mem", "1MB"),
        setting(None, "geqo", "off"),
    ];
    let target = m.prepared().await;
    target.complete(&[]).await.unwrap();
    let notices = m.notices.all().join("\n");
    for what in [
        "\"gone\"",
        "\"lost\"",
        "no_such_parameter",
        "work_mem",
        "shared_buffers",
    ] {
        assert!(notices.contains(what), "{what} in:\n{notices}");
    }
    assert!(!notices.contains("geqo"), "{notices}");
    assert_eq!(
        m.psql(
            "SELECT datacl::text, setconfig::text FROM pg_database d
             JOIN pg_db_role_setting s ON s.setdatabase = d.oid WHERE datname = current_database()"
        ),
        "{=Tc/postgres,postgres=CTc/postgres}|{geqo=off}"
    );
}
