//! Who we are and how the server is told.

use std::os::unix::fs::PermissionsExt;

use pghaul_stage::{Error, Kind, Side};
use pghaul_wire::{Client, Conninfo, Lane};

use crate::server::{certificate, parse_in, plain, scratch, tls};

/// Connects both kinds of session; the role that the server sees.
async fn user(info: &Conninfo) -> Result<String, Error> {
    let mut lane = Lane::connect(info, Side::Target).await?;
    let by_lane = lane.query("SELECT session_user").await.unwrap()[0][0]
        .clone()
        .unwrap();
    let client = Client::connect(info, Side::Target).await?;
    let by_client: &str = &client
        .query_one("SELECT session_user::text", &[])
        .await
        .unwrap()
        .get::<_, String>(0);
    assert_eq!(by_lane, by_client);
    Ok(by_lane)
}

#[tokio::test]
async fn passwords_by_every_method() {
    for mode in ["disable", "require"] {
        for (name, password) in [("md5", "secret"), ("scram", "sécret"), ("clear", "secret")] {
            let right = tls().tcp(&format!("user={name} password={password} sslmode={mode}"));
            assert_eq!(user(&right).await.unwrap(), name, "{mode}");

            let wrong = tls().tcp(&format!("user={name} password=wrong sslmode={mode}"));
            let error = user(&wrong).await.unwrap_err();
            assert_eq!(
                (error.kind(), error.code()),
                (Kind::Permanent, Some("28P01"))
            );
            assert!(error.hint().unwrap().contains("password"));
            assert!(!format!("{error:?}").contains("wrong"));

            let none = tls().tcp(&format!("user={name} sslmode={mode}"));
            assert!(
                user(&none)
                    .await
                    .unwrap_err()
                    .message()
                    .contains("none is given")
            );
        }
    }
    let unix = tls().unix("user=scram password=sécret");
    assert_eq!(user(&unix).await.unwrap(), "scram");
}

#[tokio::test]
async fn channel_binding_is_required_or_not() {
    let binding = |user: &str, mode: &str, binding: &str| {
        tls().tcp(&format!(
            "user={user} password={} sslmode={mode} channel_binding={binding}",
            if user == "scram" { "sécret" } else { "secret" }
        ))
    };
    for wanted in ["disable", "prefer", "require"] {
        assert_eq!(
            user(&binding("scram", "require", wanted)).await.unwrap(),
            "scram",
            "{wanted}"
        );
    }
    // Over TLS, but by a method that cannot bind; and not over TLS at all.
    for (name, mode) in [
        ("md5", "require"),
        ("clear", "require"),
        ("postgres", "require"),
        ("scram", "disable"),
    ] {
        let error = user(&binding(name, mode, "require")).await.unwrap_err();
        assert!(
            error.message().contains("channel_binding=require"),
            "{name} {mode}: {error}"
        );
    }
    let unix = tls().unix("user=scram password=sécret channel_binding=require");
    assert!(user(&unix).await.is_err());
}

#[tokio::test]
async fn channel_binding_with_every_hash() {
    for name in ["wrong_name", "common_name", "version1"] {
        let server = crate::server::Server::start(
            &crate::server::ssl_conf(name),
            "local all all trust\nhost all all all scram-sha-256\n",
        );
        server.psql("CREATE ROLE scram LOGIN PASSWORD 'p'");
        let info = server.tcp("user=scram password=p sslmode=require channel_binding=require");
        assert_eq!(user(&info).await.unwrap(), "scram", "{name}");
    }
}

#[tokio::test]
async fn client_certificates() {
    let folder = scratch();
    let key = folder.path().join("key");
    std::fs::copy(certificate("ann.key"), &key).unwrap();
    let set = |mode| std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
    let info = |certificate: &str, key: &str| {
        tls().tcp(&format!(
            "user=ann sslmode=require sslcert={certificate} sslkey={key}"
        ))
    };
    let ann = certificate("ann.crt");
    let key_text = key.display().to_string();

    set(0o600);
    assert_eq!(user(&info(&ann, &key_text)).await.unwrap(), "ann");
    set(0o644);
    let error = user(&info(&ann, &key_text)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Input);
    assert!(error.message().contains("group or world access"), "{error}");

    // Somebody else's certificate of the same name, none, and one that does not fit the key.
    let mallory = info(&certificate("mallory.crt"), &certificate("mallory.key"));
    assert_eq!(user(&mallory).await.unwrap_err().kind(), Kind::Permanent);
    assert_eq!(
        user(&tls().tcp("user=ann sslmode=require"))
            .await
            .unwrap_err()
            .code(),
        Some("28000")
    );
    set(0o600);
    let unfit = info(&certificate("server.crt"), &key_text);
    assert_eq!(user(&unfit).await.unwrap_err().kind(), Kind::Input);
    assert_eq!(
        user(&info("/nonexistent", &key_text))
            .await
            .unwrap_err()
            .kind(),
        Kind::Input
    );
}

#[tokio::test]
async fn the_password_file_and_the_service_file() {
    let folder = scratch();
    let passfile = folder.path().join("pgpass");
    std::fs::write(
        &passfile,
        format!("127.0.0.1:{}:*:scram:sécret\n", tls().port),
    )
    .unwrap();
    let set =
        |mode| std::fs::set_permissions(&passfile, std::fs::Permissions::from_mode(mode)).unwrap();
    let services = folder.path().join("services");
    std::fs::write(
        &services,
        format!(
            "[copy]\nhost=127.0.0.1\nport={}\nuser=scram\ndbname=postgres\n",
            tls().port
        ),
    )
    .unwrap();
    let env = [
        ("PGPASSFILE", passfile.to_str().unwrap()),
        ("PGSERVICEFILE", services.to_str().unwrap()),
        ("PGSERVICE", "copy"),
    ];
    set(0o600);
    assert_eq!(user(&parse_in("", &env)).await.unwrap(), "scram");
    assert_eq!(
        user(&parse_in("postgresql://?service=copy", &env[..2]))
            .await
            .unwrap(),
        "scram"
    );
    set(0o640);
    assert!(
        user(&parse_in("", &env))
            .await
            .unwrap_err()
            .message()
            .contains("none is given")
    );
}

#[tokio::test]
async fn sessions_carry_name_options_and_encoding() {
    let info = plain()
        .unix("application_name=first")
        .with_application_name("it's")
        .with_option("search_path", r#""a b", "c\d""#)
        .with_option("DateStyle", "ISO, YMD");
    let sql = "SELECT current_setting('application_name') || '|' || current_setting('search_path')
               || '|' || current_setting('DateStyle') || '|' || current_setting('client_encoding')";
    let expected = r#"it's|"a b", "c\d"|ISO, YMD|UTF8"#;
    let mut lane = Lane::connect(&info, Side::Source).await.unwrap();
    assert_eq!(
        lane.query(sql).await.unwrap()[0][0].as_deref(),
        Some(expected)
    );
    let client = Client::connect(&info, Side::Source).await.unwrap();
    assert_eq!(
        client
            .query_one(sql, &[])
            .await
            .unwrap()
            .get::<_, String>(0),
        expected
    );
    assert_eq!(lane.parameter("application_name"), Some("it's"));
}

#[tokio::test]
async fn refusals_say_what_to_check() {
    let error = user(&plain().tcp("dbname=absent")).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.code()),
        (Kind::Permanent, Some("3D000"))
    );
    assert_eq!(error.side(), Some(Side::Target));
    assert!(error.hint().is_some());
    let error = user(&plain().tcp("user=absent")).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.code()),
        (Kind::Permanent, Some("28000"))
    );
    let peer = plain().unix("requirepeer=nobody");
    assert!(
        user(&peer)
            .await
            .unwrap_err()
            .message()
            .contains("requirepeer")
    );
}

#[tokio::test]
async fn a_libpq_program_reaches_the_same_server() {
    let info = tls()
        .tcp("user=scram password=sécret sslmode=require")
        .with_option("DateStyle", "SQL, DMY");
    let mut psql = std::process::Command::new("/usr/lib/postgresql/15/bin/psql");
    psql.env_clear().args([
        "-XAtc",
        "SELECT session_user || current_setting('DateStyle')",
    ]);
    for (name, value) in info.libpq_env() {
        psql.env(name, secrecy::ExposeSecret::expose_secret(&value));
    }
    let output = psql.output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "scramSQL, DMY\n",
        "{output:?}"
    );
}
