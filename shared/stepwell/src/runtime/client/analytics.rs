//! Figures of the newest tasks.

use super::Client;
use crate::{
    core::{
        analytics::{Analytics, Sample},
        filter::Filter,
        snapshot::TaskSnapshot,
    },
    ports::{Queue, Runtime, Store, TableError},
};
use futures::{StreamExt, TryStreamExt, stream};

/// The most tasks of a sample.
pub const MOST_SAMPLED: usize = 1_000;

/// How many tasks are read at a time. One may have a context of 256 KiB and as much of results, and none is kept.
const AT_ONCE: usize = 16;

/// How many pages of the list are looked through for tasks that match, at most.
const PAGES: usize = 5;

impl<T: Store, Q: Queue, A: Runtime> Client<T, Q, A> {
    /// The figures of the newest tasks that match, of at most so many. Where few match, it looks through the newest 5,000 tasks only.
    ///
    /// # Errors
    /// The store failed.
    pub async fn analytics(&self, filter: &Filter, most: usize) -> Result<Analytics, TableError> {
        let (mut tasks, mut before) = (Vec::new(), None);
        for _ in 0..PAGES {
            let left = most.saturating_sub(tasks.len());
            if left == 0 {
                break;
            }
            let page = self.newest(None, filter, before, left).await?;
            tasks.extend(page.tasks.into_iter().map(|task| task.task_id));
            match page.next {
                Some(next) => before = Some(next),
                None => break,
            }
        }
        let snapshots = stream::iter(tasks).map(|task| self.snapshot(task)).buffered(AT_ONCE);
        let add = async |mut sample: Sample, snapshot: Option<TaskSnapshot>| {
            if let Some(snapshot) = snapshot.filter(|snapshot| !snapshot.task.never_starts()) {
                sample.add(&snapshot);
            }
            Ok(sample)
        };
        Ok(snapshots.try_fold(Sample::default(), add).await?.figures())
    }
}
