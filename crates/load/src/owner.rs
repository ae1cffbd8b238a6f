//! Who owns what an archive entry creates.
