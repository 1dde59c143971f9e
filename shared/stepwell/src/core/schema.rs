//! The JSON schemas of the types whose form in JSON no derive makes. Those of the others are derived from the same attributes as that form.

use crate::core::{
    bulk::Pace,
    id::{BulkId, TaskId},
    state::TaskStatus,
    timestamp::Timestamp,
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use std::borrow::Cow;

macro_rules! schema {
    ($type:ident, $($json:tt)*) => {
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($($json)*)
            }
        }
    };
}

schema!(TaskId, { "description": "The id of a task, and of the order that it makes.", "type": "string", "format": "uuid" });
schema!(BulkId, { "description": "The id of a bulk action.", "type": "string", "format": "uuid" });
schema!(Timestamp, { "description": "RFC 3339, in UTC, to the millisecond.", "type": "string", "format": "date-time" });
schema!(TaskStatus, {
    "description": "The status of a task. A task that was compensated keeps the word of its end.",
    "type": "string",
    "enum": TaskStatus::WORDS.map(TaskStatus::as_str),
});
schema!(Pace, { "description": "Tasks a minute.", "type": "integer", "minimum": 1, "maximum": Pace::MAX });
