//! Rows of PostgreSQL's COPY as Arrow columns and back, bit for bit.
