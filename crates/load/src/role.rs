//! Roles, memberships and settings.
