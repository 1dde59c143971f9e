//! The reconciliation: what has to be true of the stack when all checkouts are over.

use crate::{
    checkouts::{EMAIL, End, Made, is_open},
    now,
    orders::{self, Product},
};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::{Duration, Instant},
};
use stepwell::{Timestamp, core::message::UNDELIVERABLE};
use stepwell_tests::stack::{Item, Stack, is_standing_order, is_standing_reservation, kept_charge, recorded_payment};

/// The stack before the first checkout.
pub(crate) struct Before {
    at: Timestamp,
    stock: BTreeMap<u32, i64>,
    /// The number of messages by queue.
    queued: BTreeMap<String, usize>,
}

impl Before {
    pub(crate) async fn read(stack: &Stack, catalogue: &[Product]) -> Self {
        Self { at: now(), stock: orders::stock(stack, catalogue).await, queued: queued(stack).await }
    }
}

async fn queued(stack: &Stack) -> BTreeMap<String, usize> {
    stack.queues_with_messages().await.into_iter().map(|(queue, messages)| (queue, messages.len())).collect()
}

/// Waits until no queue holds more messages than before; answers with the surplus of each queue. It does not wait for
/// undeliverable messages, which nothing removes.
pub(crate) async fn until_queues_are_as(stack: &Stack, before: &Before, patience: Duration) -> BTreeMap<String, usize> {
    eprintln!("waiting for the queues to run dry");
    let begin = Instant::now();
    loop {
        let mut more = queued(stack).await;
        for (queue, count) in &mut more {
            *count = count.saturating_sub(before.queued.get(queue).copied().unwrap_or_default());
        }
        more.retain(|_, count| *count > 0);
        if more.keys().all(|queue| queue == UNDELIVERABLE) || begin.elapsed() > patience {
            return more;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// The result of the reconciliation.
#[derive(Default)]
pub(crate) struct Audit {
    /// All discrepancies.
    pub(crate) faults: Vec<String>,
    /// Attempts whose worker died, in all checkouts.
    pub(crate) attempts_lost: usize,
    /// Attempts that failed with a retryable error.
    pub(crate) attempts_failed: usize,
    /// Automatic redrives of checkouts that had used up their attempts.
    pub(crate) redrives: usize,
    /// Checkouts that ended although at least one of their attempts was lost or failed.
    pub(crate) recovered: usize,
    /// E-mails beyond the first for an order.
    pub(crate) emails_again: usize,
}

pub(crate) async fn audit(
    stack: &Stack,
    made: &[Made],
    before: &Before,
    bought: &BTreeMap<u32, i64>,
    queued: BTreeMap<String, usize>,
) -> Audit {
    eprintln!("reconciling");
    let mut audit = Audit::default();
    made.iter().for_each(|one| audit.check_end(one));
    for (queue, count) in queued {
        audit.faults.push(format!("the queue {queue} holds {count} messages more than before"));
    }
    audit.check_effects(stack, made).await;
    audit.ask_the_function(stack, made).await;
    audit.check_tasks(&stack.scan(stack.tasks_table()).await, made, before.at);
    for (&product, &units) in bought {
        let left = stack.stock(product).await;
        let expected = before.stock.get(&product).copied().unwrap_or_default();
        if left != expected {
            let fault = format!("product {product} has {left} units, not {expected}, after {units} were ordered");
            audit.faults.push(fault);
        }
    }
    audit
}

impl Audit {
    /// The stack's own reconciliation finds nothing in these checkouts either.
    async fn ask_the_function(&mut self, stack: &Stack, made: &[Made]) {
        let report = stack.invoke("reconcile", r#"{"all_refunds": true, "min_age_seconds": 0}"#).await;
        let ours: HashSet<&str> = made.iter().filter_map(|one| one.task.as_deref()).collect();
        let findings = report["findings"].as_array().into_iter().flatten();
        let of_ours = findings.filter(|finding| finding["id"].as_str().is_some_and(|task| ours.contains(task)));
        self.faults.extend(of_ours.map(|finding| format!("the reconciliation has found {finding}")));
        // What was cancelled before its first step has no record, so there is nothing to judge.
        let mut records = stack.scan(&stack.shop_table("payments")).await;
        records.extend(stack.scan(&stack.shop_table("reservations")).await);
        let recorded = records.iter().filter_map(|record| text(record, "id").split_once(':'));
        let recorded: HashSet<&str> = recorded.map(|(task, _)| task).filter(|task| ours.contains(task)).collect();
        let recorded = recorded.len() as u64;
        if report["judged"].as_u64().is_none_or(|judged| judged < recorded) || report["unfinished"] != false {
            self.faults.push(format!("the reconciliation has not judged all {recorded} checkouts: {report}"));
        }
        let not_judged = report["not_judged"].as_array().into_iter().flatten();
        self.faults.extend(not_judged.map(|left| format!("the reconciliation could not judge {left}")));
    }

    fn check_end(&mut self, made: &Made) {
        let task = made.task.as_deref().unwrap_or("a checkout");
        match &made.end {
            End::Complete { .. } | End::Cancelled => {}
            End::NotStarted(why) => self.faults.push(format!("{task} was not taken: {why}")),
            End::Failed(status) => self.faults.push(format!("{task} ended with the status {status}")),
            End::Lost => self.faults.push(format!("{task} is lost: no end in a long time")),
        }
    }

    /// A completed checkout has one charge of the right amount, one reservation, one order and an e-mail. Any other has
    /// neither charge, reservation nor order.
    async fn check_effects(&mut self, stack: &Stack, made: &[Made]) {
        let payments = stack.scan(&stack.shop_table("payments")).await;
        let id = |item: &Item| item.get("id").and_then(|id| id.as_s().ok()).cloned().unwrap_or_default();
        let kept: BTreeMap<String, i64> =
            payments.iter().filter_map(|payment| Some((id(payment), kept_charge(payment)?))).collect();
        let mut unrecorded = kept.clone();
        unrecorded.retain(|payment, _| !payments.iter().any(|record| recorded_payment(record) == Some(payment)));
        for (payment, cents) in unrecorded {
            self.faults.push(format!("{payment} of {cents} cents belongs to no checkout"));
        }
        let charges = by_task(payments, |record| kept.get(recorded_payment(record)?).copied());
        let standing = |item: &Item| is_standing_reservation(item).then_some(());
        let reservations = by_task(stack.scan(&stack.shop_table("reservations")).await, standing);
        let number = |item: &Item| is_standing_order(item).then(|| item["order_number"].as_s().ok().cloned()).flatten();
        let orders = by_task(stack.scan(&stack.shop_table("orders")).await, number);
        let emails = emails(stack).await;
        for one in made {
            let Some(task) = &one.task else { continue };
            let expected = match one.end {
                End::Complete { .. } => vec![one.order.total_cents],
                _ => Vec::new(),
            };
            let charged = charges.get(task).map_or(&[][..], Vec::as_slice);
            if charged != expected {
                self.faults.push(format!("{task} was charged {charged:?} cents, not {expected:?}"));
            }
            let reservations = reservations.get(task).map_or(0, Vec::len);
            let orders = orders.get(task).map_or(&[][..], Vec::as_slice);
            for (what, count) in [("reservations", reservations), ("orders", orders.len())] {
                if count != expected.len() {
                    self.faults.push(format!("{task} has {count} {what}, not {}", expected.len()));
                }
            }
            for number in orders {
                match emails.get(number) {
                    None => self.faults.push(format!("nobody was written to about the order {number} of {task}")),
                    Some(emails) => self.emails_again += emails - 1,
                }
            }
        }
    }

    /// Checks that no task is open or unknown, and counts lost and failed attempts.
    fn check_tasks(&mut self, items: &[Item], made: &[Made], since: Timestamp) {
        let known: HashSet<&str> = made.iter().filter_map(|made| made.task.as_deref()).collect();
        let mut troubled = HashSet::new();
        for item in items {
            let Some(task) = text(item, "pk").strip_prefix("TASK#") else { continue };
            if text(item, "sk") == "TASK" {
                let created_at = item["created_at"].as_n().ok().and_then(|at| at.parse().ok());
                if created_at.is_none_or(|at: i64| at < since.as_millis()) {
                    continue;
                }
                if !known.contains(task) {
                    self.faults.push(format!("{task} was started, and no client knows of it"));
                }
                self.redrives += maps(item, "actions").filter(|action| text(action, "what") == "retry").count();
                if is_open(text(item, "status")) {
                    self.faults.push(format!("{task} is still {}", text(item, "status")));
                }
            } else if known.contains(task) {
                let attempts = maps(item, "attempts");
                let outcomes = attempts.map(|attempt| text(attempt, "outcome"));
                for outcome in outcomes.filter(|outcome| *outcome != "complete") {
                    troubled.insert(task);
                    match outcome {
                        "lost" => self.attempts_lost += 1,
                        _ => self.attempts_failed += 1,
                    }
                }
            }
        }
        let ended = made.iter().filter(|made| matches!(made.end, End::Complete { .. } | End::Cancelled));
        self.recovered = ended.filter_map(|made| made.task.as_deref()).filter(|task| troubled.contains(task)).count();
    }
}

/// The number of e-mails by order number.
async fn emails(stack: &Stack) -> HashMap<String, usize> {
    const NUMBER: &str = "ORD-20260101-0123ABCD";
    let mut emails = HashMap::new();
    for email in stack.mails_to(EMAIL).await {
        let email = email.to_string();
        let number = email.find("ORD-").and_then(|at| email.get(at..at + NUMBER.len()));
        *emails.entry(number.unwrap_or_default().to_owned()).or_default() += 1;
    }
    emails
}

fn text<'a>(item: &'a Item, name: &str) -> &'a str {
    item.get(name).and_then(|value| value.as_s().ok()).map_or("", String::as_str)
}

/// The maps in an item's list; none without such a list.
fn maps<'a>(item: &'a Item, name: &str) -> impl Iterator<Item = &'a Item> {
    let list = item.get(name).and_then(|list| list.as_l().ok());
    list.into_iter().flatten().filter_map(|value| value.as_m().ok())
}

/// The values of a table's items, by the task id with which their ids begin.
fn by_task<T>(items: Vec<Item>, say: impl Fn(&Item) -> Option<T>) -> HashMap<String, Vec<T>> {
    const TASK_ID: usize = 36;
    let mut said: HashMap<String, Vec<T>> = HashMap::new();
    for item in items {
        let task = item.get("id").and_then(|id| id.as_s().ok()?.get(..TASK_ID).map(str::to_owned));
        if let (Some(task), Some(value)) = (task, say(&item)) {
            said.entry(task).or_default().push(value);
        }
    }
    said
}
