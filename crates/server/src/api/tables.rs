//! How far each table is.

use std::sync::PoisonError;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::migrations::refused;
use crate::app::App;
use crate::model::{TableProgress, TableState};
use crate::problem::Problem;
use crate::run::fold::{Fold, Tables, Wanted};
use crate::run::tail::Tail;

/// Some tables.
#[derive(Debug, Serialize, ToSchema)]
struct TablePage {
    /// By name.
    value: Vec<TableProgress>,
    /// The name to go on with, if there are more.
    next: Option<String>,
    /// How many fit, those of other pages included.
    total: u64,
}

/// Which tables.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct Which {
    /// Only those in this state.
    #[param(inline)]
    state: Option<TableState>,
    /// Only those with this in their names, in upper or lower case.
    #[serde(default)]
    name: String,
    /// Only those whose names come after this one.
    #[serde(default)]
    after: String,
    /// At most so many, 1 to 1000.
    limit: Option<usize>,
}

/// The routes.
pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list))
}

/// List the tables of a database, by name.
#[utoipa::path(get, path = "/migrations/{name}/databases/{database}/tables", operation_id = "listTables",
    security(("token" = ["viewer"]), ("session" = ["viewer"])), tag = "progress",
    params(("name" = String, Path), ("database" = String, Path), Which),
    responses((status = 200, body = TablePage),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
async fn list(
    State(app): State<App>,
    Path((name, database)): Path<(String, String)>,
    which: Result<Query<Which>, QueryRejection>,
) -> Result<Json<TablePage>, Problem> {
    let Query(which) = which.map_err(refused)?;
    let limit = super::limit(which.limit)?;
    let shown = super::find(&app, &name)?;
    super::blocking(move || {
        let wanted = Wanted {
            state: which.state,
            name: &which.name,
            after: &which.after,
            limit,
        };
        let tables = |fold: &Fold| fold.tables(&database, &wanted);
        let found = match &shown.fold {
            Some(fold) => tables(&fold.lock().unwrap_or_else(PoisonError::into_inner)),
            None => {
                let mut fold = Fold::default();
                Tail::new(shown.run.events()).read(|event| fold.add(event))?;
                tables(&fold)
            }
        };
        let details = &shown.migration.current_status.current_sub_state_details;
        let Tables { value, more, total } = match found {
            Some(found) => found,
            None if details.db_details.contains_key(&database) => Tables::default(),
            None => return Err(Problem::not_found("database", &database)),
        };
        let last = value.last().map(|table| table.table.clone());
        let next = last.filter(|_| more);
        Ok(Json(TablePage { value, next, total }))
    })
    .await
}
