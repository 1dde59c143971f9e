//! Reruns: a task that has ended is started once more as a new task, and at most once, whoever asks and whatever breaks off.

use super::operate::in_state;
use crate::{
    ActionError, Actor, FailureKind, NotRerun, PendingStart, Rerun, RerunRequest, StartError, TaskId, Workflow,
    core::{
        item::{Key, attribute},
        record::{ActionKind, RETENTION},
        state::{End, StepState, TaskState},
        transition::Change,
    },
    testing::{
        Harness,
        fixtures::{
            compensation,
            staged::{actor, by_hand, graph, no, workflow},
        },
    },
};
use serde_json::json;
use std::{sync::Arc, time::Duration};

const STEPS: &[&[usize]] = &[&[]];

fn one_step() -> Workflow {
    workflow(STEPS, &[0], "")
}

/// A rerun by this actor with this input.
async fn rerun_by(harness: &Harness, who: &Actor, task: TaskId, input: u32, again: bool) -> Result<TaskId, String> {
    let client = harness.client();
    let input = json!({ "input": input });
    let request = RerunRequest::new(&input.to_string(), again);
    let found = match client.find_rerun(task, &request).await.map_err(|error| error.to_string())? {
        Rerun::Made(task) => return Ok(task),
        Rerun::Next(found) => found,
    };
    let start = client.prepare_start(&one_step(), &input, None).await.unwrap();
    let reserved = client.reserve_rerun(&found, &request, start, who).await.map_err(|error| error.to_string())?;
    let start = match reserved {
        Rerun::Made(task) => return Ok(task),
        Rerun::Next(start) => start,
    };
    let started = client.write_start(start).await.map_err(|error| error.to_string())?;
    Ok(started.task_id)
}

async fn rerun(harness: &Harness, task: TaskId, input: u32) -> Result<TaskId, String> {
    rerun_by(harness, &actor(), task, input, false).await
}

fn bob() -> Actor {
    Actor::new("bob", "a test").unwrap()
}

/// A request of the test's actor that has reserved an id for the rerun of this task, and goes no further.
async fn reserve(harness: &Harness, task: TaskId, request: &RerunRequest, input: u32) -> PendingStart {
    let client = harness.client();
    let Rerun::Next(found) = client.find_rerun(task, request).await.unwrap() else { panic!("it may be rerun") };
    let start = client.prepare_start(&one_step(), &json!({ "input": input }), None).await.unwrap();
    match client.reserve_rerun(&found, request, start, &actor()).await.unwrap() {
        Rerun::Next(start) => start,
        Rerun::Made(task) => panic!("{task} was made before"),
    }
}

/// A task that has failed and is compensated.
async fn compensated() -> (Harness, TaskId) {
    let harness = graph(STEPS, &[0], "");
    harness.fail("s0", [no()]);
    let task = harness.begin().await;
    harness.run(task).await.unwrap();
    assert_eq!(harness.state(task), TaskState::Compensated(End::Error));
    (harness, task)
}

/// The reruns of this task that exist.
async fn reruns(harness: &Harness, of: TaskId) -> Vec<TaskId> {
    let mut found = Vec::new();
    for task in harness.memory().store.tasks() {
        let task = harness.snapshot(task).await.unwrap().task;
        found.extend(task.rerun_of.filter(|rerun| *rerun == of).map(|_| task.id));
    }
    found
}

fn reserved(harness: &Harness, task: TaskId) -> Option<TaskId> {
    harness.memory().store.with_task(task, |task| task.rerun_as.as_ref().map(|rerun| rerun.task)).unwrap()
}

#[tokio::test(start_paused = true)]
async fn rerun_is_a_new_task_with_its_own_input_and_both_name_each_other() {
    let (harness, task) = compensated().await;
    let new = rerun(&harness, task, 7).await.unwrap();
    let (old, rerun) = (harness.snapshot(task).await.unwrap().task, harness.run(new).await.unwrap().task);
    assert_eq!((rerun.state, rerun.context.as_str()), (TaskState::Completed, r#"{"input":7}"#));
    assert_eq!(old.goes_on_as(), Some(new));
    assert_eq!((old.rerun_as.unwrap().task, rerun.rerun_of), (new, Some(task)));
    assert_eq!((old.rerun_of, rerun.rerun_as), (None, None));
    let entry = old.actions.last().unwrap();
    assert_eq!((entry.what, entry.who.as_str(), entry.rerun_as), (ActionKind::Rerun, "somebody", Some(new)));
    let needs = harness.memory().store.item(&Key::Task(task))[attribute::NEEDS].clone();
    assert_eq!(needs, 3, "an older version cannot read the entry");
    assert_eq!(harness.memory().store.item(&Key::Task(new)).get(attribute::NEEDS), None);
}

#[tokio::test(start_paused = true)]
async fn repeated_request_finds_the_task_that_it_has_started_whatever_became_of_either() {
    let (harness, task) = compensated().await;
    let new = rerun(&harness, task, 7).await.unwrap();
    for state in TaskState::ALL {
        harness.memory().force_task(new, state);
        assert_eq!(rerun(&harness, task, 7).await, Ok(new), "{state:?}");
    }
    let last = format!("cannot rerun task: it was rerun before; the last rerun is {new}; look at that task");
    assert_eq!(rerun(&harness, task, 8).await.unwrap_err(), last, "another input");
    assert_eq!(rerun_by(&harness, &bob(), task, 7, false).await, Ok(new), "whoever asks for the same");
    assert_eq!(reruns(&harness, task).await, [new]);
}

#[tokio::test(start_paused = true)]
async fn reruns_form_a_chain_of_which_only_the_last_is_rerun() {
    let (harness, first) = compensated().await;
    let mut chain = vec![first];
    for input in 0..3 {
        harness.fail("s0", [no()]);
        let new = rerun(&harness, *chain.last().unwrap(), input).await.unwrap();
        harness.run(new).await.unwrap();
        chain.push(new);
    }
    let (last, earlier) = chain.split_last().unwrap();
    for task in earlier {
        let refused = rerun(&harness, *task, 9).await.unwrap_err();
        assert!(refused.contains(&format!("the last rerun is {last};")), "{refused}");
        assert_eq!(reruns(&harness, *task).await.len(), 1);
        let task = harness.snapshot(*task).await.unwrap().task;
        assert_eq!(harness.client().last_rerun(&task).await.unwrap(), Some(*last));
    }
    rerun(&harness, *last, 9).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn of_two_operators_at_once_one_reruns_the_task_and_the_other_is_told_which() {
    let (harness, task) = compensated().await;
    let harness = Arc::new(harness);
    let other = harness.clone();
    harness.meanwhile("reserve_rerun", async move {
        rerun_by(&other, &bob(), task, 8, false).await.unwrap();
    });
    let refused = rerun(&harness, task, 7).await.unwrap_err();
    let [one] = reruns(&harness, task).await[..] else { panic!("one rerun") };
    assert_eq!(
        refused,
        format!("cannot rerun task: another request reruns it at this moment, as {one}; look at that task")
    );
    assert_eq!(reserved(&harness, task), Some(one));
    assert_eq!(harness.snapshot(one).await.unwrap().task.context, r#"{"input":8}"#);
}

/// The first request breaks off after its reservation, or its start is only late.
#[tokio::test(start_paused = true)]
async fn reservation_without_a_task_is_ruled_out_and_replaced_so_that_a_late_start_is_refused() {
    let (harness, task) = compensated().await;
    let client = harness.client();
    let request = RerunRequest::new("7", false);
    let late = reserve(&harness, task, &request, 7).await;
    let abandoned = late.task_id();
    assert_eq!(reserved(&harness, task), Some(abandoned));
    let last_rerun = async || client.last_rerun(&harness.snapshot(task).await.unwrap().task).await;
    assert_eq!(last_rerun().await.unwrap(), None, "nothing has started");

    let new = rerun_by(&harness, &bob(), task, 8, false).await.unwrap();
    assert_ne!(new, abandoned);
    assert_eq!(reserved(&harness, task), Some(new));
    assert_eq!(last_rerun().await.unwrap(), Some(new));
    let refused = client.write_start(late).await.unwrap_err();
    assert!(matches!(refused, StartError::RuledOut { task_id } if task_id == abandoned), "{refused}");
    assert_eq!(reruns(&harness, task).await, [new]);
    let trail = harness.snapshot(task).await.unwrap().task.actions;
    let entries: Vec<_> = trail.iter().filter_map(|entry| Some((entry.who.as_str(), entry.rerun_as?))).collect();
    assert_eq!(entries, [("somebody", abandoned), ("bob", new)]);
}

/// Two requests find the same abandoned reservation.
#[tokio::test(start_paused = true)]
async fn abandoned_reservation_is_replaced_once() {
    let (harness, task) = compensated().await;
    let harness = Arc::new(harness);
    harness.fail_call("create", [FailureKind::Refused]);
    rerun(&harness, task, 7).await.unwrap_err();
    let abandoned = reserved(&harness, task);
    assert!(abandoned.is_some() && reruns(&harness, task).await.is_empty());
    let other = harness.clone();
    harness.meanwhile("reserve_rerun", async move {
        rerun_by(&other, &bob(), task, 8, false).await.unwrap();
    });
    let refused = rerun(&harness, task, 9).await.unwrap_err();
    let [one] = reruns(&harness, task).await[..] else { panic!("one rerun") };
    assert!(refused.contains(&format!("as {one};")), "{refused}");
}

/// The first has reserved an id when the second looks: before its task is written, or while the second reserves one of its own.
#[tokio::test(start_paused = true)]
async fn same_request_twice_at_once_starts_one_task_and_both_are_told_which() {
    let (harness, task) = compensated().await;
    let client = harness.client();
    let request = RerunRequest::new(&json!({ "input": 7 }).to_string(), false);
    let slow = reserve(&harness, task, &request, 7).await;
    let second = rerun(&harness, task, 7).await.unwrap();
    assert_eq!((second, client.write_start(slow).await.unwrap().task_id), (reserved(&harness, task).unwrap(), second));
    assert_eq!(reruns(&harness, task).await, [second]);

    let (harness, task) = compensated().await;
    let harness = Arc::new(harness);
    let other = harness.clone();
    harness.meanwhile("reserve_rerun", async move {
        rerun(&other, task, 7).await.unwrap();
    });
    let second = rerun(&harness, task, 7).await.unwrap();
    assert_eq!((reruns(&harness, task).await, reserved(&harness, task)), (vec![second], Some(second)));
}

/// The second looks before the task of the first is written, and reserves after that.
#[tokio::test(start_paused = true)]
async fn same_request_whose_rerun_starts_meanwhile_is_told_of_it() {
    let (harness, task) = compensated().await;
    let client = harness.client();
    let request = RerunRequest::new("7", false);
    let slow = reserve(&harness, task, &request, 7).await;
    let Rerun::Next(found) = client.find_rerun(task, &request).await.unwrap() else { panic!("nothing has started") };
    assert!(!client.has_started(slow.task_id()).await.unwrap());
    let made = client.write_start(slow).await.unwrap().task_id;
    assert!(client.has_started(made).await.unwrap());
    let start = client.prepare_start(&one_step(), &json!({ "input": 7 }), None).await.unwrap();
    let told = client.reserve_rerun(&found, &request, start, &actor()).await.unwrap();
    assert!(matches!(told, Rerun::Made(task) if task == made), "{told:?}");
    assert_eq!((reruns(&harness, task).await, reserved(&harness, task)), (vec![made], Some(made)));
}

/// Its customer was told that it never starts.
#[tokio::test(start_paused = true)]
async fn id_that_was_ruled_out_is_started_by_nobody_and_the_same_request_reserves_another() {
    let (harness, task) = compensated().await;
    harness.fail_call("create", [FailureKind::Refused]);
    rerun(&harness, task, 7).await.unwrap_err();
    let never = reserved(&harness, task).unwrap();
    harness.client().rule_out(&one_step(), never, &bob()).await.unwrap();
    let new = rerun(&harness, task, 7).await.unwrap();
    assert_ne!(new, never);
    assert_eq!((reruns(&harness, task).await, reserved(&harness, task)), (vec![new], Some(new)));
}

/// A reservation is not taken from another request by one that is refused.
#[tokio::test(start_paused = true)]
async fn refused_request_rules_nothing_out() {
    let harness = graph(STEPS, &[0], "");
    let task = harness.begin().await;
    harness.run(task).await.unwrap();
    harness.fail_call("create", [FailureKind::Refused]);
    rerun_by(&harness, &actor(), task, 7, true).await.unwrap_err();
    rerun_by(&harness, &bob(), task, 8, false).await.unwrap_err();
    let never_starts = harness.snapshot(reserved(&harness, task).unwrap()).await;
    assert!(never_starts.is_err(), "nothing is there: {never_starts:?}");
    rerun_by(&harness, &actor(), task, 7, true).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn task_with_an_attempted_step_that_nothing_undoes_is_rerun_only_if_somebody_says_so() {
    let harness = graph(&[&[], &[0]], &[0], "");
    harness.fail("s1", [no()]);
    let task = harness.begin().await;
    harness.run(task).await.unwrap();
    let refused = rerun(&harness, task, 7).await.unwrap_err();
    assert!(refused.contains("its step `s1` was attempted and has no compensation"), "{refused}");
    rerun_by(&harness, &actor(), task, 7, true).await.unwrap();
}

/// The start takes effect between the look at the reservation and its ruling out.
#[tokio::test(start_paused = true)]
async fn reservation_whose_task_starts_meanwhile_is_not_replaced() {
    let (harness, task) = compensated().await;
    let slow = reserve(&harness, task, &RerunRequest::new("7", false), 7).await;
    let first = slow.task_id();
    let other = harness.client();
    harness.meanwhile("rule_out", async move {
        other.write_start(slow).await.unwrap();
    });
    let refused = rerun_by(&harness, &bob(), task, 8, false).await.unwrap_err();
    assert!(refused.contains(&format!("the last rerun is {first};")), "{refused}");
    assert_eq!((reruns(&harness, task).await, reserved(&harness, task)), (vec![first], Some(first)));
}

/// The store fails at a call of the rerun: before it, or so that the answer is lost. The same request goes on from there.
#[tokio::test(start_paused = true)]
async fn rerun_that_broke_off_is_completed_by_its_repetition() {
    for call in ["load_all", "reserve_rerun", "create", "send"] {
        for kind in [FailureKind::Refused, FailureKind::Unavailable] {
            let (harness, task) = compensated().await;
            harness.fail_call(call, [kind]);
            let _ = rerun(&harness, task, 7).await;
            let new = rerun(&harness, task, 7).await.unwrap();
            assert_eq!(reruns(&harness, task).await, [new], "{call}");
            assert_eq!(harness.run(new).await.unwrap().task.state, TaskState::Completed, "{call}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn task_that_may_go_on_or_whose_effects_stand_is_not_rerun() {
    for state in TaskState::ALL {
        let (harness, task) = in_state(state).await;
        if state == TaskState::Completed {
            harness.memory().force_step(task, "s0", StepState::Complete);
        }
        if matches!(state, TaskState::Compensated(_)) {
            harness.memory().force_step(task, "s0", StepState::Cancelled);
            harness.memory().force_step(task, &compensation(0), StepState::Complete);
        }
        let said = match state {
            TaskState::Running => {
                "it is in pending status, so it goes on by itself; wait for its end, or cancel it first"
            }
            TaskState::Failed => {
                "it is in error status, so it may still be redriven; redrive it, or cancel or compensate it first"
            }
            TaskState::Compensating(_) => "it is in compensating status; wait for the end of its compensation",
            TaskState::Cancelled => {
                "it is in cancelled status, but not compensated, so what it has done stands; compensate it first"
            }
            TaskState::Resolved => {
                "it is in resolved_manually status, so somebody has taken it over, and what it has done stands"
            }
            TaskState::Completed => {
                "it is complete, and all that it has done stands, so a rerun does it once more. Whoever wants that has to say so"
            }
            TaskState::Compensated(End::Cancelled) => {
                "its customer or an operator has cancelled it. Whoever wants it all the same has to say so"
            }
            TaskState::Compensated(End::Error) => {
                rerun(&harness, task, 7).await.unwrap();
                continue;
            }
        };
        let refused = rerun(&harness, task, 7).await.unwrap_err();
        assert_eq!(refused, format!("cannot rerun task: {said}"), "{state:?}");
        let again = rerun_by(&harness, &actor(), task, 7, true).await;
        let may = matches!(state, TaskState::Completed | TaskState::Compensated(_));
        assert_eq!(again.is_ok(), may, "{state:?}");
        assert_eq!(reserved(&harness, task), again.ok(), "{state:?}");
    }
}

/// What was read of a complete task is from before a redrive, or from within a cancellation that was refused.
#[tokio::test(start_paused = true)]
async fn complete_task_is_not_rerun_while_one_of_its_steps_may_run() {
    for state in StepState::ALL {
        let (harness, task) = in_state(TaskState::Completed).await;
        harness.memory().force_step(task, "s0", state);
        let answer = rerun_by(&harness, &actor(), task, 7, true).await;
        assert_eq!(answer.is_ok(), state.is_done(), "{state}: {answer:?}");
    }
    let (harness, task) = in_state(TaskState::Completed).await;
    harness.memory().force_step(task, "s0", StepState::Error);
    let refused = rerun_by(&harness, &actor(), task, 7, true).await.unwrap_err();
    assert_eq!(
        refused,
        "cannot rerun task: its optional step `s0` has failed, and may still be redriven; redrive or resolve it first"
    );
    harness.memory().store.force(Key::Task(task), vec![Change::Remove(attribute::FAILED_STEPS)]).unwrap();
    let refused = rerun_by(&harness, &actor(), task, 7, true).await.unwrap_err();
    assert_eq!(refused, "cannot rerun task: step `s0` is error, so it may still run; wait for its end");
}

#[tokio::test(start_paused = true)]
async fn task_with_a_failed_compensation_is_rerun_only_if_somebody_says_so() {
    let harness = Harness::new(
        Workflow::from_yaml(
            "{name: graph, namespace_name: tests, step_templates: [
               {name: s0, compensation: {name: u0, optional: true, default_retry_limit: 1}}, {name: s1, depends_on_step: s0}]}",
        )
        .unwrap(),
    );
    let harness = harness.with_all(crate::testing::Returns("null"));
    harness.fail("s1", [no()]);
    harness.fail("u0", [no()]);
    let task = harness.begin().await;
    harness.run(task).await.unwrap();
    assert_eq!(harness.state(task), TaskState::Compensated(End::Error));
    let refused = rerun(&harness, task, 7).await.unwrap_err();
    assert!(refused.contains("its compensation `u0` has failed, so what that had to undo may stand"), "{refused}");
    assert_eq!(reserved(&harness, task), None);
    rerun_by(&harness, &actor(), task, 7, true).await.unwrap();
}

/// A step that fails, or is redriven, while the rerun is being asked for.
#[tokio::test(start_paused = true)]
async fn redrive_of_a_complete_task_and_its_rerun_do_not_meet() {
    let harness = Arc::new(graph(STEPS, &[], ""));
    let task = harness.begin().await;
    harness.memory().force_step(task, "s0", StepState::Error);
    harness.memory().force_task(task, TaskState::Completed);
    harness.memory().optional(task, "s0");
    rerun_by(&harness, &actor(), task, 7, true).await.unwrap_err();
    harness.client().redrive(task, &actor()).await.unwrap();
    let refused = rerun_by(&harness, &actor(), task, 7, true).await.unwrap_err();
    assert_eq!(refused, "cannot rerun task: step `s0` is pending, so it may still run; wait for its end");
    harness.run_for(Duration::from_secs(60)).await.unwrap();
    assert_eq!((harness.step(task, "s0").state, reserved(&harness, task)), (StepState::Complete, None));
    rerun_by(&harness, &actor(), task, 7, true).await.unwrap();
}

/// A reservation that broke off holds nothing up: of a task that may be rerun no step can be redriven or resolved.
#[tokio::test(start_paused = true)]
async fn abandoned_reservation_changes_no_answer_to_another_action() {
    for complete in [true, false] {
        let (harness, task) = if complete {
            let harness = graph(STEPS, &[0], "");
            let task = harness.begin().await;
            harness.run(task).await.unwrap();
            (harness, task)
        } else {
            compensated().await
        };
        let client = harness.client();
        let answers = async || {
            let redriven = client.redrive(task, &actor()).await.map(drop).unwrap_err().to_string();
            let resolved = client.resolve(task, &actor()).await.unwrap_err().to_string();
            let step = client.resolve_step(task, "s0", by_hand("1"), &actor()).await.unwrap_err().to_string();
            (redriven, resolved, step, client.compensate(task, &actor()).await.unwrap_err().to_string())
        };
        let before = answers().await;
        harness.fail_call("create", [FailureKind::Refused]);
        rerun_by(&harness, &actor(), task, 7, true).await.unwrap_err();
        assert!(reserved(&harness, task).is_some());
        assert_eq!(answers().await, before);
    }
}

/// What it gives back is not charged a second time, and a person may help with that.
#[tokio::test(start_paused = true)]
async fn complete_task_that_was_rerun_can_be_cancelled_and_its_compensation_redriven() {
    let harness = graph(STEPS, &[0], "");
    let task = harness.begin().await;
    harness.run(task).await.unwrap();
    rerun_by(&harness, &actor(), task, 7, true).await.unwrap();
    harness.fail(&compensation(0), [no(), no()]);
    harness.client().cancel(task, &actor()).await.unwrap();
    let state = || harness.step(task, &compensation(0)).state;
    harness
        .run_until(task, |snapshot| snapshot.compensations.iter().any(|step| step.state == StepState::Error))
        .await
        .unwrap();
    harness.client().redrive(task, &actor()).await.unwrap();
    harness.run_for(Duration::from_secs(60)).await.unwrap();
    assert_eq!(state(), StepState::Error);
    harness.client().resolve_step(task, &compensation(0), by_hand("1"), &actor()).await.unwrap();
    let end = harness.run(task).await.unwrap();
    assert_eq!((end.task.state, state()), (TaskState::Compensated(End::Cancelled), StepState::ResolvedManually));
    assert_eq!(end.task.goes_on_as(), None, "its rerun stands beside it");
}

#[tokio::test(start_paused = true)]
async fn task_that_never_started_or_has_expired_is_not_rerun() {
    let (harness, task) = compensated().await;
    let never = TaskId::new();
    harness.client().rule_out(&one_step(), never, &actor()).await.unwrap();
    let refused = rerun(&harness, never, 7).await.unwrap_err();
    assert_eq!(refused, "cannot rerun task: it never started, so it has no input");
    let nowhere = TaskId::new();
    assert_eq!(rerun(&harness, nowhere, 7).await.unwrap_err(), format!("there is no task {nowhere}"));
    // Its rerun may be deleted then, so that the same request would start it once more.
    harness.fail_call("create", [FailureKind::Refused]);
    rerun(&harness, task, 7).await.unwrap_err();
    let request = RerunRequest::new(&json!({ "input": 7 }).to_string(), false);
    harness.skip(RETENTION - Duration::from_secs(60 * 60)).await;
    harness.client().find_rerun(task, &request).await.unwrap();
    harness.skip(Duration::from_secs(60 * 60)).await;
    let expired = harness.client().find_rerun(task, &request).await.unwrap_err();
    assert!(matches!(expired, ActionError::NotRerun(NotRerun::Expired(_))), "{expired}");
}

// ---- From a later step

/// A root `s0`, and `s1` before `s2` and `s3`, which join in `s4`. `s5` is a leaf after `s1`.
const BESIDE: &[&[usize]] = &[&[], &[], &[1], &[1], &[2, 3], &[1]];

fn beside() -> Workflow {
    workflow(BESIDE, &[], "")
}

/// A task of that graph that is complete.
async fn complete_beside() -> (Harness, TaskId) {
    let harness = graph(BESIDE, &[], "");
    let task = harness.begin().await;
    harness.run(task).await.unwrap();
    assert_eq!(harness.state(task), TaskState::Completed);
    (harness, task)
}

/// The start of the rerun of this task from a step, with this workflow.
async fn prepared_from(
    harness: &Harness,
    of: TaskId,
    step: &str,
    again: bool,
    now: &Workflow,
) -> Result<PendingStart, String> {
    let client = harness.client();
    let request = RerunRequest::new("", again).beginning_at(step.to_owned());
    let found = client.find_rerun(of, &request).await.map_err(|error| error.to_string())?;
    let Rerun::Next(found) = found else { panic!("it is made") };
    let start = client.prepare_start(now, &json!({ "input": 7 }), None).await.unwrap();
    match client.reserve_rerun(&found, &request, start, &actor()).await.map_err(|error| error.to_string())? {
        Rerun::Next(start) => Ok(start),
        Rerun::Made(task) => panic!("{task} was made before"),
    }
}

/// What has not run: its results are those of the old task.
fn kept(harness: &Harness, task: TaskId) -> Vec<String> {
    let names = (0..BESIDE.len()).map(|step| format!("s{step}"));
    names.filter(|name| harness.step(task, name).kept_from.is_some()).collect()
}

#[tokio::test(start_paused = true)]
async fn rerun_from_a_step_keeps_what_was_done_before_and_beside_it_and_runs_the_rest() {
    let (harness, of) = complete_beside().await;
    let refused = prepared_from(&harness, of, "s2", false, &beside()).await.unwrap_err();
    assert!(refused.contains("it is complete"), "s2 and s4 are done once more: {refused}");
    let start = prepared_from(&harness, of, "s2", true, &beside()).await.unwrap();
    let new = harness.client().write_start(start).await.unwrap().task_id;
    let snapshot = harness.run(new).await.unwrap();
    assert_eq!(snapshot.task.state, TaskState::Completed);
    assert_eq!(kept(&harness, new), ["s0", "s1", "s3", "s5"]);
    for (step, old) in snapshot.steps.iter().zip(&harness.client().snapshot(of).await.unwrap().unwrap().steps) {
        let is_kept = step.kept_from == Some(of);
        assert_eq!((step.attempt, step.attempts.len()), if is_kept { (0, 0) } else { (1, 1) }, "{step:?}");
        assert!(!is_kept || step.result == old.result, "{step:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn messages_of_a_rerun_from_a_step_that_were_lost_are_sent_again() {
    let (harness, of) = complete_beside().await;
    let start = prepared_from(&harness, of, "s4", true, &beside()).await.unwrap();
    let first = harness.client().write_start(start.clone()).await.unwrap();
    harness.lose_messages();
    // By the same start, once more.
    let again = harness.client().write_start(start).await.unwrap();
    assert_eq!((again.task_id, again.already_there), (first.task_id, true));
    let sent = harness.sent().len();
    harness.lose_messages();
    // And by the watchdog.
    let snapshot = harness.run(first.task_id).await.unwrap();
    assert_eq!(snapshot.task.state, TaskState::Completed);
    assert_eq!(kept(&harness, first.task_id), ["s0", "s1", "s2", "s3", "s5"]);
    assert!(harness.sent().len() > sent, "the watchdog sent them");
}

#[test_case::test_case("s9", &beside(), "its workflow has no step `s9` to begin at"; "an unknown step")]
#[test_case("s2", &workflow(BESIDE, &[1], ""), "its workflow has other steps or secrets now"; "a compensation is new")]
#[test_case("s2", &workflow(&[&[], &[0], &[1], &[1], &[2, 3], &[1]], &[], ""), "its workflow has other steps or secrets now"; "a step waits for another one now")]
#[tokio::test(start_paused = true)]
async fn rerun_from_a_step_of_another_graph_is_refused_and_reserves_nothing(step: &str, now: &Workflow, why: &str) {
    let (harness, of) = complete_beside().await;
    let refused = prepared_from(&harness, of, step, true, now).await.unwrap_err();
    assert!(refused.starts_with(&format!("cannot rerun task: {why}")), "{refused}");
    assert_eq!(harness.client().snapshot(of).await.unwrap().unwrap().task.rerun_as, None);
}

/// Whoever undoes one of the two tasks would undo what the other one stands on.
#[tokio::test(start_paused = true)]
async fn nothing_is_kept_of_a_workflow_with_compensations() {
    let harness = graph(BESIDE, &[5], "");
    let of = harness.begin().await;
    harness.run(of).await.unwrap();
    let refused = prepared_from(&harness, of, "s2", true, &workflow(BESIDE, &[5], "")).await.unwrap_err();
    assert!(refused.starts_with("cannot rerun task: its workflow has compensations, such as `u5`"), "{refused}");
}

/// What is kept is not done twice, so nobody has to want that; what was attempted and runs again is asked about.
#[tokio::test(start_paused = true)]
async fn only_what_runs_once_more_is_a_reason_to_ask_whether_it_is_wanted() {
    let steps: &[&[usize]] = &[&[], &[0]];
    let harness = graph(steps, &[], "");
    harness.fail("s1", [no()]);
    let of = harness.begin().await;
    harness.run(of).await.unwrap();
    harness.client().compensate(of, &actor()).await.unwrap();
    harness.run(of).await.unwrap();
    let from =
        async |step: &str| prepared_from(&harness, of, step, false, &workflow(steps, &[], "")).await.unwrap_err();
    assert!(from("s0").await.contains("its step `s0` was attempted and has no compensation"));
    assert!(from("s1").await.contains("its step `s1` was attempted and has no compensation"), "not s0");
}

#[test]
fn request_from_another_step_is_another_request() {
    let from = |step: &str| RerunRequest::new("text", true).beginning_at(step.to_owned());
    assert_eq!(from("s1"), from("s1"));
    assert_ne!(from("s1"), from("s2"));
    assert_ne!(from("s1"), RerunRequest::new("text", true));
}
