//! A step for tests in which the work of the steps does not matter.

use crate::{
    permanent,
    runtime::step::{Context, Step, StepContext, StepError},
};
use serde_json::{Value, value::RawValue};

/// A step that does nothing and returns this result, JSON as text, unchanged to the digit.
#[derive(Clone, Copy, Debug)]
pub struct Returns(pub &'static str);

impl Step for Returns {
    type Input = Context<Value>;
    type Output = Box<RawValue>;

    async fn run(&self, _: Context<Value>, _: &StepContext) -> Result<Box<RawValue>, StepError> {
        RawValue::from_string(self.0.to_owned()).map_err(|error| permanent("NOT_JSON", error.to_string()))
    }
}
