use super::*;

fn env(variables: &[(&str, &str)]) -> Environment {
    Environment {
        variables: variables
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect(),
        home: None,
        user: Some("os".to_owned()),
    }
}

fn parse(text: &str) -> Conninfo {
    Conninfo::parse_with(text, &env(&[])).unwrap()
}

fn refuse(text: &str) -> Error {
    let error = Conninfo::parse_with(text, &env(&[])).unwrap_err();
    assert_eq!(error.kind(), pghaul_stage::Kind::Input, "{text}");
    error
}

#[test]
fn the_text_beats_the_service_beats_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("services");
    std::fs::write(&file, "[s]\nhost=service\nport=2\ndbname=service\n").unwrap();
    let env = env(&[
        ("PGSERVICEFILE", file.to_str().unwrap()),
        ("PGSERVICE", "s"),
        ("PGHOST", "environment"),
        ("PGPORT", "3"),
        ("PGUSER", "environment"),
    ]);
    let info = Conninfo::parse_with("host=text", &env).unwrap();
    assert_eq!(info.display(), "text:2/service user=environment");
    assert!(Conninfo::parse_with("service=absent", &env).is_err());
}

#[test]
fn defaults() {
    let info = parse("host=h");
    assert_eq!(info.display(), "h:5432/os user=os");
    assert_eq!(info.policy().sslmode, SslMode::Prefer);
    assert_eq!(
        info.policy().connect_timeout,
        Some(std::time::Duration::from_secs(10))
    );
    assert_eq!(info.policy().keepalive.as_ref().unwrap().count, 6);
    assert_eq!(info.application_name(), "pghaul");
    assert_eq!(parse("host=h user=u").dbname(), "u");
    assert_eq!(
        parse("host=h fallback_application_name=f").application_name(),
        "f"
    );
    assert_eq!(
        parse("host=h connect_timeout=0").policy().connect_timeout,
        None
    );
    let nobody = Environment::default();
    assert!(Conninfo::parse_with("host=h", &nobody).is_err());
}

#[test]
fn several_hosts() {
    let info = parse("host=a,/tmp,::1 port=1,,3");
    assert_eq!(info.display(), "a:1,/tmp:5432,[::1]:3/os user=os");
    assert_eq!(parse("host=a,b port=7").display(), "a:7,b:7/os user=os");
    assert_eq!(
        parse("hostaddr=10.0.0.1,::1").display(),
        "10.0.0.1:5432,[::1]:5432/os user=os"
    );
    refuse("host=a,b port=1,2,3");
    refuse("host=a,b hostaddr=10.0.0.1");
    refuse("hostaddr=name");
    refuse("host=a port=70000");
    refuse("host=a port=0");
}

#[test]
fn what_cannot_be_honoured_is_refused_by_name() {
    for (text, named) in [
        ("sslcrl=/x", "sslcrl"),
        ("sslpassword=x", "sslpassword"),
        ("replication=database", "replication"),
        ("gssencmode=require", "gssencmode"),
        ("sslmode=maybe", "sslmode"),
        ("sslrootcert=system sslmode=require", "sslmode"),
        ("sslnegotiation=direct", "sslnegotiation"),
        ("connect_timeout=soon", "connect_timeout"),
        (
            "ssl_max_protocol_version=TLSv1.1",
            "ssl_max_protocol_version",
        ),
        ("colour=red", "colour"),
    ] {
        assert!(refuse(text).to_string().contains(named), "{text}");
    }
    parse("gssencmode=prefer sslnegotiation=direct sslmode=require client_encoding=auto");
    assert_eq!(
        parse("sslrootcert=system").policy().sslmode,
        SslMode::VerifyFull
    );
}

#[test]
fn secrets_stay_secret() {
    let info = parse("postgresql://u:hidden@h/d");
    assert!(!format!("{info:?}{}", info.display()).contains("hidden"));
    for text in [
        "postgres://u:p@h/",
        "password=x",
        "postgres://h/?password=x",
        "postgres://u@h/%z",
    ] {
        assert!(Conninfo::has_password_in(text), "{text}");
    }
    for text in ["postgres://u@h/d", "host=h user=u", "", "password=''"] {
        assert!(!Conninfo::has_password_in(text), "{text}");
    }
}

#[test]
fn the_password_file_answers_per_host() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pgpass");
    std::fs::write(
        &path,
        "localhost:5432:*:*:socket\nb:5432:d:os:for b\n*:*:e:*:for e\n",
    )
    .unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let env = env(&[("PGPASSFILE", path.to_str().unwrap())]);
    let find = |info: &Conninfo| -> Vec<Option<String>> {
        let secret = |host| {
            info.password(host)
                .map(|secret| secret.expose_secret().to_owned())
        };
        info.hosts().iter().map(secret).collect()
    };
    let info = Conninfo::parse_with("host=a,b,/var/run/postgresql dbname=d", &env).unwrap();
    assert_eq!(
        find(&info),
        [None, Some("for b".to_owned()), Some("socket".to_owned())]
    );
    assert_eq!(find(&info.with_dbname("e"))[0].as_deref(), Some("for e"));
    let given = Conninfo::parse_with("host=b dbname=d password=given", &env).unwrap();
    assert_eq!(find(&given)[0].as_deref(), Some("given"));
}

#[test]
fn options_are_escaped() {
    let info = parse("host=h options='-c a=b'").with_option("search_path", r"x \y");
    assert_eq!(info.options(), r"-c a=b -c search_path=x\ \\y");
}

#[test]
fn libpq_programs_get_the_whole_picture() {
    let info = parse("postgres://u:p@h,k:7/d?hostaddr=10.0.0.1,10.0.0.2&sslmode=require")
        .with_dbname("other")
        .with_option("a", "b");
    let mut env: Vec<_> = info
        .libpq_env()
        .into_iter()
        .map(|(name, value)| format!("{name}={}", value.expose_secret()))
        .collect();
    env.sort();
    assert_eq!(
        env,
        [
            "PGAPPNAME=pghaul",
            "PGCLIENTENCODING=UTF8",
            "PGCONNECT_TIMEOUT=10",
            "PGDATABASE=other",
            "PGHOST=h,k",
            "PGHOSTADDR=10.0.0.1,10.0.0.2",
            "PGOPTIONS=-c a=b",
            "PGPASSWORD=p",
            "PGPORT=5432,7",
            "PGSSLMODE=require",
            "PGUSER=u",
        ]
    );
}
