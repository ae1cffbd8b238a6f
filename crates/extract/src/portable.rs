//! Which types mean the same in binary on both servers.

use std::collections::{BTreeSet, HashMap};

use pghaul_stage::Encoding;
use serde::{Deserialize, Serialize};

use crate::CopyFormat;

/// Object identifiers from here on are not the same on every server: PostgreSQL assigns those
/// below by hand (`FirstGenbkiObjectId`).
const FIRST_LOCAL_OID: u32 = 10_000;

/// The first version that accepts foreign object identifiers of types inside arrays and
/// composites.
const ACCEPTS_FOREIGN_OIDS: u32 = 140_000;

/// Built-in types whose binary form is an object identifier of the server, and those that
/// refuse to be received.
const TEXT_ONLY: &[&str] = &[
    "pg_catalog.regclass",
    "pg_catalog.regcollation",
    "pg_catalog.regconfig",
    "pg_catalog.regdatabase",
    "pg_catalog.regdictionary",
    "pg_catalog.regnamespace",
    "pg_catalog.regoper",
    "pg_catalog.regoperator",
    "pg_catalog.regproc",
    "pg_catalog.regprocedure",
    "pg_catalog.regrole",
    "pg_catalog.regtype",
    "pg_catalog.aclitem",
    "pg_catalog.pg_brin_bloom_summary",
    "pg_catalog.pg_brin_minmax_multi_summary",
    "pg_catalog.pg_dependencies",
    "pg_catalog.pg_mcv_list",
    "pg_catalog.pg_ndistinct",
    "pg_catalog.pg_node_tree",
    // Sent without dimensions when they are empty, and refused like that.
    "pg_catalog.int2vector",
    "pg_catalog.oidvector",
    // An empty query is sent, and refused.
    "pg_catalog.tsquery",
    // Its receive function has a stricter idea of order than the one that builds the value.
    "pg_catalog.tsvector",
];

/// Types by object identifier.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Types(HashMap<u32, Type>);

/// What matters of a type for its binary form.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Type {
    /// Its name with its schema, for people.
    pub(crate) name: String,
    /// How it is built.
    pub(crate) shape: Shape,
    /// Whether it has a send and a receive function.
    pub(crate) binary: bool,
    /// The types it is built of.
    pub(crate) inside: Vec<u32>,
}

/// How a type is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Shape {
    /// On its own.
    Base,
    /// Of elements, whose type's identifier is in the binary form.
    Array,
    /// Of members, whose types' identifiers are in the binary form.
    Composite,
    /// Of another type, with conditions; looks like that one.
    Domain,
    /// Of labels, which travel as text.
    Enum,
    /// Of one or several pairs of bounds, without any identifier.
    Range,
}

/// The two servers between which values travel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Versions {
    /// The source's `server_version_num`.
    pub(crate) source: u32,
    /// The target's; `None` means any supported one.
    pub(crate) target: Option<u32>,
}

impl Versions {
    fn same_major(self) -> bool {
        self.target
            .is_some_and(|target| target / 10_000 == self.source / 10_000)
    }

    fn accepts_foreign_oids(self) -> bool {
        self.target
            .is_some_and(|target| target >= ACCEPTS_FOREIGN_OIDS)
    }
}

impl Types {
    /// Adds a type.
    pub(crate) fn insert(&mut self, oid: u32, kind: Type) {
        self.0.insert(oid, kind);
    }

    /// The names of the built-in types among them, without their schema, in order.
    pub(crate) fn builtin(&self) -> Vec<&str> {
        let names = self.0.values().map(|kind| kind.name.as_str());
        let mut names: Vec<&str> = names
            .filter_map(|name| name.strip_prefix("pg_catalog."))
            .collect();
        names.sort_unstable();
        names
    }

    /// The name of a type, or of the one it is a domain over, with its schema; empty if unknown.
    pub(crate) fn base_name(&self, oid: u32) -> &str {
        match self.0.get(&oid) {
            Some(kind) => match (kind.shape, kind.inside.as_slice()) {
                (Shape::Domain, [base]) => self.base_name(*base),
                _ => &kind.name,
            },
            None => "",
        }
    }

    /// Whether a type is the one of this name, or has it within it.
    pub(crate) fn is_made_of(&self, oid: u32, name: &str) -> bool {
        self.0.get(&oid).is_some_and(|kind| {
            kind.name == name
                || kind
                    .inside
                    .iter()
                    .any(|inner| self.is_made_of(*inner, name))
        })
    }

    /// Why values of some of the types cannot travel in binary, in order.
    pub(crate) fn obstacles(&self, versions: Versions) -> Vec<String> {
        let obstacles = self
            .0
            .keys()
            .filter_map(|oid| self.obstacle(*oid, versions));
        obstacles.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Why values of a type cannot travel in binary; `None` if they can.
    pub(crate) fn obstacle(&self, oid: u32, versions: Versions) -> Option<String> {
        let Some(kind) = self.0.get(&oid) else {
            return Some(format!("type {oid} is unknown"));
        };
        let name = &kind.name;
        let local = oid >= FIRST_LOCAL_OID;
        if TEXT_ONLY.contains(&name.as_str()) {
            return Some(format!(
                "{name} does not mean the same on another server in binary"
            ));
        }
        if !kind.binary {
            return Some(format!("{name} has no binary form"));
        }
        if local && kind.shape == Shape::Base && !versions.same_major() {
            return Some(format!(
                "{name} belongs to an extension, whose binary form may differ between major versions"
            ));
        }
        let embeds = matches!(kind.shape, Shape::Array | Shape::Composite);
        if embeds
            && !versions.accepts_foreign_oids()
            && kind.inside.iter().any(|oid| *oid >= FIRST_LOCAL_OID)
        {
            return Some(format!(
                "{name} carries type identifiers, which a target before version 14 refuses"
            ));
        }
        kind.inside
            .iter()
            .find_map(|oid| self.obstacle(*oid, versions))
    }

    /// The encoding for a table with columns of these types; an error names the position of the
    /// column that makes the demanded one impossible, and why.
    pub(crate) fn encoding(
        &self,
        columns: &[u32],
        format: CopyFormat,
        versions: Versions,
    ) -> Result<Encoding, (usize, String)> {
        let obstacle = || {
            let found = |(index, oid): (usize, &u32)| Some((index, self.obstacle(*oid, versions)?));
            columns.iter().enumerate().find_map(found)
        };
        match format {
            CopyFormat::Text => Ok(Encoding::Text),
            CopyFormat::Binary => match obstacle() {
                Some(obstacle) => Err(obstacle),
                None => Ok(Encoding::Binary),
            },
            CopyFormat::Auto => Ok(if obstacle().is_some() {
                Encoding::Text
            } else {
                Encoding::Binary
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INT: u32 = 23;
    const INT_ARRAY: u32 = 1007;
    const REGCLASS: u32 = 2205;
    const REGCLASS_ARRAY: u32 = 2210;
    const ACLITEM: u32 = 1033;
    const MOOD: u32 = 20_001;
    const MOODS: u32 = 20_002;
    const PAIR: u32 = 20_003;
    const PAIRS: u32 = 20_004;
    const MIXED: u32 = 20_005;
    const POSITIVE: u32 = 20_006;
    const CLASSES: u32 = 20_007;
    const HSTORE: u32 = 20_008;
    const SPAN: u32 = 20_009;

    fn types() -> Types {
        let mut types = Types::default();
        let mut add = |oid, name: &str, shape, binary, inside: &[u32]| {
            types.insert(
                oid,
                Type {
                    name: name.into(),
                    shape,
                    binary,
                    inside: inside.into(),
                },
            );
        };
        add(INT, "pg_catalog.int4", Shape::Base, true, &[]);
        add(INT_ARRAY, "pg_catalog._int4", Shape::Array, true, &[INT]);
        add(REGCLASS, "pg_catalog.regclass", Shape::Base, true, &[]);
        add(
            REGCLASS_ARRAY,
            "pg_catalog._regclass",
            Shape::Array,
            true,
            &[REGCLASS],
        );
        add(ACLITEM, "pg_catalog.aclitem", Shape::Base, false, &[]);
        add(MOOD, "public.mood", Shape::Enum, true, &[]);
        add(MOODS, "public._mood", Shape::Array, true, &[MOOD]);
        add(PAIR, "public.pair", Shape::Composite, true, &[INT, INT]);
        add(PAIRS, "public._pair", Shape::Array, true, &[PAIR]);
        add(MIXED, "public.mixed", Shape::Composite, true, &[INT, MOOD]);
        add(POSITIVE, "public.positive", Shape::Domain, true, &[INT]);
        add(
            CLASSES,
            "public.classes",
            Shape::Domain,
            true,
            &[REGCLASS_ARRAY],
        );
        add(HSTORE, "public.hstore", Shape::Base, true, &[]);
        add(SPAN, "public.span", Shape::Range, true, &[MOOD]);
        types
    }

    fn portable(source: u32, target: Option<u32>) -> Vec<u32> {
        let all = [
            INT,
            INT_ARRAY,
            REGCLASS,
            REGCLASS_ARRAY,
            ACLITEM,
            MOOD,
            MOODS,
            PAIR,
            PAIRS,
            MIXED,
            POSITIVE,
            CLASSES,
            HSTORE,
            SPAN,
        ];
        let versions = Versions { source, target };
        let types = types();
        all.into_iter()
            .filter(|oid| types.obstacle(*oid, versions).is_none())
            .collect()
    }

    #[test]
    fn between_equal_versions_only_local_identifiers_are_text() {
        let all = [
            INT, INT_ARRAY, MOOD, MOODS, PAIR, PAIRS, MIXED, POSITIVE, HSTORE, SPAN,
        ];
        assert_eq!(portable(150_018, Some(150_002)), all);
    }

    #[test]
    fn extension_types_need_equal_majors() {
        let all = [
            INT, INT_ARRAY, MOOD, MOODS, PAIR, PAIRS, MIXED, POSITIVE, SPAN,
        ];
        assert_eq!(portable(130_001, Some(180_000)), all);
    }

    #[test]
    fn old_targets_refuse_embedded_identifiers_even_of_their_own_version() {
        assert_eq!(
            portable(180_000, Some(130_023)),
            [INT, INT_ARRAY, MOOD, PAIR, POSITIVE, SPAN]
        );
        assert_eq!(
            portable(130_023, Some(130_023)),
            [INT, INT_ARRAY, MOOD, PAIR, POSITIVE, HSTORE, SPAN]
        );
    }

    #[test]
    fn an_unknown_target_gets_what_all_understand() {
        assert_eq!(
            portable(150_018, None),
            [INT, INT_ARRAY, MOOD, PAIR, POSITIVE, SPAN]
        );
    }

    #[test]
    fn one_column_decides_for_its_table_and_a_demand_is_not_ignored() {
        let types = types();
        let versions = Versions {
            source: 150_018,
            target: Some(150_018),
        };
        let encoding = |columns: &[u32], format| types.encoding(columns, format, versions);
        assert_eq!(
            encoding(&[INT, MOOD], CopyFormat::Auto),
            Ok(Encoding::Binary)
        );
        assert_eq!(
            encoding(&[INT, REGCLASS], CopyFormat::Auto),
            Ok(Encoding::Text)
        );
        assert_eq!(encoding(&[INT], CopyFormat::Text), Ok(Encoding::Text));
        assert_eq!(encoding(&[], CopyFormat::Auto), Ok(Encoding::Binary));
        let (position, why) = encoding(&[INT, REGCLASS], CopyFormat::Binary).unwrap_err();
        assert_eq!(position, 1);
        assert!(why.contains("pg_catalog.regclass"), "{why}");
    }
}
