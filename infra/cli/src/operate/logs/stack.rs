//! What the functions of a stack log, in CloudWatch.

use super::{Line, Wanted};
use crate::{
    operate::{
        api::read,
        aws::{Aws, Call},
        failure::{Failure, Kind},
    },
    project,
    render::FUNCTIONS,
};
use serde::Deserialize;
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    env, fs,
    path::Path,
};
use stepwell::TaskId;

/// What Lambda itself writes around each invocation.
const LAMBDAS_OWN: [&str; 3] = ["START RequestId", "END RequestId", "REPORT RequestId"];

/// An event may come so much later than a younger one of another stream.
const LATE_MS: i64 = 60_000;

/// The logs of a stack's functions.
pub(super) struct Functions {
    aws: Aws,
    tails: Vec<Tail>,
    /// The wanted ones, as they are shown.
    wanted: BTreeSet<String>,
    /// The width of the longest name that may be shown.
    pub(super) width: usize,
}

impl Functions {
    /// Finds the logs. `root` is the root of the repository if it is said, which knows the functions.
    ///
    /// # Errors
    /// There is no such function, or no repository.
    pub(super) fn find(root: Option<&Path>, (stack, aws): (&str, Aws), of: &Wanted<'_>) -> Result<Self, Failure> {
        let functions = functions(root)?;
        let wanted: Vec<&Function> = functions.iter().filter(|function| function.is(of.function)).collect();
        if wanted.is_empty() {
            let all: Vec<&str> = functions.iter().map(|function| function.name.as_str()).collect();
            let name = of.function.unwrap_or_default();
            return Err(Failure::new(
                Kind::Usage,
                format!("there is no function {name}. There are: {}", all.join(", ")),
            ));
        }
        let logs: BTreeSet<&str> = wanted.iter().map(|function| function.log.as_str()).collect();
        Ok(Self {
            aws,
            tails: logs.into_iter().map(|log| Tail::new(stack, log, &functions, of.start)).collect(),
            wanted: wanted.iter().map(|function| function.shown.clone()).collect(),
            width: functions.iter().map(|function| function.shown.len()).max().unwrap_or_default(),
        })
    }

    /// What has come since the last time, or a part of it.
    ///
    /// # Errors
    /// AWS does not answer as it should.
    pub(super) async fn news(&mut self, task: Option<TaskId>) -> Result<Vec<Line>, Failure> {
        let mut news = Vec::new();
        for tail in &mut self.tails {
            news.extend(tail.news(&self.aws, task).await?);
        }
        news.retain(|line| self.wanted.contains(&line.shown));
        Ok(news)
    }
}

/// A deployed function, as `infra/functions.txt` has it.
#[derive(Debug, PartialEq, Eq)]
struct Function {
    name: String,
    /// The log, which the functions of a workflow share.
    log: String,
    /// The step or the function, for people.
    shown: String,
}

impl Function {
    fn is(&self, wanted: Option<&str>) -> bool {
        wanted.is_none_or(|wanted| wanted == self.name || wanted == self.shown)
    }
}

fn functions(root: Option<&Path>) -> Result<Vec<Function>, Failure> {
    let start = env::current_dir().unwrap_or_default();
    let root = project::root(root, &start).map_err(|finding| Failure::new(Kind::Usage, finding.to_string()))?;
    let text = fs::read_to_string(root.join(FUNCTIONS))
        .map_err(|error| Failure::new(Kind::Usage, format!("{FUNCTIONS}: {error}. Write it: stepwell render")))?;
    Ok(listed(&text))
}

fn listed(text: &str) -> Vec<Function> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let functions = lines.filter_map(|line| match line.split(' ').collect::<Vec<_>>().as_slice() {
        [name, _, _, log, shown] => {
            Some(Function { name: (*name).to_owned(), log: (*log).to_owned(), shown: (*shown).to_owned() })
        }
        _ => None,
    });
    functions.collect()
}

/// A log, and how far it was read.
struct Tail {
    group: String,
    /// As what each function of this log is shown, by its whole name.
    shown: BTreeMap<String, String>,
    /// The last moment that was read; the first one that is wanted if nothing was.
    reached: i64,
    /// Whether nothing new came at the last time.
    caught_up: bool,
    /// The events of the time in which late ones are looked for, and their moments.
    seen: HashMap<Identity, i64>,
    start: i64,
}

/// What tells two events apart.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Identity {
    Id(String),
    /// An emulator may give none.
    Content(String, i64, String),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    event_id: Option<String>,
    log_stream_name: String,
    timestamp: i64,
    message: String,
}

impl Event {
    fn identity(&self) -> Identity {
        let Self { event_id, log_stream_name, timestamp, message } = self;
        match event_id {
            Some(id) => Identity::Id(id.clone()),
            None => Identity::Content(log_stream_name.clone(), *timestamp, message.clone()),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    #[serde(default)]
    events: Vec<Event>,
    next_token: Option<String>,
}

impl Tail {
    fn new(stack: &str, log: &str, functions: &[Function], start: i64) -> Self {
        let shown = functions.iter().filter(|function| function.log == log);
        let shown = shown.map(|function| (format!("{stack}-{}", function.name), function.shown.clone())).collect();
        Self {
            group: format!("/aws/lambda/{stack}-{log}"),
            shown,
            reached: start,
            caught_up: false,
            seen: HashMap::new(),
            start,
        }
    }

    /// From when on late events are looked for.
    fn window(&self) -> i64 {
        self.reached.saturating_sub(LATE_MS).max(self.start)
    }

    /// From when on to ask. What is not read yet comes first, because an emulator may cut an answer short.
    fn from(&self) -> i64 {
        if self.caught_up { self.window() } else { self.reached }
    }

    /// What has come since the last time.
    async fn news(&mut self, aws: &Aws, task: Option<TaskId>) -> Result<Vec<Line>, Failure> {
        let (mut found, mut next) = (Vec::new(), None);
        loop {
            let mut body = json!({"logGroupName": self.group, "startTime": self.from()});
            if let Some(fields) = body.as_object_mut() {
                fields.extend(task.map(|task| ("filterPattern".to_owned(), format!("\"{task}\"").into())));
                fields.extend(next.take().map(|next: String| ("nextToken".to_owned(), next.into())));
            }
            let call = Call {
                service: "logs",
                headers: &[
                    ("content-type", "application/x-amz-json-1.1"),
                    ("x-amz-target", "Logs_20140328.FilterLogEvents"),
                ],
                body: body.to_string(),
            };
            let page: Page = read(&aws.call(call).await??)?;
            found.extend(page.events);
            next = page.next_token;
            if next.is_none() {
                break;
            }
        }
        // An emulator may not know the filter.
        found.retain(|event| task.is_none_or(|task| event.message.contains(&task.to_string())));
        Ok(self.take(found))
    }

    /// Asked by time and not by token, because an emulator may cut an answer short and give no token. The last minute is asked for
    /// again, since the streams of a log are not written in step: an event may come later than a younger one of another stream.
    fn take(&mut self, found: Vec<Event>) -> Vec<Line> {
        // Lambda names the function in the stream of a log that several share; an emulator may not, and then a line of the step's does.
        let mut names: BTreeMap<&str, &str> = BTreeMap::new();
        for Event { log_stream_name: stream, message, .. } in &found {
            if let Some(shown) = function_in(stream).and_then(|name| self.shown.get(name)) {
                names.insert(stream, shown);
            } else if let Some(step) = step_in(message).filter(|step| self.shown.values().any(|shown| shown == step)) {
                names.insert(stream, step);
            }
        }
        let other = match self.shown.values().collect::<Vec<_>>().as_slice() {
            [only] => (*only).clone(),
            _ => self.group.rsplit('-').next().unwrap_or_default().to_owned(),
        };
        let mut lines = Vec::new();
        self.caught_up = true;
        for event in &found {
            let is_new = self.seen.insert(event.identity(), event.timestamp).is_none();
            self.caught_up &= !is_new;
            if is_new && !LAMBDAS_OWN.iter().any(|own| event.message.starts_with(own)) {
                let shown =
                    names.get(event.log_stream_name.as_str()).map_or_else(|| other.clone(), |&name| name.to_owned());
                lines.push(Line { moment: event.timestamp, shown, message: event.message.clone() });
            }
        }
        self.reached = found.iter().map(|event| event.timestamp).fold(self.reached, i64::max);
        let window = self.window();
        self.seen.retain(|_, moment| *moment >= window);
        lines
    }
}

/// The function that a stream is of, as Lambda names it: `2026/11/27/stepwell-dev-checkout-pay[$LATEST]0123`.
fn function_in(stream: &str) -> Option<&str> {
    stream.split_once('[')?.0.rsplit('/').next()
}

/// The step that a line is about.
fn step_in(message: &str) -> Option<&str> {
    Some(message.split_once(r#""step":""#)?.1.split_once('"')?.0)
}

#[cfg(test)]
mod tests {
    use super::{Event, Line, Tail, listed};

    const FUNCTIONS: &str =
        "# Rendered\nshop-pay shop_pay ShopPayCode shop pay\nshop-ship shop_ship ShopShipCode shop ship\n";

    fn event(stream: &str, timestamp: i64, message: &str) -> Event {
        Event { event_id: None, log_stream_name: stream.to_owned(), timestamp, message: message.to_owned() }
    }

    fn line(moment: i64, shown: &str, message: &str) -> Line {
        Line { moment, shown: shown.to_owned(), message: message.to_owned() }
    }

    #[test]
    fn line_is_shown_as_the_step_that_its_stream_or_another_line_of_it_names() {
        let functions = listed(FUNCTIONS);
        assert_eq!(functions.len(), 2);
        let mut tail = Tail::new("stepwell-dev", "shop", &functions, 0);
        assert_eq!(tail.group, "/aws/lambda/stepwell-dev-shop");
        let found = vec![
            event("2026/11/27/stepwell-dev-shop-pay[$LATEST]01", 1, "{}"),
            event("ab", 2, r#"{"step":"ship"}"#),
            event("ab", 3, "panicked"),
            event("cd", 4, "START RequestId: 5"),
            event("cd", 5, "who"),
        ];
        let lines = tail.take(found);
        let expected = [
            line(1, "pay", "{}"),
            line(2, "ship", r#"{"step":"ship"}"#),
            line(3, "ship", "panicked"),
            line(5, "shop", "who"),
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn line_of_the_last_millisecond_is_printed_once_although_it_is_read_again() {
        let mut tail = Tail::new("stepwell-dev", "shop", &listed(FUNCTIONS), 0);
        let (old, new) = (event("ab", 7, "old"), event("ab", 7, "new"));
        assert_eq!(tail.take(vec![old.clone(), old.clone()]), [line(7, "shop", "old")]);
        assert_eq!((tail.from(), tail.take(vec![old, new])), (7, vec![line(7, "shop", "new")]));
        assert_eq!((tail.take(Vec::new()), tail.reached), (Vec::new(), 7));
    }

    #[test]
    fn event_that_comes_later_than_a_younger_one_of_another_stream_is_printed_once() {
        let mut tail = Tail::new("stepwell-dev", "shop", &listed(FUNCTIONS), 1_000);
        let numbered = |id: &str, event: Event| Event { event_id: Some(id.to_owned()), ..event };
        // Two events of one text are two.
        let (one, two) = (numbered("1", event("ab", 90_000, "same")), numbered("2", event("ab", 90_000, "same")));
        assert_eq!(tail.take(vec![one.clone(), two.clone()]).len(), 2);
        assert_eq!((tail.from(), tail.take(vec![one.clone(), two.clone()])), (90_000, Vec::new()));
        assert_eq!(tail.from(), 30_000);
        let late = numbered("3", event("cd", 50_000, "late"));
        let lines = tail.take(vec![late.clone(), one.clone(), two.clone()]);
        assert_eq!((lines, tail.from()), (vec![line(50_000, "shop", "late")], 90_000));
        assert_eq!((tail.take(vec![one]), tail.take(vec![late, two])), (Vec::new(), Vec::new()));
        tail.take(vec![numbered("4", event("ab", 200_000, "much later"))]);
        assert_eq!(tail.seen.len(), 1, "what is older than the window is forgotten");
    }
}
