use stepwell::{Step, StepContext, StepError};

struct Greet;

impl Step for Greet {
    type Input = String;
    type Output = String;

    async fn run(&self, name: String, _: &StepContext) -> Result<String, StepError> {
        Ok(format!("Hello {name}"))
    }
}

fn main() {}
