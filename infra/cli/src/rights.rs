//! What a step may do: the calls that the engine makes for it, and nothing else.

/// What the engine does to the tasks table in a step's function: it reads the steps that this one takes from, claims, ends
/// and releases steps, takes away a claim that belongs to no task, and reads the whole task to compensate it.
pub const TASKS_ACTIONS: [&str; 4] =
    ["dynamodb:BatchGetItem", "dynamodb:DeleteItem", "dynamodb:Query", "dynamodb:UpdateItem"];

/// What Lambda does to the queue in the name of its function, and the engine to hide a message.
pub const OWN_QUEUE_ACTIONS: [&str; 4] =
    ["sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"];

/// What a function does to its log.
pub const LOG_ACTIONS: [&str; 2] = ["logs:CreateLogStream", "logs:PutLogEvents"];
