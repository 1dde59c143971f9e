//! Configuration: environment variables.

/// An environment variable that is missing or cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("environment variable {variable}: {problem}")]
pub struct ConfigError {
    variable: &'static str,
    problem: String,
}

impl ConfigError {
    /// Makes the error for a variable; `problem` reads as the rest of a sentence about it.
    pub fn new(variable: &'static str, problem: impl ToString) -> Self {
        Self { variable, problem: problem.to_string() }
    }
}

/// Reads a variable; `None` where it is not set or empty. A template's unset parameter becomes an empty variable.
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Reads a variable that has to be set.
///
/// # Errors
/// The variable is not set, or empty.
pub fn required(name: &'static str) -> Result<String, ConfigError> {
    variable(name).ok_or_else(|| ConfigError::new(name, "is not set"))
}
