//! Sample events: the input of a step's function for its first message, to invoke it by hand.

use crate::core::{
    message::{DEAD_LETTERS, Message},
    names::step_resource,
    plan::Plan,
    workflow::Workflow,
};
use md5::{Digest, Md5};
use serde::Serialize;
use uuid::{Uuid, uuid};

/// The id of the task in the samples.
pub const TASK: Uuid = uuid!("018f4e4e-7c1a-7000-8000-0123456789ab");

/// The event of one message for a step or a compensation of this workflow; `None` if the workflow does not have it. The
/// message of a compensation is that of a task whose steps were all done.
pub fn step_event(workflow: &Workflow, step: &str) -> Option<String> {
    let message = message(workflow.plan(), step)?;
    Some(event(&message, &step_resource(&workflow.id().name, step), "1", None))
}

/// The event of a dead letter of this step; `None` if the workflow does not have the step.
pub fn dead_letter_event(workflow: &Workflow, step: &str) -> Option<String> {
    let message = message(workflow.plan(), step)?;
    Some(event(&message, DEAD_LETTERS, "101", Some(queue_arn(&step_resource(&workflow.id().name, step)))))
}

fn message(plan: &Plan, name: &str) -> Option<Message> {
    let compensations = plan.compensation_graph(|_| true);
    let step = plan.steps().iter().chain(&compensations).find(|step| step.name == name);
    step.map(|step| step.message(TASK.into()))
}

fn event(message: &Message, queue: &str, receives: &'static str, dead_letter_source: Option<String>) -> String {
    let body = serde_json::to_string(message).unwrap_or_default();
    let record = Record {
        message_id: "00000000-0000-4000-8000-000000000001",
        receipt_handle: "sample-receipt-handle",
        md5_of_body: Md5::digest(&body).iter().map(|byte| format!("{byte:02x}")).collect(),
        body,
        attributes: Attributes {
            approximate_receive_count: receives,
            sent_timestamp: "1764000000000",
            sender_id: "AROAEXAMPLE:sample",
            approximate_first_receive_timestamp: "1764000000001",
            dead_letter_queue_source_arn: dead_letter_source,
        },
        message_attributes: Empty {},
        event_source: "aws:sqs",
        event_source_arn: queue_arn(queue),
        aws_region: "us-east-1",
    };
    let mut text = serde_json::to_string_pretty(&Event { records: [record] }).unwrap_or_default();
    text.push('\n');
    text
}

fn queue_arn(queue: &str) -> String {
    format!("arn:aws:sqs:us-east-1:123456789012:stepwell-local-{queue}")
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Event {
    records: [Record; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    message_id: &'static str,
    receipt_handle: &'static str,
    body: String,
    attributes: Attributes,
    message_attributes: Empty,
    md5_of_body: String,
    event_source: &'static str,
    #[serde(rename = "eventSourceARN")]
    event_source_arn: String,
    aws_region: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Attributes {
    approximate_receive_count: &'static str,
    sent_timestamp: &'static str,
    sender_id: &'static str,
    approximate_first_receive_timestamp: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    dead_letter_queue_source_arn: Option<String>,
}

#[derive(Serialize)]
struct Empty {}
