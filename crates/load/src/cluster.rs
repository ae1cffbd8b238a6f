//! What the migrations into several databases of one server share.

use std::collections::HashSet;
use std::sync::Arc;

use pghaul_stage::{Catalog, Error, Kind, Result};
use tokio::sync::{Mutex, MutexGuard, OwnedSemaphorePermit, Semaphore};

/// What the targets on one server share: how many indexes are built at a time, and the turn at
/// what belongs to the whole server.
#[derive(Debug)]
pub struct Cluster {
    /// How many indexes several targets build at a time.
    places: Option<usize>,
    builders: Arc<Semaphore>,
    /// The roles that a target has seen to.
    roles: Mutex<HashSet<String>>,
    databases: Mutex<()>,
}

impl Cluster {
    /// For the only target on a server, which builds as many indexes as its configuration says.
    pub fn of_one() -> Self {
        Self {
            places: None,
            builders: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
            roles: Mutex::default(),
            databases: Mutex::default(),
        }
    }

    /// For several targets, which together build this many indexes at a time.
    pub fn of_several(index_jobs: usize) -> Self {
        Self {
            places: Some(index_jobs),
            builders: Arc::new(Semaphore::new(index_jobs)),
            ..Self::of_one()
        }
    }

    /// The turn at creating and dropping databases: those who do so connect to another database,
    /// which must not be dropped meanwhile.
    pub async fn databases(&self) -> impl Drop {
        self.databases.lock().await
    }

    /// The turn at roles, so that nobody creates one that somebody else is about to create.
    pub(crate) async fn roles(&self) -> Roles<'_> {
        Roles(self.roles.lock().await)
    }

    /// Whether a session that has nothing to do takes a place that others could use.
    pub(crate) fn is_shared(&self) -> bool {
        self.places.is_some()
    }

    /// A place among the builders, if one is free and nobody has waited for it.
    pub(crate) fn try_place(&self) -> Option<Place> {
        let place = Arc::clone(&self.builders).try_acquire_owned().ok()?;
        Some(Place(place))
    }

    /// A place among the builders; who asks first gets it first.
    pub(crate) async fn place(&self) -> Result<Place> {
        let place = Arc::clone(&self.builders).acquire_owned().await;
        place.map(Place).map_err(|error| {
            Error::new(Kind::Permanent, "no index is built any more").because(error)
        })
    }

    /// Whether only one builder of all targets is at work, as far as they share.
    pub(crate) fn is_quiet(&self) -> bool {
        self.places
            .is_none_or(|places| self.builders.available_permits() + 1 >= places)
    }
}

/// The right to build, until dropped.
#[derive(Debug)]
pub(crate) struct Place(
    #[expect(dead_code, reason = "dropping it is its use")] OwnedSemaphorePermit,
);

/// The turn at roles.
pub(crate) struct Roles<'a>(MutexGuard<'a, HashSet<String>>);

impl Roles<'_> {
    /// Whether other targets have seen to every role that this one needs.
    pub(crate) fn are_settled(&self, catalog: &Catalog) -> bool {
        !self.0.is_empty() && catalog.roles.iter().all(|role| self.0.contains(&role.name))
    }

    /// Takes note that these roles have been seen to.
    pub(crate) fn settle(&mut self, catalog: &Catalog) {
        self.0
            .extend(catalog.roles.iter().map(|role| role.name.clone()));
    }
}

#[cfg(test)]
mod tests {
    use pghaul_stage::Role;

    use super::*;

    fn catalog(roles: &[&str]) -> Catalog {
        let roles = roles.iter().map(|name| Role {
            name: (*name).to_owned(),
            ..Role::default()
        });
        Catalog {
            roles: roles.collect(),
            ..Catalog::default()
        }
    }

    #[tokio::test]
    async fn roles_are_settled_once_unless_there_are_more() {
        let cluster = Cluster::of_several(1);
        let mut roles = cluster.roles().await;
        assert!(!roles.are_settled(&catalog(&[])));
        roles.settle(&catalog(&["a", "b"]));
        assert!(roles.are_settled(&catalog(&["b"])));
        assert!(!roles.are_settled(&catalog(&["b", "c"])));
    }

    #[tokio::test]
    async fn places_are_counted_over_all_targets() {
        let cluster = Cluster::of_several(2);
        let one = cluster.try_place().unwrap();
        assert!(cluster.is_quiet());
        let two = cluster.place().await.unwrap();
        assert!(!cluster.is_quiet());
        assert!(cluster.try_place().is_none());
        drop(one);
        assert!(cluster.try_place().is_some() && cluster.is_quiet());
        drop(two);
    }
}
