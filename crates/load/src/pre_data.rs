//! What rows need: types, functions, tables.
