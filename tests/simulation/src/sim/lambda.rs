//! Lambda: for each queue a poller, which hands batches of messages to invocations of the step's function and deletes
//! what these are done with. An invocation has a deadline, and may die before it.

use super::{fault::Fault, handler, house::House};
use crate::{graph, steps::name};
use std::{sync::Arc, time::Duration};
use stepwell::{
    Ambient,
    core::message::{DEAD_LETTERS, StepQueue},
    ports::Received,
    runtime::{
        dead_letters::DeadLetters,
        watchdog::{Bounds, Watchdog},
        worker::{Invocation, Worker},
    },
};

/// How many messages Lambda takes at a time.
const BATCH: u64 = 10;

const MINUTE: Duration = Duration::from_secs(60);

/// How much longer an invocation may take than an attempt, as in the deployed stack.
const MARGIN: Duration = Duration::from_secs(5);

/// A function that is fed by a queue.
#[derive(Clone, Copy, Debug)]
pub(super) enum Function {
    /// The step of this number.
    Step(usize),
    /// The reader of the messages that SQS has given up on.
    DeadLetters,
}

impl Function {
    fn queue(self) -> String {
        match self {
            Self::Step(number) => name(number),
            Self::DeadLetters => DEAD_LETTERS.to_owned(),
        }
    }
}

/// Feeds a function from its queue.
pub(super) async fn serve(house: Arc<House>, function: Function) {
    let queue = function.queue();
    let life = Duration::from_secs(house.scenario.timeout_seconds.into()) + MARGIN;
    loop {
        house.queues.arrival(&queue).await;
        house.fate.wait(20).await;
        let at_work = house.at_work();
        let most = usize::try_from(1 + house.fate.up_to(BATCH - 1)).expect("a small number");
        let messages = house.queues.receive(&queue, most, life);
        if messages.is_empty() {
            continue;
        }
        let (there, queue) = (house.clone(), queue.clone());
        house.spawn(async move {
            invoke(&there, function, &queue, messages, life).await;
            drop(at_work);
        });
    }
}

/// Starts the watchdog every minute.
pub(super) async fn watch(house: Arc<House>) {
    loop {
        tokio::time::sleep(MINUTE).await;
        // Where nothing is due it would only look at empty parts of the index.
        let skew = Duration::from_millis(house.fate.odds().skew_millis());
        if house.table.first_look().is_none_or(|first| first > house.fate.now() + skew) {
            continue;
        }
        let _at_work = house.at_work();
        let process = house.process("watchdog");
        let bounds = Bounds { until: process.now() + MINUTE, tasks: if house.fate.one_in(4) { 1 } else { 100 } };
        let (table, queue) = house.hands(&process);
        let watchdog = Watchdog::new(table, queue, process.clone());
        let report = tokio::time::timeout(MINUTE, process.live(watchdog.run(bounds))).await;
        process.note(|| format!("{report:?}"));
    }
}

async fn invoke(house: &Arc<House>, function: Function, queue: &str, messages: Vec<Received>, life: Duration) {
    let process = house.process(queue);
    process.note(|| {
        let ids = messages.iter().map(|message| message.id.as_str());
        format!("begins with messages {}", ids.collect::<Vec<_>>().join(", "))
    });
    let now = process.now();
    let invocation = Invocation::new(house.name("request"), now + life, now);
    let (table, queues) = house.hands(&process);
    let work = async {
        match function {
            Function::Step(number) => {
                let handler = handler::script(house, &process);
                let serves = StepQueue::new(graph::WORKFLOW, name(number));
                let worker = Worker::new(serves, handler, table, queues, process.clone());
                worker.handle(&messages, &invocation).await
            }
            Function::DeadLetters => DeadLetters::new(table, queues, process.clone()).handle(&messages).await,
        }
    };
    // One that is frozen does not notice that its time is over.
    let mut overtime = Duration::ZERO;
    if process.strikes(Fault::Zombie) {
        overtime = Duration::from_millis(house.fate.up_to(40_000));
        process.freeze(life.mul_f64(house.fate.draw()) + overtime);
        overtime += life;
    }
    let ended = tokio::time::timeout(life + overtime, process.live(work)).await;
    let Ok(Some(kept)) = ended else {
        return process.note(|| "has ended without an answer".to_owned());
    };
    process.note(|| format!("keeps {kept:?}"));
    if process.strikes(Fault::LostBatch) {
        return process.note(|| "the answer is lost".to_owned());
    }
    for message in &messages {
        let id = &message.id;
        if kept.contains(id) {
            continue;
        }
        if process.strikes(Fault::LostAck) {
            process.note(|| format!("the acknowledgement of {id} is lost"));
            continue;
        }
        house.fate.wait(5).await;
        house.queues.delete(queue, message.receipt.as_deref().unwrap_or_default());
    }
}
