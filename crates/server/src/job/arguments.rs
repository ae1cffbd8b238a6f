//! A job as arguments of `pghaul`, for the process that does it.

use super::{Extent, Job};

impl Job {
    /// The arguments that do this job: `migrate` or `validate` and its flags. Where to connect is
    /// not among them, because arguments can be read by every user of a host.
    pub fn arguments(&self) -> Vec<String> {
        let mut all = vec![
            match self.option {
                Extent::Validate => "validate",
                Extent::Migrate | Extent::ValidateAndMigrate => "migrate",
            }
            .to_owned(),
        ];
        let mut flag = |name: &str, given: bool| {
            if given {
                all.push(format!("--{name}"));
            }
        };
        flag("all-databases", self.databases.is_empty());
        flag("overwrite", self.overwrite);
        flag("no-roles", !self.roles);
        flag("no-role-passwords", !self.role_passwords);
        flag("schema-only", self.selection.schema_only);
        flag("no-owner", self.no_owner);
        flag("no-acl", self.no_acl);
        flag("no-tablespaces", self.no_tablespaces);
        flag("strict", self.strict);
        let migrates = self.option != Extent::Validate;
        // Without rows there is nothing to compare.
        let compares = self.verify && !self.selection.schema_only;
        flag("verify", compares && migrates);
        flag("skip-validation", self.option == Extent::Migrate);

        // One argument for both, so that no value can be taken for a flag.
        let mut value = |name: &str, value: &str| all.push(format!("--{name}={value}"));
        for name in &self.databases {
            value("databases", &quoted(name));
        }
        let selection = &self.selection;
        for (name, patterns) in [
            ("schema", &selection.schemas),
            ("exclude-schema", &selection.exclude_schemas),
            ("table", &selection.tables),
            ("exclude-table", &selection.exclude_tables),
            ("exclude-table-data", &selection.exclude_table_data),
        ] {
            for pattern in patterns {
                value(name, pattern);
            }
        }
        for (name, map) in [
            ("tablespace-map", &self.tablespace_map),
            ("role-map", &self.role_map),
        ] {
            for (old, new) in map {
                value(name, &format!("{}={}", quoted(old), quoted(new)));
            }
        }
        for (name, number) in [("jobs", self.jobs), ("index-jobs", self.index_jobs)] {
            if let Some(number) = number {
                value(name, &number.to_string());
            }
        }
        if let Some(limit) = self.bytes_per_second.filter(|_| migrates) {
            value("rate-limit", &limit.to_string());
        }
        all
    }
}

/// A name as lists of databases and pairs of names have it, where a comma or `=` would end it.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn arguments(job: Value) -> Vec<String> {
        Job::from_json(job.to_string().as_bytes())
            .unwrap()
            .arguments()
    }

    #[test]
    fn the_least_migrates_all_databases_and_compares() {
        assert_eq!(
            arguments(json!({})),
            ["migrate", "--all-databases", "--verify"]
        );
    }

    #[test]
    fn each_option_is_a_command_of_its_own() {
        let of = |option: &str| arguments(json!({"option": option, "bytesPerSecond": 5}));
        assert_eq!(of("validate"), ["validate", "--all-databases"]);
        let migrate = [
            "migrate",
            "--all-databases",
            "--verify",
            "--skip-validation",
            "--rate-limit=5",
        ];
        assert_eq!(of("migrate"), migrate);
    }

    #[test]
    fn no_value_can_be_taken_for_something_else() {
        let job = json!({
            "databases": ["a,b", "say \"hi\"", "--overwrite"],
            "selection": {"tables": ["--help"]},
            "roleMap": {"a=b": "c=d", "--x": "\"y"},
            "verify": false,
        });
        let expected = [
            "migrate",
            r#"--databases="a,b""#,
            r#"--databases="say ""hi""""#,
            r#"--databases="--overwrite""#,
            "--table=--help",
            r#"--role-map="--x"="""y""#,
            r#"--role-map="a=b"="c=d""#,
        ];
        assert_eq!(arguments(job), expected);
    }

    #[test]
    fn no_password_is_among_them() {
        let end = json!({"host": "h", "user": "u", "password": "hunter2"});
        let all = arguments(json!({"source": end, "target": end}));
        assert!(!all.concat().contains("hunter2"));
    }
}
