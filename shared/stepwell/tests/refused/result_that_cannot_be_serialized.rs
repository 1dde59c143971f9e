use stepwell::{Context, Step, StepContext, StepError};

struct Cart;

struct Fill;

impl Step for Fill {
    type Input = Context<String>;
    type Output = Cart;

    async fn run(&self, _: Context<String>, _: &StepContext) -> Result<Cart, StepError> {
        Ok(Cart)
    }
}

fn main() {}
