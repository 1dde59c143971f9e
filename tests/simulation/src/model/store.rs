//! The items of a model state as a [`Snapshot`], and the only place that writes them.

use super::{
    scope::Scope,
    state::{ModelItem, ModelState, ModelTask, Set},
    writes::{Snapshot, Write},
};
use stepwell::core::state::TaskState;

/// The items of a state in a scope.
#[derive(Clone, Copy)]
pub(super) struct Items<'a> {
    pub(super) scope: &'a Scope,
    pub(super) state: &'a ModelState,
}

impl Snapshot for Items<'_> {
    type Bits = u8;

    fn task(&self) -> Option<ModelTask> {
        Some(self.state.task)
    }

    fn item(&self, step: usize) -> ModelItem {
        self.state.items[step]
    }

    fn forward(&self) -> usize {
        self.scope.forward
    }

    /// A compensation that does not run stands for those that it would wait for.
    fn depends_on(&self, step: usize) -> Set {
        if !self.is_compensation(step) {
            return self.scope.depends_on[step];
        }
        let to_run = self.to_run();
        let reached =
            |other: usize| if to_run.has(other) { Set::default().with(other) } else { self.depends_on(other) };
        self.waits_for(step).iter().map(reached).fold(Set::default(), Set::union)
    }

    fn leaves(&self) -> Set {
        self.scope.leaves
    }

    fn optional(&self) -> Set {
        self.scope.optional
    }

    fn compensated(&self) -> Set {
        self.scope.forward().filter(|_| self.scope.compensated).collect()
    }

    fn compensates_cancellation(&self) -> bool {
        self.scope.compensated
    }

    fn overdue(&self) -> Set {
        let over = self.state.overdue && self.state.task.state != TaskState::Completed;
        let holds = |step: &usize| over && !self.scope.past_deadline.has(*step);
        self.scope.forward().filter(holds).collect()
    }

    fn max_attempts(&self, _: usize) -> u8 {
        self.scope.max_attempts
    }

    /// The compensations of all attempted steps. Once the graph is stored, no step is attempted any more.
    fn to_run(&self) -> Set {
        let Self { scope, state } = *self;
        let attempted = scope.forward().filter(|step| scope.compensated && state.items[*step].attempted);
        attempted.map(|step| step + scope.forward).collect()
    }

    fn waits_for(&self, compensation: usize) -> Set {
        self.scope.waits_for[compensation]
    }
}

/// Makes a write; answers whether it took effect.
pub(super) fn make(scope: &Scope, state: &mut ModelState, write: Write<'_>) -> bool {
    let items = Items { scope, state };
    let takes_effect = write.takes_effect(&items);
    if takes_effect {
        let is_due = write.is_due(&items);
        force(scope, state, write);
        state.violations.unruled |= !is_due;
    }
    takes_effect
}

/// Makes a write without checking its condition.
pub(super) fn force(scope: &Scope, state: &mut ModelState, write: Write<'_>) {
    let Some(change) = write.change(&Items { scope, state }) else {
        state.violations.illegal_move = true;
        return;
    };
    if let Some(task) = change.task {
        state.task = task;
    }
    state.overdue &= !write.moves_deadline();
    for (step, item) in change.items {
        // Both are capped one above their limit. That keeps the number of states finite where workers go on dying or
        // results are written again and again.
        let (counted, results) = (item.counted.min(scope.max_attempts + 1), item.results.min(2));
        state.items[step] = ModelItem { counted, results, ..item };
    }
}
