//! The items of the model's state, as the rules look at them, and the one place where they are written.

use super::{
    scope::Scope,
    state::{Item, Set, State, Task},
    writes::{Snapshot, Write},
};

/// The items of a state, in a scope.
#[derive(Clone, Copy)]
pub(super) struct Items<'a> {
    pub(super) scope: &'a Scope,
    pub(super) state: &'a State,
}

impl Snapshot for Items<'_> {
    type Bits = u8;

    fn task(&self) -> Option<Task> {
        Some(self.state.task)
    }

    fn item(&self, step: usize) -> Item {
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

    fn compensated(&self) -> Set {
        self.scope.forward().filter(|_| self.scope.compensated).collect()
    }

    fn compensates_cancellation(&self) -> bool {
        self.scope.compensated
    }

    fn max_attempts(&self, _: usize) -> u8 {
        self.scope.max_attempts
    }

    /// Of every step that was attempted at all, the last ones first.
    fn order(&self) -> impl Iterator<Item = usize> {
        let Self { scope, state } = *self;
        let attempted = scope.forward().rev().filter(|step| state.items[*step].attempted);
        attempted.filter(|_| scope.compensated).map(|step| step + scope.forward)
    }
}

/// Makes a write; whether it took effect.
pub(super) fn make(scope: &Scope, state: &mut State, write: Write<'_>) -> bool {
    let items = Items { scope, state };
    let takes_effect = write.takes_effect(&items);
    if takes_effect {
        let is_due = write.is_due(&items);
        force(scope, state, write);
        state.wrongs.unruled |= !is_due;
    }
    takes_effect
}

/// Makes a write whatever its condition says.
pub(super) fn force(scope: &Scope, state: &mut State, write: Write<'_>) {
    let Some(change) = write.change(&Items { scope, state }) else {
        state.wrongs.illegal_move = true;
        return;
    };
    if let Some(task) = change.task {
        state.task = task;
    }
    for (step, item) in change.items {
        // One too many is as good as more, and keeps the number of states finite: where workers go on dying, and where a
        // result is written again and again.
        let (counted, results) = (item.counted.min(scope.max_attempts + 1), item.results.min(2));
        state.items[step] = Item { counted, results, ..item };
    }
}
