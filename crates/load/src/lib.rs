//! The PostgreSQL target: schema restore, COPY in, indexes, sequences, verify.
