//! The names that derive from a workflow's and a step's.

use stepwell::core::names::step_resource;

/// A step of a workflow by the names that derive from it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StepNames {
    /// The workflow's name.
    pub workflow: String,
    /// The step's name in its workflow.
    pub step: String,
}

impl StepNames {
    /// The names of this step.
    pub fn new(workflow: impl Into<String>, step: impl Into<String>) -> Self {
        Self { workflow: workflow.into(), step: step.into() }
    }

    /// The beginning of its logical ids in the template, such as `CheckoutValidateCart`.
    pub fn logical_id(&self) -> String {
        camel_case(&self.workflow) + &camel_case(&self.step)
    }

    /// What follows `stepwell-STAGE-` in the name of its function and its queue, such as `checkout-validate_cart`.
    pub fn resource(&self) -> String {
        step_resource(&self.workflow, &self.step)
    }

    /// Its package and its binary, such as `checkout_validate_cart`.
    pub fn package(&self) -> String {
        format!("{}_{}", self.workflow, self.step)
    }

    /// Its folder from the root of the repository, such as `functions/checkout/validate_cart`.
    pub fn folder(&self) -> String {
        format!("functions/{}/{}", self.workflow, self.step)
    }
}

/// `validate_cart` becomes `ValidateCart`. CloudFormation's logical ids have letters and digits only.
pub fn camel_case(name: &str) -> String {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric());
    words
        .flat_map(|word| {
            let mut letters = word.chars();
            letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_derive_from_workflow_and_step() {
        let names = StepNames::new("checkout", "validate_cart");
        assert_eq!(names.logical_id(), "CheckoutValidateCart");
        assert_eq!(names.resource(), "checkout-validate_cart");
        assert_eq!(names.package(), "checkout_validate_cart");
        assert_eq!(names.folder(), "functions/checkout/validate_cart");
        assert_eq!(camel_case("a-2b_c"), "A2bC");
    }
}
