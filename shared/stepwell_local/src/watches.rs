//! Who waits for a task.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use stepwell::TaskId;
use tokio::sync::oneshot;

/// Those who wait until the item of a task is written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watches(Arc<Mutex<HashMap<TaskId, Vec<oneshot::Sender<()>>>>>);

impl Watches {
    fn lock(&self) -> MutexGuard<'_, HashMap<TaskId, Vec<oneshot::Sender<()>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns when this task is [written](Self::written) after this call.
    pub(crate) fn changed(&self, task: TaskId) -> impl Future<Output = ()> + Send + 'static {
        let (changed, has_changed) = oneshot::channel();
        self.lock().entry(task).or_default().push(changed);
        let mut watch = Watch { has_changed, task, watches: self.clone() };
        async move {
            // Its sender is dropped only after it has sent.
            let _ = (&mut watch.has_changed).await;
        }
    }

    /// Tells those who wait for one of these tasks.
    pub(crate) fn written(&self, tasks: &[TaskId]) {
        if tasks.is_empty() {
            return;
        }
        let mut watches = self.lock();
        for changed in tasks.iter().filter_map(|task| watches.remove(task)).flatten() {
            // Whoever has waited may be gone.
            let _ = changed.send(());
        }
    }
}

/// Somebody who waits for a task, until it is dropped.
struct Watch {
    has_changed: oneshot::Receiver<()>,
    task: TaskId,
    watches: Watches,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.has_changed.close();
        let mut watches = self.watches.lock();
        if let Entry::Occupied(mut waiting) = watches.entry(self.task) {
            waiting.get_mut().retain(|changed| !changed.is_closed());
            if waiting.get().is_empty() {
                waiting.remove();
            }
        }
    }
}
