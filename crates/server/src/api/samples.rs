//! How far a migration was over time.

use std::sync::PoisonError;

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::problem::Problem;
use crate::run::fold::Fold;
use crate::run::samples::Sample;
use crate::run::tail::Tail;

/// Some samples.
#[derive(Debug, Serialize, ToSchema)]
struct SampleList {
    /// The oldest first, at most 1024.
    value: Vec<Sample>,
}

/// The routes.
pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list))
}

/// Show how far all databases together were, at times spread evenly over the run.
#[utoipa::path(get, path = "/migrations/{name}/samples", operation_id = "listSamples",
    security(("token" = ["viewer"]), ("session" = ["viewer"])), tag = "progress",
    params(("name" = String, Path)),
    responses((status = 200, body = SampleList),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
async fn list(
    State(app): State<App>,
    Path(name): Path<String>,
) -> Result<Json<SampleList>, Problem> {
    let shown = super::find(&app, &name)?;
    super::blocking(move || {
        let value = match &shown.fold {
            Some(fold) => {
                let fold = fold.lock().unwrap_or_else(PoisonError::into_inner);
                fold.samples().to_vec()
            }
            None => {
                let mut fold = Fold::default();
                Tail::new(shown.run.events()).read(|event| fold.add(event))?;
                fold.samples().to_vec()
            }
        };
        Ok(Json(SampleList { value }))
    })
    .await
}
