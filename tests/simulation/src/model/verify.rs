//! Verifies one scope: safety and liveness.

use super::{ModelAction, Protocol, Scope, StateGraph};
use stateright::{Checker, Expectation, HasDiscoveries, Model};
use std::fmt;

/// The size of a scope that was verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    /// The number of reachable states.
    pub states: usize,
    /// The number of transitions.
    pub transitions: usize,
    /// The number of states that are ends.
    pub ends: usize,
}

/// A property that does not hold, and the shortest path found to a violation.
#[derive(Debug)]
pub struct Flaw {
    /// The property's name.
    pub property: &'static str,
    /// The actions that lead to the violation.
    pub way: Vec<ModelAction>,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "not so: {}", self.property)?;
        self.way.iter().try_for_each(|action| writeln!(f, "  {action:?}"))
    }
}

/// Verifies all states of a scope, on this many threads.
///
/// # Errors
/// The first property that does not hold.
pub fn verify(scope: &Scope, threads: usize) -> Result<Figures, Flaw> {
    let protocol = Protocol::new(scope.clone());
    let checker = protocol.clone().checker().threads(threads).finish_when(HasDiscoveries::AnyFailures);
    let checker = checker.spawn_bfs().join();
    // Several may be violated by one state. The first in the list is the most specific.
    let always = protocol.properties().into_iter().filter(|property| property.expectation == Expectation::Always);
    let mut flaws = always.filter_map(|property| Some((property.name, checker.discovery(property.name)?)));
    if let Some((property, way)) = flaws.next() {
        return Err(Flaw { property, way: way.into_actions() });
    }
    checker.assert_properties();

    let graph = StateGraph::of(&protocol);
    assert_eq!(graph.states(), checker.unique_state_count(), "both walks come to the same states");
    if let Some(way) = graph.dead_end(&protocol) {
        return Err(Flaw { property: "left alone, every task comes to rest", way });
    }
    if scope.faults.redrives {
        let mended = protocol.mended();
        let graph = StateGraph::of(&mended);
        if let Some(way) = graph.dead_end(&mended) {
            return Err(Flaw { property: "an operator who retries brings every task to its end", way });
        }
    }
    Ok(Figures { states: graph.states(), transitions: graph.transitions(), ends: graph.ends() })
}
