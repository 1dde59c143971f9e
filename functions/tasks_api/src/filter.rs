//! The filter of tasks: the same fields in a query and in a body.

use crate::handlers::SEARCH_KEYS;
use http_api::Fields;
use std::{fmt::Display, str::FromStr, time::Duration};
use stepwell::{Filter, SearchValue, StepFilter, Timestamp, core::state::TaskStatus};

/// Takes the filter out of the fields.
pub(crate) fn take_filter(fields: &mut Fields, now: Timestamp) -> Filter {
    let owned = |text: &str| Ok::<_, String>(text.to_owned());
    let created_before = fields.text("created_before", Timestamp::from_str);
    let older_than = fields.text("older_than", age).map(|age| before(now, age));
    Filter {
        status: fields.text("status", status),
        workflow: fields.text("workflow", owned),
        failed_step: fields.text("failed_step", owned),
        error_code: fields.text("error_code", owned),
        step: fields.text("step", StepFilter::from_str),
        compensated: fields.flag("compensated"),
        needs_person: fields.text("needs", needs_person),
        created_from: fields.text("created_from", Timestamp::from_str),
        // A task has to satisfy both bounds.
        created_before: created_before.into_iter().chain(older_than).min(),
    }
}

/// Takes the size of the page and its start out of the fields.
pub(crate) fn take_page<C: FromStr<Err: Display>>(
    fields: &mut Fields,
    default: usize,
    most: usize,
) -> (usize, Option<C>) {
    let limit = fields.count("limit", most).unwrap_or(default);
    (limit, fields.text("next", C::from_str))
}

/// The order of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// The newest first.
    Newest,
    /// By status, which finds the tasks of a status without reading the others.
    Status,
}

/// Takes the order of a list out of the fields. By default it is the newest first, unless the filter is about how tasks stand.
pub(crate) fn take_order(fields: &mut Fields, has_key: bool, filter: &Filter) -> Order {
    let by_status = Filter { workflow: None, created_from: None, created_before: None, ..filter.clone() };
    let default = if has_key || by_status.is_empty() { Order::Newest } else { Order::Status };
    let read = |text: &str| match text {
        "newest" => Ok(Order::Newest),
        "status" if has_key => Err("has to be newest where there is a key"),
        "status" => Ok(Order::Status),
        _ => Err("has to be newest or status"),
    };
    fields.text("order", read).unwrap_or(default)
}

/// Takes the search key out of the fields: `NAME:VALUE`.
pub(crate) fn take_key(fields: &mut Fields) -> Option<SearchValue> {
    fields.text("key", search_value)
}

/// Parses a search key. An error does not repeat it, because the value may be personal.
fn search_value(text: &str) -> Result<SearchValue, String> {
    let known = || SEARCH_KEYS.join(", ");
    let (name, value) = text
        .split_once(':')
        .filter(|(name, _)| SEARCH_KEYS.contains(name))
        .ok_or_else(|| format!("has to be NAME:VALUE, with one of these names: {}", known()))?;
    SearchValue::new(name, value).ok_or_else(|| format!("has no value after `{name}:`"))
}

fn status(text: &str) -> Result<TaskStatus, String> {
    TaskStatus::WORDS.into_iter().find(|status| status.as_str() == text).ok_or_else(|| {
        let words = TaskStatus::WORDS.map(TaskStatus::as_str);
        format!("has to be one of {}", words.join(", "))
    })
}

/// Parses what a task needs. A person is all that it can wait for in vain.
fn needs_person(text: &str) -> Result<bool, &'static str> {
    if text == "person" { Ok(true) } else { Err("has to be person") }
}

/// Parses an age such as `90s`, `15m`, `2h` or `3d`.
fn age(text: &str) -> Result<Duration, &'static str> {
    let read = || {
        let (number, seconds) = [('s', 1), ('m', 60), ('h', 3_600), ('d', 86_400)]
            .into_iter()
            .find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, seconds)))?;
        let digits = number.bytes().all(|digit| digit.is_ascii_digit());
        let number: u32 = number.parse().ok().filter(|_| digits)?;
        Some(Duration::from_secs(u64::from(number) * seconds))
    };
    read().ok_or("has to be an age such as 90s, 15m, 2h or 3d")
}

fn before(now: Timestamp, age: Duration) -> Timestamp {
    let millis = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millis(now.as_millis().saturating_sub(millis))
}
