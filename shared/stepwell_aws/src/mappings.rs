//! The engine's port [`Deliveries`] on Lambda: a step's queue delivers through the event source mapping of its function.

use crate::error::call_failed;
use aws_config::SdkConfig;
use aws_sdk_lambda::operation::list_event_source_mappings::ListEventSourceMappingsError;
use stepwell::{
    CallError, FailureKind,
    core::message::{QueueName, StepQueue},
    ports::{Deliveries, QueueError},
};

/// The event source mappings of a stack's queues.
///
/// A mapping takes a while to stop: for that long messages may still be delivered, and it can be changed only after it. The list of mappings may be some seconds
/// behind, too, so that a change soon after another one is left out. The watchdog makes a change that was refused or left out.
#[derive(Clone, Debug)]
pub struct Mappings {
    client: aws_sdk_lambda::Client,
    /// What the names of the stack's functions and queues begin with.
    prefix: String,
}

impl Mappings {
    /// Makes the port. The function of a step has the name of its queue, which is the end of the queue's URL: `url_prefix` and the queue's
    /// [name](QueueName).
    pub fn new(config: &SdkConfig, url_prefix: &str) -> Self {
        Self {
            client: aws_sdk_lambda::Client::new(config),
            prefix: url_prefix.rsplit('/').next().unwrap_or_default().to_owned(),
        }
    }

    async fn set(&self, name: &str, on: bool) -> Result<(), CallError> {
        const OPERATION: &str = "ListEventSourceMappings";
        let pages = self.client.list_event_source_mappings().function_name(name).into_paginator().items().send();
        let is_gone = ListEventSourceMappingsError::is_resource_not_found_exception;
        let listed = match pages.collect::<Result<Vec<_>, _>>().await {
            // A deployment took the step away. One that brings it back makes a mapping that delivers.
            Err(error) if on && error.as_service_error().is_some_and(is_gone) => return Ok(()),
            listed => listed.map_err(|error| call_failed(OPERATION, error))?,
        };
        let is_of_queue = |arn: &str| arn.rsplit(':').next() == Some(name);
        let mut of_queue = listed.into_iter().filter(|mapping| mapping.event_source_arn().is_some_and(is_of_queue));
        let mapping = of_queue.next().and_then(|mapping| Some((mapping.uuid?, mapping.state.unwrap_or_default())));
        let Some((uuid, state)) = mapping else {
            let problem =
                format!("the function {name} has no event source mapping of its queue; deploy the stack again");
            return Err(CallError::new(OPERATION, FailureKind::Refused, problem));
        };
        if stands(&state) == Some(on) {
            return Ok(());
        }
        let update = self.client.update_event_source_mapping().uuid(uuid).enabled(on).send().await;
        update.map(drop).map_err(|error| call_failed("UpdateEventSourceMapping", error))
    }
}

/// Whether a mapping in this state delivers, or is about to; `None` if that is not known.
fn stands(state: &str) -> Option<bool> {
    match state {
        "Enabled" | "Enabling" => Some(true),
        "Disabled" | "Disabling" => Some(false),
        _ => None,
    }
}

impl Deliveries for Mappings {
    async fn deliver(&self, queue: &StepQueue, on: bool) -> Result<(), QueueError> {
        let queue = QueueName::from(queue.clone());
        let name = format!("{}{queue}", self.prefix);
        self.set(&name, on).await.map_err(|error| QueueError::new(queue, error))
    }
}
