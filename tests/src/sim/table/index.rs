//! The index: tasks by listing and moment.

use super::Store;
use stepwell::{
    TaskId, Timestamp,
    table::{AsRead, Listed, ListedAt, Listing, Page},
};

impl Store {
    pub(super) fn list(&self, page: &Page<'_>) -> Vec<Listed> {
        let items = self.partitions.values().filter_map(|partition| partition.task.as_ref());
        let here = items.filter(|item| {
            item.listed.0 == page.listing
                && Listing::shard(item.record.id) == page.shard
                && page.until.is_none_or(|until| item.listed.1 <= until)
                && page.after.is_none_or(|after| (item.listed.1, item.record.id) > (after.at, after.task))
        });
        let mut found: Vec<Listed> = here
            .map(|item| Listed {
                place: ListedAt { task: item.record.id, listing: item.listed.0, at: item.listed.1 },
                workflow: item.record.workflow.clone(),
                status: item.record.status,
                created_at: item.record.created_at,
                failed_steps: item.record.failed_steps.clone(),
                compensated: item.record.is_compensated(),
            })
            .collect();
        found.sort_by_key(|listed| (listed.place.at, listed.place.task));
        found.truncate(page.limit.into());
        found
    }

    pub(super) fn relist(&mut self, place: &ListedAt, to: Listing, at: Timestamp) -> AsRead {
        match self.task(place.task) {
            Some(item) if item.listed == (place.listing, place.at) => {
                self.change_task(place.task, |item| item.listed = (to, at));
                AsRead::Written
            }
            _ => AsRead::Changed,
        }
    }

    /// The first moment at which the watchdog has to look at anything.
    pub(super) fn first_look(&self) -> Option<Timestamp> {
        let items = self.partitions.values().filter_map(|partition| partition.task.as_ref());
        items.filter(|item| Listing::WATCHED.contains(&item.listed.0)).map(|item| item.listed.1).min()
    }

    /// Whether the index lists any task there.
    pub(super) fn lists_any(&self, listing: Listing, shard: u8) -> bool {
        let listed = |id: &TaskId, of: Listing| of == listing && Listing::shard(*id) == shard;
        let mut items = self.partitions.iter();
        items.any(|(id, partition)| partition.task.as_ref().is_some_and(|item| listed(id, item.listed.0)))
    }
}
