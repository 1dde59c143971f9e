//! The actions of operators: the states that allow them, their answers, and their entries in the audit trail.

use crate::{
    ActionError, Actor, FailureKind, TaskId,
    core::{
        index::{FIRST_INSPECTION_AFTER, IndexPartition},
        limits::MAX_RESULT_BYTES,
        record::{Action, ActionKind},
        state::{End, StepState, TaskState, TaskStatus},
    },
    retryable,
    runtime::client::RUN_NOW_PAUSE,
    testing::{
        Harness, StepFault, VirtualClock,
        fixtures::{
            compensation,
            staged::{actor, by_hand, graph, no},
        },
    },
};
use std::{sync::Arc, time::Duration};

/// A task of one step and its compensation, in this state. Both have failed if the state allows it.
pub(super) async fn in_state(state: TaskState) -> (Harness, TaskId) {
    let harness = graph(&[&[]], &[0], "");
    let task = harness.begin().await;
    harness.lose_messages();
    let memory = harness.memory();
    let failed = match state {
        TaskState::Failed | TaskState::Cancelled => Some("s0".to_owned()),
        TaskState::Compensating(_) => Some(compensation(0)),
        _ => None,
    };
    if let Some(failed) = failed {
        memory.force_step(task, &failed, StepState::Error);
    }
    memory.force_task(task, state);
    (harness, task)
}

/// Does this action on a task.
async fn act(harness: &Harness, task: TaskId, what: ActionKind) -> Result<(), ActionError> {
    let client = harness.client();
    match what {
        ActionKind::Redrive => client.redrive(task, &actor()).await.map(drop),
        ActionKind::Cancel => client.cancel(task, &actor()).await.map(drop),
        ActionKind::Compensate => client.compensate(task, &actor()).await,
        ActionKind::Resolve => client.resolve(task, &actor()).await,
        ActionKind::RunNow | ActionKind::RedriveNow => client.run_now(task, &actor()).await.map(drop),
        ActionKind::ResolveStep | ActionKind::DeadLetter => {
            client.resolve_step(task, "s0", by_hand("{}"), &actor()).await
        }
        ActionKind::Rerun => unreachable!("it has tests of its own"),
    }
}

#[tokio::test(start_paused = true)]
async fn action_is_done_in_the_states_that_allow_it_and_refused_in_all_others() {
    use ActionKind::{Cancel, Compensate, Redrive, Resolve, ResolveStep};
    use TaskState::{Cancelled, Compensated, Compensating, Completed, Failed, Resolved, Running};
    // An attempted step has to be compensated first. A running task has none, so it is compensated at once.
    let leads_to = |state, what| match (state, what) {
        (Failed, Redrive) | (Running | Failed, ResolveStep) => Some(Running),
        (Compensating(end), Redrive) => Some(Compensating(end)),
        (Running | Completed, Cancel) => Some(Compensated(End::Cancelled)),
        (Failed, Cancel) | (Cancelled, Compensate) => Some(Compensating(End::Cancelled)),
        (Failed, Compensate) => Some(Compensating(End::Error)),
        (Running | Failed, Resolve) => Some(Resolved),
        _ => None,
    };
    let verb = |what| match what {
        ResolveStep => "resolve a step of a",
        what => ActionKind::as_str(what),
    };
    for state in TaskState::ALL {
        for what in [Redrive, Cancel, Compensate, Resolve, ResolveStep] {
            let (harness, task) = in_state(state).await;
            let before = harness.snapshot(task).await.unwrap();
            let answer = act(&harness, task, what).await;
            let after = harness.snapshot(task).await.unwrap();
            match leads_to(state, what) {
                Some(to) => {
                    answer.unwrap();
                    assert_eq!(after.task.state, to, "{what:?} in {state:?}");
                    let goes_on = to == Running || to.is_compensating();
                    let at = if goes_on { harness.now() + FIRST_INSPECTION_AFTER } else { harness.now() };
                    assert_eq!(harness.memory().store.listed(task).unwrap().at, at, "{what:?} in {state:?}");
                    let Action { at, what: done, step, who, why, bulk: _, rerun_as: _ } = after.task.actions[0].clone();
                    assert_eq!((at, done, who.as_str(), why.as_str()), (harness.now(), what, "somebody", "a test"));
                    assert_eq!(step.as_deref(), (what == ResolveStep).then_some("s0"));
                }
                // The compensation is ready, not the step.
                None if state.is_compensating() && what == ResolveStep => {
                    let status = TaskStatus::Compensating;
                    assert_eq!(
                        answer.unwrap_err().to_string(),
                        format!("cannot resolve a step of a task in {status} status")
                    );
                }
                None => {
                    let closed = if matches!(state, Compensated(_)) { ": it has been compensated" } else { "" };
                    let refused = format!("cannot {} task in {} status{closed}", verb(what), state.status());
                    assert_eq!(answer.unwrap_err().to_string(), refused, "{what:?} in {state:?}");
                    assert_eq!(after, before, "{what:?} in {state:?}");
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn action_on_a_missing_task_is_refused() {
    let (harness, nobody) = (graph(&[&[]], &[], ""), TaskId::new());
    use ActionKind::{Cancel, Compensate, Redrive, Resolve, ResolveStep, RunNow};
    for what in [Redrive, RunNow, Cancel, Compensate, Resolve, ResolveStep] {
        let refused = act(&harness, nobody, what).await.unwrap_err();
        assert_eq!(refused.to_string(), format!("there is no task {nobody}"), "{what:?}");
    }
    assert_eq!(harness.memory().store.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn redrive_gives_failed_steps_fresh_attempts_and_keeps_done_steps() {
    let harness = graph(&[&[], &[0], &[1]], &[], "");
    harness.fail("s1", [no(), no()]);
    let task = harness.begin().await;
    assert_eq!(harness.run(task).await.unwrap().status(), TaskStatus::Error);
    let before = harness.client().redrive(task, &actor()).await.unwrap();
    assert_eq!((before.task.state, before.task.failed_steps.len()), (TaskState::Failed, 1), "as it was before");
    let message = harness.sent().pop().unwrap();
    assert_eq!((message.step.as_str(), message.load), ("s1", vec!["s0".to_owned()]));
    harness.run(task).await.unwrap();
    harness.client().redrive(task, &actor()).await.unwrap();
    let snapshot = harness.run(task).await.unwrap();
    assert_eq!(snapshot.status(), TaskStatus::Complete);
    assert_eq!(
        snapshot.steps.iter().map(|step| (step.attempt, step.uncounted_attempts)).collect::<Vec<_>>(),
        [(1, 0), (3, 2), (1, 0)]
    );
}

/// Lets a task fail and redrives it, until a redrive is refused.
async fn redriven_until_refused(harness: &Harness, task: TaskId, actor: &Actor) -> ActionError {
    for _ in 0..300 {
        harness.fail("s0", [no()]);
        harness.run(task).await.unwrap();
        if let Err(refused) = harness.client().redrive(task, actor).await {
            return refused;
        }
    }
    panic!("redriven without end")
}

#[tokio::test(start_paused = true)]
async fn task_with_a_full_audit_trail_is_not_redriven() {
    let harness = graph(&[&[]], &[], "");
    let task = harness.begin().await;
    let wordy = Actor::new("s".repeat(Actor::MAX_WHO), "a".repeat(Actor::MAX_WHY)).unwrap();
    let refused = redriven_until_refused(&harness, task, &wordy).await;
    assert!(matches!(&refused, ActionError::TrailFull), "{refused}");
    let snapshot = harness.snapshot(task).await.unwrap();
    let (redrives, step) = (snapshot.task.actions.len(), &snapshot.steps[0]);
    assert!((50..100).contains(&redrives), "{redrives} redrives of about 0.8 KB each");
    let omitted = usize::try_from(step.omitted_attempts["NO"]).unwrap();
    assert_eq!((step.attempts.len(), omitted), (50, redrives + 1 - 50), "the step's own trail is not full");
    harness.client().resolve(task, &wordy).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn task_read_as_failed_before_its_step_is_read_again() {
    let harness = graph(&[&[]], &[], "");
    let (task, memory) = (harness.begin().await, harness.memory().clone());
    harness.lose_messages();
    harness.meanwhile("load_all", async move {
        memory.force_step(task, "s0", StepState::Error);
        memory.force_task(task, TaskState::Failed);
    });
    harness.client().redrive(task, &actor()).await.unwrap();
    assert_eq!(harness.run(task).await.unwrap().status(), TaskStatus::Complete);
}

#[tokio::test(start_paused = true)]
async fn action_is_given_up_after_persistent_conflicts() {
    let harness = graph(&[&[]], &[], "");
    let task = harness.begin().await;
    let memory = harness.memory();
    memory.force_step(task, "s0", StepState::Error);
    memory.force_step(task, "s0", StepState::Pending);
    memory.force_task(task, TaskState::Failed);
    let refused = harness.client().redrive(task, &actor()).await.unwrap_err();
    assert_eq!(refused.to_string(), format!("the task {task} keeps changing; try again"));
    // Half of 10, 20, 40, 80 and 15 times 160 ms.
    assert_eq!(harness.now().since(VirtualClock::START), Duration::from_millis(1_275));
}

#[tokio::test(start_paused = true)]
async fn second_of_two_concurrent_actions_is_refused_with_the_new_status() {
    let harness = Arc::new(graph(&[&[]], &[], ""));
    let (task, there) = (harness.begin().await, harness.clone());
    harness.meanwhile("close_or_compensate", async move { there.client().resolve(task, &actor()).await.unwrap() });
    let refused = harness.client().cancel(task, &actor()).await.unwrap_err();
    assert_eq!(refused.to_string(), "cannot cancel task in resolved_manually status");
    assert_eq!(harness.snapshot(task).await.unwrap().task.actions.len(), 1);

    harness.fail("s0", [no()]);
    let (task, there) = (harness.begin().await, harness.clone());
    harness.run(task).await.unwrap();
    harness.meanwhile("redrive", async move {
        there.client().redrive(task, &actor()).await.unwrap();
    });
    let refused = harness.client().redrive(task, &actor()).await.unwrap_err();
    assert_eq!(refused.to_string(), "cannot redrive task in pending status");
    assert_eq!(harness.woken(), ["s0", "s0", "s0"], "two starts and one redrive");
}

#[tokio::test(start_paused = true)]
async fn action_whose_send_fails_takes_effect_and_the_watchdog_sends() {
    let harness = graph(&[&[]], &[], "").call_by_call();
    harness.fail("s0", [no()]);
    let task = harness.begin().await;
    harness.run(task).await.unwrap();
    harness.fail_call("send", [FailureKind::Throttled]);
    let failed = harness.client().redrive(task, &actor()).await.unwrap_err();
    assert_eq!(failed.to_string(), "the queue `graph-s0`: send was throttled: as the test wants it");
    assert_eq!((harness.state(task), harness.step(task, "s0").state), (TaskState::Running, StepState::Pending));
    assert_eq!(harness.run(task).await.unwrap().status(), TaskStatus::Complete);
    let failed = harness.client();
    harness.fail_call("load_all", [FailureKind::Refused]);
    let failed = failed.resolve(task, &actor()).await.unwrap_err();
    assert_eq!(failed.to_string(), "load_all was refused: as the test wants it");
}

#[tokio::test(start_paused = true)]
async fn cancelled_task_is_compensated_unless_its_policy_is_manual() {
    let undone = (TaskStatus::Compensating, TaskState::Compensated(End::Cancelled));
    for (head, undone_steps, leads_to) in [
        ("", &[0][..], undone),
        ("compensate: on_cancel,", &[0], undone),
        ("compensate: manual,", &[0], (TaskStatus::Cancelled, TaskState::Cancelled)),
        ("", &[], (TaskStatus::Cancelled, TaskState::Cancelled)),
    ] {
        let harness = graph(&[&[], &[0]], undone_steps, head);
        let task = harness.begin().await;
        harness.run_until(task, |snapshot| snapshot.step("s0").unwrap().state.is_done()).await.unwrap();
        let answer = harness.client().cancel(task, &actor()).await.unwrap();
        let snapshot = harness.run(task).await.unwrap();
        assert_eq!((answer, snapshot.task.state), leads_to, "{head} {undone_steps:?}");
        assert_eq!(snapshot.step("s1").unwrap().attempts, [], "no other step starts");
    }
}

#[tokio::test(start_paused = true)]
async fn resolved_step_dispatches_its_dependents() {
    let harness = graph(&[&[], &[0]], &[], "");
    harness.fail("s0", [no()]);
    let task = harness.begin().await;
    harness.run(task).await.unwrap();
    let client = harness.client();
    client.resolve_step(task, "s0", by_hand(r#"{"by":"hand"}"#), &actor()).await.unwrap();
    let snapshot = harness.run(task).await.unwrap();
    assert_eq!((snapshot.status(), snapshot.task.failed_steps.len()), (TaskStatus::Complete, 0));
    let step = snapshot.step("s0").unwrap();
    assert_eq!((step.state, step.error.as_ref()), (StepState::ResolvedManually, None));
    assert_eq!(step.result.as_deref(), Some(r#"{"by":"hand"}"#));
    assert_eq!(snapshot.step("s1").unwrap().state, StepState::Complete);
}

#[tokio::test(start_paused = true)]
async fn step_is_resolved_only_if_it_is_ready_and_not_leased() {
    let harness = graph(&[&[], &[], &[0, 1]], &[], "");
    let task = harness.begin().await;
    let client = harness.client();
    let refused = async |step: &str, result: &str| {
        client.resolve_step(task, step, by_hand(result), &actor()).await.unwrap_err().to_string()
    };
    assert_eq!(refused("s9", "{}").await, "the task has no step `s9`");
    assert_eq!(refused("s2", "{}").await, "cannot resolve step `s2`: it waits for s0, s1");
    harness.memory().force_step(task, "s0", StepState::InProgress);
    assert_eq!(refused("s0", "{}").await, "cannot resolve step `s0` in in_progress state");
    harness.memory().force_step(task, "s0", StepState::Complete);
    assert_eq!(refused("s0", "{}").await, "cannot resolve step `s0` in complete state");
    assert_eq!(refused("s2", "{}").await, "cannot resolve step `s2`: it waits for s1");
    let larger = "1".repeat(MAX_RESULT_BYTES + 1);
    assert_eq!(
        refused("s1", &larger).await,
        format!("the result has {} bytes; at most 262144 can be kept", larger.len())
    );
    assert_eq!(harness.snapshot(task).await.unwrap().task.actions, []);
    client.resolve_step(task, "s1", by_hand(&larger[1..]), &actor()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn task_stays_failed_until_its_last_failed_step_is_resolved() {
    let harness = graph(&[&[], &[]], &[], "");
    harness.fail("s0", [no()]);
    harness.fail("s1", [no()]);
    let task = harness.begin().await;
    harness.run(task).await.unwrap();
    let client = harness.client();
    client.resolve_step(task, "s0", by_hand("{}"), &actor()).await.unwrap();
    let seen = async || {
        let record = harness.snapshot(task).await.unwrap().task;
        (record.state, record.failed_steps.into_iter().collect::<Vec<_>>(), record.finished_at.is_some())
    };
    let listed = || harness.memory().store.listed(task).map(|place| (place.partition, place.at)).unwrap();
    assert_eq!(seen().await, (TaskState::Failed, vec!["s1".to_owned()], true));
    assert_eq!(
        listed(),
        (IndexPartition::Compensating, harness.now() + FIRST_INSPECTION_AFTER),
        "what depends on it goes on"
    );
    client.resolve_step(task, "s1", by_hand("{}"), &actor()).await.unwrap();
    assert_eq!(seen().await, (TaskState::Running, vec![], false));
    assert_eq!(listed(), (IndexPartition::Pending, harness.now() + FIRST_INSPECTION_AFTER));
    assert_eq!(harness.run(task).await.unwrap().status(), TaskStatus::Complete);
}

#[test]
fn actor_has_a_short_and_printable_name_and_reason() {
    let wrong = |who: &str, why: &str| Actor::new(who, why).unwrap_err().to_string();
    let who = "who has to have 1 to 256 characters, and no control characters among them";
    let why = "why has to have 1 to 500 characters, and no control characters among them";
    for text in ["", " ", "a\nb", &"é".repeat(Actor::MAX_WHO + 1)] {
        assert_eq!(wrong(text, "why"), who, "{text:?}");
    }
    for text in ["", " ", "a\nb", &"é".repeat(Actor::MAX_WHY + 1)] {
        assert_eq!(wrong("who", text), why, "{text:?}");
    }
    Actor::new("é".repeat(Actor::MAX_WHO), "é".repeat(Actor::MAX_WHY)).unwrap();
}

/// A task of one step, which asks for this wait after each of its attempts.
pub(super) async fn waiting(wait: Duration) -> (Harness, TaskId) {
    let harness = graph(&[&[]], &[], "");
    let error = retryable("BUSY", "try again").retry_after(wait);
    harness.fail("s0", vec![StepFault::Error(error); 10]);
    let task = harness.begin().await;
    waits(&harness, task).await;
    (harness, task)
}

async fn waits(harness: &Harness, task: TaskId) {
    harness.run_until(task, |snapshot| snapshot.steps[0].state == StepState::Retrying).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn step_that_waits_runs_now_and_gets_no_more_attempts() {
    let (harness, task) = waiting(Duration::from_secs(25)).await;
    let max_attempts = harness.snapshot(task).await.unwrap().task.plan.steps()[0].max_attempts;
    let mut pressed = 0;
    // Somebody presses each second.
    while harness.step(task, "s0").state == StepState::Retrying {
        let due = harness.client().run_now_after_pause(task).await.unwrap();
        assert_eq!(harness.step(task, "s0").next_retry_at, Some(due));
        pressed += 1;
        harness.run_for(Duration::from_secs(1)).await.unwrap();
    }
    let step = harness.step(task, "s0");
    assert_eq!((step.state, step.attempt), (StepState::Error, max_attempts));
    for attempts in step.attempts.windows(2) {
        let pause = attempts[1].started_at.since(attempts[0].finished_at.unwrap());
        assert_eq!(pause, RUN_NOW_PAUSE, "earlier than planned, and not at once");
    }
    assert!(pressed > max_attempts, "most of them changed nothing");
    let messages = usize::try_from(max_attempts).unwrap();
    assert_eq!(harness.woken().len(), messages, "one for the start, and one for each retry that was moved");
    assert!(harness.snapshot(task).await.unwrap().task.actions.is_empty());
}

#[tokio::test(start_paused = true)]
async fn retry_that_is_due_soon_stays_as_it_is() {
    let (harness, task) = waiting(Duration::from_secs(4)).await;
    let planned = harness.step(task, "s0").next_retry_at;
    assert_eq!(harness.client().run_now_after_pause(task).await.ok(), planned);
    assert_eq!((harness.step(task, "s0").next_retry_at, harness.woken().len()), (planned, 1));
}

#[tokio::test(start_paused = true)]
async fn step_that_does_not_wait_is_not_run_now() {
    for state in TaskState::ALL {
        let (harness, task) = in_state(state).await;
        let refused = harness.client().run_now_after_pause(task).await.unwrap_err();
        assert!(matches!(refused, ActionError::NothingWaits(_)), "{state:?}: {refused}");
    }
    // Another delivery claims the step between the read and the write.
    let (harness, task) = waiting(Duration::from_secs(60)).await;
    harness.skip(Duration::from_secs(20)).await;
    let memory = harness.memory().clone();
    harness.meanwhile("reschedule", async move {
        memory.force_step(task, "s0", StepState::InProgress);
    });
    let refused = harness.client().run_now_after_pause(task).await.unwrap_err();
    assert_eq!(refused.to_string(), "no step of the task waits for a retry: it is in_progress");
}
