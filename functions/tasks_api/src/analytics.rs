//! `GET /analytics`: figures of the newest tasks.

use crate::{
    Engine,
    cost::{dollars, usage},
    error::ApiError,
};
use axum::{Json, extract::State, http::request::Parts};
use http_api::{CommonError, Fields};
use serde::Serialize;
use std::{collections::BTreeMap, str::FromStr};
use stepwell::{
    Filter, MOST_SAMPLED, Runtime, Timestamp,
    core::analytics::Analytics,
    ports::{Queue, Store},
};

/// The size of the sample, unless the query says another one.
pub(crate) const SAMPLE: usize = 200;

/// The answer.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct AnalyticsView {
    /// How the figures come about.
    method: &'static str,
    #[serde(flatten)]
    figures: Analytics,
    /// What a task has cost on average, by its workflow: US dollars as the `cost` of a task has them.
    dollars_per_task: BTreeMap<String, String>,
}

/// What the figures are of.
const METHOD: &str = "Computed now from the audit trails of the newest tasks that match, as many as `tasks` says, found among the newest \
                      5,000 or so. `or_more` says whether there may be more. Percentiles by nearest rank. An audit trail keeps the first and the last attempts of a step; the times of those between are not in `run_ms`.";

/// Computes figures of the newest tasks: at most `tasks` of them, of a `workflow`, started in a time.
pub(crate) async fn analytics<S: Store, Q: Queue, A: Runtime>(
    State(engine): Engine<S, Q, A>,
    request: Parts,
) -> Result<Json<AnalyticsView>, ApiError> {
    let mut fields = Fields::of_query(&request);
    let filter = Filter {
        workflow: fields.text("workflow", |text| Ok::<_, String>(text.to_owned())),
        created_from: fields.text("created_from", Timestamp::from_str),
        created_before: fields.text("created_before", Timestamp::from_str),
        ..Filter::default()
    };
    let most = fields.count("tasks", MOST_SAMPLED).unwrap_or(SAMPLE);
    fields.finish()?;
    let figures = engine.analytics(&filter, most, usage).await?;
    let of = figures.workflows.iter();
    let dollars_per_task = of.map(|of| Ok((of.workflow.clone(), dollars(&of.usage, of.tasks)?)));
    let dollars_per_task = dollars_per_task.collect::<Result<_, CommonError>>()?;
    Ok(Json(AnalyticsView { method: METHOD, figures, dollars_per_task }))
}
