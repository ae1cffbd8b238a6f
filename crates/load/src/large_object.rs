//! Large objects: from rows about them to objects with owner, privileges and comment.
//!
//! Both streams of a part go to temporary tables; the objects are made of these by the server,
//! in the transaction that records the part.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use pghaul_stage::{Catalog, Error, Event, Kind, Observer, Omission, Result, Selection, Side};
use pghaul_wire::{Lane, quote};

use crate::acl::{Item, Reach, grants};
use crate::foresight::ABSENT_OR_CLOSED;
use crate::present::Present;

/// The tables, gone at commit.
pub(crate) const TABLES: &str =
    "CREATE TEMPORARY TABLE pghaul_object (oid oid, owner text, acl text[], comment text)
         ON COMMIT DROP;
     CREATE TEMPORARY TABLE pghaul_page (oid oid, start bigint, data bytea) ON COMMIT DROP;";

/// One COPY for each stream, in their order.
pub(crate) const COPIES: [&str; 2] = [
    "COPY pg_temp.pghaul_object FROM STDIN (FORMAT binary)",
    "COPY pg_temp.pghaul_page FROM STDIN (FORMAT binary)",
];

/// The objects with their content and comments.
const CREATE: &str = "SELECT pg_catalog.lo_create(oid) FROM pg_temp.pghaul_object;
    SELECT pg_catalog.lo_put(oid, start, data) FROM pg_temp.pghaul_page;
    DO $do$
    DECLARE
        o record;
    BEGIN
        FOR o IN
            SELECT t.oid, t.comment FROM pg_temp.pghaul_object AS t WHERE t.comment IS NOT NULL
        LOOP
            EXECUTE pg_catalog.format('COMMENT ON LARGE OBJECT %s IS %L', o.oid, o.comment);
        END LOOP;
    END
    $do$";

/// Their owners. Those that do not exist leave the object with the role that loads.
const OWNERS: &str = "DO $do$
    DECLARE
        o record;
    BEGIN
        FOR o IN
            SELECT t.oid, t.owner FROM pg_temp.pghaul_object AS t
            JOIN pg_catalog.pg_roles AS r ON r.rolname = t.owner
            WHERE t.owner <> CURRENT_USER AND pg_catalog.pg_has_role(r.oid,
                CASE WHEN pg_catalog.current_setting('server_version_num')::int >= 160000
                     THEN 'SET' ELSE 'MEMBER' END)
        LOOP
            EXECUTE pg_catalog.format('ALTER LARGE OBJECT %s OWNER TO %I', o.oid, o.owner);
        END LOOP;
    END
    $do$";

/// The different states of ownership and privileges; there are few, however many objects.
const STATES: &str = "SELECT DISTINCT owner, pg_catalog.array_to_json(acl)::text
    FROM pg_temp.pghaul_object ORDER BY 1, 2";

/// The roles there are.
const ROLES: &str = "SELECT rolname FROM pg_catalog.pg_roles";

/// Those that the session may act for.
const ACTS_FOR: &str = "SELECT rolname FROM pg_catalog.pg_roles
    WHERE pg_catalog.pg_has_role(oid,
        CASE WHEN pg_catalog.current_setting('server_version_num')::int >= 160000
             THEN 'SET' ELSE 'MEMBER' END)";

/// How many large objects of one part and one owner are named one by one.
const NAMED: usize = 1000;

/// Stands for the object's number in a statement; no role has such a name.
const PLACE: &str = "\u{1}";

/// Makes the objects of what the two streams brought.
///
/// Owners, privileges and comments are those that the selection asks for.
pub(crate) async fn create(
    lane: &mut Lane,
    observer: &dyn Observer,
    selection: &Selection,
) -> Result<()> {
    for statement in changes(selection) {
        lane.execute(&statement).await?;
    }
    let mut missing: BTreeMap<String, Vec<State>> = BTreeMap::new();
    lane.execute(CREATE).await?;
    if !selection.no_owner {
        lane.execute(OWNERS).await?;
    }
    let roles: HashSet<String> = lane
        .query(ROLES)
        .await?
        .into_iter()
        .flatten()
        .flatten()
        .collect();
    let acts_for: HashSet<String> = lane
        .query(ACTS_FOR)
        .await?
        .into_iter()
        .flatten()
        .flatten()
        .collect();
    let me = lane
        .query("SELECT CURRENT_USER")
        .await?
        .into_iter()
        .flatten()
        .flatten()
        .next();
    let me = me.ok_or_else(|| broken("no current user"))?;
    for row in lane.query(STATES).await? {
        let [Some(owner), acl] = row.as_slice() else {
            return Err(broken("a large object without an owner"));
        };
        let known = !selection.no_owner && acts_for.contains(owner);
        let standing = if known { owner } else { &me };
        if standing != owner && !selection.no_owner {
            missing.entry(owner.clone()).or_default();
        }
        let Some(acl) = acl else { continue };
        let items: Vec<String> = serde_json::from_str(acl)
            .map_err(|error| broken("unreadable privileges").because(error))?;
        let items = items
            .iter()
            .map(|item| Ok(Item::parse(item)?.renamed(selection)))
            .collect::<Result<Vec<_>>>()?;
        let object = format!("LARGE OBJECT {PLACE}");
        let assume = standing != &me;
        let grants = grants(&object, owner, standing, &items, assume, |role| {
            match (roles.contains(role), acts_for.contains(role)) {
                (false, _) => Reach::Absent,
                (true, false) => Reach::Closed,
                (true, true) => Reach::Open,
            }
        })?;
        for role in grants.absent {
            missing.entry(role).or_default();
        }
        for (role, statements) in grants.lost.into_iter().chain(grants.closed) {
            missing.entry(role).or_default().push(State {
                owner: owner.clone(),
                acl: acl.clone(),
                statements,
            });
        }
        lane.execute(&block(owner, acl, &grants.statements)).await?;
    }
    for (role, states) in missing {
        let mut remedy = Vec::new();
        let queries = states.iter().map(State::statements);
        for query in std::iter::once(alterations(&role)).chain(queries) {
            remedy.extend(lane.query(&query).await?.into_iter().flatten().flatten());
        }
        let omission = lacking(&role).remedy(remedy.join("\n"));
        observer.observe(&Event::Omitted(&omission));
    }
    Ok(())
}

/// What large objects of one owner and the same privileges lack.
struct State {
    owner: String,
    acl: String,
    statements: Vec<String>,
}

impl State {
    /// The query for the statements that make up for it; none if the objects are many.
    fn statements(&self) -> String {
        let template = format!("{};", self.statements.join(";\n"));
        let template = template.replace('%', "%%").replace(PLACE, "%1$s");
        format!(
            "SELECT pg_catalog.string_agg(pg_catalog.format({}, t.oid), E'\\n' ORDER BY t.oid)
               FROM pg_temp.pghaul_object AS t
              WHERE t.owner = {} AND pg_catalog.array_to_json(t.acl)::text = {}
             HAVING count(*) <= {NAMED}",
            quote::literal(&template),
            quote::literal(&self.owner),
            quote::literal(&self.acl),
        )
    }
}

/// What [`create`] will leave out.
///
/// # Errors
///
/// Kind permanent for privileges that cannot be read.
pub(crate) fn omissions(catalog: &Catalog, present: &Present) -> Result<Vec<Omission>> {
    let (selection, me) = (&catalog.selection, &present.power.name);
    let mut missing = BTreeSet::new();
    for rights in &catalog.large_object_rights {
        let owner = selection.role(&rights.owner);
        let known = !selection.no_owner && (owner == me || present.may_own(owner));
        if !known && !selection.no_owner {
            missing.insert(owner.to_owned());
        }
        let standing = if known { owner } else { me };
        let Some(acl) = rights.acl.as_ref().filter(|_| !selection.no_acl) else {
            continue;
        };
        let items = acl
            .iter()
            .map(|item| Ok(Item::parse(item)?.renamed(selection)))
            .collect::<Result<Vec<_>>>()?;
        let reach = |role: &str| present.reach(role);
        let grants = grants(PLACE, owner, standing, &items, false, reach)?;
        missing.extend(grants.lost.into_keys().chain(grants.closed.into_keys()));
        missing.extend(grants.absent);
    }
    Ok(missing.iter().map(|role: &String| lacking(role)).collect())
}

fn lacking(role: &str) -> Omission {
    Omission::new(
        format!("ownership and privileges of role {role:?} on large objects"),
        ABSENT_OR_CLOSED,
    )
}

/// The query for the statements that give a role its large objects; none if they are many.
fn alterations(owner: &str) -> String {
    format!(
        "SELECT pg_catalog.string_agg(pg_catalog.format(
             'ALTER LARGE OBJECT %s OWNER TO %I;', t.oid, t.owner), E'\\n' ORDER BY t.oid)
           FROM pg_temp.pghaul_object AS t WHERE t.owner = {} HAVING count(*) <= {NAMED}",
        quote::literal(owner)
    )
}

/// What is changed of that which arrived.
fn changes(selection: &Selection) -> Vec<String> {
    let update = |what: &str| format!("UPDATE pg_temp.pghaul_object SET {what}");
    let mut changes = Vec::new();
    for (old, new) in &selection.role_map {
        let (old, new) = (quote::literal(old), quote::literal(new));
        // Marked, so that one name is not taken for another that it became.
        changes.push(update(&format!("owner = '/' || {new} WHERE owner = {old}")));
    }
    if !changes.is_empty() {
        changes.push(update(
            "owner = pg_catalog.substr(owner, 2) WHERE pg_catalog.left(owner, 1) = '/'",
        ));
    }
    if selection.no_acl {
        changes.push(update("acl = NULL"));
    }
    if selection.no_comments {
        changes.push(update("comment = NULL"));
    }
    changes
}

/// A block that runs the statements for every object in this state.
fn block(owner: &str, acl: &str, statements: &[String]) -> String {
    let mut body = format!(
        "DECLARE
            o oid;
        BEGIN
            FOR o IN
                SELECT t.oid FROM pg_temp.pghaul_object AS t
                WHERE t.owner = {} AND pg_catalog.array_to_json(t.acl)::text = {}
            LOOP\n",
        quote::literal(owner),
        quote::literal(acl),
    );
    for statement in statements {
        let template = statement.replace('%', "%%").replace(PLACE, "%s");
        body.push_str(&format!(
            "EXECUTE pg_catalog.format({}, o);\n",
            quote::literal(&template)
        ));
    }
    body.push_str("END LOOP; END");
    format!("DO {}", quote::literal(&body))
}

fn broken(message: &'static str) -> Error {
    Error::new(Kind::Protocol, message)
        .at(Side::Target)
        .on("large objects")
}
