//! Planner statistics.
