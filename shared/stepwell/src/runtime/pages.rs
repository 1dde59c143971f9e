//! Reads what is due in some partitions of the index, page by page.

use crate::{
    core::{
        index::{IndexEntry, IndexPartition, IndexPosition, Page},
        timestamp::Timestamp,
    },
    ports::{Queue, Runtime, Store},
    runtime::{engine::Engine, error::EngineError},
};
use std::collections::VecDeque;

/// How many entries of one shard are read at a time.
pub(super) const PAGE: u16 = 25;

/// The limits of one run.
#[derive(Clone, Copy, Debug)]
pub struct RunBudget {
    /// The time after which no page is read.
    pub until: Timestamp,
    /// The number of entries after which no page is read; `usize::MAX` if only the time counts.
    pub tasks: usize,
}

/// The pages of what is due. First comes a page of each shard, then the next one of each that has more.
#[derive(Debug)]
pub(super) struct Pages<'a, S, Q, A> {
    engine: &'a Engine<S, Q, A>,
    parts: VecDeque<(IndexPartition, u8, Option<IndexPosition>)>,
}

impl<'a, S: Store, Q: Queue, A: Runtime> Pages<'a, S, Q, A> {
    /// The pages of these partitions. Each minute another shard is the first, so that a budget does not always leave out the
    /// same one.
    pub(super) fn of(engine: &'a Engine<S, Q, A>, partitions: &[IndexPartition]) -> Self {
        let shards = |&partition| (0..IndexPartition::SHARDS).map(move |shard| (partition, shard, None));
        let mut parts: VecDeque<_> = partitions.iter().flat_map(shards).collect();
        let minutes = usize::try_from(engine.now().as_seconds() / 60).unwrap_or_default();
        parts.rotate_left(minutes % parts.len().max(1));
        Self { engine, parts }
    }

    /// Whether every page was read.
    pub(super) fn are_read(&self) -> bool {
        self.parts.is_empty()
    }

    /// The next page, which may be empty.
    pub(super) async fn next(&mut self) -> Result<Vec<IndexEntry>, EngineError> {
        let Some((partition, shard, after)) = self.parts.pop_front() else { return Ok(Vec::new()) };
        let until = Some(self.engine.now());
        let page = Page { partition, shard, until, after: after.as_ref(), limit: PAGE };
        let due = self.engine.list(&page).await?;
        // The next page starts after these, because an item of a newer format keeps its position.
        if due.len() == usize::from(PAGE)
            && let Some(last) = due.last()
        {
            self.parts.push_back((partition, shard, Some(last.place.clone())));
        }
        Ok(due)
    }
}
