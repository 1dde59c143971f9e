//! Applies every transition in every state on the store in memory: it takes effect if and only if the state machine allows it.

use super::{
    item::{Key, attribute},
    step, task,
    transition::{Change, Event, Transition},
};
use crate::{
    core::{
        id::TaskId,
        record::Trail,
        record::{
            Action, ActionKind, AttemptRecord, Failure, KEY_RETENTION, KeyRecord, Lease, NewTask, Outcome, RETENTION,
            STEP_RETENTION, StepRecord,
        },
        snapshot::TaskSnapshot,
        state::{End, StepEvent, StepState, TaskEvent, TaskState},
        step::ClaimRequest,
        task::Termination,
        timestamp::Timestamp,
    },
    testing::{
        MemoryStore, Written,
        fixtures::{at, snapshot, with_optional},
    },
};
use serde_json::json;
use std::collections::BTreeSet;

const STEP: &str = "s0";

/// Its compensation.
const UNDO: &str = "u0";

/// An optional step that depends on it.
const OPTIONAL: &str = "s1";

/// A task of one step, its compensation and an optional step, in a store of its own.
fn started() -> (MemoryStore, TaskSnapshot) {
    let snapshot = with_optional(snapshot(&[&[], &[0]], &[0]), &[OPTIONAL]);
    let store = MemoryStore::default();
    let TaskSnapshot { task, .. } = &snapshot;
    let new = NewTask {
        correlation_id: None,
        id: task.id,
        workflow: task.workflow.clone(),
        context: &task.context,
        plan: &task.plan,
        created_at: task.created_at,
    };
    assert!(written(&store, &task::create(&new)));
    (store, snapshot)
}

fn written(store: &MemoryStore, transition: &Transition) -> bool {
    store.apply_observed(transition, |_| ()).unwrap().is_written()
}

/// Sets the state of the step, after attempt 2, with a lease or a wait that ends at second 10.
fn put_step(store: &MemoryStore, task: TaskId, state: StepState) {
    let moment = at(10).as_millis();
    let mut changes = vec![Change::Set(attribute::STATE, json!(state)), Change::Set(attribute::ATTEMPT, json!(2))];
    if state == StepState::InProgress {
        changes.push(Change::Set(attribute::OWNER, json!("request-1/message")));
        changes.push(Change::Set(attribute::STARTED_AT, json!(at(1).as_millis())));
        changes.push(Change::Set(attribute::LEASE_UNTIL, json!(moment)));
    }
    if state == StepState::Retrying {
        changes.push(Change::Set(attribute::NEXT_RETRY_AT, json!(moment)));
    }
    if state == StepState::Error {
        changes.push(Change::Set(attribute::ERROR, json!({"code": "NO", "message": ""})));
    }
    store.force(Key::Step(task, STEP.to_owned()), changes).unwrap();
}

/// Sets the state of the task. The order of its compensations, if it has any, is written.
fn put_state(store: &MemoryStore, task: TaskId, state: TaskState) {
    let [ends_as, order] = match state.ends_as() {
        Some(end) => {
            [Change::Set(attribute::ENDS_AS, json!(end)), Change::Set(attribute::COMPENSATIONS, json!([UNDO]))]
        }
        None => [attribute::ENDS_AS, attribute::COMPENSATIONS].map(Change::Remove),
    };
    let status = Change::Set(attribute::STATUS, json!(state.stored_word()));
    store.force(Key::Task(task), vec![status, ends_as, order]).unwrap();
}

fn lease(task: TaskId, attempt: u32) -> Lease {
    let owner = "request-1/message".to_owned();
    Lease {
        task,
        step: STEP.to_owned(),
        attempt,
        uncounted_attempts: 0,
        trail: Trail::default(),
        owner,
        started_at: at(1),
        until: at(10),
    }
}

fn attempt(outcome: Outcome) -> AttemptRecord {
    let error = (outcome != Outcome::Complete).then(failure);
    AttemptRecord { error, next_retry_at: Some(at(20)), ..lease(TaskId::new(), 2).ended(at(9), outcome, None) }
}

fn failure() -> Failure {
    Failure { code: "NO".to_owned(), message: "no".to_owned() }
}

fn action(what: ActionKind) -> Action {
    Action {
        at: at(11),
        what,
        step: None,
        who: "somebody".to_owned(),
        why: "a test".to_owned(),
        bulk: None,
        rerun_as: None,
    }
}

fn claim(task: TaskId, now: Timestamp) -> ClaimRequest<'static> {
    ClaimRequest { task, step: STEP, owner: "request-2/message", now, lease_until: at(99) }
}

/// The step's transition for this event, made at this second.
fn of_step(store: &MemoryStore, id: TaskId, event: StepEvent, now: Timestamp) -> Option<Transition> {
    let (task, record) = (store.all(id).task.unwrap(), store.step(id, STEP));
    let request = claim(id, now);
    Some(match event {
        StepEvent::Claim if record.state == StepState::InProgress => step::take_over(&request, &record),
        StepEvent::Claim => step::claim(&request),
        StepEvent::Park => step::park(id, &record, &failure(), at(20), now),
        StepEvent::Release => step::release(&lease(id, 2)),
        StepEvent::Complete => step::complete(&lease(id, 2), &attempt(Outcome::Complete), "{}"),
        StepEvent::RetryLater => step::retry_later(&lease(id, 2), &attempt(Outcome::RetryableError)),
        StepEvent::Fail => step::fail(&task, &lease(id, 2), &attempt(Outcome::PermanentError)),
        StepEvent::DeadLetter => {
            task::dead_letter_step(&task, &record, &failure(), &Action { at: now, ..action(ActionKind::DeadLetter) })
        }
        StepEvent::MissDeadline => task::miss_deadline(&task, &record, &failure(), now),
        StepEvent::Redrive if record.state == StepState::Cancelled => {
            let refused = StepRecord { error: Some(failure()), ..store.step(id, UNDO) };
            return task::reinstate(&task, &[record], &[refused], now);
        }
        StepEvent::Redrive => return task::redrive(&task, &[&record], &action(ActionKind::Redrive)),
        StepEvent::Cancel => task::cancel_step(id, &record, now),
        StepEvent::Resolve => return task::resolve_step(&task, &record, "{}", &action(ActionKind::ResolveStep)),
    })
}

#[test]
fn step_transition_is_applied_if_and_only_if_the_state_machine_allows_its_event() {
    for state in StepState::ALL {
        for event in StepEvent::ALL {
            let (store, snapshot) = started();
            let id = snapshot.task.id;
            put_step(&store, id, state);
            if state == StepState::Error {
                put_state(&store, id, TaskState::Failed);
                let failed = vec![Change::Include(attribute::FAILED_STEPS, STEP.to_owned())];
                store.force(Key::Task(id), failed).unwrap();
            }
            if state == StepState::Cancelled {
                put_state(&store, id, TaskState::Compensating(End::Cancelled));
                let error =
                    vec![Change::Set(attribute::STATE, json!("error")), Change::Set(attribute::ATTEMPT, json!(2))];
                store.force(Key::Step(id, UNDO.to_owned()), error).unwrap();
            }
            let before = store.step(id, STEP);
            let Some(transition) = of_step(&store, id, event, at(11)) else {
                assert_eq!(state.on(event), None, "{event:?} in {state}");
                continue;
            };
            let write = transition.writes.iter().find(|write| write.key == Key::Step(id, STEP.to_owned())).unwrap();
            assert_eq!(write.event, Some(Event::Step(event)));
            let made_before = write.made_before.is_some() && event != StepEvent::Claim;
            let leads_here = StepState::InProgress.on(event) == Some(state) && made_before;
            // A transition for a snapshot has no event if the state of the snapshot allows none.
            let as_read = matches!(
                event,
                StepEvent::Park
                    | StepEvent::DeadLetter
                    | StepEvent::MissDeadline
                    | StepEvent::Cancel
                    | StepEvent::Resolve
            );
            if as_read && state.on(event).is_none() {
                continue;
            }
            assert_eq!(written(&store, &transition), state.on(event).is_some() || leads_here, "{event:?} in {state}");
            let after = store.step(id, STEP);
            match state.on(event) {
                Some(to) => assert_eq!(after.state, to, "{event:?} in {state}"),
                None => assert_eq!(after, before, "{event:?} in {state}"),
            }
        }
    }
}

#[test]
fn step_is_run_now_by_nobody_without_an_entry_in_the_audit_trail() {
    let action = |who: &str| Action {
        at: at(5),
        what: ActionKind::RunNow,
        step: None,
        who: who.to_owned(),
        why: "a test".to_owned(),
        bulk: None,
        rerun_as: None,
    };
    let waiting = || {
        let (store, TaskSnapshot { task, .. }) = started();
        put_step(&store, task.id, StepState::Retrying);
        let step = store.step(task.id, STEP);
        (store, task, step)
    };
    let (store, task, step) = waiting();
    let run_now = |who| task::run_now(&task, &[&step], &action(who)).unwrap();
    assert!(written(&store, &run_now("ann")));
    assert!(written(&store, &run_now("ann")), "once more, because its answer was lost");
    assert!(!written(&store, &run_now("bob")), "in the same millisecond");
    let entries = store.item(&Key::Task(task.id))[attribute::ACTIONS].clone();
    assert_eq!(entries, json!([action("ann")]));

    let (store, task, step) = waiting();
    assert!(written(&store, &step::reschedule(task.id, &step, at(5))), "a customer leaves no entry");
    assert!(!written(&store, &task::run_now(&task, &[&step], &action("ann")).unwrap()));
}

#[test]
fn step_misses_no_deadline_that_was_moved_meanwhile() {
    let (store, snapshot) = started();
    let id = snapshot.task.id;
    let missed = of_step(&store, id, StepEvent::MissDeadline, at(11)).unwrap();
    store.force(Key::Task(id), vec![Change::Set(attribute::DEADLINE_FROM, json!(at(10).as_millis()))]).unwrap();
    assert!(!written(&store, &missed));
    let missed = of_step(&store, id, StepEvent::MissDeadline, at(11)).unwrap();
    assert!(written(&store, &missed));
    assert!(written(&store, &missed), "it is this very write");
    assert_eq!((store.step(id, STEP).attempt, store.all(id).task.unwrap().state), (0, TaskState::Failed));
}

#[test]
fn transition_waits_for_the_lease_and_for_the_backoff() {
    for (state, event, second, made) in [
        (StepState::InProgress, StepEvent::Claim, 10, false),
        (StepState::InProgress, StepEvent::Claim, 11, true),
        (StepState::InProgress, StepEvent::DeadLetter, 10, false),
        (StepState::InProgress, StepEvent::Cancel, 10, false),
        (StepState::Retrying, StepEvent::Claim, 9, false),
        (StepState::Retrying, StepEvent::Claim, 10, true),
    ] {
        let (store, snapshot) = started();
        put_step(&store, snapshot.task.id, state);
        let transition = of_step(&store, snapshot.task.id, event, at(second)).unwrap();
        assert_eq!(written(&store, &transition), made, "{event:?} of {state} at second {second}");
    }
}

#[test]
fn claim_and_take_over_count_an_attempt_and_the_lost_one_is_kept() {
    let (store, snapshot) = started();
    let id = snapshot.task.id;
    put_step(&store, id, StepState::InProgress);
    assert!(written(&store, &of_step(&store, id, StepEvent::Claim, at(11)).unwrap()));
    let step = store.step(id, STEP);
    assert_eq!((step.attempt, step.owner.as_deref()), (3, Some("request-2/message")));
    let lost: Vec<_> = step.attempts.iter().map(|lost| (lost.number, lost.outcome, lost.finished_at)).collect();
    assert_eq!(lost, [(2, Outcome::Lost, Some(at(10)))]);
}

#[test]
fn item_has_an_expiry_from_its_first_write_on() {
    let (store, snapshot) = started();
    let id = snapshot.task.id;
    let mut seen = Vec::new();
    let mut expiry = |transition: &Transition| {
        let observed = |written: Written<'_>| seen.push(written.after.get(attribute::EXPIRES_AT).cloned());
        assert!(store.apply_observed(transition, observed).unwrap().is_written());
    };
    expiry(&step::record_join_arrival(id, STEP, "before", at(1)));
    expiry(&of_step(&store, id, StepEvent::Claim, at(9)).unwrap());
    expiry(&step::release(&lease(id, 1)));
    expiry(&task::cancel_step(id, &StepRecord::untouched(UNDO), at(3)));
    expiry(&task::close_or_compensate(id, Termination::Cancel, &action(ActionKind::Cancel)));
    let from = |second, retention| Some(json!((at(second) + retention).as_seconds()));
    let step = |second| from(second, STEP_RETENTION);
    assert_eq!(seen, [step(1), step(1), step(1), step(3), from(0, RETENTION)]);
    assert_eq!(
        (STEP_RETENTION - RETENTION).as_secs(),
        7 * 24 * 60 * 60,
        "a step's item outlives its task, whenever TTL deletes it"
    );
}

#[test]
fn idempotency_key_expires_after_a_week() {
    let store = MemoryStore::default();
    let (namespace, key, request_hash) = ("tests".to_owned(), "key".to_owned(), "hash".to_owned());
    let record = KeyRecord { namespace, key, task: TaskId::new(), request_hash, created_at: at(1), newer: None };
    let mut seen = None;
    let reserve = task::reserve_key(&record);
    store.apply_observed(&reserve, |written| seen = written.after.get(attribute::EXPIRES_AT).cloned()).unwrap();
    assert_eq!(seen, Some(json!((at(1) + KEY_RETENTION).as_seconds())));
}

#[test]
fn finish_of_a_missing_task_is_unreadable() {
    let id = TaskId::new();
    let store = MemoryStore::default();
    let refused = store.apply_observed(&task::finish(id, at(1)), |_| ()).unwrap();
    let error = task::state_after_finish(id, refused).unwrap_err().to_string();
    assert!(error.ends_with("the task is gone"), "{error}");
}

#[test]
fn abandoned_attempt_is_lost_and_does_not_count() {
    let (store, snapshot) = started();
    let id = snapshot.task.id;
    put_step(&store, id, StepState::InProgress);
    let lost = store.step(id, STEP);
    let other = StepRecord { attempt: 1, ..lost.clone() };
    assert!(!written(&store, &step::abandon(id, &other, at(5))), "that was another attempt");
    assert!(written(&store, &step::abandon(id, &lost, at(5))));
    let step = store.step(id, STEP);
    assert_eq!((step.state, step.attempt, step.uncounted_attempts, step.owner), (StepState::Pending, 2, 1, None));
    let trail: Vec<_> = step.attempts.iter().map(|lost| (lost.number, lost.outcome, lost.finished_at)).collect();
    assert_eq!(trail, [(2, Outcome::Lost, Some(at(5)))], "while its lease held");
}

#[test]
fn outcome_of_another_attempt_is_stale() {
    for (number, item) in [(1, true), (3, true), (2, false)] {
        let (store, snapshot) = started();
        let id = snapshot.task.id;
        if item {
            put_step(&store, id, StepState::InProgress);
        }
        let before = store.all(id).steps;
        let read = StepRecord { state: StepState::InProgress, attempt: number, ..store.step(id, STEP) };
        for transition in [
            step::take_over(&claim(id, at(11)), &read),
            step::release(&lease(id, number)),
            step::complete(&lease(id, number), &attempt(Outcome::Complete), "{}"),
            step::retry_later(&lease(id, number), &attempt(Outcome::RetryableError)),
            step::fail(&snapshot.task, &lease(id, number), &attempt(Outcome::PermanentError)),
            step::delete_orphan_claim(&lease(id, number)),
        ] {
            assert!(!written(&store, &transition), "{}", transition.name);
        }
        assert_eq!(store.all(id).steps, before);
    }
}

#[test]
fn orphan_claim_is_deleted_only_while_it_holds_the_lease() {
    for state in StepState::ALL {
        let (store, snapshot) = started();
        let id = snapshot.task.id;
        put_step(&store, id, state);
        let withdrawn = written(&store, &step::delete_orphan_claim(&lease(id, 2)));
        assert_eq!((withdrawn, store.all(id).steps.is_empty()), (state == StepState::InProgress, withdrawn), "{state}");
    }
}

#[test]
fn step_keeps_its_error_if_its_task_was_cancelled_meanwhile() {
    let (store, snapshot) = started();
    let id = snapshot.task.id;
    put_step(&store, id, StepState::InProgress);
    put_state(&store, id, TaskState::Cancelled);
    let task = store.all(id).task;
    let fail = step::fail(&snapshot.task, &lease(id, 2), &attempt(Outcome::PermanentError));
    assert!(written(&store, &fail));
    assert_eq!((store.step(id, STEP).error, store.all(id).task), (Some(failure()), task));
}

/// A task in this state. For a redrive and for a reinstatement, the step and its compensation have failed, so that only the task's state can forbid
/// it.
fn in_state(state: TaskState, event: TaskEvent) -> (MemoryStore, TaskId) {
    let (store, snapshot) = started();
    let id = snapshot.task.id;
    put_state(&store, id, state);
    if matches!(event, TaskEvent::Redrive | TaskEvent::Reinstate) {
        for step in [STEP, UNDO] {
            let error = vec![Change::Set(attribute::STATE, json!("error")), Change::Set(attribute::ATTEMPT, json!(2))];
            store.force(Key::Step(id, step.to_owned()), error).unwrap();
        }
        let failed = vec![Change::Include(attribute::FAILED_STEPS, step_of(state).to_owned())];
        store.force(Key::Task(id), failed).unwrap();
    }
    (store, id)
}

/// The step that fails, is resolved or redriven in a task in this state.
fn step_of(state: TaskState) -> &'static str {
    if state.ends_as().is_some() { UNDO } else { STEP }
}

/// The transition for this event of the task as it is; `None` if its state does not allow one.
fn of_task(store: &MemoryStore, id: TaskId, event: TaskEvent) -> Option<Transition> {
    let task = store.all(id).task.unwrap();
    let step = store.step(id, step_of(task.state));
    let close_or_compensate = |to: Termination| task::close_or_compensate(id, to, &action(ActionKind::Cancel));
    Some(match event {
        TaskEvent::Finish => task::finish(id, at(11)),
        TaskEvent::Fail => task::dead_letter_step(&task, &step, &failure(), &action(ActionKind::DeadLetter)),
        TaskEvent::Warn => {
            let optional = store.step(id, OPTIONAL);
            task::dead_letter_step(&task, &optional, &failure(), &action(ActionKind::DeadLetter))
        }
        TaskEvent::Redrive => return task::redrive(&task, &[&step], &action(ActionKind::Redrive)),
        TaskEvent::Mend => return task::resolve_step(&task, &step, "{}", &action(ActionKind::ResolveStep)),
        TaskEvent::Cancel => close_or_compensate(Termination::Cancel),
        TaskEvent::Resolve => close_or_compensate(Termination::Resolve),
        TaskEvent::Compensate(end) => close_or_compensate(Termination::Compensate(end)),
        TaskEvent::Compensated => {
            task::finish_compensation(&task, &[], task.state.ends_as().unwrap_or(End::Error), at(11))
        }
        TaskEvent::Reinstate => {
            let refused = StepRecord { error: Some(failure()), ..store.step(id, UNDO) };
            return task::reinstate(&task, &[], &[refused], at(11));
        }
    })
}

#[test]
fn task_transition_is_applied_if_and_only_if_the_state_machine_allows_its_event() {
    for (state, event) in TaskState::ALL.into_iter().flat_map(|state| TaskEvent::ALL.map(|event| (state, event))) {
        let (store, id) = in_state(state, event);
        let before = store.all(id).task.unwrap();
        assert_eq!(before.state, state);
        let Some(transition) = of_task(&store, id, event) else {
            assert_eq!(state.on(event), None, "{event:?} in {state:?}");
            continue;
        };
        let write = transition.writes.iter().find(|write| write.key == Key::Task(id)).unwrap();
        assert_eq!(write.event, Some(Event::Task(event)));
        assert_eq!(written(&store, &transition), state.on(event).is_some(), "{event:?} in {state:?}");
        let after = store.all(id).task.unwrap();
        match state.on(event) {
            Some(to) => assert_eq!(after.state, to, "{event:?} in {state:?}"),
            None => assert_eq!(after, before, "{event:?} in {state:?}"),
        }
    }
}

#[test]
fn task_transition_is_refused_if_the_state_has_changed_to_one_that_forbids_it() {
    let pairs = || TaskState::ALL.into_iter().flat_map(|read| TaskState::ALL.map(|found| (read, found)));
    for ((read, found), event) in pairs().flat_map(|pair| TaskEvent::ALL.map(|event| (pair, event))) {
        let (store, id) = in_state(read, event);
        let Some(transition) = of_task(&store, id, event) else { continue };
        put_state(&store, id, found);
        let to = written(&store, &transition).then(|| found.on(event).expect("it is legal"));
        let what = format!("{event:?} in {found:?}, read in {read:?}");
        assert_eq!(store.all(id).task.unwrap().state, to.unwrap_or(found), "{what}");
    }
}

#[test]
fn compensated_task_is_closed() {
    let (store, snapshot) = started();
    let id = snapshot.task.id;
    assert!(written(
        &store,
        &task::close_or_compensate(id, Termination::Compensate(End::Cancelled), &action(ActionKind::Cancel))
    ));
    let early = task::finish_compensation(&snapshot.task, &[], End::Cancelled, at(12));
    assert!(!written(&store, &early), "the order of its compensations is not settled");
    let order = task::order_compensations(id, snapshot.task.plan.compensations(), at(12));
    assert!(written(&store, &order) && !written(&store, &order), "it is settled once");
    assert!(!written(&store, &task::finish_compensation(&snapshot.task, &[], End::Error, at(13))), "it was cancelled");
    assert!(written(&store, &task::finish_compensation(&snapshot.task, &[], End::Cancelled, at(13))));
    let end = Termination::Compensate(End::Cancelled);
    assert!(!written(&store, &task::close_or_compensate(id, end, &action(ActionKind::Compensate))));
}

#[test]
fn repeated_outcome_is_recognized() {
    let outcomes: [fn(&TaskSnapshot) -> Transition; 4] = [
        |snapshot| step::release(&lease(snapshot.task.id, 2)),
        |snapshot| step::complete(&lease(snapshot.task.id, 2), &attempt(Outcome::Complete), "{}"),
        |snapshot| step::retry_later(&lease(snapshot.task.id, 2), &attempt(Outcome::RetryableError)),
        |snapshot| step::fail(&snapshot.task, &lease(snapshot.task.id, 2), &attempt(Outcome::PermanentError)),
    ];
    for outcome in outcomes {
        let (store, snapshot) = started();
        put_step(&store, snapshot.task.id, StepState::InProgress);
        let outcome = outcome(&snapshot);
        assert!(written(&store, &outcome), "{}", outcome.name);
        let once = store.step(snapshot.task.id, STEP);
        assert!(written(&store, &outcome), "{} again", outcome.name);
        assert_eq!(store.step(snapshot.task.id, STEP), once, "{} again", outcome.name);
    }
}

#[test]
fn repeated_termination_is_recognized() {
    let (store, snapshot) = started();
    let id = snapshot.task.id;
    let claimed = of_step(&store, id, StepEvent::Claim, at(1)).unwrap();
    let cancel = task::close_or_compensate(id, Termination::Cancel, &action(ActionKind::Cancel));
    for transition in [claimed, cancel] {
        assert!(written(&store, &transition), "{}", transition.name);
        let once = (store.all(id).task, store.all(id).steps);
        assert!(written(&store, &transition), "{} again", transition.name);
        assert_eq!((store.all(id).task, store.all(id).steps), once, "{} again", transition.name);
    }
}

#[test]
fn join_arrivals_are_a_set() {
    let (store, snapshot) = started();
    let arrive = |done: &str| {
        let arrival = step::record_join_arrival(snapshot.task.id, "join", done, at(1));
        store.apply_observed(&arrival, |_| ()).unwrap().done_deps()
    };
    let set = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(arrive("b"), set(&["b"]));
    assert_eq!(arrive("a"), set(&["a", "b"]));
    assert_eq!(arrive("b"), set(&["a", "b"]));
    let of_nobody = task::record_leaf_arrival(TaskId::new(), "a");
    assert!(!written(&store, &of_nobody), "there is no such task");
}

#[test]
fn redrive_requires_every_failed_step() {
    let (store, snapshot) = started();
    let id = snapshot.task.id;
    put_step(&store, id, StepState::Error);
    put_state(&store, id, TaskState::Failed);
    store.force(Key::Task(id), vec![Change::Include(attribute::FAILED_STEPS, STEP.to_owned())]).unwrap();
    let (task, record) = (store.all(id).task.unwrap(), store.step(id, STEP));
    let other = StepRecord::untouched(UNDO);
    assert_eq!(task::redrive(&task, &[], &action(ActionKind::Redrive)), None);
    assert_eq!(task::redrive(&task, &[&record, &other], &action(ActionKind::Redrive)), None);
    let redrive = task::redrive(&task, &[&record], &action(ActionKind::Redrive)).unwrap();
    assert!(written(&store, &redrive) && !written(&store, &redrive));
    let step = store.step(id, STEP);
    assert_eq!((step.state, step.uncounted_attempts, step.attempt, step.error), (StepState::Pending, 2, 2, None));
    assert_eq!(store.all(id).task.unwrap().failed_steps, BTreeSet::new());
}

#[test]
fn redrive_of_a_failed_task_leaves_its_optional_steps_alone() {
    let (store, snapshot) = started();
    let id = snapshot.task.id;
    put_step(&store, id, StepState::Error);
    put_state(&store, id, TaskState::Failed);
    for step in [STEP, OPTIONAL] {
        store.force(Key::Task(id), vec![Change::Include(attribute::FAILED_STEPS, step.to_owned())]).unwrap();
    }
    let (task, record) = (store.all(id).task.unwrap(), store.step(id, STEP));
    let optional = StepRecord { state: StepState::Error, attempt: 2, ..StepRecord::untouched(OPTIONAL) };
    assert_eq!(task::redrive(&task, &[&record, &optional], &action(ActionKind::Redrive)), None);
    assert!(written(&store, &task::redrive(&task, &[&record], &action(ActionKind::Redrive)).unwrap()));
    let task = store.all(id).task.unwrap();
    assert_eq!((task.state, task.failed_steps), (TaskState::Running, [OPTIONAL.to_owned()].into()));
}

#[test]
fn task_with_an_optional_step_needs_a_reader_of_format_2() {
    let (store, snapshot) = started();
    let format = |key: &Key| {
        let item = store.item(key);
        [attribute::V, attribute::NEEDS].map(|name| item.get(name).cloned())
    };
    assert_eq!(format(&Key::Task(snapshot.task.id)), [Some(json!(2)), Some(json!(2))]);
    put_step(&store, snapshot.task.id, StepState::Pending);
    assert!(written(&store, &of_step(&store, snapshot.task.id, StepEvent::Claim, at(1)).unwrap()));
    assert_eq!(format(&Key::Step(snapshot.task.id, STEP.to_owned())), [None, None], "its steps are as before");
}

#[test]
fn redrive_is_refused_if_the_failed_steps_have_changed() {
    let (store, snapshot) = started();
    let id = snapshot.task.id;
    put_step(&store, id, StepState::Error);
    put_state(&store, id, TaskState::Failed);
    let fails = |step: &str| vec![Change::Include(attribute::FAILED_STEPS, step.to_owned())];
    store.force(Key::Task(id), fails(STEP)).unwrap();
    let (task, record) = (store.all(id).task.unwrap(), store.step(id, STEP));
    let redrive = |record: &StepRecord| task::redrive(&task, &[record], &action(ActionKind::Redrive)).unwrap();
    assert!(!written(&store, &redrive(&StepRecord { attempt: 1, ..record.clone() })), "it has failed again since");
    store.force(Key::Task(id), fails("another")).unwrap();
    assert!(!written(&store, &redrive(&record)), "another has failed since");
    assert_eq!(store.step(id, STEP), record);
}

#[test]
fn reserved_key_keeps_its_first_request() {
    let store = MemoryStore::default();
    let asked = |second: i64, hash: &str| KeyRecord {
        namespace: "tests".to_owned(),
        key: "order-1".to_owned(),
        task: TaskId::new(),
        request_hash: hash.to_owned(),
        created_at: at(second),
        newer: None,
    };
    let reserve = |key: &KeyRecord| {
        let applied = store.apply_observed(&task::reserve_key(key), |_| ()).unwrap();
        task::reserved_key(key.clone(), applied).unwrap()
    };
    let first = asked(1, "one");
    assert_eq!([reserve(&first), reserve(&asked(2, "other"))], [first.clone(), first]);
}

#[test]
fn only_a_waiting_step_as_it_was_read_is_rescheduled() {
    for state in StepState::ALL {
        let (store, snapshot) = started();
        let id = snapshot.task.id;
        put_step(&store, id, state);
        let read = store.step(id, STEP);
        let waits = state == StepState::Retrying;
        let later = StepRecord { attempt: read.attempt + 1, ..read.clone() };
        let elsewhere = StepRecord { next_retry_at: Some(at(3)), ..read.clone() };
        for stale in [later, elsewhere] {
            assert!(!written(&store, &step::reschedule(id, &stale, at(2))), "{state}: {stale:?}");
        }
        let reschedule = step::reschedule(id, &read, at(2));
        assert_eq!(written(&store, &reschedule), waits, "{state}");
        assert_eq!(written(&store, &reschedule), waits, "{state}: its own write is recognized");
        let expected = StepRecord { next_retry_at: if waits { Some(at(2)) } else { read.next_retry_at }, ..read };
        assert_eq!(store.step(id, STEP), expected, "nothing else changes, and no attempt is counted");
    }
}
