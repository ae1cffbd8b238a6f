//! What an object of a spool is, as far as its name tells, and which side writes it. A runtime
//! server that keeps a spool for others allows nothing else.

use pghaul_stage::PartId;
use uuid::Uuid;

use crate::name;
use crate::worker::Role;

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Object {
    /// One that describes the source or the extraction, and then stands.
    Description,
    /// One that describes the source, and is written anew by an extraction that had no plan yet.
    Draft,
    /// A file of rows.
    Rows,
    /// A list of files.
    Entry,
    /// That a part is on the target.
    Loaded,
    /// Whoever took a part for this side.
    Claim(Role),
    /// A sign of life of this side.
    Worker(Role),
    /// A snapshot of the source.
    Snapshot,
}

impl Object {
    /// What a name within a spool stands for; `None` for a name that no spool has.
    pub fn named(object: &str) -> Option<Object> {
        let steps: Vec<&str> = object.split('/').collect();
        let known = match steps[..] {
            [
                name::HEADER | name::PLAN | name::FACTS | name::DIGEST | name::END | name::COMPLETE,
            ] => Object::Description,
            [name::CATALOG | name::SCHEMA | name::STATISTICS | name::SECRETS | name::EXAMINED] => {
                Object::Draft
            }
            [name::PARTS, part, file] if is_part(part) && is_file(file) => Object::Rows,
            [name::MANIFEST, part, entry] if is_part(part) && is_number(entry) => Object::Entry,
            [name::LOADED, part] if is_part(part) => Object::Loaded,
            [name::CLAIMS, side, part, claim] if is_part(part) && is_number(claim) => {
                Object::Claim(side.parse().ok()?)
            }
            [name::WORKERS, side, worker] if is_identifier(worker) => {
                Object::Worker(side.parse().ok()?)
            }
            [name::SNAPSHOTS, snapshot] if is_identifier(snapshot) => Object::Snapshot,
            _ => return None,
        };
        Some(known)
    }

    /// The side that creates it.
    pub fn writer(self) -> Role {
        match self {
            Object::Loaded => Role::Load,
            Object::Claim(role) | Object::Worker(role) => role,
            _ => Role::Extract,
        }
    }

    /// Whether it may be replaced; every other object is created if absent and never changed.
    pub fn is_replaced(self) -> bool {
        matches!(self, Object::Worker(_))
    }

    /// Whether a side removes it in the course of its work.
    pub fn is_removed_by(self, role: Role) -> bool {
        match self {
            Object::Rows => true,
            Object::Worker(of) => of == role,
            Object::Draft => role == Role::Extract,
            _ => false,
        }
    }
}

/// A number as [`name`] writes it: so many digits, or more where it needs more, and no other zeros
/// before it.
fn is_number_of(text: &str, digits: usize) -> bool {
    let long = text.len() > digits;
    text.len() >= digits
        && text.len() <= 10
        && text.bytes().all(|byte| byte.is_ascii_digit())
        && !(long && text.starts_with('0'))
}

fn is_part(text: &str) -> bool {
    is_number_of(text, 10) && text.parse().map(PartId).is_ok()
}

fn is_number(text: &str) -> bool {
    is_number_of(text, 6) && text.parse::<u32>().is_ok()
}

fn is_identifier(text: &str) -> bool {
    Uuid::try_parse(text).is_ok_and(|uuid| uuid.to_string() == text)
}

fn is_file(text: &str) -> bool {
    let stem = text.strip_suffix(".parquet");
    let parts = stem.and_then(|stem| stem.rsplit_once('-'));
    parts.is_some_and(|(attempt, number)| is_identifier(attempt) && is_number(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever the spool calls its own objects has to be known here.
    #[test]
    fn every_name_that_a_spool_makes_is_known() {
        let uuid = Uuid::now_v7();
        for (part, number) in [
            (PartId(0), 0),
            (PartId(u32::MAX), u32::MAX),
            (PartId(7), 12),
        ] {
            for (name, object) in [
                (name::file(part, uuid, number), Object::Rows),
                (name::entry(part, number), Object::Entry),
                (name::loaded(part), Object::Loaded),
                (
                    name::claim(Role::Load, part, number),
                    Object::Claim(Role::Load),
                ),
                (
                    name::claim(Role::Extract, part, number),
                    Object::Claim(Role::Extract),
                ),
                (name::worker(Role::Load, uuid), Object::Worker(Role::Load)),
                (
                    name::worker(Role::Extract, uuid),
                    Object::Worker(Role::Extract),
                ),
                (name::snapshot(uuid), Object::Snapshot),
            ] {
                assert_eq!(Object::named(&name), Some(object), "{name}");
            }
        }
        for name in [
            name::HEADER,
            name::PLAN,
            name::FACTS,
            name::DIGEST,
            name::END,
            name::COMPLETE,
        ] {
            assert_eq!(Object::named(name), Some(Object::Description), "{name}");
        }
        for name in [
            name::CATALOG,
            name::SCHEMA,
            name::STATISTICS,
            name::SECRETS,
            name::EXAMINED,
        ] {
            assert_eq!(Object::named(name), Some(Object::Draft), "{name}");
        }
    }

    #[test]
    fn no_other_name_is() {
        let uuid = Uuid::now_v7();
        let file = |stem: &str| format!("parts/0000000007/{stem}");
        for name in [
            "".to_owned(),
            "spool/".to_owned(),
            "/spool".to_owned(),
            "..".to_owned(),
            "../spool".to_owned(),
            "parts/../spool".to_owned(),
            "parts".to_owned(),
            "manifest/7/000000".to_owned(),
            "manifest/0000000007/0".to_owned(),
            "manifest/9999999999/000000".to_owned(),
            "manifest/0000000007/0000001".to_owned(),
            "manifest/+000000007/000000".to_owned(),
            "claims/nobody/0000000007/000000".to_owned(),
            "workers/load/me".to_owned(),
            format!("workers/load/{}", uuid.simple()),
            format!("snapshots/{uuid}/x"),
            file(&format!("{uuid}.parquet")),
            file(&format!("{uuid}-000000.parquet#1")),
            file(&format!("{uuid}-000000")),
            file("x-000000.parquet"),
        ] {
            assert_eq!(Object::named(&name), None, "{name}");
        }
    }
}
