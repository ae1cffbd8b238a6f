//! The end of a server's use.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::decommission::{self, Decommission, Decommissioned, Remains};
use crate::problem::Problem;

/// The routes.
pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(show, carry_out))
}

/// Say what this server's migrations left, and whether it may be removed. Their databases are asked.
#[utoipa::path(get, path = "/decommission", operation_id = "getRemains", tag = "server",
    security(("token" = ["viewer"]), ("session" = ["viewer"])),
    responses((status = 200, body = Remains)))]
async fn show(State(app): State<App>) -> Json<Remains> {
    Json(decommission::look(&app).await)
}

/// Remove what this server's migrations left: refused until all are complete and verified.
#[utoipa::path(post, path = "/decommission", operation_id = "decommission", tag = "server",
    security(("token" = ["admin"]), ("session" = ["admin"])), request_body = Decommission,
    responses((status = 200, body = Decommissioned),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
async fn carry_out(State(app): State<App>, body: Bytes) -> Result<Json<Decommissioned>, Problem> {
    let Decommission { force } = super::read(&body)?;
    decommission::carry_out(&app, force).await.map(Json)
}
