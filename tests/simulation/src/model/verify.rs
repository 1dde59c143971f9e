//! One scope, checked for safety and for completion.

use super::{Action, Graph, Protocol, Scope};
use stateright::{Checker, Expectation, HasDiscoveries, Model};
use std::fmt;

/// How large a scope was that was checked to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    /// Different states that can be reached.
    pub states: usize,
    /// Ways from one to another.
    pub transitions: usize,
    /// States in which everything has come to rest.
    pub ends: usize,
}

/// What is wrong, and the shortest way to it that was found.
#[derive(Debug)]
pub struct Flaw {
    /// The property that does not hold.
    pub property: &'static str,
    /// What happens until then.
    pub way: Vec<Action>,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "not so: {}", self.property)?;
        self.way.iter().try_for_each(|action| writeln!(f, "  {action:?}"))
    }
}

/// Checks all states of a scope, on this many threads.
///
/// # Errors
/// The first flaw.
pub fn verify(scope: &Scope, threads: usize) -> Result<Figures, Flaw> {
    let protocol = Protocol::new(scope.clone());
    let checker = protocol.clone().checker().threads(threads).finish_when(HasDiscoveries::AnyFailures);
    let checker = checker.spawn_bfs().join();
    // Several may have been found at the same time; the first in the list says most.
    let always = protocol.properties().into_iter().filter(|property| property.expectation == Expectation::Always);
    let mut flaws = always.filter_map(|property| Some((property.name, checker.discovery(property.name)?)));
    if let Some((property, way)) = flaws.next() {
        return Err(Flaw { property, way: way.into_actions() });
    }
    checker.assert_properties();

    let graph = Graph::of(&protocol);
    assert_eq!(graph.states(), checker.unique_state_count(), "both walks come to the same states");
    if let Some(way) = graph.dead_end(&protocol) {
        return Err(Flaw { property: "left alone, every task comes to rest", way });
    }
    if scope.faults.retries {
        let mended = protocol.mended();
        let graph = Graph::of(&mended);
        if let Some(way) = graph.dead_end(&mended) {
            return Err(Flaw { property: "an operator who retries brings every task to its end", way });
        }
    }
    Ok(Figures { states: graph.states(), transitions: graph.transitions(), ends: graph.ends() })
}
