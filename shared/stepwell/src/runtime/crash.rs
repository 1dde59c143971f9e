//! A switch that kills this process at a chosen point of a delivery, for the test of every crash point.
//!
//! It is here with the feature `crash-points` only, which no release build can have. The points are not placed by hand:
//! one stands before and one after every call that the AWS clients of this process make, and around the handler. So no
//! call can be without its points.
//!
//! A point is named by the step, the call, what the call is on, and which side of it: `process_payment.handler.before`,
//! `process_payment.UpdateItem.STEP#process_payment.complete.after`. The second call of a name in one delivery has a
//! `.2` in it, and so on.
//!
//! The switch is the folder that `STEPWELL_CRASH_DIR` names, the same for all processes; without it nothing happens.
//!
//! | in the folder | what it is |
//! |---|---|
//! | `passed` | one line for each point passed: the task, the point |
//! | `wanted/POINT` | a process is to die here; it holds how often the delivery's task has to have died before |
//! | `died/TASK.N` | the task's death number N, counted from 0; it holds the point |
//!
//! A point that is wanted is taken by one process, which removes it and aborts.

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
    static DELIVERY: Arc<Delivery>;
}

/// The delivery that this process is in.
struct Delivery {
    step: String,
    task: TaskId,
    /// The names of its calls, with how often each has been made.
    calls: Mutex<BTreeMap<String, usize>>,
    switch: PathBuf,
}

/// Runs the delivery of this message to this step, so that the points on its way know where they are.
pub(crate) async fn delivery<T>(step: &str, body: &str, run: impl Future<Output = T>) -> T {
    let message: Option<Message> = serde_json::from_str(body).ok();
    match (message, std::env::var_os("STEPWELL_CRASH_DIR")) {
        (Some(message), Some(switch)) => {
            let calls = Mutex::default();
            let delivery = Delivery { step: step.to_owned(), task: message.task_id, calls, switch: switch.into() };
            DELIVERY.scope(Arc::new(delivery), run).await
        }
        _ => run.await,
    }
}

/// Puts a point before and one after something that a delivery does.
pub async fn around<T>(name: &str, run: impl Future<Output = T>) -> T {
    let Ok(delivery) = DELIVERY.try_with(Arc::clone) else { return run.await };
    let name = delivery.name(name);
    delivery.pass(&format!("{name}.before"));
    let answer = run.await;
    delivery.pass(&format!("{name}.after"));
    answer
}

impl Delivery {
    /// The name of a call, told apart from earlier calls of that name.
    fn name(&self, call: &str) -> String {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let count = calls.entry(call.to_owned()).or_default();
        *count += 1;
        if *count == 1 { format!("{}.{call}", self.step) } else { format!("{}.{call}.{count}", self.step) }
    }

    fn pass(&self, point: &str) {
        let log = File::options().append(true).open(self.switch.join("passed"));
        // One write, so that the lines of several processes do not mix.
        let _ = log.and_then(|mut log| log.write_all(format!("{} {point}\n", self.task).as_bytes()));
        if self.dies_at(point) {
            std::process::abort();
        }
    }

    /// Whether to die here: for each point that is wanted this is true once, to one process.
    fn dies_at(&self, point: &str) -> bool {
        let wanted = self.switch.join("wanted").join(point);
        let Some(deaths) = fs::read_to_string(&wanted).ok().and_then(|text| text.parse::<usize>().ok()) else {
            return false;
        };
        let death = |number: usize| self.switch.join("died").join(format!("{}.{number}", self.task));
        if deaths > 0 && !death(deaths - 1).exists() {
            return false;
        }
        // The one fails where another delivery of this task was faster, the other where one of another task was.
        let Ok(mut note) = File::create_new(death(deaths)) else { return false };
        let taken = fs::remove_file(wanted).and_then(|()| note.write_all(point.as_bytes())).is_ok();
        if !taken {
            let _ = fs::remove_file(death(deaths));
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wanted_point_is_taken_once_and_by_a_task_that_has_died_as_often_as_it_says() {
        let switch = std::env::temp_dir().join(format!("stepwell-crash-{}", uuid::Uuid::new_v4()));
        fs::create_dir_all(switch.join("wanted")).unwrap();
        fs::create_dir_all(switch.join("died")).unwrap();
        let delivery = || Delivery {
            step: "pay".to_owned(),
            task: TaskId::new(),
            calls: Mutex::default(),
            switch: switch.clone(),
        };
        let (one, other) = (delivery(), delivery());
        fs::write(switch.join("wanted/first"), "0").unwrap();
        fs::write(switch.join("wanted/second"), "1").unwrap();
        assert!(!one.dies_at("nowhere"));
        assert!(!one.dies_at("second"), "it has not died yet");
        assert!(one.dies_at("first"));
        assert!(!other.dies_at("first"), "it is taken");
        fs::write(switch.join("wanted/first"), "0").unwrap();
        assert!(!one.dies_at("first"), "it has died before");
        assert!(one.dies_at("second"));
        assert!(other.dies_at("first"));
        let task = one.task;
        assert_eq!(fs::read_to_string(switch.join(format!("died/{task}.1"))).unwrap(), "second");
        fs::remove_dir_all(switch).unwrap();
    }
}
