//! What is about AWS itself, and runs on the stack alone: the queues, tables and functions, and what API Gateway, SQS and SES do.

mod cors;
mod events;
mod mail;
mod messages;
mod pauses;
mod reconciliation;
mod recovery;
