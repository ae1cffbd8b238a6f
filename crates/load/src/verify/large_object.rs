//! Large objects as rows: identifier, content, comment, and on request owner and grants.

use std::collections::{BTreeMap, BTreeSet};

use pghaul_stage::Result;
use pghaul_wire::quote;

use super::checksum::Sum;
use super::image::Image;
use super::object;
use super::parties::{self, Parties, Wording};
use super::relation::{Column, Share};
use super::report::{Difference, Report};
use super::snapshot::{Session, number, text};
use super::view::View;

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
    renamed: BTreeMap<String, String>,
}

impl Rights {
    /// As one side is compared.
    pub(super) fn of(view: &View<'_>) -> Self {
        Self {
            owners: view.wording.owners,
            grants: view.wording.grants,
            comments: view.comments,
            renamed: view.wording.renamed.clone(),
        }
    }

    /// Without owners and grants, which are compared apart from the rows where the source is
    /// recorded: see [`rights`].
    pub(super) fn recorded(view: &View<'_>) -> Self {
        Self {
            comments: view.comments,
            ..Self::default()
        }
    }

    /// The name that the role of this object identifier has on the target.
    fn name(&self, oid: &str) -> String {
        let name = format!("pg_get_userbyid({oid})::text");
        if self.renamed.is_empty() {
            return name;
        }
        let renamed = self.renamed.iter();
        let cases: Vec<String> = renamed
            .map(|(old, new)| format!("WHEN {} THEN {}", quote::literal(old), quote::literal(new)))
            .collect();
        format!("CASE {name} {} ELSE {name} END", cases.join(" "))
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
        extra += &format!(", {} AS owner", rights.name("m.lomowner"));
    }
    if rights.grants {
        let (grantee, owner) = (rights.name("x.grantee"), rights.name("m.lomowner"));
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

/// The owners and grants that there are, and the sum of the identifiers' hashes of the large
/// objects that have them. Few objects have rights of their own, so this is short, and unlike a
/// row's hash it can be put in other words later.
pub(super) async fn rights(
    session: &mut Session<'_>,
    image: &Image,
    view: &View<'_>,
) -> Result<Vec<(Parties, Sum)>> {
    let [high, low] = image.halves("r.image");
    let sql = format!(
        "SELECT r.rights, count(*), sum({high}), sum({low})
           FROM (SELECT {} AS rights, {} AS image FROM pg_largeobject_metadata m OFFSET 0) r
          GROUP BY 1",
        object::rights(view, 'L', "m.lomacl", "m.lomowner"),
        image.whole("m.oid::text")
    );
    let rows = session.read(&sql).await?;
    rows.iter()
        .map(|row| {
            let sum = Sum {
                rows: number(row, 1)?,
                halves: [number(row, 2)?, number(row, 3)?],
            };
            Ok((parties::parse(text(row, 0)?)?, sum))
        })
        .collect()
}

/// Reports the owners and grants that other large objects have.
pub(super) fn compare_rights(
    [source, target]: [(&[(Parties, Sum)], &Wording); 2],
    report: &mut Report,
) {
    let in_words = |(rights, wording): (&[(Parties, Sum)], &Wording)| {
        let mut sums: BTreeMap<String, Sum> = BTreeMap::new();
        for (parties, sum) in rights {
            sums.entry(parties.words(wording)).or_default().add(*sum);
        }
        sums
    };
    let (ours, theirs) = (in_words(source), in_words(target));
    let words: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    for words in words {
        let [ours, theirs] =
            [&ours, &theirs].map(|sums| sums.get(words).copied().unwrap_or_default());
        if ours == theirs {
            continue;
        }
        let others = if ours.rows == theirs.rows {
            "others"
        } else {
            "of them"
        };
        report.differ(Difference::Object {
            kind: "large objects".to_owned(),
            name: match words.as_str() {
                "" => "without grants".to_owned(),
                words => format!("with {words}"),
            },
            source: format!("{} of them", ours.rows),
            target: format!("{} {others}", theirs.rows),
        });
    }
}
