//! Runs units of DDL, each with its step in the ledger.
