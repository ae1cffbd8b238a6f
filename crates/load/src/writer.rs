//! Writes one part in one transaction.
