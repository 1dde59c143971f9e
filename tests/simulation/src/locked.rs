//! A value that is changed through a shared reference by whoever is at work, one at a time.

use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

/// A value behind a lock that nobody waits for. What holds it may be sent between threads, as the engine asks of all that
/// it works with, while the simulation is on one thread.
#[derive(Debug, Default)]
pub struct Locked<T>(Mutex<T>);

impl<T> Locked<T> {
    /// This value.
    pub const fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    /// The value.
    ///
    /// # Panics
    /// Somebody has it already, and would be waited for for ever.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        match self.0.try_lock() {
            Ok(value) => value,
            Err(TryLockError::Poisoned(poisoned)) => PoisonError::into_inner(poisoned),
            Err(TryLockError::WouldBlock) => panic!("somebody has this value already"),
        }
    }

    /// A copy of the value.
    pub fn get(&self) -> T
    where
        T: Copy,
    {
        *self.lock()
    }

    /// Puts another value in its place.
    pub fn set(&self, value: T) {
        *self.lock() = value;
    }

    /// Takes the value, and leaves the default.
    pub fn take(&self) -> T
    where
        T: Default,
    {
        std::mem::take(&mut *self.lock())
    }

    /// Puts another value in its place, and answers with the one that was there.
    pub fn replace(&self, value: T) -> T {
        std::mem::replace(&mut *self.lock(), value)
    }
}
