//! The texts for people.

use super::answers::{
    Attempt, Bulk, Cost, Counted, Graph, Health, ListedStep, ListedTask, Node, Pause, PausedStep, PlannedStep, RerunAs,
    Step, StepError, StepStanding, Task, TaskResult, UnknownPause, Workflow, Workflows,
};
use std::fmt::{self, Display, Formatter};

/// A task in a list: one row.
impl Display for ListedTask {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { task_id, workflow, status, created_at, .. } = self;
        write!(f, "{task_id}  {created_at}  {status:<17}  {workflow}")?;
        if !self.failed_steps.is_empty() {
            write!(f, "  failed: {}", self.failed_steps.join(", "))?;
        }
        if let Some(ListedStep { name, state, attempt, error_code, next_retry_at }) = &self.step {
            write!(f, "  {name}: {state}")?;
            match attempt {
                0 => f.write_str(", not attempted yet")?,
                attempt => write!(f, ", attempt {attempt}")?,
            }
            for more in [error_code, next_retry_at].into_iter().flatten() {
                write!(f, ", {more}")?;
            }
        }
        match (self.compensated, self.needs_person) {
            (true, _) => f.write_str("  compensated"),
            (false, true) => f.write_str("  needs a person"),
            (false, false) => Ok(()),
        }
    }
}

/// A whole task: its steps, every attempt, who did what and why.
impl Display for Task {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let closed = if self.compensated { ", compensated: closed for good" } else { "" };
        writeln!(f, "task       {}", self.task_id)?;
        writeln!(f, "workflow   {}", self.workflow)?;
        writeln!(f, "status     {}{closed}", self.status)?;
        writeln!(f, "started    {}", self.started_at)?;
        if let Some(at) = &self.completed_at {
            // What is redriven or compensated by itself goes on.
            let goes_on = self.redrives_at.is_some() || self.compensates_at.is_some();
            writeln!(f, "{:<10} {at}", if goes_on { "failed" } else { "ended" })?;
        }
        if let Some(task) = &self.rerun_of {
            writeln!(f, "rerun of   {task}")?;
        }
        if let Some(RerunAs { task_id, started }) = &self.rerun_as {
            let standing = if *started { "" } else { ", reserved and not started: send the same request again" };
            writeln!(f, "rerun as   {task_id}{standing}")?;
        }
        if let Some(at) = &self.redrives_at {
            writeln!(f, "redrive    {at}, automatically")?;
        }
        if let Some(at) = &self.compensates_at {
            writeln!(f, "compensate from {at} on, unless it is redriven before")?;
        }
        if let Some(newer) = &self.newer_format {
            let (written, needs) = (newer.written, newer.needs);
            writeln!(
                f,
                "newer      a newer version wrote it, in format {written}: a version that reads {needs} may act on it"
            )?;
        }
        self.paused.iter().try_for_each(|paused| writeln!(f, "waits      for {paused}"))?;
        if let Some(cost) = &self.cost {
            writeln!(f, "cost       {cost}")?;
        }
        for warning in &self.warnings {
            let (step, code, message) = (&warning.step, &warning.code, &warning.message);
            writeln!(f, "warning    {step} failed, and the task goes on without it: {code}: {message}")?;
        }
        for refusal in &self.refusals {
            let (step, at, error) = (&refusal.step, &refusal.at, &refusal.error);
            writeln!(f, "refused    a cancellation, by {step} at {at}: {error}")?;
        }
        for (heading, steps) in self.lists() {
            writeln!(f, "\n{heading}")?;
            steps.iter().try_for_each(|step| write!(f, "{step}"))?;
        }
        if !self.actions.is_empty() {
            writeln!(f, "\nwhat was done to it")?;
        }
        for action in &self.actions {
            let step = action.step.as_ref().map(|step| format!(" {step}")).unwrap_or_default();
            writeln!(f, "  {}  {}{step}  by {}: {}", action.at, action.what, action.who, action.why)?;
        }
        Ok(())
    }
}

impl Display for Cost {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { write_units, read_units, sqs_requests, invocations, dollars } = self;
        write!(
            f,
            "{dollars} US dollars on AWS: {write_units} write units, {read_units} read units, {sqs_requests} SQS requests, {invocations} \
             invocations"
        )
    }
}

impl Task {
    /// The steps and the compensations, where there are any, each with its heading.
    fn lists(&self) -> impl Iterator<Item = (&'static str, &[Step])> {
        let lists = [("steps", self.steps.as_slice()), ("compensations", self.compensations.as_slice())];
        lists.into_iter().filter(|(_, steps)| !steps.is_empty())
    }
}

/// The graph as text: the steps, and then the compensations that are to run, each with what it waits for.
impl Display for Graph {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let rows = self.nodes.iter().filter_map(|node| Some((node, node.state.as_deref()?)));
        let (compensations, steps): (Vec<_>, Vec<_>) = rows.partition(|(node, _)| node.compensates.is_some());
        for (heading, rows) in [("steps", steps), ("compensations", compensations)] {
            if !rows.is_empty() {
                writeln!(f, "{heading}")?;
            }
            let names = rows.iter().map(|(node, _)| node.name.len()).max().unwrap_or_default();
            let states = rows.iter().map(|(_, state)| state.len()).max().unwrap_or_default();
            for (Node { name, depends_on, compensates, .. }, state) in rows {
                let of = compensates.as_ref().map(|step| format!("of {step}"));
                let after = Some(depends_on).filter(|names| !names.is_empty());
                let after = after.map(|names| format!("after {}", names.join(", ")));
                let more = of.into_iter().chain(after).collect::<Vec<_>>().join(", ");
                writeln!(f, "{}", format!("  {name:<names$}  {state:<states$}  {more}").trim_end())?;
            }
        }
        Ok(())
    }
}

/// A step and its attempts.
impl Display for Step {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "  {:<20} {}", self.name, self.status)?;
        if let Some(task) = &self.kept_from {
            write!(f, "  the result of {task} was kept")?;
        }
        // It may have had no attempt that would tell: its service is out.
        if self.status == "retrying" {
            if let Some(at) = &self.next_retry_at {
                write!(f, "  until {at}")?;
            }
            if let Some(error) = &self.error {
                write!(f, "  {error}")?;
            }
        }
        writeln!(f)?;
        self.attempts.iter().try_for_each(|attempt| writeln!(f, "    {attempt}"))
    }
}

impl Display for Attempt {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{:>2}  {}  {}", self.number, self.started_at, self.outcome)?;
        if let Some(millis) = self.duration_ms {
            write!(f, " ({millis} ms)")?;
        }
        if let Some(error) = &self.error {
            write!(f, "  {error}")?;
        }
        self.next_retry_at.as_ref().map_or(Ok(()), |at| write!(f, "  next at {at}"))
    }
}

impl Display for StepError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl Bulk {
    /// How far it is.
    pub(super) fn progress(&self) -> String {
        let refused = self.refused.iter().map(|(reason, count)| format!(", {count} refused: {reason}"));
        let end = self.expected_end.as_ref().map(|end| format!("; until about {}", to_the_minute(end)));
        let Self { status, done, expected_count, .. } = self;
        format!("{status}: {done} of {expected_count} done{}{}", refused.collect::<String>(), end.unwrap_or_default())
    }

    /// How many tasks it has reached, of how many.
    pub(super) fn part(&self) -> (u64, u64) {
        (self.done.saturating_add(self.refused.values().sum()), self.expected_count)
    }
}

/// A bulk action: what it is, and how far.
impl Display for Bulk {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let text = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let filter = self.filter.iter().map(|(name, value)| format!(" {name}={}", text(value)));
        let Self { bulk_id, started_at, action, who, why, .. } = self;
        writeln!(f, "{bulk_id}  {started_at}  {action}{}  by {who}: {why}", filter.collect::<String>())?;
        write!(f, "  {}", self.progress())
    }
}

/// What became of a task.
impl Display for TaskResult {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let reason = self.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        write!(f, "{}  {}{reason}", self.task_id, self.result)
    }
}

/// A moment in RFC 3339 without its seconds.
fn to_the_minute(moment: &str) -> String {
    moment.get(..16).map_or_else(|| moment.to_owned(), |minute| format!("{minute}Z"))
}

/// A number and what it counts.
pub(super) fn counted(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

/// The workflows, each with its steps, its compensations and its limits.
impl Display for Workflows {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.workflows.iter().try_for_each(|workflow| writeln!(f, "{workflow}"))
    }
}

impl Display for Workflow {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}  {}", self.id, self.description)?;
        for (heading, steps) in [("steps", &self.steps), ("compensations", &self.compensations)] {
            if !steps.is_empty() {
                writeln!(f, "\n{heading}")?;
            }
            steps.iter().try_for_each(|step| writeln!(f, "{step}"))?;
        }
        writeln!(f)?;
        if let Some(seconds) = self.complete_within_seconds {
            let until =
                self.point_of_no_return.as_ref().map(|step| format!(", until {step} is done")).unwrap_or_default();
            writeln!(f, "deadline   {seconds} s after the start{until}")?;
        }
        if !self.redrives_after_seconds.is_empty() {
            let waits: Vec<String> = self.redrives_after_seconds.iter().map(u64::to_string).collect();
            writeln!(f, "redrives   {} s after a failure", waits.join(", "))?;
        }
        let after = self.compensate_after_seconds.map(|seconds| format!(", after {seconds} s")).unwrap_or_default();
        writeln!(f, "compensate {}{after}", self.compensate)?;
        if self.search_keys.is_empty() { Ok(()) } else { writeln!(f, "found by   {}", self.search_keys.join(", ")) }
    }
}

/// A step or a compensation of a workflow: one row.
impl Display for PlannedStep {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let attempts =
            self.max_attempts.map_or_else(|| "no last attempt".to_owned(), |most| format!("{most} attempts"));
        write!(f, "  {:<24}  {attempts}, {} s each", self.name, self.timeout_seconds)?;
        if let Some(step) = &self.compensates {
            write!(f, ", compensates {step}")?;
        }
        if !self.depends_on.is_empty() {
            write!(f, ", after {}", self.depends_on.join(", "))?;
        }
        if let Some(service) = &self.waits_on {
            write!(f, ", waits on {service}")?;
        }
        if self.optional {
            f.write_str(", optional")?;
        }
        self.paused.as_ref().map_or(Ok(()), |pause| write!(f, ", paused {pause}"))
    }
}

impl Display for Pause {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { since, by, reason, also } = self;
        write!(f, "since {since} by {by}: {reason}")?;
        also.iter().try_for_each(|further| write!(f, "; and {further}"))
    }
}

/// A step that is paused, and by whom.
impl Display for PausedStep {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { workflow, step, pause } = self;
        write!(f, "{step} of {workflow}, paused {pause}")
    }
}

/// How a step stands.
impl Display for StepStanding {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { workflow, step, paused, .. } = self;
        match paused {
            Some(pause) => write!(f, "{step} of {workflow} is paused {pause}"),
            None => write!(f, "{step} of {workflow} goes on"),
        }
    }
}

/// How the open tasks stand: a row for each number.
impl Display for Health {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let rows = [
            (&self.open, "open"),
            (&self.failed, "of them failed, and are redriven or compensated later"),
            (&self.compensating, "of them are compensated"),
            (&self.overdue, "of them run, and were started longer ago than their workflow gives them"),
            (
                &self.stuck,
                "of them not inspected in time: the watchdog does not run or is behind, or a newer version wrote them",
            ),
            (&self.needs_person, "wait for a person"),
            (&self.dead_lettered, "of them dead-lettered"),
        ];
        for (count, what) in rows {
            write!(f, "{count:>9}  {what}")?;
            match (count.oldest_seconds, count.or_more) {
                (Some(seconds), false) => writeln!(f, "; the oldest was started {seconds} s ago")?,
                (Some(seconds), true) => writeln!(f, "; the oldest was started {seconds} s ago or earlier")?,
                (None, _) => writeln!(f)?,
            }
        }
        self.paused_steps.iter().try_for_each(|paused| writeln!(f, "Paused: {paused}."))?;
        for UnknownPause { workflow, step } in &self.unknown_pauses {
            writeln!(f, "Perhaps paused: {step} of {workflow}, by a newer version than the one that answers.")?;
        }
        Ok(())
    }
}

/// A number, with a plus where there may be more.
impl Display for Counted {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}{}", self.tasks, if self.or_more { "+" } else { "" }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

    use super::{Bulk, Graph, ListedTask, Task, counted};
    use serde_json::{Value, json};

    /// A task with these fields beside those that every task has.
    fn task(more: &Value) -> Task {
        let mut task = json!({
            "task_id": "T", "workflow": "shop/checkout@1.0.0", "status": "pending", "started_at": "s", "completed_at": null,
            "compensated": false, "redrives_at": null, "compensates_at": null, "warnings": [], "steps": [], "compensations": [],
            "actions": [],
        });
        task.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(task).unwrap()
    }

    #[test]
    fn step_that_waits_without_an_attempt_says_until_when_and_why() {
        let error = json!({"code": "BREAKER_OPEN", "message": "the gateway is out"});
        let step =
            json!({"name": "pay", "status": "retrying", "attempts": [], "error": error, "next_retry_at": "later"});
        let shown = task(&json!({"steps": [step]})).to_string();
        assert!(
            shown
                .ends_with("\nsteps\n  pay                  retrying  until later  BREAKER_OPEN: the gateway is out\n")
        );
    }

    #[test]
    fn task_shows_what_is_to_come_what_was_refused_and_who_did_what() {
        let error = json!({"code": "C", "message": "m"});
        let shown = task(&json!({
            "redrives_at": "noon", "compensates_at": "night", "newer_format": {"written": 9, "needs": 8},
            "warnings": [{"step": "mail", "code": "C", "message": "m"}],
            "refusals": [{"at": "noon", "step": "cancel_order", "error": error}],
            "actions": [{"at": "noon", "what": "resolve_step", "step": "pay", "who": "ann", "why": "by hand"}],
        }));
        let expected = "task       T\nworkflow   shop/checkout@1.0.0\nstatus     pending\nstarted    s\n\
            redrive    noon, automatically\ncompensate from night on, unless it is redriven before\n\
            newer      a newer version wrote it, in format 9: a version that reads 8 may act on it\n\
            warning    mail failed, and the task goes on without it: C: m\n\
            refused    a cancellation, by cancel_order at noon: C: m\n\
            \nwhat was done to it\n  noon  resolve_step pay  by ann: by hand\n";
        assert_eq!(shown.to_string(), expected);
    }

    #[test]
    fn graph_has_steps_and_the_compensations_that_run_apart() {
        let node = |name: &str, state: Value, after: &[&str], compensates: Value| json!({"name": name, "state": state, "depends_on": after, "compensates": compensates, "optional": false});
        let graph: Graph = serde_json::from_value(json!({"nodes": [
            node("end", json!("complete"), &[], Value::Null),
            node("b", json!("error"), &["end"], Value::Null),
            node("undo", json!("pending"), &["c"], json!("end")),
            node("undo_b", Value::Null, &[], json!("b")),
        ]}))
        .unwrap();
        let expected =
            "steps\n  end  complete\n  b    error     after end\ncompensations\n  undo  pending  of end, after c\n";
        assert_eq!(graph.to_string(), expected);
    }

    #[test]
    fn row_of_a_list_says_what_failed_and_whether_a_person_is_needed() {
        let row = |compensated: bool, needs_person: bool| {
            let listed: ListedTask = serde_json::from_value(json!({
                "task_id": "T", "created_at": "c", "status": "error", "workflow": "w", "failed_steps": ["a", "b"],
                "compensated": compensated, "needs_person": needs_person,
            }))
            .unwrap();
            listed.to_string()
        };
        assert_eq!(row(false, false), "T  c  error              w  failed: a, b");
        assert_eq!(row(false, true), "T  c  error              w  failed: a, b  needs a person");
        assert_eq!(row(true, true), "T  c  error              w  failed: a, b  compensated");
        assert_eq!((counted(1, "task"), counted(0, "task")), ("1 task".to_owned(), "0 tasks".to_owned()));
    }

    #[test]
    fn bulk_action_says_how_far_it_is_and_until_when() {
        let bulk: Bulk = serde_json::from_value(json!({
            "bulk_id": "B", "action": "redrive", "filter": {"compensated": false, "status": "error"}, "status": "running",
            "started_at": "s", "who": "ann", "why": "y", "expected_count": 9, "done": 2, "refused": {"status": 1, "failed": 3},
            "expected_end": "2026-11-26T00:01:30.000Z",
        }))
        .unwrap();
        let progress = "running: 2 of 9 done, 3 refused: failed, 1 refused: status; until about 2026-11-26T00:01Z";
        assert_eq!(bulk.to_string(), format!("B  s  redrive compensated=false status=error  by ann: y\n  {progress}"));
        assert_eq!(bulk.part(), (6, 9));
    }
}
