use stepwell::{ResultOf, Step, StepContext, StepError};

#[derive(serde::Serialize, serde::Deserialize)]
struct Cart;

struct Pay;

impl Step for Pay {
    type Input = ResultOf<Cart>;
    type Output = ();

    async fn run(&self, _: ResultOf<Cart>, _: &StepContext) -> Result<(), StepError> {
        Ok(())
    }
}

fn main() {}
