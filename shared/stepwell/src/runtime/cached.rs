//! A value that a process reads from the store, and relies on for a short time.

use crate::core::timestamp::Timestamp;
use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// The value that was read last.
#[derive(Debug)]
pub(crate) struct Cached<T> {
    holds_for: Duration,
    read: Mutex<Option<(Timestamp, T)>>,
}

impl<T: Clone> Cached<T> {
    /// Nothing was read yet. What is read holds for this long.
    pub(crate) const fn new(holds_for: Duration) -> Self {
        Self { holds_for, read: Mutex::new(None) }
    }

    /// The value, read anew if the last one holds no more.
    pub(crate) async fn get(&self, now: Timestamp, read: impl Future<Output = T>) -> T {
        let held = self.lock(|held| held.clone());
        // A clock that was set back makes a value of the future, which would hold for long.
        if let Some((_, value)) = held.filter(|(at, _)| *at <= now && now < *at + self.holds_for) {
            return value;
        }
        let value = read.await;
        self.lock(|held| *held = Some((now, value.clone())));
        value
    }

    /// Forgets the value, because it was written since.
    pub(crate) fn forget(&self) {
        self.lock(|held| *held = None);
    }

    fn lock<R>(&self, change: impl FnOnce(&mut Option<(Timestamp, T)>) -> R) -> R {
        change(&mut self.read.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
