//! Configuration: environment variables.

/// An environment variable that is missing or cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("environment variable {variable}: {problem}")]
pub struct ConfigError {
    variable: &'static str,
    problem: String,
}

impl ConfigError {
    /// What is wrong with a variable.
    pub fn new(variable: &'static str, problem: impl ToString) -> Self {
        Self { variable, problem: problem.to_string() }
    }
}

/// A variable's value; `None` where it is not set or empty, which a template's unset parameter comes to.
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The value of a variable that has to be set.
///
/// # Errors
/// It is not.
pub fn required(name: &'static str) -> Result<String, ConfigError> {
    variable(name).ok_or_else(|| ConfigError::new(name, "is not set"))
}
