use std::collections::BTreeSet;

use pghaul_stage::{Error, Kind};
use serde_json::{Value, json};

use super::keys::{KEYS, Taken};
use super::*;

/// The file that the service's documentation shows, with other values.
const SAMPLE: &str = r#"{
  "properties": {
    "SourceDBServerResourceId": "source.example:5433@mover",
    "targetDbServerResourceId": "target.example@owner",
    "SourceType": "AWS_RDS",
    "SslMode": "Require",
    "secretParameters": {
      "adminCredentials": {
        "SourceServerPassword": "hunter2",
        "targetServerPassword": "hunter3"
      },
      "sourceServerUserName": "reader"
    },
    "DBsToMigrate": ["shop", "Crm"],
    "OverwriteDBsInTarget": "true",
    "migrationRuntimeResourceId": "https://runtime.example:8432"
  }
}"#;

fn minimal() -> Value {
    json!({
        "sourceDbServerResourceId": "a:5432@u",
        "targetDbServerResourceId": "b:5432@v",
    })
}

/// What the least file says once these keys are set.
fn with(changes: Value) -> Result<Properties> {
    let mut file = minimal();
    for (key, value) in changes.as_object().unwrap() {
        file[key] = value.clone();
    }
    Properties::parse(&file.to_string(), None)
}

fn job(changes: Value) -> Job {
    with(changes).unwrap().job
}

fn refused(changes: Value) -> Error {
    let error = with(changes).unwrap_err();
    assert_eq!(error.kind(), Kind::Input);
    error
}

#[test]
fn the_file_of_the_service_is_taken_as_it_is() {
    let said = Properties::parse(SAMPLE, None).unwrap();
    assert_eq!(
        said.runtime.as_deref(),
        Some("https://runtime.example:8432")
    );
    assert_eq!(said.job.check(), Ok(()));
    let source = said.job.source.unwrap();
    assert_eq!(
        (source.host.as_str(), source.port),
        ("source.example", 5433)
    );
    assert_eq!(source.user, "reader", "the one in secretParameters wins");
    assert_eq!(source.ssl_mode, SslMode::Require);
    assert_eq!(source.source_type, Some(SourceType::AwsRds));
    assert_eq!(source.password.unwrap().expose(), "hunter2");
    let target = said.job.target.unwrap();
    assert_eq!(
        (target.host.as_str(), target.port),
        ("target.example", 5432)
    );
    assert_eq!(
        (target.user.as_str(), target.ssl_mode),
        ("owner", SslMode::Require)
    );
    assert_eq!(target.password.unwrap().expose(), "hunter3");
    assert_eq!(said.job.databases, ["shop", "Crm"]);
    assert!(said.job.overwrite && said.job.roles);
    assert_eq!(said.job.option, Extent::ValidateAndMigrate);
}

#[test]
fn what_is_not_said_has_its_default() {
    let job = job(json!({}));
    let expected = Job {
        source: job.source.clone(),
        target: job.target.clone(),
        ..Job::default()
    };
    assert_eq!(job, expected);
    assert!(!job.overwrite, "nothing is ever dropped unasked");
    assert_eq!(job.source.unwrap().ssl_mode, SslMode::Prefer);
}

#[test]
fn keys_are_the_same_in_any_case_and_in_or_out_of_properties() {
    let upper = r#"{"SOURCEDBSERVERRESOURCEID": "a@u", "properties": {"dbstomigrate": ["d"]}}"#;
    let said = Properties::parse(upper, None).unwrap();
    assert_eq!(said.job.databases, ["d"]);
    assert_eq!(said.job.source.unwrap().user, "u");
    assert!(said.job.target.is_none());
}

#[test]
fn a_key_given_twice_is_refused_wherever_it_stands() {
    for text in [
        r#"{"sslMode": "Prefer", "SSLMODE": "Prefer"}"#,
        r#"{"sslMode": "Prefer", "properties": {"sslMode": "Require"}}"#,
        r#"{"sourceServerUsername": "a", "secretParameters": {"sourceServerUserName": "a"}}"#,
        r#"{"migrationRuntimeResourceId": "http://a", "migrationInstanceResourceId": "http://a"}"#,
        r#"{"properties": {}, "Properties": {}}"#,
        r#"{"secretParameters": null, "properties": {"secretParameters": {}}}"#,
    ] {
        let error = Properties::parse(text, None).unwrap_err();
        assert_eq!(error.message(), "this key is given twice", "{text}");
        assert!(error.subject().is_some() && error.hint().is_some());
    }
    let tags = r#"{"sourceDbServerResourceId": "a@u", "tags": {"x": "1", "x": "2"}}"#;
    let error = Properties::parse(tags, None).unwrap_err();
    assert_eq!(error.subject(), Some("tags"));
}

#[test]
fn unknown_keys_are_refused_by_name() {
    assert_eq!(
        refused(json!({"dbToMigrate": ["a"]})).subject(),
        Some("dbToMigrate")
    );
    let deep = json!({"secretParameters": {"adminCredentials": {"password": "hunter2"}}});
    let error = refused(deep);
    assert_eq!(error.subject(), Some("password"));
    assert!(!format!("{error:?}").contains("hunter2"));
}

#[test]
fn keys_in_the_wrong_place_are_refused_with_the_right_one() {
    for (file, key, place) in [
        (
            json!({"sourceServerPassword": "x"}),
            "sourceServerPassword",
            "adminCredentials",
        ),
        (json!({"properties": {"tags": {}}}), "tags", "top"),
        (
            json!({"secretParameters": {"sslMode": "Prefer"}}),
            "sslMode",
            "properties",
        ),
        (
            json!({"adminCredentials": {}}),
            "adminCredentials",
            "secretParameters",
        ),
        (
            json!({"properties": {"properties": {}}}),
            "properties",
            "top",
        ),
    ] {
        let error = refused(file);
        assert_eq!(error.subject(), Some(key));
        assert!(error.message().contains(place), "{error}");
    }
}

#[test]
fn servers_are_named_by_host_port_and_user() {
    for (text, host, port, user) in [
        ("db.example:6000@ann", "db.example", 6000, "ann"),
        ("db.example@ann", "db.example", 5432, "ann"),
        (
            "10.0.0.1:5432@admin@server",
            "10.0.0.1",
            5432,
            "admin@server",
        ),
        ("[fe80::1]:6000@ann", "fe80::1", 6000, "ann"),
        ("[::1]@ann", "::1", 5432, "ann"),
    ] {
        let source = job(json!({"sourceDbServerResourceId": text}))
            .source
            .unwrap();
        assert_eq!(
            (source.host.as_str(), source.port, source.user.as_str()),
            (host, port, user)
        );
    }
    for text in [
        "db.example:5432",
        "db.example:0@u",
        "db.example:65536@u",
        "db.example:@u",
        ":5432@u",
        "db.example:5432@",
        "::1@u",
        "[::1@u",
        "[::1]5432@u",
        "postgres://u@h/d",
        "",
        " ",
    ] {
        let error = refused(json!({"sourceDbServerResourceId": text}));
        assert_eq!(
            error.subject(),
            Some("sourceDbServerResourceId"),
            "{text:?}"
        );
    }
}

#[test]
fn a_resource_id_needs_a_host_and_a_user_beside_it() {
    let id = "/subscriptions/0/resourceGroups/g/providers/p/flexibleServers/s";
    for (side, other) in [("source", "b@v"), ("target", "a@u")] {
        let key = format!("{side}DbServerResourceId");
        let host = format!("{side}DbServerFullyQualifiedDomainName");
        let user = format!("{side}ServerUsername");
        let error = refused(json!({key.as_str(): id, host.as_str(): "h"}));
        assert_eq!(error.subject(), Some(key.as_str()));
        let remedy = error.hint().unwrap();
        assert!(remedy.contains(&host) && remedy.contains(&user), "{remedy}");
        assert!(remedy.contains("host:port@user"), "{remedy}");

        let both = job(json!({key: id.to_uppercase(), host: "h", user: "w"}));
        let ends = [both.source.unwrap(), both.target.unwrap()];
        let at = usize::from(side == "target");
        assert_eq!((ends[at].host.as_str(), ends[at].user.as_str()), ("h", "w"));
        assert!(other.starts_with(&ends[1 - at].host), "the other end stays");
    }
}

#[test]
fn a_custom_host_wins_and_the_port_stays() {
    let host = json!({
        "targetDbServerResourceId": "b:6000@v",
        "targetDbServerFullyQualifiedDomainName": "10.1.1.1",
    });
    let target = job(host).target.unwrap();
    assert_eq!((target.host.as_str(), target.port), ("10.1.1.1", 6000));
}

#[test]
fn the_target_may_be_named_elsewhere() {
    let elsewhere: Server = "t.example:6000@w".parse().unwrap();
    let file = json!({
        "sourceDbServerResourceId": "a@u",
        "secretParameters": {"adminCredentials": {"targetServerPassword": "hunter2"}},
    })
    .to_string();
    let target = Properties::parse(&file, Some(&elsewhere))
        .unwrap()
        .job
        .target
        .unwrap();
    assert_eq!(
        (target.host.as_str(), target.port, target.user.as_str()),
        ("t.example", 6000, "w")
    );
    assert_eq!(target.password.unwrap().expose(), "hunter2");
    let job = Properties::parse(&file, None).unwrap().job;
    assert_eq!(job.check().unwrap_err()[0].key, "target");
    let job = Properties::parse(&minimal().to_string(), Some(&elsewhere))
        .unwrap()
        .job;
    assert_eq!(job.target.unwrap().host, "b", "what the file says, wins");
}

#[test]
fn a_source_that_is_not_named_is_missed() {
    let error = Properties::parse("{}", None).unwrap_err();
    assert_eq!(error.subject(), Some("sourceDbServerResourceId"));
    let error = Properties::parse(r#"{"sourceServerUsername": "u"}"#, None).unwrap_err();
    assert_eq!(error.subject(), Some("sourceDbServerResourceId"));
}

#[test]
fn the_runtime_server_is_named_by_its_address() {
    for key in ["migrationRuntimeResourceId", "migrationInstanceResourceId"] {
        let said = with(json!({key: "HTTPS://runtime.example:8432/"})).unwrap();
        assert_eq!(
            said.runtime.as_deref(),
            Some("HTTPS://runtime.example:8432/")
        );
        for wrong in [
            "/subscriptions/0/resourceGroups/g/providers/p/flexibleServers/r",
            "runtime.example:8432",
            "ftp://runtime.example",
            "https://ann:hunter2@runtime.example",
            " ",
        ] {
            let error = refused(json!({key: wrong}));
            assert_eq!(
                error.subject(),
                Some("migrationRuntimeResourceId"),
                "{wrong}"
            );
            assert!(!format!("{error:?}").contains("hunter2"));
        }
    }
}

#[test]
fn all_six_modes_of_tls_count_for_both_ends() {
    for (word, mode) in [
        ("Disable", SslMode::Disable),
        ("allow", SslMode::Allow),
        ("Prefer", SslMode::Prefer),
        ("REQUIRE", SslMode::Require),
        ("VerifyCA", SslMode::VerifyCa),
        ("verify-full", SslMode::VerifyFull),
    ] {
        let job = job(json!({"sslMode": word}));
        assert_eq!(job.source.unwrap().ssl_mode, mode);
        assert_eq!(job.target.unwrap().ssl_mode, mode);
    }
    assert_eq!(
        refused(json!({"sslMode": "always"})).subject(),
        Some("sslMode")
    );
    let single = job(json!({"sourceType": "PostgreSQLSingleServer"}));
    assert_eq!(single.source.unwrap().ssl_mode, SslMode::VerifyFull);
}

#[test]
fn types_of_sources_are_those_of_the_service() {
    let azure = job(json!({"sourceType": "onpremises"})).source.unwrap();
    assert_eq!(azure.source_type, Some(SourceType::OnPremises));
    let error = refused(json!({"sourceType": "Oracle"}));
    assert!(error.message().contains("GCP_AlloyDB"), "{error}");
}

#[test]
fn there_may_be_any_number_of_databases() {
    let names: Vec<String> = (0..100).map(|number| format!("db{number}")).collect();
    assert_eq!(job(json!({"dbsToMigrate": names})).databases, names);
    for wrong in [
        json!([]),
        json!([""]),
        json!(["a", "a"]),
        json!("a"),
        json!([1]),
    ] {
        assert_eq!(
            refused(json!({"dbsToMigrate": wrong})).subject(),
            Some("dbsToMigrate")
        );
    }
}

#[test]
fn flags_are_booleans_or_words() {
    for (value, expected) in [
        (json!(true), true),
        (json!("True"), true),
        (json!("false"), false),
    ] {
        let job = job(json!({"overwriteDbsInTarget": value, "migrateRoles": value}));
        assert_eq!((job.overwrite, job.roles), (expected, expected));
    }
    for wrong in [json!("yes"), json!(1), json!([])] {
        let error = refused(json!({"overwriteDbsInTarget": wrong}));
        assert_eq!(error.subject(), Some("overwriteDbsInTarget"));
    }
}

#[test]
fn online_is_refused_with_the_reason() {
    job(json!({"migrationMode": "Offline"}));
    let error = refused(json!({"migrationMode": "Online"}));
    assert_eq!(error.subject(), Some("migrationMode"));
    assert!(error.message().contains("not possible yet"), "{error}");
    assert_eq!(
        refused(json!({"migrationMode": "later"})).subject(),
        Some("migrationMode")
    );
}

#[test]
fn options_are_the_three_of_the_service() {
    for (word, extent) in [
        ("Validate", Extent::Validate),
        ("migrate", Extent::Migrate),
        ("ValidateAndMigrate", Extent::ValidateAndMigrate),
    ] {
        assert_eq!(job(json!({"migrationOption": word})).option, extent);
    }
    assert_eq!(
        refused(json!({"migrationOption": "x"})).subject(),
        Some("migrationOption")
    );
}

#[test]
fn times_become_a_start_or_a_window() {
    let (start, end) = (
        "migrationWindowStartTimeInUtc",
        "migrationWindowEndTimeInUtc",
    );
    let at = |text: &str| text.parse::<Time>().unwrap();
    let begins = job(json!({start: "2030-01-31T22:00:00"}));
    assert_eq!(begins.start_at, Some(at("2030-01-31T22:00:00Z")));
    assert_eq!(begins.window, None);
    let within = job(json!({start: "2030-01-31T22:00:00Z", end: "2030-02-01T01:00:00+02:00"}));
    let window = within.window.unwrap();
    assert_eq!(window.from, at("2030-01-31T22:00:00Z"));
    assert_eq!(window.to, at("2030-01-31T23:00:00Z"));
    assert_eq!(within.start_at, None);
    assert_eq!(
        refused(json!({end: "2030-01-31T22:00:00Z"})).subject(),
        Some(end)
    );
    let backwards = json!({start: "2030-01-31T22:00:00Z", end: "2030-01-31T21:00:00Z"});
    assert_eq!(refused(backwards).subject(), Some(end));
    assert_eq!(refused(json!({start: "tomorrow"})).subject(), Some(start));
}

#[test]
fn a_start_at_once_needs_no_window_and_a_later_one_does() {
    let (flag, start) = ("startDataMigration", "migrationWindowStartTimeInUtc");
    let time = "2030-01-31T22:00:00Z";
    assert_eq!(job(json!({flag: "True"})), job(json!({})));
    assert!(job(json!({flag: false, start: time})).start_at.is_some());
    assert_eq!(refused(json!({flag: "False"})).subject(), Some(flag));
    assert_eq!(
        refused(json!({flag: "True", start: time})).subject(),
        Some(flag)
    );
}

#[test]
fn what_only_comes_later_is_refused() {
    let none = json!({
        "triggerCutover": "False", "dbsToTriggerCutoverOn": [],
        "cancel": "False", "dbsToCancelMigrationOn": [],
        "setupLogicalReplicationOnSourceDbIfNeeded": "True",
    });
    assert_eq!(job(none), job(json!({})));
    for (key, value) in [
        ("triggerCutover", json!("True")),
        ("dbsToTriggerCutoverOn", json!(["a"])),
        ("cancel", json!(true)),
        ("dbsToCancelMigrationOn", json!(["a"])),
    ] {
        let error = refused(json!({key: value}));
        assert_eq!(error.subject(), Some(key));
        assert!(error.hint().is_some());
    }
    let key = "setupLogicalReplicationOnSourceDbIfNeeded";
    assert_eq!(refused(json!({key: "maybe"})).subject(), Some(key));
}

#[test]
fn what_the_service_says_is_refused_unless_it_is_null() {
    for key in [
        "migrationId",
        "currentStatus",
        "sourceDbServerMetadata",
        "targetDbServerMetadata",
        "id",
        "name",
        "type",
        "systemData",
    ] {
        let error = refused(json!({key: "x"}));
        assert_eq!(error.subject(), Some(key));
        assert!(error.hint().unwrap().starts_with("leave it out"));
        assert_eq!(job(json!({key: null})), job(json!({})));
    }
}

#[test]
fn what_stands_around_the_properties_is_kept_or_told() {
    let said = with(json!({"location": "westeurope", "tags": {"team": "shop"}})).unwrap();
    assert_eq!(said.job.tags["team"], "shop");
    assert!(said.notices[0].contains("location"));
    assert_eq!(
        refused(json!({"tags": {"team": 1}})).subject(),
        Some("tags")
    );
}

#[test]
fn nothing_else_than_an_object_is_a_file() {
    for text in [
        "",
        "[]",
        "3",
        "{",
        "{}{}",
        r#"{"a":1,}"#,
        "\"x\"",
        &"[".repeat(100_000),
    ] {
        let error = Properties::parse(text, None).unwrap_err();
        assert_eq!(error.kind(), Kind::Input, "{text:.20}");
    }
}

#[test]
fn a_password_of_the_wrong_type_is_not_repeated() {
    let secret = json!({"adminCredentials": {"sourceServerPassword": {"hunter2": 271_828}}});
    let error = format!("{:?}", refused(json!({"secretParameters": secret})));
    assert!(
        !error.contains("271") && !error.contains("hunter2"),
        "{error}"
    );
    assert!(error.contains("sourceServerPassword"));
}

/// Every key takes part: a value that no key takes is refused under the key's own name, and so
/// none is read and forgotten.
#[test]
fn every_key_of_the_table_is_looked_at() {
    for entry in KEYS {
        let name = entry.name();
        let value = json!([{"of": "no use"}]);
        let file = match entry.taken {
            Taken::Around | Taken::Property | Taken::Anywhere => json!({name: value}),
            Taken::Secret => json!({"secretParameters": {name: value}}),
            Taken::Credential => json!({"secretParameters": {"adminCredentials": {name: value}}}),
        };
        assert_eq!(refused(file).subject(), Some(name));
    }
}

#[test]
fn the_documentation_shows_the_table() {
    let page = include_str!("../../../../docs/properties.md");
    let rows: BTreeSet<&str> = page
        .lines()
        .filter(|line| line.starts_with("| `"))
        .collect();
    let expected: BTreeSet<String> = KEYS
        .iter()
        .map(|entry| {
            let names: Vec<_> = entry.names.iter().map(|name| format!("`{name}`")).collect();
            let (names, place) = (names.join(", "), entry.taken.words());
            format!("| {names} | {place} | {} |", entry.becomes)
        })
        .collect();
    let missing: Vec<_> = expected
        .iter()
        .filter(|row| !rows.contains(row.as_str()))
        .collect();
    assert!(
        missing.is_empty(),
        "docs/properties.md lacks:\n{missing:#?}"
    );
    assert_eq!(
        rows.len(),
        expected.len(),
        "docs/properties.md has rows of keys that are not known"
    );
}
