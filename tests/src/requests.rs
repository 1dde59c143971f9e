//! The requests that the functions of a stack have made to AWS, as the emulator records them (`infra/emulator/sitecustomize.py`).

use crate::stack::{Stack, repository};
use std::{collections::BTreeMap, fs, path::PathBuf};

/// The number of requests by function and operation, such as `checkout_api` and `dynamodb:PutItem`.
pub type Requests = BTreeMap<String, BTreeMap<String, u32>>;

/// A mark: all requests so far are before it. `None` where no emulator of ours records them.
pub fn mark(stack: &Stack) -> Option<usize> {
    Some(fs::read(record(stack)?).ok()?.len())
}

/// The requests after a mark.
pub fn since(stack: &Stack, mark: usize) -> Requests {
    let text = record(stack).and_then(|path| fs::read_to_string(path).ok()).expect("the record of requests");
    let mut requests = Requests::new();
    for line in text[mark..].lines() {
        let (function, operation) = line.split_once('\t').expect("a function and an operation");
        let name = function.strip_prefix(stack.name_prefix()).unwrap_or(function);
        *requests.entry(name.to_owned()).or_default().entry(operation.to_owned()).or_default() += 1;
    }
    requests
}

fn record(stack: &Stack) -> Option<PathBuf> {
    let (_, port) = stack.endpoint.rsplit_once(':')?;
    Some(repository().join(".local").join(port).join("requests")).filter(|path| path.is_file())
}
