//! Large objects as rows: identifier, content, comment, and on request owner and grants.

use super::image::Image;
use super::relation::{Column, Share};
use super::view::{RoleNames, View};

/// Bytes of an object that the server holds at a time.
const CHUNK: u32 = 4 << 20;

/// What is compared of large objects besides their content.
#[derive(Debug, Clone, Default)]
pub(super) struct Rights {
    /// Owners.
    pub(super) owners: bool,
    /// Grants.
    pub(super) grants: bool,
    /// Comments.
    pub(super) comments: bool,
    /// The names that roles have on the target.
    roles: RoleNames,
}

impl Rights {
    /// As one side is compared.
    pub(super) fn of(view: &View<'_>) -> Self {
        Self {
            owners: view.owners,
            grants: view.grants,
            comments: view.comments,
            roles: view.roles.clone(),
        }
    }
}

/// The columns that [`rows`] produces.
pub(super) fn columns(rights: &Rights) -> Vec<Column> {
    let names = [
        (true, "oid"),
        (true, "content"),
        (rights.comments, "comment"),
        (rights.owners, "owner"),
        (rights.grants, "grants"),
    ];
    names
        .into_iter()
        .filter_map(|(wanted, name)| wanted.then_some(name))
        .map(|name| Column {
            name: name.to_owned(),
            portable: None,
            varlena: false,
            bytes: None,
            steady: false,
        })
        .collect()
}

/// The large objects of a share, as what follows FROM, under the alias `t`.
///
/// Content is read by `lo_get`, not from the pages of `pg_largeobject`: an ordinary role may read
/// it, and a hole is the same as zeros. An object ends with the first chunk that is not full.
pub(super) fn rows(share: Share, image: &Image, rights: &Rights) -> String {
    let filter = match share {
        Share::Remainder(remainder, modulus) => {
            format!("WHERE m.oid::bigint % {modulus} = {remainder}")
        }
        Share::All | Share::Blocks(..) => String::new(),
    };
    let digest = image.fingerprint("d.data");
    let mut extra = String::new();
    if rights.comments {
        extra += ", obj_description(m.oid, 'pg_largeobject') AS comment";
    }
    if rights.owners {
        extra += &format!(", {} AS owner", rights.roles.of("m.lomowner"));
    }
    if rights.grants {
        let (grantee, owner) = (rights.roles.of("x.grantee"), rights.roles.of("m.lomowner"));
        extra += &format!(
            ",
           (SELECT string_agg(g.grant, ', ' ORDER BY g.grant COLLATE \"C\")
              FROM (SELECT DISTINCT concat(x.privilege_type, ' to ', {grantee}, ' ', x.is_grantable)
                      FROM aclexplode(m.lomacl) x WHERE {grantee} <> {owner}) g(\"grant\")) AS grants"
        );
    }
    let piece =
        |at: &str| format!("CROSS JOIN LATERAL (SELECT lo_get({at}, {CHUNK}) AS data OFFSET 0) d");
    format!(
        "(WITH RECURSIVE piece(oid, n, length, digest) AS (
            SELECT m.oid, 0::bigint, length(d.data), {digest}
              FROM pg_largeobject_metadata m {first} {filter}
            UNION ALL
            SELECT p.oid, p.n + 1, length(d.data), {digest}
              FROM piece p {next} WHERE p.length = {CHUNK})
          SELECT m.oid, p.content {extra}
            FROM (SELECT oid, string_agg(digest, '' ORDER BY n) AS content
                    FROM piece GROUP BY oid) p
            JOIN pg_largeobject_metadata m ON m.oid = p.oid) AS t",
        first = piece("m.oid, 0"),
        next = piece(&format!("p.oid, (p.n + 1) * {CHUNK}"))
    )
}
