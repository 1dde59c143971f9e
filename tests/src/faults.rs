//! Lets a worker die, or stop for a while, at a chosen AWS call.

use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        interceptors::{
            Intercept,
            context::{AfterDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextMut},
            dyn_dispatch_hint,
        },
        runtime_components::RuntimeComponents,
    },
};
use aws_smithy_types::config_bag::ConfigBag;
use std::sync::{Arc, Barrier, Mutex, MutexGuard};

/// Where the worker dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// Before this call, counted from 0, is made.
    Before(usize),
    /// After this call has taken effect, before its answer is read.
    After(usize),
}

/// Cuts the connection to AWS: from the moment of death on, no call is made. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    death: Option<Death>,
    sent: usize,
    answered: usize,
    dead: bool,
    hold: Option<(usize, Arc<Barrier>)>,
}

impl Faults {
    /// From now on the worker dies there; `None` gives it its life back.
    pub fn set(&self, death: Option<Death>) {
        *self.state() = State { death, ..State::default() };
    }

    /// From now on the worker's thread stops before this call, counted from 0: there it meets the test at the barrier,
    /// and goes on when it has met it once more.
    pub fn hold_before(&self, call: usize, barrier: Arc<Barrier>) {
        *self.state() = State { hold: Some((call, barrier)), ..State::default() };
    }

    /// Whether the worker has died.
    pub fn tripped(&self) -> bool {
        self.state().dead
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nobody panics while holding the state")
    }
}

#[dyn_dispatch_hint]
impl Intercept for Faults {
    fn name(&self) -> &'static str {
        "faults"
    }

    fn modify_before_transmit(
        &self,
        _: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let mut state = self.state();
        state.dead |= state.death == Some(Death::Before(state.sent));
        let number = state.sent;
        state.sent += 1;
        if let Some((_, barrier)) = state.hold.take_if(|(call, _)| *call == number) {
            barrier.wait();
            barrier.wait();
        }
        if state.dead { Err("the worker is dead".into()) } else { Ok(()) }
    }

    fn read_after_deserialization(
        &self,
        _: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let mut state = self.state();
        state.dead |= state.death == Some(Death::After(state.answered));
        state.answered += 1;
        if state.dead { Err("the worker died before it read the answer".into()) } else { Ok(()) }
    }
}
