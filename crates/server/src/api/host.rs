//! What the host of the server has to offer.

use std::num::NonZeroUsize;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::problem::Problem;

/// The host of the server.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Host {
    /// Processors that the server may use.
    processors: usize,
    /// Bytes of memory, if the system tells.
    memory_bytes: Option<u64>,
    /// Bytes of the disk with the state.
    disk_bytes: u64,
    /// Bytes of it that are free.
    disk_free_bytes: u64,
    /// Migrations that run at the same time.
    max_running: usize,
    /// The server's version.
    version: &'static str,
}

/// The routes.
pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(show))
}

/// Show what the host has to offer.
#[utoipa::path(get, path = "/host", operation_id = "getHost",
    security(("token" = ["viewer"]), ("session" = ["viewer"])), tag = "server", responses((status = 200, body = Host)))]
async fn show(State(app): State<App>) -> Result<Json<Host>, Problem> {
    super::blocking(move || {
        let disk = rustix::fs::statvfs(app.state()).map_err(std::io::Error::from)?;
        let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let total = memory
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:"));
        let kilobytes = total.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        Ok(Json(Host {
            processors: std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
            memory_bytes: kilobytes.map(|kilobytes: u64| kilobytes * 1024),
            disk_bytes: disk.f_blocks * disk.f_frsize,
            disk_free_bytes: disk.f_bavail * disk.f_frsize,
            max_running: app.max_running(),
            version: env!("CARGO_PKG_VERSION"),
        }))
    })
    .await
}
