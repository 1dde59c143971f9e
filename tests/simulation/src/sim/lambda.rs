//! Lambda: one poller for each queue. It gives batches of messages to invocations of the step's function and deletes
//! the messages that they acknowledge. An invocation has a deadline, and may die before it. On one machine a host takes Lambda's place.

use super::{
    backend::Delivered, fault::Fault, handler, host::Host, process::SimulatedProcess, queue::MemoryQueues,
    simulation::Simulation,
};
use crate::{
    graph,
    steps::{name, number_of},
};
use std::{sync::Arc, time::Duration};
use stepwell::{
    Runtime,
    core::message::{DEAD_LETTERS, QueueName, StepQueue},
    ports::Received,
    runtime::{
        bulk::BulkRunner,
        dead_letters::DeadLetters,
        pauses::PauseKeeper,
        timer_feeder::TimerFeeder,
        watchdog::{RunBudget, Watchdog},
        worker::{Invocation, Worker},
    },
};

/// The largest batch.
const BATCH: u64 = 10;

const MINUTE: Duration = Duration::from_secs(60);

/// How long it takes until another process runs.
const RESTART_MILLIS: u64 = 5_000;

/// A function that polls a queue.
#[derive(Clone, Copy, Debug)]
pub(super) enum Function {
    /// The function of the step with this number.
    Step(usize),
    /// The function that handles dead letters.
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

/// Polls the function's queue and invokes the function.
pub(super) async fn serve(simulation: Arc<Simulation>, queues: MemoryQueues, function: Function) {
    let queue = function.queue();
    let life = simulation.scenario.delivery_time();
    loop {
        queues.arrival(&queue).await;
        simulation.scheduler.wait(20).await;
        let busy_guard = simulation.busy_guard();
        let most = usize::try_from(1 + simulation.scheduler.up_to(BATCH - 1)).expect("a small number");
        let messages = queues.receive(&queue, most, life);
        if messages.is_empty() {
            continue;
        }
        let (there, queue) = (simulation.clone(), queue.clone());
        simulation.spawn(async move {
            let process = there.process(&queue).await;
            let now = process.now();
            let invocation = Invocation::new(there.name("request"), now + life, now);
            invoke(&there, process, function, &messages, &invocation, life).await;
            drop(busy_guard);
        });
    }
}

/// Runs the timer feeder every minute.
pub(super) async fn feed(simulation: Arc<Simulation>) {
    loop {
        tokio::time::sleep(MINUTE).await;
        let skew = Duration::from_millis(simulation.scheduler.odds().skew_millis());
        let is_due = simulation.table.next_timer().is_some_and(|first| first <= simulation.scheduler.now() + skew);
        if !is_due || simulation.scenario.standstill.of_feeder(simulation.scheduler.elapsed()) {
            continue;
        }
        let _at_work = simulation.busy_guard();
        let process = simulation.process("feeder").await;
        let budget = RunBudget { until: process.now() + MINUTE, tasks: usize::MAX };
        let (table, queue) = simulation.ports(&process);
        let feeder = TimerFeeder::new(table, queue, process.clone());
        let report = tokio::time::timeout(MINUTE, process.live(feeder.run(budget))).await;
        process.note(|| format!("{report:?}"));
    }
}

/// Runs the watchdog every minute.
pub(super) async fn watch(simulation: Arc<Simulation>) {
    loop {
        tokio::time::sleep(MINUTE).await;
        // Where nothing is due the watchdog would only query empty index partitions.
        let skew = Duration::from_millis(simulation.scheduler.odds().skew_millis());
        let inspects =
            simulation.table.next_inspection().is_some_and(|first| first <= simulation.scheduler.now() + skew);
        let tells = simulation.has_pauses_to_tell();
        if !(inspects || tells || simulation.has_open_bulks())
            || simulation.scenario.standstill.of_watchdog(simulation.scheduler.elapsed())
        {
            continue;
        }
        let _at_work = simulation.busy_guard();
        let process = simulation.process("watchdog").await;
        let budget =
            RunBudget { until: process.now() + MINUTE, tasks: if simulation.scheduler.one_in(4) { 1 } else { 100 } };
        let (table, queue) = simulation.ports(&process);
        let bulks = BulkRunner::new(table.clone(), queue.clone(), process.clone());
        let keeper = PauseKeeper::new(table.clone(), queue.clone(), queue.clone(), process.clone());
        let mut watchdog = Watchdog::new(table, queue, process.clone());
        let run = async {
            // In a run without pauses the draws are those of before there were any.
            if simulation.scenario.pauses {
                let pauses = keeper.read().await;
                process.note(|| format!("{pauses:?}"));
                if let Ok(pauses) = pauses {
                    keeper.tell(&pauses).await;
                    watchdog = watchdog.sparing(pauses.held());
                }
            }
            if inspects {
                let report = watchdog.run(budget).await;
                process.note(|| format!("{report:?}"));
            }
            if simulation.has_open_bulks() {
                let report = bulks.run(budget.until).await;
                process.note(|| format!("{report:?}"));
            }
        };
        drop(tokio::time::timeout(MINUTE, process.live(run)).await);
    }
}

/// Runs the processes of a machine, one after the other, and gives their deliveries to workers.
pub(super) async fn run_host(simulation: Arc<Simulation>, host: Arc<Host>) {
    loop {
        if let Some(process) = host.start(simulation.name("host")) {
            while !process.is_dead() {
                let busy_guard = simulation.busy_guard();
                for delivered in host.receive() {
                    let there = simulation.clone();
                    let at_work = simulation.busy_guard();
                    let process = process.within(simulation.name(&delivered.queue.to_string()));
                    simulation.spawn(async move {
                        invoke_in_host(&there, process, delivered).await;
                        drop(at_work);
                    });
                }
                drop(busy_guard);
                process.live(host.next(&process)).await;
            }
        }
        host.close();
        simulation.forget_breakers();
        simulation.scheduler.wait(RESTART_MILLIS).await;
    }
}

/// Gives a delivery to the worker of its queue, which runs in this process.
async fn invoke_in_host(simulation: &Arc<Simulation>, process: SimulatedProcess, delivered: Delivered) {
    let function = match &delivered.queue {
        QueueName::Step(queue) => Function::Step(number_of(&queue.step).expect("a step of the graph")),
        QueueName::DeadLetters | QueueName::Undeliverable => Function::DeadLetters,
    };
    let (now, until) = (process.now(), delivered.until);
    let invocation = Invocation::new(delivered.message.receipt.clone().unwrap_or_default(), until, now);
    let messages = std::slice::from_ref(&delivered.message);
    invoke(simulation, process, function, messages, &invocation, until.since(now)).await;
}

async fn invoke(
    simulation: &Arc<Simulation>,
    process: SimulatedProcess,
    function: Function,
    messages: &[Received],
    invocation: &Invocation,
    life: Duration,
) {
    let queue = &function.queue();
    process.note(|| {
        let ids = messages.iter().map(|message| message.id.as_str());
        format!("begins with messages {}", ids.collect::<Vec<_>>().join(", "))
    });
    let (table, queues) = simulation.ports(&process);
    let work = async {
        match function {
            Function::Step(number) => {
                let handler = handler::script(simulation, &process);
                let serves = StepQueue::new(graph::WORKFLOW, name(number));
                let worker = Worker::new(serves, handler, table, queues, process.clone());
                let worker = worker.guarded_by(simulation.breaker_of(queue));
                worker.handle(messages, invocation).await
            }
            Function::DeadLetters => DeadLetters::new(table, queues, process.clone()).handle(messages).await,
        }
    };
    // A frozen invocation does not notice that its time is over.
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
    for message in messages {
        let id = &message.id;
        if kept.contains(id) {
            continue;
        }
        if process.strikes(Fault::LostAck) {
            process.note(|| format!("the acknowledgement of {id} is lost"));
            continue;
        }
        simulation.scheduler.wait(5).await;
        simulation.queues.delete(queue, message);
    }
}
