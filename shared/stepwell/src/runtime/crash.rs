//! Crash points: kills this process at a chosen point of a delivery, for the test of every crash point.
//!
//! The module exists only with the feature `crash-points`, which no release build can have. The points are not placed by
//! hand: there is one before and one after every call of this process's AWS clients, and around the handler. So every
//! call has its points.
//!
//! The name of a point consists of the step, the call, the call's target, and the side of it: `process_payment.handler.before`,
//! `process_payment.UpdateItem.STEP#process_payment.complete.after`. The second call with a name in one delivery has a
//! `.2` in it, and so on.
//!
//! `STEPWELL_CRASH_DIR` names a folder that all processes share. Without it the points have no effect.
//!
//! | file | content |
//! |---|---|
//! | `passed` | one line for each point passed: the task, the point |
//! | `wanted/POINT` | a request to crash at this point: how often the delivery's task has to have crashed before |
//! | `died/TASK.N` | the task's crash number N, counted from 0: the point |
//!
//! One process takes a wanted point: it removes the file and aborts.

use crate::core::{id::TaskId, message::Message};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

#[cfg(all(feature = "crash-points", not(debug_assertions)))]
compile_error!("the feature crash-points lets a file kill the process: it is for debug builds only");

tokio::task_local! {
    static DELIVERY: Arc<CurrentDelivery>;
}

/// The delivery that this process is working on.
struct CurrentDelivery {
    step: String,
    task: TaskId,
    /// The number of calls so far, by name.
    calls: Mutex<BTreeMap<String, usize>>,
    directory: PathBuf,
}

/// Runs the delivery of this message to this step, so that its crash points have names.
pub(crate) async fn delivery<T>(step: &str, body: &str, run: impl Future<Output = T>) -> T {
    let message: Option<Message> = serde_json::from_str(body).ok();
    match (message, std::env::var_os("STEPWELL_CRASH_DIR")) {
        (Some(message), Some(directory)) => {
            let calls = Mutex::default();
            let (step, task) = (step.to_owned(), message.task_id);
            let delivery = CurrentDelivery { step, task, calls, directory: directory.into() };
            DELIVERY.scope(Arc::new(delivery), run).await
        }
        _ => run.await,
    }
}

/// Puts one crash point before and one after an action of a delivery.
pub async fn around<T>(name: &str, run: impl Future<Output = T>) -> T {
    let Ok(delivery) = DELIVERY.try_with(Arc::clone) else { return run.await };
    let name = delivery.name(name);
    delivery.pass(&format!("{name}.before"));
    let answer = run.await;
    delivery.pass(&format!("{name}.after"));
    answer
}

impl CurrentDelivery {
    /// The name of a call, numbered if there were earlier calls with that name.
    fn name(&self, call: &str) -> String {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let count = calls.entry(call.to_owned()).or_default();
        *count += 1;
        if *count == 1 { format!("{}.{call}", self.step) } else { format!("{}.{call}.{count}", self.step) }
    }

    fn pass(&self, point: &str) {
        let log = File::options().append(true).open(self.directory.join("passed"));
        // It is one write, so that the lines of several processes do not mix.
        let _ = log.and_then(|mut log| log.write_all(format!("{} {point}\n", self.task).as_bytes()));
        if self.crashes_at(point) {
            std::process::abort();
        }
    }

    /// Whether to crash here. For each wanted point it returns true once, to one process.
    fn crashes_at(&self, point: &str) -> bool {
        let wanted = self.directory.join("wanted").join(point);
        let Some(crashes) = fs::read_to_string(&wanted).ok().and_then(|text| text.parse::<usize>().ok()) else {
            return false;
        };
        let crash = |number: usize| self.directory.join("died").join(format!("{}.{number}", self.task));
        if crashes > 0 && !crash(crashes - 1).exists() {
            return false;
        }
        // Creating the file fails if another delivery of this task was faster. Removing the wanted point fails if a delivery of
        // another task was faster.
        let Ok(mut note) = File::create_new(crash(crashes)) else { return false };
        let taken = fs::remove_file(wanted).and_then(|()| note.write_all(point.as_bytes())).is_ok();
        if !taken {
            let _ = fs::remove_file(crash(crashes));
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wanted_point_is_taken_once_by_a_task_with_the_required_number_of_crashes() {
        let directory = std::env::temp_dir().join(format!("stepwell-crash-{}", uuid::Uuid::new_v4()));
        fs::create_dir_all(directory.join("wanted")).unwrap();
        fs::create_dir_all(directory.join("died")).unwrap();
        let delivery = || CurrentDelivery {
            step: "pay".to_owned(),
            task: TaskId::new(),
            calls: Mutex::default(),
            directory: directory.clone(),
        };
        let (one, other) = (delivery(), delivery());
        fs::write(directory.join("wanted/first"), "0").unwrap();
        fs::write(directory.join("wanted/second"), "1").unwrap();
        assert!(!one.crashes_at("nowhere"));
        assert!(!one.crashes_at("second"), "it has not crashed yet");
        assert!(one.crashes_at("first"));
        assert!(!other.crashes_at("first"), "it is taken");
        fs::write(directory.join("wanted/first"), "0").unwrap();
        assert!(!one.crashes_at("first"), "it has crashed before");
        assert!(one.crashes_at("second"));
        assert!(other.crashes_at("first"));
        let task = one.task;
        assert_eq!(fs::read_to_string(directory.join(format!("died/{task}.1"))).unwrap(), "second");
        fs::remove_dir_all(directory).unwrap();
    }
}
