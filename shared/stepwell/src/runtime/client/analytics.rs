//! Figures of the newest tasks.

use super::Client;
use crate::{
    core::{
        analytics::{Analytics, Sample},
        filter::Filter,
        snapshot::TaskSnapshot,
        usage::Usage,
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
    /// The figures of the newest tasks that match, of at most so many, each of which has used what `usage` says. Where few match, it looks through the
    /// newest 5,000 tasks only. A task that cannot be read is logged and left out.
    ///
    /// # Errors
    /// The store failed.
    pub async fn analytics(
        &self,
        filter: &Filter,
        most: usize,
        usage: impl Fn(&TaskSnapshot) -> Usage,
    ) -> Result<Analytics, TableError> {
        let (mut tasks, mut before) = (Vec::new(), None);
        for page in 0..PAGES {
            let left = most.saturating_sub(tasks.len());
            if left == 0 || (page > 0 && before.is_none()) {
                break;
            }
            let page = self.newest(None, filter, before, left).await?;
            tasks.extend(page.tasks.into_iter().map(|task| task.task_id));
            before = page.next;
        }
        let snapshots = stream::iter(tasks).map(|task| self.snapshot(task)).buffered(AT_ONCE);
        let add = async |mut sample: Sample, snapshot: Result<Option<TaskSnapshot>, TableError>| {
            match snapshot {
                Ok(Some(snapshot)) if snapshot.newer().is_some() => sample.leave_out(),
                // One that was ruled out has never started.
                Ok(Some(snapshot)) if !snapshot.task.never_starts() => sample.add(&snapshot, usage(&snapshot)),
                Ok(_) => {}
                Err(TableError::Unreadable(error)) => {
                    tracing::error!(%error, "an unreadable task is left out");
                    sample.leave_out();
                }
                Err(error) => return Err(error),
            }
            Ok(sample)
        };
        let sample = snapshots.map(Ok).try_fold(Sample::default(), add).await?;
        Ok(sample.figures(before.is_some()))
    }
}
