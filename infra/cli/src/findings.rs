//! Findings: the problems of a project.

use std::{fmt, path::PathBuf};

/// The exit codes of a command that looks for problems, for its help.
pub const EXIT_CODES: &str = "Exit codes:
  0    done, and nothing is wrong
  1    something is wrong or stale, or cannot be read or written: all of it is said, with what to do
  2    an option that does not exist, or is wrong or missing
  3    the output cannot be written";

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The file, from the root of the repository.
    pub file: PathBuf,
    /// The problem, with the wrong value.
    pub problem: String,
    /// How to solve it.
    pub remedy: String,
}

impl Finding {
    /// A finding in this file.
    pub fn new(file: impl Into<PathBuf>, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { file: file.into(), problem: problem.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}\n    {}", self.file.display(), self.problem, self.remedy)
    }
}

/// All findings; at least one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Findings(Vec<Finding>);

impl Findings {
    /// Fails with these findings, if there are any.
    ///
    /// # Errors
    /// The findings.
    pub fn none_of(findings: Vec<Finding>) -> Result<(), Self> {
        if findings.is_empty() { Ok(()) } else { Err(Self(findings)) }
    }

    /// These findings, at least one.
    pub(crate) fn of(findings: Vec<Finding>) -> Self {
        Self(findings)
    }

    /// The findings, in the order in which they were found.
    pub fn into_vec(self) -> Vec<Finding> {
        self.0
    }
}

impl From<Finding> for Findings {
    fn from(finding: Finding) -> Self {
        Self(vec![finding])
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, finding) in self.0.iter().enumerate() {
            let end = if place == 0 { "" } else { "\n" };
            write!(f, "{end}{finding}")?;
        }
        Ok(())
    }
}
