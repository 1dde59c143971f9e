//! Bulk actions: an action of an operator on every task that a filter matches, which the engine carries out page by page.
//!
//! A bulk action is an item of its own ([`BulkRecord`]). Whoever carries it out ([`runtime::bulk`](crate::runtime::bulk)):
//!
//! 1. **takes** a page: finds the next tasks of the filter, and writes their ids, the page's number and a lease. If there is a
//!    page already whose lease is over, its holder has died, and the same page is taken over;
//! 2. **acts** on each task of the page, by the same transition as an operator's action on one task. The entry in the task's audit
//!    trail has the bulk action and the page ([`BulkPage`]). A task whose trail has such an entry is not acted on again;
//! 3. **turns** the page: writes the results of its tasks as an item, and in the same transaction the new counts. So each task of a
//!    page has one result, and the counts are those of the results.
//!
//! A crash before 3 leaves the page to the next one, which finds in the trails what was done. So safety does not depend on the
//! lease: it only keeps two from doing the same work. A task that fails again is listed anew, and so it may be on a later page; there
//! the trail names the earlier one, and the task gets no second result. A refusal leaves no entry. A task that has refused and is
//! listed anew before the end is therefore asked again, and has two results.

use super::{
    codec::Unreadable,
    filter::{Cursor, Filter},
    format::{BULK, NewerFormat},
    item::{Item, Key, attribute, stored},
    parts::{millis, stamp},
    record::RETENTION,
    transition::{Change, Condition, Effect, Transition, Write},
};
use crate::core::{
    id::TaskId,
    state::{End, TaskEvent, TaskState, TaskStatus},
    timestamp::{Timestamp, millis as in_millis},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;
use std::{collections::BTreeMap, fmt, time::Duration};

pub use crate::core::id::{BulkId, BulkPage};

/// The number of tasks of a page. A crash repeats at most a page, and its results fit into one item.
pub const PAGE_TASKS: usize = 50;

/// How long whoever has taken a page has time for it, before another one may take it over. A page takes a second or two.
pub const PAGE_LEASE: Duration = Duration::from_secs(60);

/// How much of the pace may be made up for, after nobody has carried on: the time between two runs of the watchdog.
const MADE_UP_FOR: Duration = Duration::from_secs(60);

/// What a bulk action does to each task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BulkAction {
    /// Redrives the task.
    Redrive,
    /// Cancels the task.
    Cancel,
    /// Compensates the task.
    Compensate,
}

impl BulkAction {
    /// All actions.
    pub const ALL: [Self; 3] = [Self::Redrive, Self::Cancel, Self::Compensate];

    /// The word in the API and the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Redrive => "redrive",
            Self::Cancel => "cancel",
            Self::Compensate => "compensate",
        }
    }

    /// Whether tasks of this status, by its word, can be acted on.
    pub fn fits(self, status: TaskStatus) -> bool {
        let events: &[TaskEvent] = match self {
            Self::Redrive => &[TaskEvent::Redrive],
            Self::Cancel => &[TaskEvent::Cancel, TaskEvent::Compensate(End::Cancelled)],
            Self::Compensate => &[TaskEvent::Compensate(End::Error), TaskEvent::Compensate(End::Cancelled)],
        };
        let may = |state: &TaskState| match self {
            Self::Cancel => *state != TaskState::Cancelled,
            Self::Compensate => matches!(state, TaskState::Failed | TaskState::Cancelled),
            Self::Redrive => true,
        };
        let states = TaskState::ALL.into_iter().filter(may);
        let mut fitting = states.filter(|state| events.iter().any(|event| state.on(*event).is_some()));
        status == TaskStatus::InProgress && self == Self::Cancel
            || fitting.any(|state| state.status().as_str() == status.as_str())
    }

    /// The filter with the defaults of the action: the status that it is for, no task that is compensated, and none that is started
    /// later, so that the bulk action comes to an end.
    #[must_use]
    pub fn narrowed(self, filter: &Filter, now: Timestamp) -> Filter {
        let default = match self {
            // What needs a person has failed, or a compensation of it has.
            Self::Redrive => (filter.needs_person != Some(true)).then_some(TaskStatus::Error),
            Self::Cancel => Some(TaskStatus::Pending),
            Self::Compensate => Some(TaskStatus::Error),
        };
        Filter {
            status: filter.status.or(default),
            compensated: filter.compensated.or(Some(false)),
            created_before: filter.created_before.into_iter().chain([now]).min(),
            ..filter.clone()
        }
    }
}

impl fmt::Display for BulkAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The state of a bulk action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BulkState {
    /// There may be more tasks to act on.
    Running,
    /// Somebody has stopped it. What was begun is being recorded.
    Stopping,
    /// Every task has been acted on, or has refused.
    Complete,
    /// It was stopped. Tasks may be left.
    Stopped,
}

impl BulkState {
    /// Whether it is over.
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Complete | Self::Stopped)
    }

    /// The word in the API and the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Complete => "complete",
            Self::Stopped => "stopped",
        }
    }
}

impl fmt::Display for BulkState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The pace of a bulk action, in tasks a minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pace(u32);

impl Pace {
    /// The fastest pace. One function does no more in the minute between two of its runs.
    pub const MAX: u32 = 10_000;

    /// The pace if nothing is said: 20,000 tasks take ten minutes.
    pub const DEFAULT: Self = Self(2_000);

    /// A pace of so many tasks a minute; `None` unless it is from 1 to [`Self::MAX`].
    pub const fn per_minute(tasks: u32) -> Option<Self> {
        if tasks == 0 || tasks > Self::MAX { None } else { Some(Self(tasks)) }
    }

    /// Tasks a minute.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The time that so many tasks take.
    pub fn time_for(self, tasks: usize) -> Duration {
        let tasks = u64::try_from(tasks).unwrap_or(u64::MAX);
        Duration::from_millis(tasks.saturating_mul(60_000).div_ceil(u64::from(self.0.max(1))))
    }
}

/// Where the next page of a bulk action begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BulkCursor {
    /// At the first task.
    Start,
    /// After this position.
    At(Cursor),
    /// There is no next page.
    End,
}

impl BulkCursor {
    /// The position from which to find tasks; `None` for the start.
    pub const fn position(&self) -> Option<&Cursor> {
        match self {
            Self::At(cursor) => Some(cursor),
            Self::Start | Self::End => None,
        }
    }
}

impl Serialize for BulkCursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Start => serializer.serialize_str("start"),
            Self::At(cursor) => serializer.collect_str(cursor),
            Self::End => serializer.serialize_str("end"),
        }
    }
}

impl<'de> Deserialize<'de> for BulkCursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.as_str() {
            "start" => Ok(Self::Start),
            "end" => Ok(Self::End),
            cursor => cursor.parse().map(Self::At).map_err(de::Error::custom),
        }
    }
}

/// The reason why a task was not acted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BulkRefusal {
    /// The task has expired.
    NotFound,
    /// The task's status does not allow the action: somebody else was quicker.
    Status,
    /// The task's audit trail has no room for another action.
    TrailFull,
    /// Others keep changing the task.
    KeepsChanging,
    /// Only a newer version may act on the task.
    NewerFormat,
    /// The task cannot be read, or the store refuses the write. The log has the error.
    Failed,
    /// The bulk action was stopped before.
    Stopped,
}

impl BulkRefusal {
    /// All reasons.
    pub const ALL: [Self; 7] = [
        Self::NotFound,
        Self::Status,
        Self::TrailFull,
        Self::KeepsChanging,
        Self::NewerFormat,
        Self::Failed,
        Self::Stopped,
    ];

    /// The word in the API and the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Status => "status",
            Self::TrailFull => "trail_full",
            Self::KeepsChanging => "keeps_changing",
            Self::NewerFormat => "newer_format",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }
}

/// The result of one task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BulkResult {
    /// The task.
    pub task: TaskId,
    /// Why it was not acted on; `None` if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<BulkRefusal>,
}

/// The results of one page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BulkResults {
    /// The page's number, from 1. A page without results is left out.
    pub page: u32,
    /// The result of each of its tasks.
    pub results: Vec<BulkResult>,
}

/// Who did something to a bulk action, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct BulkActor {
    /// The actor's name.
    pub who: String,
    /// The reason.
    pub why: String,
}

/// A bulk action.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BulkRecord {
    /// Its id.
    pub id: BulkId,
    /// What it does to each task.
    pub action: BulkAction,
    /// The tasks that it is for, with the [defaults](BulkAction::narrowed) of the action.
    pub filter: Filter,
    /// Who has started it, and why.
    pub started_by: BulkActor,
    /// The hash of the request that has started it, if that had an idempotency key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_hash: Option<String>,
    /// How fast it goes.
    pub pace: Pace,
    /// How many tasks matched at the start.
    pub expected: u64,
    /// The time of the start.
    #[serde(with = "in_millis")]
    pub created_at: Timestamp,
    /// Its state.
    pub state: BulkState,
    /// The number of the last page that was taken; 0 before the first one.
    pub page: u32,
    /// The tasks of that page, until it is turned.
    pub planned: Vec<TaskId>,
    /// Where the next page begins.
    pub cursor: BulkCursor,
    /// On how many tasks it has acted.
    pub done: u64,
    /// How many tasks were not acted on, by reason.
    pub refused: BTreeMap<BulkRefusal, u64>,
    /// The time from which a page may be taken: the end of the lease of the current one, or the time of the next one by the pace.
    #[serde(with = "in_millis")]
    pub due_at: Timestamp,
    /// The time at which it was over.
    #[serde(with = "in_millis::option", default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// Who has stopped it, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_by: Option<BulkActor>,
    /// The format of the item, if it needs a newer reader. Then this version does not carry it on.
    #[serde(skip)]
    pub newer: Option<NewerFormat>,
}

impl BulkRecord {
    /// Reads the item of a bulk action.
    ///
    /// # Errors
    /// See [`Unreadable`].
    pub fn from_item(item: Item) -> Result<Self, Unreadable> {
        let newer = NewerFormat::of(&Key::Bulk(BulkId::FIRST), &item);
        let record: Self = read("BULK", item)?;
        Ok(Self { newer, ..record })
    }

    /// The number of tasks with a result.
    pub fn seen(&self) -> u64 {
        self.done.saturating_add(self.refused.values().sum())
    }

    /// When it is over at its pace, if as many tasks are left as were expected; `None` once it is over.
    pub fn expected_end(&self, now: Timestamp) -> Option<Timestamp> {
        let left = usize::try_from(self.expected.saturating_sub(self.seen())).unwrap_or(usize::MAX);
        (!self.state.is_over()).then(|| now + self.pace.time_for(left))
    }

    /// The item is as it was read: nobody has taken or turned a page since.
    fn is_unchanged(&self) -> Condition {
        Condition::All(vec![
            Condition::Is(attribute::PAGE, self.page.into()),
            Condition::Is(attribute::DUE_AT, self.due_at.as_millis().into()),
            Condition::Is(attribute::CURSOR, stored(&self.cursor)),
        ])
    }
}

impl BulkResults {
    /// Reads the item of a page of results.
    ///
    /// # Errors
    /// See [`Unreadable`].
    pub fn from_item(item: Item) -> Result<Self, Unreadable> {
        read("BULK results", item)
    }
}

fn read<T: de::DeserializeOwned>(key: &str, item: Item) -> Result<T, Unreadable> {
    serde_json::from_value(Value::Object(item))
        .map_err(|error| Unreadable { key: key.to_owned(), cause: error.to_string() })
}

/// A new item with the attributes of this record, its format and its expiry.
fn create(key: Key, record: &impl Serialize, now: Timestamp) -> Write {
    let mut item = match stored(record) {
        Value::Object(item) => item,
        _ => Item::new(),
    };
    let expiry = Change::Set(attribute::EXPIRES_AT, (now + RETENTION).as_seconds().into());
    stamp(BULK).chain([expiry]).for_each(|change| change.apply(&mut item));
    Write::new(key, Condition::NoItem, Effect::Create(item))
}

/// Starts a bulk action.
pub fn start(bulk: &BulkRecord) -> Transition {
    Transition::of("start_bulk", create(Key::Bulk(bulk.id), bulk, bulk.created_at))
}

/// Takes the next page, or takes over the current one: `next` has its number, its tasks, the cursor after it, and as `due_at` the end
/// of the lease. A bulk action that is over after it is closed.
pub fn take_page(bulk: &BulkRecord, next: &BulkRecord) -> Transition {
    let changes = vec![
        Change::Set(attribute::PAGE, next.page.into()),
        Change::Set(attribute::PLANNED, stored(&next.planned)),
        Change::Set(attribute::CURSOR, stored(&next.cursor)),
        millis(attribute::DUE_AT, next.due_at),
    ];
    let changes = changes.into_iter().chain(closing(next)).collect();
    let in_state = Condition::Is(attribute::STATE, bulk.state.as_str().into());
    Transition::of("take_page", Write::update(Key::Bulk(bulk.id), bulk.is_unchanged().and(in_state), changes))
}

/// Turns the page that was taken: writes its results, and the counts.
pub fn turn_page(bulk: &BulkRecord, results: Vec<BulkResult>, now: Timestamp, taken_at: Timestamp) -> Transition {
    let mut turned = bulk.clone();
    for result in &results {
        match result.refused {
            None => turned.done = turned.done.saturating_add(1),
            Some(reason) => *turned.refused.entry(reason).or_default() += 1,
        }
    }
    let begins = taken_at.max(now.before(MADE_UP_FOR));
    turned.due_at = begins + bulk.pace.time_for(bulk.planned.len());
    let over = match (bulk.state, &bulk.cursor) {
        (BulkState::Stopping, _) => Some(BulkState::Stopped),
        (_, BulkCursor::End) => Some(BulkState::Complete),
        _ => None,
    };
    if let Some(state) = over {
        (turned.state, turned.finished_at) = (state, Some(now));
    }
    let changes = vec![
        Change::Set(attribute::PLANNED, Value::Array(Vec::new())),
        Change::Set(attribute::DONE, turned.done.into()),
        Change::Set(attribute::REFUSED, stored(&turned.refused)),
        millis(attribute::DUE_AT, turned.due_at),
    ];
    let changes = changes.into_iter().chain(closing(&turned)).collect();
    let update = Write::update(Key::Bulk(bulk.id), bulk.is_unchanged(), changes);
    let page = BulkResults { page: bulk.page, results };
    let results = (!page.results.is_empty()).then(|| create(Key::BulkResults(bulk.id, bulk.page), &page, now));
    Transition { name: "turn_page", writes: [update].into_iter().chain(results).collect() }
}

/// The state and the time of its end, if it is over.
fn closing(bulk: &BulkRecord) -> impl Iterator<Item = Change> {
    let over = bulk.finished_at.filter(|_| bulk.state.is_over());
    let state = over.map(|_| Change::Set(attribute::STATE, bulk.state.as_str().into()));
    state.into_iter().chain(over.map(|at| millis(attribute::FINISHED_AT, at)))
}

/// Stops a bulk action.
pub fn stop(id: BulkId, by: &BulkActor) -> Transition {
    let is = |state: BulkState| Condition::Is(attribute::STATE, state.as_str().into());
    let by = stored(by);
    let changes = vec![
        Change::Set(attribute::STATE, BulkState::Stopping.as_str().into()),
        Change::Set(attribute::STOPPED_BY, by.clone()),
    ];
    let stopped = Write::update(Key::Bulk(id), is(BulkState::Running), changes);
    Transition::of("stop_bulk", stopped.made_before(Condition::Is(attribute::STOPPED_BY, by)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::fixtures::at;
    use serde_json::json;

    const ID: &str = "01900000-0000-7000-8000-000000000001";
    const TASK: &str = "01900000-0000-7000-8000-000000000002";

    /// A bulk action that somebody has stopped while its second page was taken.
    fn record() -> BulkRecord {
        let filter = Filter {
            status: Some(TaskStatus::Error),
            error_code: Some("BUSY".to_owned()),
            compensated: Some(false),
            created_before: Some(at(0)),
            ..Filter::default()
        };
        let by = |who: &str, why: &str| BulkActor { who: who.to_owned(), why: why.to_owned() };
        BulkRecord {
            id: ID.parse().unwrap(),
            action: BulkAction::Redrive,
            filter,
            started_by: by("alice", "the bank is back"),
            request_hash: Some("7d87".to_owned()),
            pace: Pace::DEFAULT,
            expected: 70,
            created_at: at(0),
            state: BulkState::Stopping,
            page: 2,
            planned: vec![TASK.parse().unwrap()],
            cursor: BulkCursor::At(format!("19_5000_{TASK}").parse().unwrap()),
            done: 49,
            refused: [(BulkRefusal::TrailFull, 1)].into(),
            due_at: at(60),
            finished_at: None,
            stopped_by: Some(by("bob", "the wrong ones")),
            newer: None,
        }
    }

    /// Format 3, which never changes.
    #[test]
    fn stored_form_is_pinned() {
        let (begun, due) = (at(0).as_millis(), at(60).as_millis());
        let expected = json!({
            "id": ID, "action": "redrive", "pace": 2000, "expected": 70, "created_at": begun,
            "filter": {"status": "error", "error_code": "BUSY", "compensated": false, "created_before": begun},
            "started_by": {"who": "alice", "why": "the bank is back"}, "request_hash": "7d87", "state": "stopping",
            "page": 2,
            "planned": [TASK], "cursor": format!("19_5000_{TASK}"), "done": 49, "refused": {"trail_full": 1},
            "due_at": due, "stopped_by": {"who": "bob", "why": "the wrong ones"},
            "v": 3, "needs": 3, "expires_at": (at(0) + RETENTION).as_seconds(),
        });
        let start = start(&record()).writes.remove(0);
        let Effect::Create(item) = start.effect else { panic!("{start:?}") };
        assert_eq!(Value::Object(item.clone()), expected);
        assert_eq!((start.key.partition(), start.key.sort()), ("BULK".to_owned(), ID.to_owned()));
        assert_eq!(BulkRecord::from_item(item).unwrap(), record());

        let refused = Some(BulkRefusal::Status);
        let results = vec![BulkResult { task: TASK.parse().unwrap(), refused }];
        let turn = turn_page(&record(), results.clone(), at(1), at(1)).writes.remove(1);
        let Effect::Create(item) = turn.effect else { panic!("{turn:?}") };
        let expected = json!({
            "page": 2, "results": [{"task": TASK, "refused": "status"}],
            "v": 3, "needs": 3, "expires_at": (at(1) + RETENTION).as_seconds(),
        });
        assert_eq!(Value::Object(item.clone()), expected);
        assert_eq!((turn.key.partition(), turn.key.sort()), (format!("BULK#{ID}"), "0000000002".to_owned()));
        assert_eq!(BulkResults::from_item(item).unwrap(), BulkResults { page: 2, results });

        let action = BulkPage { id: ID.parse().unwrap(), page: 2 };
        assert_eq!(json!(action), json!({"id": ID, "page": 2}));
        for (cursor, word) in [(BulkCursor::Start, "start"), (BulkCursor::End, "end")] {
            assert_eq!((json!(cursor), serde_json::from_value(json!(word)).unwrap()), (json!(word), cursor));
        }
    }

    #[test]
    fn words_are_those_that_are_stored() {
        for action in BulkAction::ALL {
            assert_eq!(json!(action), action.as_str());
        }
        for reason in BulkRefusal::ALL {
            assert_eq!(json!(reason), reason.as_str());
        }
        for state in [BulkState::Running, BulkState::Stopping, BulkState::Complete, BulkState::Stopped] {
            assert_eq!(json!(state), state.as_str());
        }
    }

    #[test]
    fn each_action_is_for_the_statuses_in_which_an_operator_may_do_it() {
        let fitting = |action: BulkAction| {
            TaskStatus::WORDS
                .into_iter()
                .filter(|status| action.fits(*status))
                .map(TaskStatus::as_str)
                .collect::<Vec<_>>()
        };
        assert_eq!(fitting(BulkAction::Redrive), ["complete", "error", "compensating"]);
        assert_eq!(fitting(BulkAction::Cancel), ["pending", "complete", "error", "in_progress"]);
        assert_eq!(fitting(BulkAction::Compensate), ["error", "cancelled"]);
    }

    #[test]
    fn page_that_somebody_else_has_taken_or_turned_is_neither_taken_nor_turned() {
        let read = record();
        let item = |bulk: &BulkRecord| stored(bulk).as_object().unwrap().clone();
        let taken = BulkRecord { page: 3, due_at: at(120), ..read.clone() };
        let holds = |transition: Transition, bulk: &BulkRecord| transition.writes[0].holds(&item(bulk));
        assert!(holds(take_page(&read, &taken), &read));
        assert!(!holds(take_page(&read, &taken), &taken), "it was taken");
        assert!(!holds(take_page(&read, &taken), &BulkRecord { state: BulkState::Stopped, ..read.clone() }));
        let turn = |bulk: &BulkRecord| turn_page(bulk, Vec::new(), at(70), at(60));
        assert!(holds(turn(&taken), &taken));
        assert!(
            holds(turn(&taken), &BulkRecord { state: BulkState::Stopping, ..taken.clone() }),
            "a stop loses no result"
        );
        assert!(!holds(turn(&taken), &BulkRecord { due_at: at(180), ..taken.clone() }), "it was taken over");
    }

    #[test]
    fn pace_makes_up_for_a_minute_at_most() {
        let due = |now, taken_at| {
            let write = turn_page(&record(), Vec::new(), now, taken_at).writes.remove(0);
            let after = write.effect.apply(stored(&record()).as_object().unwrap());
            BulkRecord::from_item(after).unwrap().due_at
        };
        let page = Duration::from_millis(30);
        assert_eq!(due(at(100), at(100)), at(100) + page);
        assert_eq!(due(at(100), at(70)), at(70) + page);
        assert_eq!(due(at(1_000), at(70)), at(940) + page);
        assert_eq!(Pace::per_minute(3).unwrap().time_for(1), Duration::from_secs(20));
        assert_eq!([0, 1, 10_000, 10_001].map(|pace| Pace::per_minute(pace).is_some()), [false, true, true, false]);
    }
}
