//! The graph of a task: its steps and compensations with what each waits for, for a picture.

use crate::core::{plan::StepPlan, snapshot::TaskSnapshot, state::StepState};
use serde::Serialize;
use std::fmt::Write;

/// A graph.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Graph {
    /// The steps and then the compensations, each after those that it waits for.
    pub nodes: Vec<Node>,
}

/// A step or a compensation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Node {
    /// The name.
    pub name: String,
    /// The state; `null` for a compensation that is not to run, or not yet.
    pub state: Option<StepState>,
    /// What it waits for.
    pub depends_on: Vec<String>,
    /// The step that it compensates, for a compensation.
    pub compensates: Option<String>,
    /// Whether the task goes on without it.
    pub optional: bool,
}

impl Graph {
    /// The graph of a task. Compensations that are not decided yet stand as if all steps had been attempted.
    pub fn of(snapshot: &TaskSnapshot) -> Self {
        let plan = &snapshot.task.plan;
        let possible = plan.compensation_graph(|_| true);
        let node = |step: &StepPlan| {
            let decided = snapshot.task.compensations.iter().flatten().find(|decided| decided.name == step.name);
            let StepPlan { name, depends_on, compensates, optional, .. } = decided.unwrap_or(step).clone();
            let state = snapshot.step(&name).map(|record| record.state);
            Node { name, state, depends_on, compensates, optional }
        };
        Self { nodes: plan.steps().iter().chain(&possible).map(node).collect() }
    }

    /// The graph as a Mermaid flowchart, see <https://mermaid.js.org/syntax/flowchart.html>: steps as boxes, compensations as rounded boxes
    /// with a dotted line from the step that each undoes, the state below the name and as a class.
    pub fn mermaid(&self) -> String {
        let mut text = "flowchart LR\n".to_owned();
        // Writing to a String cannot fail.
        for (number, node) in self.nodes.iter().enumerate() {
            let (open, close) = if node.compensates.is_some() { ("([", "])") } else { ("[", "]") };
            let state = node.state.map_or(String::new(), |state| format!("<br>{}", state.as_str()));
            let class = node.state.map_or(String::new(), |state| format!(":::{}", state.as_str()));
            let name = node.name.replace('"', "#quot;");
            let _ = writeln!(text, "    n{number}{open}\"{name}{state}\"{close}{class}");
        }
        for (number, node) in self.nodes.iter().enumerate() {
            for from in node.depends_on.iter().filter_map(|name| self.number(name)) {
                let _ = writeln!(text, "    n{from} --> n{number}");
            }
            if let Some(step) = node.compensates.as_deref().and_then(|name| self.number(name)) {
                let _ = writeln!(text, "    n{step} -.-> n{number}");
            }
        }
        for state in StepState::ALL {
            let _ = writeln!(text, "    classDef {} {}", state.as_str(), style(state));
        }
        text
    }

    fn number(&self, name: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node.name == name)
    }
}

/// The colour of a state, light enough for black text.
const fn style(state: StepState) -> &'static str {
    match state {
        StepState::Pending => "fill:#eeeeee,color:#000000",
        StepState::InProgress => "fill:#9ecbff,color:#000000",
        StepState::Retrying => "fill:#ffe08a,color:#000000",
        StepState::Complete => "fill:#a6e3b0,color:#000000",
        StepState::Error => "fill:#ffb3ad,color:#000000",
        StepState::Cancelled => "fill:#d0d0d0,color:#000000",
        StepState::ResolvedManually => "fill:#d6bcfa,color:#000000",
    }
}
