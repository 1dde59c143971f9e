//! Every reachable state with its ways on, to say from which of them the end can be reached.
//!
//! `stateright` checks `eventually` along single paths and may miss a cycle, as its documentation says. What it leaves
//! out is done here: a walk backwards over the whole graph from where things have ended, along those actions that are
//! bound to happen. A state that it does not come to is one from which nothing leads to the end.

use stateright::Model;
use std::{
    collections::{HashMap, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
};

/// The reachable states of a model, numbered in the order of their distance from the start.
#[derive(Debug)]
pub struct Graph {
    /// How each state but the first was come to: from which, by which of its actions.
    parents: Vec<(u32, u16)>,
    /// The edges of actions that are bound to happen, as (to, from).
    edges: Vec<(u32, u32)>,
    ended: Vec<bool>,
    transitions: usize,
}

/// What the backward walk needs to know of a model.
pub trait Ends: Model {
    /// Whether the action is bound to happen some time, when it stays possible; faults and actors are not.
    fn is_bound_to_happen(&self, action: &Self::Action) -> bool;

    /// Whether the end is reached.
    fn has_ended(&self, state: &Self::State) -> bool;
}

impl Graph {
    /// Walks through all of it, by states' 64-bit hashes, as `stateright` does.
    pub fn of<M: Ends>(model: &M) -> Self
    where
        M::State: Hash,
    {
        let mut graph = Self { parents: vec![], edges: vec![], ended: vec![], transitions: 0 };
        let mut numbers: HashMap<u64, u32> = HashMap::new();
        let mut waiting: VecDeque<(u32, M::State)> = VecDeque::new();
        for state in model.init_states() {
            let number = graph.add(model, &state, (0, 0));
            numbers.insert(hash(&state), number);
            waiting.push_back((number, state));
        }
        let mut actions = Vec::new();
        while let Some((from, state)) = waiting.pop_front() {
            model.actions(&state, &mut actions);
            for (index, action) in actions.drain(..).enumerate() {
                let bound = model.is_bound_to_happen(&action);
                let Some(next) = model.next_state(&state, action) else { continue };
                graph.transitions += 1;
                let hash = hash(&next);
                let to = match numbers.get(&hash) {
                    Some(number) => *number,
                    None => {
                        let number = graph.add(model, &next, (from, u16::try_from(index).unwrap()));
                        numbers.insert(hash, number);
                        waiting.push_back((number, next));
                        number
                    }
                };
                if bound && to != from {
                    graph.edges.push((to, from));
                }
            }
        }
        graph.edges.sort_unstable();
        graph
    }

    fn add<M: Ends>(&mut self, model: &M, state: &M::State, parent: (u32, u16)) -> u32 {
        self.parents.push(parent);
        self.ended.push(model.has_ended(state));
        u32::try_from(self.parents.len() - 1).unwrap()
    }

    /// How many states there are.
    pub fn states(&self) -> usize {
        self.parents.len()
    }

    /// How many ways there are from one state to the next.
    pub fn transitions(&self) -> usize {
        self.transitions
    }

    /// In how many states the end is reached.
    pub fn ends(&self) -> usize {
        self.ended.iter().filter(|ended| **ended).count()
    }

    /// The nearest state from which the end cannot be reached, if there is one: as the way to it.
    pub fn dead_end<M: Model>(&self, model: &M) -> Option<Vec<M::Action>>
    where
        M::Action: Clone,
    {
        let mut reaches = self.ended.clone();
        let mut walk: Vec<u32> = (0..).zip(&self.ended).filter_map(|(number, ended)| ended.then_some(number)).collect();
        while let Some(to) = walk.pop() {
            let first = self.edges.partition_point(|edge| edge.0 < to);
            for (_, from) in self.edges[first..].iter().take_while(|edge| edge.0 == to) {
                if !std::mem::replace(&mut reaches[*from as usize], true) {
                    walk.push(*from);
                }
            }
        }
        let dead = (0..self.states()).find(|number| !reaches[*number])?;
        Some(self.way_to(model, dead))
    }

    fn way_to<M: Model>(&self, model: &M, state: usize) -> Vec<M::Action>
    where
        M::Action: Clone,
    {
        let mut choices = Vec::new();
        let mut at = state;
        while at != 0 {
            let (parent, choice) = self.parents[at];
            choices.push(usize::from(choice));
            at = parent as usize;
        }
        let mut state = model.init_states().into_iter().next().unwrap();
        let mut way = Vec::new();
        for choice in choices.into_iter().rev() {
            let mut actions = Vec::new();
            model.actions(&state, &mut actions);
            let action = actions.swap_remove(choice);
            way.push(action.clone());
            state = model.next_state(&state, action).unwrap();
        }
        way
    }
}

fn hash(state: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    state.hash(&mut hasher);
    hasher.finish()
}
