//! What the source's role may not see must not be missing silently.

use super::{assert_converged, assert_says};
use crate::support::{Pair, Way, both_ways};

both_ways!(rls_never_hides_rows);
fn rls_never_hides_rows(way: Way) {
    let mut pair = Pair::start();
    let db = "policies";
    pair.source.create_db(db);
    pair.source.psql(
        db,
        "CREATE ROLE reader LOGIN;
         CREATE TABLE open (id int); INSERT INTO open SELECT generate_series(1, 10);
         CREATE TABLE guarded (id int, owner text);
         INSERT INTO guarded SELECT i, CASE i % 3 WHEN 0 THEN 'reader' ELSE 'other' END
           FROM generate_series(1, 10) AS i;
         ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
         CREATE POLICY own ON guarded USING (owner = current_user);
         GRANT SELECT ON open, guarded TO reader",
    );
    let reader = pair.source.dsn(db).replace("postgres@", "reader@");
    let mut haul = way.of(db).source(&reader);
    let seen = "SELECT set_config('role', 'reader', false); SELECT count(*) FROM guarded";
    assert_eq!(
        pair.source.psql(db, seen),
        "reader\n3",
        "rows the role sees"
    );

    let refused = haul.run(&mut pair, &[]);
    assert!(matches!(refused.code, 1 | 2), "{refused:?}");
    assert_says(&refused, &["source", "public.guarded", "bypassrls"]);
    if pair.target.databases().iter().any(|name| name == db) {
        let partial = pair
            .target
            .try_psql(db, "SELECT count(*) FROM public.guarded");
        assert!(partial.as_deref().unwrap_or("0") == "0", "{partial:?}");
    }

    pair.source.psql(db, "ALTER ROLE reader BYPASSRLS");
    haul.run(&mut pair, &["--overwrite"]).expect(0);
    assert_converged(&pair, db);
}

both_ways!(forced_rls_never_hides_rows_from_the_owner);
/// The owner is subject to a forced policy too.
fn forced_rls_never_hides_rows_from_the_owner(way: Way) {
    let mut pair = Pair::start();
    let db = "forced";
    pair.source.create_db(db);
    pair.source.psql(
        db,
        "CREATE ROLE holder LOGIN;
         CREATE TABLE guarded (id int); INSERT INTO guarded SELECT generate_series(1, 10);
         ALTER TABLE guarded OWNER TO holder;
         ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
         ALTER TABLE guarded FORCE ROW LEVEL SECURITY;
         CREATE POLICY few ON guarded USING (id < 4)",
    );
    let holder = pair.source.dsn(db).replace("postgres@", "holder@");
    let refused = way.of(db).source(&holder).run(&mut pair, &[]);
    assert!(matches!(refused.code, 1 | 2), "{refused:?}");
    assert_says(&refused, &["source", "public.guarded", "bypassrls"]);
}
