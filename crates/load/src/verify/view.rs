//! Which objects of one side are compared, and which of their properties.

use pghaul_stage::Selection;
use pghaul_wire::Chosen;

use super::parties::Wording;

/// One side as it is compared.
#[derive(Debug)]
pub(super) struct View<'a> {
    /// The selection as this side has it.
    pub(super) chosen: &'a Chosen,
    /// Whether comments are compared.
    pub(super) comments: bool,
    /// What is compared of owners and grants, and the names that roles have on the target.
    pub(super) wording: Wording,
}

impl<'a> View<'a> {
    /// The source, whose roles may have other names on the target.
    pub(super) fn of_source(chosen: &'a Chosen, selection: &Selection, privileges: bool) -> Self {
        Self {
            chosen,
            comments: !selection.no_comments,
            wording: Wording::of_source(selection, privileges),
        }
    }

    /// The target.
    pub(super) fn of_target(chosen: &'a Chosen, selection: &Selection, privileges: bool) -> Self {
        Self {
            chosen,
            comments: !selection.no_comments,
            wording: Wording::of_target(selection, privileges),
        }
    }
}
