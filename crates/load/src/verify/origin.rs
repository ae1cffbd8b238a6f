//! The source of a comparison: a server that answers, or what was recorded of one.

use std::borrow::Cow;
use std::sync::Arc;

use pghaul_stage::Result;

use super::digest::Content;
use super::image::Image;
use super::inventory::{self, Inventory};
use super::large_object::{self, Rights};
use super::parties::Wording;
use super::relation::{self, Relation, Tables};
use super::report::Report;
use super::sequence::{self, Values};
use super::snapshot::{Session, Snapshot};
use super::view::View;

/// The source.
#[derive(Debug)]
pub(super) enum Origin<'a> {
    /// A server.
    Live(Box<Session<'a>>, View<'a>),
    /// What was recorded.
    Recorded(&'a Content),
}

impl<'a> Origin<'a> {
    /// Its objects, where they are compared.
    pub(super) async fn inventory(&mut self) -> Result<Cow<'a, Inventory>> {
        Ok(match self {
            Origin::Live(session, view) => Cow::Owned(inventory::read(session, view).await?),
            Origin::Recorded(content) => content.objects(),
        })
    }

    /// Where its sequences stand.
    pub(super) async fn sequences(&mut self) -> Result<Cow<'a, Values>> {
        Ok(match self {
            Origin::Live(session, view) => Cow::Owned(sequence::read(session, view.chosen).await?),
            Origin::Recorded(content) => Cow::Borrowed(&content.sequences),
        })
    }

    /// Its tables.
    pub(super) fn tables(&self) -> Tables<'a> {
        match self {
            Origin::Live(session, view) => Tables::live(session.snapshot(), view.chosen),
            Origin::Recorded(content) => Tables::Recorded(content.tables.iter()),
        }
    }

    /// Whether anything is known of rows.
    pub(super) fn has_rows(&self) -> bool {
        match self {
            Origin::Live(..) => true,
            Origin::Recorded(content) => content.has_rows,
        }
    }

    /// The large objects of both sides, and what their owners and grants differ in if that is not
    /// compared with their content.
    pub(super) async fn large_objects(
        &mut self,
        theirs: &mut Session<'_>,
        ours: &Wording,
        to: &View<'_>,
        image: &Image,
        report: &mut Report,
    ) -> Result<Option<Relation>> {
        match self {
            Origin::Live(session, from) => {
                let sizes = tokio::try_join!(
                    relation::large_objects_size(session),
                    relation::large_objects_size(theirs)
                )?;
                let rights = [Rights::of(from), Rights::of(to)];
                Ok(Some(Relation::large_objects(sizes.into(), rights, None)))
            }
            Origin::Recorded(content) => {
                let Some(recorded) = &content.large_objects else {
                    return Ok(None);
                };
                if to.wording.has_rights() {
                    let rights = large_object::rights(theirs, image, to).await?;
                    let sides = [(&*recorded.rights, ours), (&*rights, &to.wording)];
                    large_object::compare_rights(sides, report);
                }
                let size = relation::large_objects_size(theirs).await?;
                let rights = [(); 2].map(|()| Rights::recorded(to));
                let rows = Some(Arc::clone(&recorded.rows));
                Ok(Some(Relation::large_objects([size; 2], rights, rows)))
            }
        }
    }

    /// The servers whose rows are to be read.
    pub(super) fn ends<'b>(&self, target: &'b Snapshot) -> Vec<&'b Snapshot>
    where
        'a: 'b,
    {
        match self {
            Origin::Live(session, _) => vec![session.snapshot(), target],
            Origin::Recorded(_) => vec![target],
        }
    }
}
