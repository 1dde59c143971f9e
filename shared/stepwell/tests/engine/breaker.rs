//! Steps that wait on a service outside the stack, and its circuit breaker.

use super::*;
use stepwell::{
    core::{
        breaker::{self, Breaker, FAILURES_TO_OPEN, LONGEST_PARKED, PROBE_EVERY},
        state::TaskStatus,
        step::{self, ClaimRequest},
    },
    permanent, retryable,
    testing::{MemoryStore, StepFault},
};
use test_case::test_case;

const SERVICE: &str = "gateway";

/// The times at which each step was run, since the start.
#[derive(Clone, Debug, Default)]
struct Calls(Arc<Mutex<Vec<(String, Duration)>>>);

impl Calls {
    fn of(&self, step: &str) -> Vec<Duration> {
        self.0.lock().unwrap().iter().filter(|(name, _)| name == step).map(|(_, at)| *at).collect()
    }
}

/// A step that calls a service that is out until this time.
#[derive(Clone)]
struct CallsService {
    calls: Calls,
    out_until: Duration,
    clock: Arc<Mutex<Option<VirtualClock>>>,
}

impl Step for CallsService {
    type Input = stepwell::Context<Value>;
    type Output = Value;

    async fn run(&self, _: Self::Input, context: &StepContext) -> Result<Value, StepError> {
        let now = self.clock.lock().unwrap().as_ref().unwrap().now().since(VirtualClock::START);
        self.calls.0.lock().unwrap().push((context.step.clone(), now));
        if now < self.out_until { Err(retryable("DOWN", "the service is out").from_service()) } else { Ok(Value::Null) }
    }
}

/// A workflow of a step `pay`, which waits on the service and is undone by `refund`, and of a step `ship` after it.
fn workflow(more: &str) -> Workflow {
    Workflow::from_yaml(&format!(
        "{{name: shop, {more} step_templates: [
            {{name: pay, waits_on: {SERVICE}, default_retry_limit: 20, backoff: {{base_seconds: 2, max_seconds: 2, jitter: 0}},
              compensation: {{name: refund, waits_on: {SERVICE}}}}},
            {{name: ship, depends_on_step: pay}}]}}"
    ))
    .unwrap()
}

/// A harness whose service is out for this long.
fn harness(out_for: u64, more: &str) -> (Harness, Calls) {
    let (calls, clock) = (Calls::default(), Arc::default());
    let step = CallsService { calls: calls.clone(), out_until: seconds(out_for), clock };
    let harness = Harness::new(workflow(more)).with_all(step.clone());
    *step.clock.lock().unwrap() = Some(harness.memory().runtime.clone());
    (harness, calls)
}

/// A task whose step was parked when its service had been out for so many seconds.
async fn parked_after(harness: &Harness, out_for: u64) -> TaskId {
    for _ in 0..6 {
        start(harness).await;
    }
    harness.run_for(seconds(out_for)).await.unwrap();
    start(harness).await; // This one may be the probe.
    let parked = start(harness).await;
    harness.run_for(seconds(1)).await.unwrap();
    parked
}

fn breaker(store: &MemoryStore) -> Breaker {
    Breaker::of(&store.item(&Key::Breaker(SERVICE.to_owned())))
}

#[tokio::test(start_paused = true)]
async fn open_breaker_lets_one_probe_run_each_ten_seconds_and_parks_the_other_steps_without_an_attempt() {
    let (harness, calls) = harness(60, "");
    for _ in 0..8 {
        start(&harness).await;
    }
    harness.run_for(seconds(59)).await.unwrap();
    assert!(matches!(breaker(&harness.memory().store), Breaker::Open(_)));
    let made = calls.of("pay");
    let before_it_opened = usize::try_from(FAILURES_TO_OPEN).unwrap();
    let probes = &made[before_it_opened..];
    assert!((3..=6).contains(&probes.len()), "{made:?}");
    assert!(probes.windows(2).all(|two| two[1] - two[0] >= PROBE_EVERY), "{made:?}");
}

#[tokio::test(start_paused = true)]
async fn parked_step_has_no_attempt_and_its_time_on_record_and_goes_on_after_the_outage() {
    let (harness, calls) = harness(3_600, "");
    let parked = parked_after(&harness, 600).await;
    let step = record(&harness, parked, "pay");
    let error = step.error.unwrap();
    assert_eq!((step.state, step.attempt, error.code.as_str()), (StepState::Retrying, 0, "BREAKER_OPEN"));
    assert!(error.message.starts_with("gateway has not answered since 2023"), "{}", error.message);
    let wait = step.next_retry_at.unwrap().since(harness.now());
    assert!(wait > LONGEST_PARKED / 2 - seconds(1) && wait <= LONGEST_PARKED, "{wait:?}");

    let made = calls.of("pay").len();
    let sent = sent_to(&harness, "pay");
    harness.run_for(seconds(3_600 - 601)).await.unwrap();
    let (probes, looks) = (calls.of("pay").len() - made, sent_to(&harness, "pay") - sent);
    assert!(probes <= 300, "at most one each ten seconds: {probes}");
    assert!(looks <= 8 * 30, "each task has one message, which is replaced every two minutes at most: {looks}");
    let snapshot = harness.run(parked).await.unwrap();
    assert_eq!(snapshot.status(), TaskStatus::Complete);
    let ended = snapshot.step("pay").unwrap();
    assert_eq!(ended.error, None);
    let late = ended.finished_at.unwrap().since(VirtualClock::START + seconds(3_600));
    assert!(late <= 3 * LONGEST_PARKED, "{late:?}");
    harness.run_for(2 * LONGEST_PARKED).await.unwrap();
    assert_eq!(breaker(&harness.memory().store).out_since(harness.now()), None);
}

/// A task whose step is parked, and whose deadline is over before the first probe, so that the step is never attempted.
async fn parked_until_deadline(harness: &Harness) -> TaskId {
    for _ in 0..6 {
        start(harness).await;
    }
    harness.run_for(seconds(1)).await.unwrap();
    start(harness).await
}

#[tokio::test(start_paused = true)]
async fn parked_step_fails_at_the_deadline_of_its_task_without_an_attempt_and_is_not_compensated() {
    let (harness, _) = harness(3_600, "complete_within_seconds: 8, compensate: on_error,");
    let parked = parked_until_deadline(&harness).await;
    let begun = harness.now();
    let snapshot = harness.run(parked).await.unwrap();
    let step = snapshot.step("pay").unwrap();
    assert_eq!((step.error.as_ref().unwrap().code.as_str(), step.attempt), ("DEADLINE_EXCEEDED", 0));
    assert_eq!((step.finished_at, step.next_retry_at), (Some(begun + seconds(8)), None));
    assert_eq!((snapshot.status().as_str(), snapshot.compensations), ("error", Vec::new()), "there is nothing to undo");
}

#[tokio::test(start_paused = true)]
async fn parked_step_that_is_claimed_at_its_deadline_is_left_to_its_worker() {
    let (harness, _) = harness(3_600, "complete_within_seconds: 8,");
    let parked = parked_until_deadline(&harness).await;
    let (store, now) = (harness.memory().store.clone(), harness.now() + seconds(8));
    harness.meanwhile("miss_deadline", async move {
        let lease_until = now + seconds(600);
        let request = ClaimRequest { task: parked, step: "pay", owner: "another/message", now, lease_until };
        assert!(store.apply_observed(&step::claim(&request), |_| ()).unwrap().is_written());
    });
    harness.run_for(seconds(10)).await.unwrap();
    let step = record(&harness, parked, "pay");
    assert_eq!((step.state, step.owner.as_deref()), (StepState::InProgress, Some("another/message")));
}

#[tokio::test(start_paused = true)]
async fn step_that_was_parked_and_never_attempted_is_not_compensated_if_its_task_is_cancelled() {
    let (harness, calls) = harness(3_600, "");
    let parked = parked_after(&harness, 60).await;
    harness.client().cancel(parked, &actor()).await.unwrap();
    let snapshot = harness.run(parked).await.unwrap();
    assert_eq!((snapshot.status().as_str(), state(&snapshot, "pay")), ("cancelled", StepState::Cancelled));
    assert_eq!(calls.of("refund").len(), 0);
}

#[tokio::test(start_paused = true)]
async fn step_that_was_attempted_before_it_was_parked_is_compensated_after_its_deadline() {
    let (harness, calls) = harness(60, "complete_within_seconds: 30, compensate: on_error,");
    let tried = start(&harness).await;
    harness.run_for(seconds(9)).await.unwrap();
    assert!(matches!(breaker(&harness.memory().store), Breaker::Open(_)));
    assert_eq!(harness.run(tried).await.unwrap().status().as_str(), "error");
    assert!(calls.of("refund").last().is_some_and(|at| *at >= seconds(60)), "the payment may have been made");
}

#[tokio::test(start_paused = true)]
async fn refused_cancellation_completes_a_task_again_beside_a_parked_compensation() {
    let file = format!(
        "{{name: shop, step_templates: [{{name: pay, compensation: {{name: refund, after: [], waits_on: {SERVICE}}}}},
            {{name: ship, depends_on_step: pay, compensation: {{name: stop, after: []}}}}]}}"
    );
    let harness = Harness::new(Workflow::from_yaml(&file).unwrap()).with_all(stepwell::testing::Returns("null"));
    let busy = StepFault::Error(retryable("BUSY", "later"));
    harness.fail("stop", [busy, StepFault::Error(stepwell::refused("SHIPPED", "it is on its way"))]);
    let task = start(&harness).await;
    harness.run(task).await.unwrap();
    let open = breaker::open(SERVICE, harness.now());
    assert!(harness.memory().store.apply_observed(&open, |_| ()).unwrap().is_written());
    harness.client().cancel(task, &actor()).await.unwrap();
    let refused = |snapshot: &TaskSnapshot| snapshot.status() == TaskStatus::Complete;
    let snapshot = harness.run_until(task, refused).await.unwrap();
    let refund = record(&harness, task, "refund");
    assert_eq!((refund.state, refund.attempt), (StepState::Retrying, 0), "it is parked");
    assert_eq!(snapshot.task.refusals.len(), 1);
    harness.client().cancel(task, &actor()).await.unwrap();
    let snapshot = harness.run(task).await.unwrap();
    assert_eq!((snapshot.status().as_str(), snapshot.step("refund").unwrap().attempt), ("cancelled", 1));
}

#[tokio::test(start_paused = true)]
async fn step_that_is_parked_is_not_run_now_however_often_somebody_asks() {
    let (harness, _) = harness(3_600, "");
    let parked = parked_after(&harness, 60).await;
    let (planned, sent) = (record(&harness, parked, "pay").next_retry_at, sent_to(&harness, "pay"));
    for _ in 0..3 {
        assert_eq!(harness.client().run_now_after_pause(parked).await.ok(), planned);
    }
    let refused = harness.client().run_now(parked, &actor()).await.unwrap_err();
    let until = planned.unwrap();
    let error = format!(
        "step `pay` waits for a service that is out, and no attempt is made before it is back: the engine looks again by itself, for \
         this step at {until}"
    );
    assert_eq!(refused.to_string(), error);
    assert_eq!(sent_to(&harness, "pay"), sent);
}

/// A compensation that finds nothing to undo, so that it needs no service.
struct NothingToUndo;

impl Step for NothingToUndo {
    type Input = ();
    type Output = Value;

    async fn run(&self, (): (), context: &StepContext) -> Result<Value, StepError> {
        context.do_without_service();
        Ok(Value::Null)
    }
}

#[tokio::test(start_paused = true)]
async fn probe_that_did_without_the_service_does_not_close_the_breaker() {
    let (harness, _) = harness(3_600, "");
    let harness = harness.with("refund", NothingToUndo);
    let tried = start(&harness).await;
    harness.run_for(seconds(9)).await.unwrap();
    assert!(matches!(breaker(&harness.memory().store), Breaker::Open(_)));
    harness.client().cancel(tried, &actor()).await.unwrap();
    assert_eq!(harness.run(tried).await.unwrap().status().as_str(), "cancelled");
    assert!(matches!(breaker(&harness.memory().store), Breaker::Open(_)), "nobody knows more than before");
}

#[tokio::test(start_paused = true)]
async fn compensations_come_before_other_steps_after_an_outage() {
    let (harness, calls) = harness(900, "");
    // A task whose payment was tried, and which is cancelled during the outage.
    let tried = start(&harness).await;
    harness.run_for(seconds(60)).await.unwrap();
    for _ in 0..20 {
        start(&harness).await;
    }
    harness.client().cancel(tried, &actor()).await.unwrap();
    harness.run_for(seconds(3_000)).await.unwrap();
    let back = |step: &str| calls.of(step).into_iter().filter(|at| *at >= seconds(900)).collect::<Vec<_>>();
    let (refunds, payments) = (back("refund"), back("pay"));
    assert_eq!((refunds.len(), payments.len()), (1, 20), "{payments:?}");
    // One payment may have been the probe.
    let before = payments.iter().filter(|at| **at < refunds[0]).count();
    assert!(before <= 1, "{refunds:?} {payments:?}");
}

#[test_case(StepFault::Error(permanent("DECLINED", "no").from_service()), false; "a permanent error is an answer")]
#[test_case(StepFault::Error(retryable("TABLE", "no answer")), false; "an error of something else")]
#[test_case(StepFault::Panic, false; "a panic says nothing")]
#[test_case(StepFault::Error(stepwell::throttled("SLOWER", "later").from_service()), false; "a rate limit is an answer")]
#[test_case(StepFault::Error(retryable("DOWN", "no answer").from_service()), true; "a retryable error of the service")]
#[test_case(StepFault::Timeout, true; "a timeout")]
#[tokio::test(start_paused = true)]
async fn breaker_opens_after_failures_in_a_row(fifth: StepFault, opens: bool) {
    let (harness, _) = harness(0, "");
    let failures = (1..FAILURES_TO_OPEN).map(|_| StepFault::Error(retryable("DOWN", "no answer").from_service()));
    harness.fail("pay", failures.chain([fifth]));
    start(&harness).await;
    harness.run_for(seconds(9)).await.unwrap();
    harness.run_for(seconds(30)).await.unwrap();
    let was_open = breaker(&harness.memory().store) != Breaker::CLOSED;
    assert_eq!(was_open, opens);
}

#[tokio::test(start_paused = true)]
async fn breaker_that_cannot_be_read_or_written_stops_nothing() {
    let (harness, calls) = harness(20, "");
    harness.fail_call("read", [FailureKind::Unavailable; 1_000]);
    harness.fail_call("open_breaker", [FailureKind::Throttled; 1]);
    let task = start(&harness).await;
    let snapshot = harness.run(task).await.unwrap();
    assert_eq!((snapshot.status(), calls.of("pay").len()), (TaskStatus::Complete, 11), "one attempt each two seconds");
}

#[tokio::test(start_paused = true)]
async fn step_without_a_service_reads_no_breaker() {
    let harness = TestWorkflow::chain(2).harness(stepwell::testing::Returns("null"), true);
    harness.meanwhile("read", async { panic!("a breaker was read") });
    let task = start(&harness).await;
    assert_eq!(run(&harness, task).await.status(), TaskStatus::Complete);
}
