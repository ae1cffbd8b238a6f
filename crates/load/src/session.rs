//! Sessions on the target, with every setting pinned.
