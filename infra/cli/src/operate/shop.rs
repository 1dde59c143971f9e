//! The commands about the shop as a whole. Their paths are those that lead to the API on AWS as well.

use super::{
    answers::{Health, Workflows},
    api::Api,
    failure::Failure,
    output::print,
};

pub(super) async fn workflows(api: &Api, as_json: bool) -> Result<(), Failure> {
    let (answer, workflows) = api.get_as::<Workflows>(&["workflows"]).await?;
    if as_json { print(answer.text) } else { print(workflows.to_string().trim_end()) }
}

pub(super) async fn health(api: &Api, as_json: bool) -> Result<(), Failure> {
    let (answer, health) = api.get_as::<Health>(&["health", "status"]).await?;
    if as_json { print(answer.text) } else { print(health.to_string().trim_end()) }
}
