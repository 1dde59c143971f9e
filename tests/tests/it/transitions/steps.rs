//! Every write of a step in every state of a step.

use super::*;
use stepwell::core::state::StepEvent;
use stepwell_tests::emulator::in_sandbox;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Write {
    Claim,
    TakeOver,
    Release,
    Complete,
    RetryLater,
    Fail,
    Restart,
}

impl Write {
    const ALL: [Self; 7] =
        [Self::Claim, Self::TakeOver, Self::Release, Self::Complete, Self::RetryLater, Self::Fail, Self::Restart];

    const FENCED: [Self; 4] = [Self::Release, Self::Complete, Self::RetryLater, Self::Fail];

    /// The event that this write is, where it is made in this state; there are two ways to claim.
    fn event(self, state: StepState) -> Option<StepEvent> {
        match self {
            Self::Claim => (state != StepState::InProgress).then_some(StepEvent::Claim),
            Self::TakeOver => (state == StepState::InProgress).then_some(StepEvent::Claim),
            Self::Release => Some(StepEvent::Release),
            Self::Complete => Some(StepEvent::Complete),
            Self::RetryLater => Some(StepEvent::RetryLater),
            Self::Fail => Some(StepEvent::Fail),
            Self::Restart => Some(StepEvent::Restart),
        }
    }

    /// Whether the state is the one that this write leads to, so that it may have been made before.
    fn leads_to(self, state: StepState) -> bool {
        Self::FENCED.contains(&self)
            && self.event(state).and_then(|event| StepState::InProgress.on(event)) == Some(state)
    }

    /// Makes the write with the lease of this attempt, at a moment when every wait is over. Answers with whether it
    /// was granted.
    async fn make(self, sandbox: &Sandbox, id: TaskId, attempt: u32) -> bool {
        let only = only();
        let lease = lease(id, &only, attempt);
        let there = step_record(sandbox, id, &only).await;
        let as_read = StepRecord { attempt, ..there.clone() };
        let request = request(id, &only, OWNER, later(10));
        match self {
            Self::Claim => granted(&claimed(sandbox, &request, step::claim(&request)).await, &there),
            Self::TakeOver => granted(&claimed(sandbox, &request, step::take_over(&request, &as_read)).await, &there),
            Self::Release => written(sandbox, &step::release(&lease)).await,
            Self::Complete => {
                let attempt = entry(attempt, Outcome::Complete);
                written(sandbox, &step::complete(&lease, &attempt, r#"{"paid":true}"#)).await
            }
            Self::RetryLater => written(sandbox, &step::retry_later(&lease, &retried(attempt))).await,
            Self::Fail => {
                let task = task_record(sandbox, id).await;
                written(sandbox, &step::fail(&task, &lease, &entry(attempt, Outcome::PermanentError))).await
            }
            Self::Restart => {
                let task = task_record(sandbox, id).await;
                written_if_any(sandbox, task::redrive(&task, &[&as_read], &retry(later(10)))).await
            }
        }
    }

    /// The item after this write was granted.
    fn applied_to(self, mut item: Value) -> Value {
        let audit = |item: &mut Value, entry: Value| item["attempts"].as_array_mut().unwrap().push(entry);
        let claimed = json!({
            "state": "in_progress",
            "attempt": 3,
            "owner": OWNER,
            "started_at": millis(later(10)),
            "lease_until": millis(later(40)),
        });
        match self {
            Self::Claim => {
                merge(&mut item, claimed);
                remove(&mut item, &["next_retry_at"]);
            }
            Self::TakeOver => {
                audit(
                    &mut item,
                    json!({
                        "number": 2,
                        "started_at": millis(before(60)),
                        "finished_at": millis(later(5)),
                        "outcome": "lost",
                        "request_id": "request-1",
                    }),
                );
                merge(&mut item, claimed);
            }
            Self::Release => {
                merge(&mut item, json!({ "state": "pending", "exempt": 2 }));
                remove(&mut item, &["owner", "started_at", "lease_until"]);
            }
            Self::Complete => {
                audit(&mut item, json!(entry(2, Outcome::Complete)));
                merge(
                    &mut item,
                    json!({ "state": "complete", "result": r#"{"paid":true}"#, "finished_at": millis(NOW) }),
                );
                remove(&mut item, &["owner", "lease_until", "error"]);
            }
            Self::RetryLater => {
                audit(&mut item, json!(retried(2)));
                merge(&mut item, json!({ "state": "retrying", "next_retry_at": millis(later(7)), "error": failure() }));
                remove(&mut item, &["owner", "lease_until"]);
            }
            Self::Fail => {
                audit(&mut item, json!(entry(2, Outcome::PermanentError)));
                merge(&mut item, json!({ "state": "error", "error": failure(), "finished_at": millis(NOW) }));
                remove(&mut item, &["owner", "lease_until"]);
            }
            Self::Restart => {
                merge(&mut item, json!({ "state": "pending", "exempt": 2 }));
                remove(&mut item, &["error", "finished_at"]);
            }
        }
        item
    }
}

fn retried(number: u32) -> AttemptRecord {
    AttemptRecord { next_retry_at: Some(later(7)), ..entry(number, Outcome::RetryableError) }
}

/// Whether a claim was granted; one that was not has to say what stands there.
fn granted(claim: &Claim, there: &StepRecord) -> bool {
    match claim {
        Claim::Granted(lease) => {
            assert_eq!((lease.attempt, lease.exempt), (there.attempt + 1, there.exempt));
            assert_eq!((lease.owner.as_str(), lease.started_at, lease.until), (OWNER, later(10), later(40)));
            true
        }
        Claim::Refused(found) => {
            assert_eq!(found.as_ref(), there, "a refusal says what stands there");
            false
        }
    }
}

#[tokio::test]
async fn every_write_in_every_state() {
    in_sandbox(&[], async |sandbox| {
        for state in StepState::ALL {
            for write in Write::ALL {
                let id = start(sandbox, &Graph::chain(1)).await;
                if write == Write::Restart {
                    put_state(sandbox, id, TaskState::Failed, &[&only()]).await;
                }
                let before = step_item(id, &only(), state);
                sandbox.put(&before).await;

                let legal = write.event(state).and_then(|event| state.on(event)).is_some();
                let granted = write.make(sandbox, id, 2).await;
                let after = sandbox.step_item(id, &only()).await;

                assert_eq!(granted, legal || write.leads_to(state), "{write:?} in {state}");
                let expected = if legal { write.applied_to(before) } else { before };
                assert_eq!(after, expected, "the item after {write:?} in {state}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_write_of_any_other_attempt_is_refused_and_changes_nothing() {
    in_sandbox(&[], async |sandbox| {
        let id = start(sandbox, &Graph::chain(1)).await;
        put_state(sandbox, id, TaskState::Failed, &[&only()]).await;
        for state in StepState::ALL {
            let item = step_item(id, &only(), state);
            sandbox.put(&item).await;
            let task_before = sandbox.task_item(id).await;
            for attempt in [1, 3] {
                // A claim has no attempt yet; every other write has one to be fenced by.
                for write in Write::ALL.into_iter().filter(|write| *write != Write::Claim) {
                    let refused = !write.make(sandbox, id, attempt).await;
                    assert!(refused, "{write:?} of attempt {attempt} in {state}");
                    assert_eq!(sandbox.step_item(id, &only()).await, item, "{write:?} of attempt {attempt} in {state}");
                    assert_eq!(sandbox.task_item(id).await, task_before, "{write:?} of attempt {attempt} in {state}");
                }
            }
        }
    })
    .await;
}

#[tokio::test]
async fn where_there_is_no_item_only_a_claim_is_granted() {
    in_sandbox(&[], async |sandbox| {
        for write in Write::ALL {
            let id = start(sandbox, &Graph::chain(1)).await;
            put_state(sandbox, id, TaskState::Failed, &[&only()]).await;
            let task_before = sandbox.task_item(id).await;
            if write == Write::Claim {
                let only = only();
                let request = request(id, &only, OWNER, NOW);
                assert!(matches!(
                    claimed(sandbox, &request, step::claim(&request)).await,
                    Claim::Granted(lease) if lease.attempt == 1 && lease.exempt == 0 && lease.counted_attempt() == 1
                ));
                let expected = json!({
                    "pk": format!("TASK#{id}"),
                    "sk": format!("STEP#{}", only),
                    "state": "in_progress",
                    "attempt": 1,
                    "owner": OWNER,
                    "started_at": millis(NOW),
                    "lease_until": millis(later(30)),
                    "expires_at": (NOW + RETENTION).as_seconds(),
                });
                assert_eq!(sandbox.step_item(id, &only).await, expected);
            } else {
                assert!(!write.make(sandbox, id, 2).await, "{write:?}");
                assert_eq!(sandbox.step_item(id, &only()).await, Value::Null, "{write:?}");
                assert_eq!(sandbox.task_item(id).await, task_before, "{write:?}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_step_that_its_dependencies_have_arrived_at_is_claimed_and_keeps_them() {
    in_sandbox(&[], async |sandbox| {
        let id = start(sandbox, &Graph::fan(2)).await;
        let join = name(3);
        assert!(written(sandbox, &step::record_join_arrival(id, &join, &name(1), NOW)).await);
        assert_eq!(step_record(sandbox, id, &join).await.state, StepState::Pending);
        let request = request(id, &join, OWNER, later(1));
        let claim = claimed(sandbox, &request, step::claim(&request)).await;
        assert!(matches!(claim, Claim::Granted(lease) if lease.attempt == 1));
        let item = sandbox.step_item(id, &join).await;
        assert_eq!(item["done_deps"], json!([name(1)]));
        assert_eq!(item["expires_at"], json!((NOW + RETENTION).as_seconds()));
    })
    .await;
}

#[tokio::test]
async fn a_retry_is_claimed_from_its_moment_on() {
    in_sandbox(&[], async |sandbox| {
        let id = start(sandbox, &Graph::chain(1)).await;
        let item = step_item(id, &only(), StepState::Retrying);
        let due = later(5);
        for (now, due) in [(due + Duration::ZERO, true), (millisecond_before(due), false), (later(6), true)] {
            sandbox.put(&item).await;
            let granted = written(sandbox, &step::claim(&request(id, &only(), OWNER, now))).await;
            assert_eq!(granted, due, "at {now}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_lease_is_taken_over_only_after_its_end() {
    in_sandbox(&[], async |sandbox| {
        let id = start(sandbox, &Graph::chain(1)).await;
        let item = step_item(id, &only(), StepState::InProgress);
        let end = later(5);
        for (now, ended) in [(millisecond_before(end), false), (end, false), (end + Duration::from_millis(1), true)] {
            sandbox.put(&item).await;
            let held = step_record(sandbox, id, &only()).await;
            let granted = written(sandbox, &step::take_over(&request(id, &only(), OWNER, now), &held)).await;
            assert_eq!(granted, ended, "at {now}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_claim_repeated_by_its_owner_is_granted_again_with_the_same_attempt() {
    in_sandbox(&[], async |sandbox| {
        let id = start(sandbox, &Graph::chain(1)).await;
        let only = only();
        let request = request(id, &only, OWNER, NOW);
        let claim = async || claimed(sandbox, &request, step::claim(&request)).await;
        let Claim::Granted(first) = claim().await else { panic!("a free step is claimed") };
        let item = sandbox.step_item(id, &only).await;
        let Claim::Granted(second) = claim().await else { panic!("it is ours") };
        assert_eq!(first, second);
        assert_eq!(sandbox.step_item(id, &only).await, item);

        // The same after a take-over whose answer was lost.
        let taken = ClaimRequest { owner: "request-3/message-3", now: later(60), lease_until: later(90), ..request };
        let dead = step_record(sandbox, id, &only).await;
        let take_over = async || claimed(sandbox, &taken, step::take_over(&taken, &dead)).await;
        let Claim::Granted(first) = take_over().await else { panic!("the lease has ended") };
        let Claim::Granted(second) = take_over().await else { panic!("it is ours") };
        assert_eq!((first.attempt, &first), (2, &second));
        assert_eq!(step_record(sandbox, id, &only).await.attempts.len(), 1, "one attempt was lost, and noted once");
    })
    .await;
}

#[tokio::test]
async fn only_the_holder_withdraws_a_step_and_nothing_of_it_is_left() {
    in_sandbox(&[], async |sandbox| {
        let id = TaskId::new();
        for state in StepState::ALL {
            for attempt in [1, 2, 3] {
                let item = step_item(id, &only(), state);
                sandbox.put(&item).await;
                let legal = state == StepState::InProgress && attempt == 2;
                let deleted = written(sandbox, &step::delete_orphan_claim(&lease(id, &only(), attempt))).await;
                assert_eq!(deleted, legal, "attempt {attempt} in {state}");
                let left = sandbox.step_item(id, &only()).await;
                assert_eq!(left, if legal { Value::Null } else { item }, "attempt {attempt} in {state}");
            }
        }
    })
    .await;
}

fn millisecond_before(at: Timestamp) -> Timestamp {
    Timestamp::from_millis(at.as_millis() - 1)
}
