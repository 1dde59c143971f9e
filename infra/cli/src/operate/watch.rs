//! `stepwell watch`: shows a task, or the whole shop, as it changes.

use super::{
    answers::{Attempt, Step, Task},
    api::{Api, read},
    failure::Failure,
    output::{draw, draws, print},
    render::counted,
    tasks::{Found, find},
};
use std::{collections::BTreeSet, num::NonZeroU32, time::Duration};
use tokio::time::sleep;

/// How many tasks of a kind are shown at most.
const ROWS: usize = 50;

pub(super) async fn watch(api: &Api, task: Option<&str>, every: NonZeroU32, as_json: bool) -> Result<(), Failure> {
    match task {
        Some(task) => of_task(api, task, as_json).await,
        None => of_shop(api, Duration::from_secs(every.get().into()), as_json).await,
    }
}

/// Until nothing follows by itself.
async fn of_task(api: &Api, id: &str, as_json: bool) -> Result<(), Failure> {
    let (mut seen, mut news) = (None, News::default());
    while let Some(event) = api.next_event(id, seen.as_ref()).await? {
        let task: Task = read(&event.task)?;
        if as_json {
            print(&event.task)?;
        } else if draws() {
            draw(&task.to_string())?;
        } else {
            news.of(&task).iter().try_for_each(print)?;
        }
        seen = Some(event);
    }
    Ok(())
}

/// What was printed of a task, where nothing can be redrawn.
#[derive(Default)]
struct News {
    told: BTreeSet<String>,
    status: String,
}

impl News {
    /// The lines that are new: attempts, steps that wait without one, and the status.
    fn of(&mut self, task: &Task) -> Vec<String> {
        let mut found = Vec::new();
        for step in task.steps.iter().chain(&task.compensations) {
            let Step { name, status, attempts, .. } = step;
            let attempts = attempts.iter().map(|attempt: &Attempt| format!("{name:<20} {attempt}"));
            found.extend(attempts);
            if status == "retrying" && step.attempts.is_empty() {
                found.push(step.to_string().trim().to_owned());
            }
        }
        found.retain(|line| self.told.insert(line.clone()));
        if self.status != task.status {
            task.status.clone_into(&mut self.status);
            found.push(format!("{} is {}", task.task_id, task.status));
        }
        found
    }
}

/// A kind of tasks that are open.
struct Open {
    what: &'static str,
    found: Found,
}

impl Open {
    fn heading(&self) -> String {
        let or_more = if self.found.or_more { "at least " } else { "" };
        format!("{}: {or_more}{}", self.what, counted(self.found.tasks.len(), "task"))
    }
}

/// Until it is broken off.
async fn of_shop(api: &Api, pause: Duration, as_json: bool) -> Result<(), Failure> {
    const KINDS: [(&str, &str, &str); 3] = [
        ("running", "status", "pending"),
        ("compensating", "status", "compensating"),
        ("needs a person", "needs", "person"),
    ];
    let mut before = String::new();
    loop {
        let (mut open, mut answers) = (Vec::new(), Vec::new());
        for (what, name, value) in KINDS {
            let found = find(api, &[(name, value.to_owned())], ROWS, |_| {}).await?;
            answers.push(format!(r#""{}":{}"#, what.replace(' ', "_"), found.as_json()));
            open.push(Open { what, found });
        }
        let text = if as_json {
            format!("{{{}}}", answers.join(","))
        } else if draws() {
            screen(&open)
        } else {
            open.iter().map(Open::heading).collect::<Vec<_>>().join("; ")
        };
        if text != before {
            if draws() && !as_json {
                draw(&text)?
            } else {
                print(&text)?
            }
            before = text;
        }
        sleep(pause).await;
    }
}

fn screen(open: &[Open]) -> String {
    let mut text = String::new();
    for kind in open {
        text.push_str(&format!("{}\n", kind.heading()));
        kind.found.tasks.iter().for_each(|(task, _)| text.push_str(&format!("  {task}\n")));
    }
    text
}
