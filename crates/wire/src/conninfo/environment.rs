//! What surrounds a connection string: variables, home directory, the operating system's user.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// The surroundings that complete a conninfo; built by hand in tests.
#[derive(Clone, Default)]
pub struct Environment {
    /// The environment's variables.
    pub variables: BTreeMap<String, String>,
    /// The user's home directory, where `.pgpass`, `.pg_service.conf` and `.postgresql` are.
    pub home: Option<PathBuf>,
    /// The operating system's name of the user, the default role.
    pub user: Option<String>,
}

impl Environment {
    /// This process's surroundings.
    pub fn process() -> Environment {
        let variables: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let account = own_uid().and_then(account);
        let first = |names: &[&str]| names.iter().find_map(|name| variables.get(*name).cloned());
        let home = first(&["HOME"])
            .filter(|home| !home.is_empty())
            .or_else(|| account.as_ref().map(|account| account.home.clone()));
        Environment {
            home: home.map(PathBuf::from),
            user: account
                .map(|account| account.name)
                .or_else(|| first(&["LOGNAME", "USER"])),
            variables,
        }
    }

    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The variables may hold a password.
        f.debug_struct("Environment")
            .field("home", &self.home)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

struct Account {
    name: String,
    home: String,
}

/// The effective user of this process: the owner of its entry in /proc.
fn own_uid() -> Option<u32> {
    std::fs::metadata("/proc/self")
        .ok()
        .map(|entry| entry.uid())
}

fn account(uid: u32) -> Option<Account> {
    let passwd = std::fs::read_to_string("/etc/passwd").ok()?;
    passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        match fields.as_slice() {
            [name, _, id, _, _, home, ..] if id.parse() == Ok(uid) => Some(Account {
                name: (*name).to_owned(),
                home: (*home).to_owned(),
            }),
            _ => None,
        }
    })
}

/// The account name of a user id, for `requirepeer`.
pub(crate) fn user_name(uid: u32) -> Option<String> {
    account(uid).map(|account| account.name)
}
