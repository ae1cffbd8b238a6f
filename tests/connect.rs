//! Connections, end to end: every sslmode, wrong passwords, unreachable and wrong servers.

use std::net::TcpListener;

use crate::support::oracle::assert_migrated;
use crate::support::tls::Authority;
use crate::support::{Cluster, Output, Pair, Pghaul};

fn small(cluster: &Cluster) {
    cluster.create_db("d");
    cluster.psql(
        "d",
        "CREATE TABLE t AS SELECT g FROM generate_series(1, 100) g",
    );
}

/// `pghaul verify` of a database with itself over TCP with these parameters: the cheapest call
/// that needs both connections.
fn connect(cluster: &Cluster, parameters: &str) -> Output {
    let dsn = format!("{}?{parameters}", cluster.tcp_dsn("d"));
    Pghaul::new(&["verify"]).source(&dsn).target(&dsn).run()
}

#[test]
fn every_sslmode_against_a_server_with_tls() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let right = authority.issue("right", &["IP:127.0.0.1"]);
    let wrong_name = authority.issue("wrong", &["DNS:elsewhere.example"]);
    let with = |certificate| {
        let cluster = Cluster::builder().tls(certificate).start();
        small(&cluster);
        cluster
    };
    let (right, wrong) = (with(&right), with(&wrong_name));
    let root = format!("sslrootcert={}", authority.root().display());
    let other = format!("sslrootcert={}", stranger.root().display());

    for mode in ["disable", "allow", "prefer", "require"] {
        connect(&right, &format!("sslmode={mode}")).expect(0);
        connect(&wrong, &format!("sslmode={mode}")).expect(0);
    }
    for mode in ["verify-ca", "verify-full"] {
        connect(&right, &format!("sslmode={mode}&{root}")).expect(0);
        let refused = connect(&right, &format!("sslmode={mode}&{other}")).expect(1);
        assert!(refused.stderr.contains("certificate"), "{}", refused.stderr);
    }
    // A root makes `require` check the chain, and only `verify-full` checks the name.
    connect(&right, &format!("sslmode=require&{other}")).expect(1);
    connect(&wrong, &format!("sslmode=verify-ca&{root}")).expect(0);
    let refused = connect(&wrong, &format!("sslmode=verify-full&{root}")).expect(1);
    assert!(refused.stderr.contains("certificate"), "{}", refused.stderr);
}

#[test]
fn every_sslmode_against_a_server_without_tls() {
    let cluster = Cluster::start();
    small(&cluster);
    let authority = Authority::new();
    let root = format!("sslrootcert={}", authority.root().display());
    for mode in ["disable", "allow", "prefer"] {
        connect(&cluster, &format!("sslmode={mode}")).expect(0);
    }
    for mode in ["require", "verify-ca", "verify-full"] {
        let refused = connect(&cluster, &format!("sslmode={mode}&{root}")).expect(1);
        assert!(refused.stderr.contains("TLS"), "{}", refused.stderr);
    }
}

#[test]
fn a_migration_through_verified_tls_with_channel_binding() {
    let authority = Authority::new();
    let certificate = authority.issue("server", &["DNS:localhost", "IP:127.0.0.1"]);
    let start = || Cluster::builder().tls(&certificate).start();
    let pair = Pair {
        source: start(),
        target: start(),
    };
    small(&pair.source);
    let secure = |dsn: String| {
        let root = authority.root();
        format!(
            "{dsn}?sslmode=verify-full&channel_binding=require&sslrootcert={}",
            root.display()
        )
    };
    // pg_dump reaches the source by the same parameters.
    Pghaul::new(&["migrate", "--verify"])
        .source(&secure(pair.source.tcp_dsn("d")))
        .target(&secure(pair.target.tcp_dsn("d")))
        .run()
        .expect(0);
    assert_migrated(&pair.source, "d", &pair.target, "d");
}

#[test]
fn a_wrong_password_says_which_side() {
    let pair = Pair::start();
    small(&pair.source);
    let wrong = |dsn: String| dsn.replace("hidden", "forgotten");
    for side in ["source", "target"] {
        let (mut source, mut target) = (pair.source.tcp_dsn("d"), pair.target.tcp_dsn("d"));
        let dsn = if side == "source" {
            &mut source
        } else {
            &mut target
        };
        *dsn = wrong(dsn.clone());
        let call = Pghaul::new(&["migrate"]).source(&source).target(&target);
        let refused = call.run().expect(1);
        assert!(
            refused.stderr.contains(&format!("pghaul: {side}")),
            "{}",
            refused.stderr
        );
        assert!(refused.stderr.contains("28P01"), "{}", refused.stderr);
        assert!(!refused.stderr.contains("forgotten"), "{}", refused.stderr);
    }
    assert_eq!(pair.target.databases(), ["postgres"]);
}

#[test]
fn an_unreachable_host_says_where_it_looked() {
    let pair = Pair::start();
    small(&pair.source);
    let closed = TcpListener::bind("127.0.0.1:0")
        .and_then(|l| l.local_addr())
        .expect("a port");
    let call = pair
        .pghaul("d", &["migrate"])
        .target(&format!("postgres://u@{closed}/d"));
    let refused = call.run().expect(1);
    assert!(
        refused.stderr.contains(&closed.port().to_string()),
        "{}",
        refused.stderr
    );

    let nowhere = "postgres://u@no-such-host.invalid/d?connect_timeout=5";
    let refused = pair
        .pghaul("d", &["migrate"])
        .source(nowhere)
        .run()
        .expect(1);
    assert!(
        refused.stderr.contains("no-such-host.invalid"),
        "{}",
        refused.stderr
    );
}

#[test]
fn wrong_use_is_told_apart() {
    let dsn = "postgres://u:hunter2@127.0.0.1:1/d";
    let refused = Pghaul::new(&["migrate", "--source", dsn])
        .target(dsn)
        .run()
        .expect(2);
    assert!(
        refused.stderr.contains("PGHAUL_SOURCE"),
        "{}",
        refused.stderr
    );
    assert!(!refused.stderr.contains("hunter2"), "{}", refused.stderr);
    Pghaul::new(&["migrate"]).run().expect(2);
    Pghaul::new(&["migrate", "--no-such-flag"]).run().expect(2);
    Pghaul::new(&["migrate", "--resume", "--overwrite"])
        .run()
        .expect(2);
    let unknown = "postgres://u@127.0.0.1:1/d?no_such_parameter=1";
    let refused = Pghaul::new(&["migrate"])
        .source(unknown)
        .target(dsn)
        .run()
        .expect(2);
    assert!(
        refused.stderr.contains("no_such_parameter"),
        "{}",
        refused.stderr
    );
}
