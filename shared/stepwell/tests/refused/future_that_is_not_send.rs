use std::rc::Rc;
use stepwell::{Context, Step, StepContext, StepError};

struct Wait;

impl Step for Wait {
    type Input = Context<String>;
    type Output = ();

    async fn run(&self, Context(name): Context<String>, _: &StepContext) -> Result<(), StepError> {
        let name = Rc::new(name);
        std::future::ready(()).await;
        drop(name);
        Ok(())
    }
}

fn main() {}
