//! Every sslmode against servers with and without TLS, good and bad certificates.

use pghaul_stage::{Error, Kind, Side};
use pghaul_wire::{Client, Conninfo, Lane};

use crate::server::{Server, certificate, plain, ssl_conf, tls};

const MODES: [&str; 6] = [
    "disable",
    "allow",
    "prefer",
    "require",
    "verify-ca",
    "verify-full",
];

/// Connects both kinds of session; whether the server says they are inside TLS.
async fn encrypted(info: &Conninfo) -> Result<bool, Error> {
    const SQL: &str = "SELECT ssl FROM pg_catalog.pg_stat_ssl WHERE pid = pg_backend_pid()";
    let mut lane = Lane::connect(info, Side::Source).await?;
    let by_lane = lane.query(SQL).await.unwrap()[0][0].as_deref() == Some("t");
    let client = Client::connect(info, Side::Source).await?;
    let by_client: bool = client.query_one(SQL, &[]).await.unwrap().get(0);
    assert_eq!(by_lane, by_client);
    Ok(by_lane)
}

#[tokio::test]
async fn every_mode_against_a_server_with_tls() {
    let root = certificate("ca.crt");
    for mode in MODES {
        let info = tls().tcp(&format!("sslmode={mode} sslrootcert={root}"));
        let expected = !matches!(mode, "disable" | "allow");
        assert_eq!(encrypted(&info).await.unwrap(), expected, "{mode}");
    }
    // Nothing to verify against.
    for (mode, accepted) in [("prefer", true), ("require", true), ("verify-ca", false)] {
        let result = encrypted(&tls().tcp(&format!("sslmode={mode}"))).await;
        assert_eq!(result.is_ok(), accepted, "{mode}");
    }
}

#[tokio::test]
async fn every_mode_against_a_server_without_tls() {
    let root = certificate("ca.crt");
    for mode in MODES {
        let result = encrypted(&plain().tcp(&format!("sslmode={mode} sslrootcert={root}"))).await;
        match mode {
            "disable" | "allow" | "prefer" => assert!(!result.unwrap(), "{mode}"),
            _ => {
                let error = result.unwrap_err();
                assert_eq!(error.message(), "the server does not support TLS", "{mode}");
                assert_eq!(
                    error.subject(),
                    Some(&*format!("127.0.0.1:{}", plain().port))
                );
            }
        }
    }
}

#[tokio::test]
async fn allow_and_prefer_follow_the_rules_of_pg_hba() {
    for (user, mode, expected) in [
        ("only_tls", "disable", None),
        ("only_tls", "allow", Some(true)),
        ("only_tls", "prefer", Some(true)),
        ("only_tls", "require", Some(true)),
        ("only_plain", "disable", Some(false)),
        ("only_plain", "allow", Some(false)),
        ("only_plain", "prefer", Some(false)),
        ("only_plain", "require", None),
    ] {
        let info = tls().tcp(&format!("user={user} sslmode={mode}"));
        match (encrypted(&info).await, expected) {
            (Ok(got), Some(expected)) => assert_eq!(got, expected, "{user} {mode}"),
            (Err(error), None) => assert_eq!(error.code(), Some("28000"), "{user} {mode}"),
            (got, expected) => panic!("{user} {mode}: {got:?} instead of {expected:?}"),
        }
    }
}

#[tokio::test]
async fn the_wrong_authority_is_refused() {
    let root = certificate("other_ca.crt");
    for mode in ["require", "verify-ca", "verify-full"] {
        let info = tls().tcp(&format!("sslmode={mode} sslrootcert={root}"));
        let error = encrypted(&info).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Permanent, "{mode}");
        assert!(
            error.message().contains("certificate is not accepted"),
            "{mode}: {error}"
        );
    }
    let missing = tls().tcp("sslmode=require sslrootcert=/nonexistent");
    assert_eq!(encrypted(&missing).await.unwrap_err().kind(), Kind::Input);
    // A file that does not count can make prefer fall back, but not require.
    let info = tls().tcp(&format!("sslmode=prefer sslrootcert={root}"));
    assert!(!encrypted(&info).await.unwrap());
}

#[tokio::test]
async fn names_count_for_verify_full_only() {
    let root = format!("sslrootcert={}", certificate("ca.crt"));
    let server = Server::start(&ssl_conf("wrong_name"), "host all all all trust\n");
    for (mode, accepted) in [
        ("require", true),
        ("verify-ca", true),
        ("verify-full", false),
    ] {
        let result = encrypted(&server.tcp(&format!("{root} sslmode={mode}"))).await;
        assert_eq!(result.is_ok(), accepted, "{mode}: {result:?}");
    }
    // The name to verify is host, whatever the address.
    let by = |host: &str| format!("{root} sslmode=verify-full host={host} hostaddr=127.0.0.1");
    assert!(
        encrypted(&server.tcp(&by("elsewhere.example")))
            .await
            .unwrap()
    );
    assert!(encrypted(&tls().tcp(&by("localhost"))).await.unwrap());
    assert!(
        encrypted(&tls().tcp(&by("elsewhere.example")))
            .await
            .is_err()
    );
    assert!(encrypted(&tls().tcp(&by("''"))).await.is_err());
}

#[tokio::test]
async fn a_common_name_will_do_without_other_names() {
    let root = format!("sslrootcert={} hostaddr=127.0.0.1", certificate("ca.crt"));
    let server = Server::start(&ssl_conf("common_name"), "host all all all trust\n");
    assert!(
        encrypted(&server.tcp(&format!("{root} sslmode=verify-full host=LOCALHOST")))
            .await
            .unwrap()
    );
    assert!(
        encrypted(&server.tcp(&format!("{root} sslmode=verify-full host=other")))
            .await
            .is_err()
    );
}

#[tokio::test]
async fn home_made_certificates() {
    // One that signs itself, given as its own root.
    let server = Server::start(&ssl_conf("self_signed"), "host all all all trust\n");
    let root = format!("sslrootcert={}", certificate("self_signed.crt"));
    assert!(
        encrypted(&server.tcp(&format!("{root} sslmode=verify-ca")))
            .await
            .unwrap()
    );
    let named = |host: &str| format!("{root} sslmode=verify-full hostaddr=127.0.0.1 host={host}");
    assert!(encrypted(&server.tcp(&named("localhost"))).await.unwrap());
    assert!(encrypted(&server.tcp(&named("other"))).await.is_err());
    let other = format!("sslrootcert={} sslmode=verify-ca", certificate("ca.crt"));
    assert!(encrypted(&server.tcp(&other)).await.is_err());

    // One of version 1 serves where nothing is verified.
    let server = Server::start(&ssl_conf("version1"), "host all all all trust\n");
    assert!(encrypted(&server.tcp("sslmode=require")).await.unwrap());
}

#[tokio::test]
async fn protocol_versions_are_honoured() {
    for (versions, expected) in [
        ("ssl_max_protocol_version=TLSv1.2", "TLSv1.2"),
        ("ssl_min_protocol_version=TLSv1.3", "TLSv1.3"),
    ] {
        let info = tls().tcp(&format!(
            "{versions} sslmode=verify-full sslrootcert={}",
            certificate("ca.crt")
        ));
        let mut lane = Lane::connect(&info, Side::Source).await.unwrap();
        let rows = lane
            .query("SELECT version FROM pg_catalog.pg_stat_ssl WHERE pid = pg_backend_pid()")
            .await
            .unwrap();
        assert_eq!(rows[0][0].as_deref(), Some(expected));
    }
}
