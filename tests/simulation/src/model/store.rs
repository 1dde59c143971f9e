//! The items of a model state as a [`Snapshot`], and the only place that writes them.

use super::{
    scope::Scope,
    state::{ModelItem, ModelState, ModelTask, Set},
    writes::{Snapshot, Write},
};

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

    fn depends_on(&self, step: usize) -> Set {
        self.scope.depends_on[step]
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

    fn max_attempts(&self, _: usize) -> u8 {
        self.scope.max_attempts
    }

    /// The compensations of all attempted steps, in the reverse order of the plan.
    fn order(&self) -> impl Iterator<Item = usize> {
        let Self { scope, state } = *self;
        let attempted = scope.forward().rev().filter(|step| state.items[*step].attempted);
        attempted.filter(|_| scope.compensated).map(|step| step + scope.forward)
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
    for (step, item) in change.items {
        // Both are capped one above their limit. That keeps the number of states finite where workers go on dying or
        // results are written again and again.
        let (counted, results) = (item.counted.min(scope.max_attempts + 1), item.results.min(2));
        state.items[step] = ModelItem { counted, results, ..item };
    }
}
