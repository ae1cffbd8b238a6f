//! The PostgreSQL source: catalog, snapshot, part planning, COPY out.
