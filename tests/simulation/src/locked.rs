//! Interior mutability that checks that borrows do not overlap.

use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

/// A value behind a lock that nothing ever waits for. The engine requires `Send` of what it works with, although the
/// simulation runs on one thread.
#[derive(Debug, Default)]
pub struct Locked<T>(Mutex<T>);

impl<T> Locked<T> {
    /// Wraps this value.
    pub const fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    /// Borrows the value.
    ///
    /// # Panics
    /// The value is borrowed already. Waiting would never end.
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

    /// Replaces the value.
    pub fn set(&self, value: T) {
        *self.lock() = value;
    }

    /// Takes the value and leaves the default.
    pub fn take(&self) -> T
    where
        T: Default,
    {
        std::mem::take(&mut *self.lock())
    }

    /// Replaces the value and returns the old one.
    pub fn replace(&self, value: T) -> T {
        std::mem::replace(&mut *self.lock(), value)
    }
}
