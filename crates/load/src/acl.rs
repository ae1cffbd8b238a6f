//! Privileges as the catalog stores them, turned into GRANT and REVOKE.
