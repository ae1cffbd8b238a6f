//! The end of a server's use.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::decommission::{self, Decommission, Decommissioning, Remains};
use crate::problem::Problem;

/// The routes.
pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(show, begin))
        .routes(routes!(progress))
}

/// Say what this server's migrations left, and whether it may be removed. Their databases are asked.
#[utoipa::path(get, path = "/decommission", operation_id = "getRemains", tag = "server",
    security(("token" = ["viewer"]), ("session" = ["viewer"])),
    responses((status = 200, body = Remains)))]
async fn show(State(app): State<App>) -> Json<Remains> {
    Json(decommission::look(&app).await)
}

/// Begin to remove what this server's migrations left: refused until all are complete and verified.
///
/// It takes as long as their servers do. Asked again meanwhile, it goes on as it was begun.
#[utoipa::path(post, path = "/decommission", operation_id = "decommission", tag = "server",
    security(("token" = ["admin"]), ("session" = ["admin"])), request_body = Decommission,
    responses((status = 202, body = Decommissioning),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
async fn begin(
    State(app): State<App>,
    body: Bytes,
) -> Result<(StatusCode, Json<Decommissioning>), Problem> {
    let Decommission { force } = super::read(&body)?;
    let begun = decommission::begin(&app, force)?;
    Ok((StatusCode::ACCEPTED, Json(begun)))
}

/// Say how far the removal is, and how it ended.
#[utoipa::path(get, path = "/decommission/progress", operation_id = "getDecommissioning",
    tag = "server", security(("token" = ["viewer"]), ("session" = ["viewer"])),
    responses((status = 200, body = Decommissioning)))]
async fn progress(State(app): State<App>) -> Json<Decommissioning> {
    Json(app.course().now())
}
