//! What follows the rows: indexes, constraints and the rest of the schema.
