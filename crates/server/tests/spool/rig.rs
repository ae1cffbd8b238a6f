//! A server with spools alone, and who may enter.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use pghaul_server::spool::{Epoch, Gate, Guest, Refusal, Side, Spools};
use pghaul_spool::{Access, Relay, Seat};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use uuid::Uuid;

pub(crate) const SOURCE: &str = "token-of-the-source";
pub(crate) const TARGET: &str = "token-of-the-target";
pub(crate) const FOREIGN: &str = "token-of-another-migration";

/// The name of the migration, and the segment of its database.
pub(crate) const NAME: &str = "m-1";
pub(crate) const DATABASE: &str = "d";

/// Lets in whoever has one of three tokens, and the seat of its side.
#[derive(Debug)]
struct Porter {
    migration: Uuid,
    other: Uuid,
    epochs: HashMap<Side, Epoch>,
}

#[async_trait]
impl Gate for Porter {
    async fn admit(&self, bucket: &str, token: &str, seat: Option<Seat>) -> Result<Guest, Refusal> {
        let (name, migration, side) = match token {
            SOURCE => (NAME, self.migration, Side::Source),
            TARGET => (NAME, self.migration, Side::Target),
            FOREIGN => ("other", self.other, Side::Source),
            _ => return Err(Refusal::Unknown),
        };
        if bucket != name {
            return Err(Refusal::Forbidden("another migration's"));
        }
        let epoch = &self.epochs[&side];
        Ok(Guest {
            migration,
            side,
            seat: seat.map(|seat| (epoch.clone(), seat.epoch)),
        })
    }
}

/// A server that runs until it is dropped.
pub(crate) struct Server {
    pub(crate) folder: TempDir,
    pub(crate) address: String,
    pub(crate) spools: Arc<Spools>,
    pub(crate) migration: Uuid,
    epochs: HashMap<Side, Epoch>,
    serving: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(quota: Option<u64>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let objects = LocalFileSystem::new_with_prefix(folder.path()).expect("a store");
        let migration = Uuid::now_v7();
        let sides = [Side::Source, Side::Target];
        let epochs: HashMap<Side, Epoch> = sides.map(|side| (side, Epoch::at(1))).into();
        let porter = Porter {
            migration,
            other: Uuid::now_v7(),
            epochs: epochs.clone(),
        };
        let spools = Arc::new(Spools::new(Arc::new(objects), Arc::new(porter), quota));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let routes = Arc::clone(&spools).routes();
        let serving =
            tokio::spawn(async move { axum::serve(listener, routes).await.expect("it serves") });
        Self {
            folder,
            address,
            spools,
            migration,
            epochs,
            serving,
        }
    }

    /// The objects of the database's spool, to who has this token, with the seat of this epoch.
    pub(crate) fn objects(&self, token: &str, epoch: Option<u64>) -> Arc<dyn ObjectStore> {
        let url = format!("relay+http://{}/{NAME}/{DATABASE}", self.address);
        self.objects_at(&url, token, epoch)
    }

    pub(crate) fn objects_at(
        &self,
        url: &str,
        token: &str,
        epoch: Option<u64>,
    ) -> Arc<dyn ObjectStore> {
        let access = Access {
            token: Some(token.to_owned().into()),
            ..Access::default()
        };
        let relay = Relay::parse(url).expect("a URL").expect("a server");
        let seat = epoch.map(|epoch| Seat {
            agent: Uuid::nil(),
            epoch,
        });
        let connection = relay.connect(&access).expect("a client");
        connection.objects(seat).expect("objects")
    }

    /// Somebody else takes the seat of a side.
    pub(crate) async fn fence(&self, side: Side) {
        self.epochs[&side].set(2).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
