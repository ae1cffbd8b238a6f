//! Names of roles that belong to the server or to a managed service.

/// Beginnings of names that PostgreSQL and managed services keep for themselves; docs/managed.md
/// says where that is documented.
const RESERVED: [&str; 5] = ["pg_", "rds_", "cloudsql", "alloydb", "databricks_"];

/// Such names that have no beginning in common.
const RESERVED_NAMES: [&str; 6] = [
    "azure_pg_admin",
    "azure_superuser",
    "azuresu",
    "rdsadmin",
    "rdsrepladmin",
    "rdstopmgr",
];

/// Whether a name belongs to the server or to a managed service.
pub(crate) fn is_reserved(name: &str) -> bool {
    RESERVED_NAMES.contains(&name) || RESERVED.iter().any(|beginning| name.starts_with(beginning))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_names_are_known() {
        assert!(
            [
                "pg_x",
                "rdsadmin",
                "cloudsqlsuperuser",
                "azure_pg_admin",
                "azuresu",
            ]
            .iter()
            .all(|name| is_reserved(name))
        );
        for name in ["postgres", "rdsapp", "azure_reader", "supabase_admin"] {
            assert!(!is_reserved(name), "{name}");
        }
    }
}
