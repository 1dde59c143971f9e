//! `replay`: fetches a task with its input, and has the program of one machine run one of its steps on a shop in memory.
//!
//! The program is built for it as the working tree is. This command does not have the handlers in itself: it would have to be built anew after each
//! change of one, and could not render the list of handlers while one of them does not compile.

use super::{
    api::{self, Api},
    failure::{Failure, Kind},
    output::say,
    tasks,
};
use crate::project::{self, PROGRAM};
use serde::Deserialize;
use std::{
    env,
    path::{Path, PathBuf},
    process::Stdio,
};
use tokio::io::AsyncWriteExt;

/// Where the input has `***` in the place of a value.
#[derive(Deserialize)]
struct Hidden {
    hidden: Vec<String>,
}

/// What is replayed, and how.
pub(super) struct Replay {
    root: PathBuf,
    /// JSON.
    patch: String,
    as_json: bool,
}

impl Replay {
    /// Checks what can be checked before anything is asked.
    ///
    /// # Errors
    /// There is no repository, or the patch cannot be read.
    pub(super) fn new(root: Option<&Path>, patch: Option<&str>, as_json: bool) -> Result<Self, Failure> {
        let start = env::current_dir().unwrap_or_default();
        let root = project::root(root, &start).map_err(|finding| Failure::new(Kind::Usage, finding.to_string()))?;
        let patch = tasks::given_edit(patch, None)?;
        let patch = patch.map_or("null".to_owned(), |(_, patch)| patch.get().to_owned());
        Ok(Self { root, patch, as_json })
    }

    /// Replays a step of a task of this API.
    ///
    /// # Errors
    /// The task cannot be fetched, or the step not be run, or its attempt has failed.
    pub(super) async fn run(&self, api: &Api, task: &str, step: &str) -> Result<(), Failure> {
        let shown = api.get(&["tasks", task], &[]).await?.text;
        let revealed = api.look(&["tasks", task, "reveal"]).await?.text;
        let Hidden { hidden } = api::read(&revealed)?;
        if self.patch == "null" && !hidden.is_empty() {
            let without = hidden.join(", ");
            say(format_args!("Secrets are not kept, so the step runs without {without}. Others are given by --patch"));
        }
        // As they came, so that the numbers stay as they are.
        let source = format!(r#"{{"task": {shown}, "revealed": {revealed}, "patch": {}}}"#, self.patch);
        let failed = |error| Failure::refused(format!("{PROGRAM} cannot be run: {error}"));

        let mut cargo = project::cargo(&self.root);
        cargo.args(["run", "--package", PROGRAM, "--bin", PROGRAM, "--", "replay", step, "--from", "-"]);
        if self.as_json {
            cargo.arg("--json");
        }
        // By its stdin, which no list of processes shows.
        let mut program = cargo.stdin(Stdio::piped()).spawn().map_err(failed)?;
        if let Some(mut stdin) = program.stdin.take() {
            // One that reads nothing has something else to say.
            let _ = stdin.write_all(source.as_bytes()).await;
        }
        let status = program.wait().await.map_err(failed)?;
        match status.code() {
            Some(0) => Ok(()),
            // It, or cargo, has said why.
            Some(2) => Err(Failure::new(Kind::Usage, "")),
            _ => Err(Failure::told()),
        }
    }
}
