//! Lambda: for each queue a poller, which hands batches of messages to invocations of the step's function and deletes
//! what these are done with. An invocation has a deadline, and may die before it.

use super::{fault::Fault, handler, simulation::Simulation};
use crate::{graph, steps::name};
use std::{sync::Arc, time::Duration};
use stepwell::{
    Runtime,
    core::message::{DEAD_LETTERS, StepQueue},
    ports::Received,
    runtime::{
        dead_letters::DeadLetters,
        watchdog::{RunBudget, Watchdog},
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
pub(super) async fn serve(simulation: Arc<Simulation>, function: Function) {
    let queue = function.queue();
    let life = Duration::from_secs(simulation.scenario.timeout_seconds.into()) + MARGIN;
    loop {
        simulation.queues.arrival(&queue).await;
        simulation.scheduler.wait(20).await;
        let at_work = simulation.at_work();
        let most = usize::try_from(1 + simulation.scheduler.up_to(BATCH - 1)).expect("a small number");
        let messages = simulation.queues.receive(&queue, most, life);
        if messages.is_empty() {
            continue;
        }
        let (there, queue) = (simulation.clone(), queue.clone());
        simulation.spawn(async move {
            invoke(&there, function, &queue, messages, life).await;
            drop(at_work);
        });
    }
}

/// Starts the watchdog every minute.
pub(super) async fn watch(simulation: Arc<Simulation>) {
    loop {
        tokio::time::sleep(MINUTE).await;
        // Where nothing is due it would only look at empty parts of the index.
        let skew = Duration::from_millis(simulation.scheduler.odds().skew_millis());
        if simulation.table.first_look().is_none_or(|first| first > simulation.scheduler.now() + skew) {
            continue;
        }
        let _at_work = simulation.at_work();
        let process = simulation.process("watchdog");
        let budget =
            RunBudget { until: process.now() + MINUTE, tasks: if simulation.scheduler.one_in(4) { 1 } else { 100 } };
        let (table, queue) = simulation.hands(&process);
        let watchdog = Watchdog::new(table, queue, process.clone());
        let report = tokio::time::timeout(MINUTE, process.live(watchdog.run(budget))).await;
        process.note(|| format!("{report:?}"));
    }
}

async fn invoke(
    simulation: &Arc<Simulation>,
    function: Function,
    queue: &str,
    messages: Vec<Received>,
    life: Duration,
) {
    let process = simulation.process(queue);
    process.note(|| {
        let ids = messages.iter().map(|message| message.id.as_str());
        format!("begins with messages {}", ids.collect::<Vec<_>>().join(", "))
    });
    let now = process.now();
    let invocation = Invocation::new(simulation.name("request"), now + life, now);
    let (table, queues) = simulation.hands(&process);
    let work = async {
        match function {
            Function::Step(number) => {
                let handler = handler::script(simulation, &process);
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
        overtime = Duration::from_millis(simulation.scheduler.up_to(40_000));
        process.freeze(life.mul_f64(simulation.scheduler.random()) + overtime);
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
        simulation.scheduler.wait(5).await;
        simulation.queues.delete(queue, message.receipt.as_deref().unwrap_or_default());
    }
}
