//! The processor time of the functions' processes, which the emulator starts on this machine, read from `/proc`.

use crate::stack::Stack;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    time::Duration,
};

/// The unit of `/proc`: hundredths of a second, on every Linux.
const TICK: Duration = Duration::from_millis(10);

/// The processor time of one function.
#[derive(Clone, Debug)]
pub struct FunctionTime {
    /// The function's name.
    pub name: String,
    /// The time.
    pub time: Duration,
}

/// The processor time of all processes at one moment.
#[derive(Clone, Debug, Default)]
pub struct Moment {
    /// The running processes: their function and their ticks.
    running: BTreeMap<u32, (String, u64)>,
    /// The ticks of ended processes, which their parents have waited for.
    ended: u64,
}

/// Fields of `/proc/PID/stat`, counted from after the command's name, which may contain anything.
const PARENT: usize = 1;
const USER: usize = 11;
const SYSTEM: usize = 12;
const CHILDREN_USER: usize = 13;
const CHILDREN_SYSTEM: usize = 14;

/// The processes of the stack's functions, with each one's function. None where the emulator runs them on another
/// machine.
pub fn workers(stack: &Stack) -> Vec<(u32, String)> {
    let processes = fs::read_dir("/proc").expect("/proc").filter_map(Result::ok);
    let processes = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    processes.filter_map(|process| Some((process, function(process, stack)?))).collect()
}

/// The processor time of the stack's functions so far.
pub fn of_functions(stack: &Stack) -> Moment {
    let mut moment = Moment::default();
    let mut parents = BTreeSet::new();
    for (process, function) in workers(stack) {
        if let Some(stat) = stat(process) {
            parents.insert(stat[PARENT]);
            moment.running.insert(process, (function, stat[USER] + stat[SYSTEM]));
        }
    }
    let parents = parents.into_iter().filter_map(|parent| stat(u32::try_from(parent).ok()?));
    moment.ended = parents.map(|stat| stat[CHILDREN_USER] + stat[CHILDREN_SYSTEM]).sum();
    moment
}

/// The processor time between two moments, by function. Processes that ended meanwhile are one sum.
pub fn since(before: &Moment, after: &Moment) -> Vec<FunctionTime> {
    let mut by_function: BTreeMap<&str, u64> = BTreeMap::new();
    for (process, (function, ticks)) in &after.running {
        let earlier = before.running.get(process).map_or(0, |(_, ticks)| *ticks);
        *by_function.entry(function).or_default() += ticks - earlier;
    }
    // An ended process counts with all of its time, some of which was before.
    let gone = before.running.iter().filter(|(process, _)| !after.running.contains_key(process));
    let earlier: u64 = gone.map(|(_, (_, ticks))| ticks).sum();
    let ended = (after.ended - before.ended).saturating_sub(earlier);
    if ended > 0 {
        by_function.insert("(ended meanwhile)", ended);
    }
    by_function.into_iter().map(|(name, ticks)| FunctionTime { name: name.to_owned(), time: time(ticks) }).collect()
}

/// The function that a process runs, if it is one of the stack's.
fn function(process: u32, stack: &Stack) -> Option<String> {
    let environment = fs::read(format!("/proc/{process}/environ")).ok()?;
    let environment = String::from_utf8_lossy(&environment);
    let variable = |name: &str| environment.split('\0').find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    // The emulator's own process has some of these variables too, but only a function has all.
    variable("AWS_LAMBDA_RUNTIME_API")?;
    let ours = variable("AWS_ENDPOINT_URL")? == stack.endpoint;
    variable("AWS_LAMBDA_FUNCTION_NAME")?.strip_prefix(stack.name_prefix()).filter(|_| ours).map(str::to_owned)
}

/// The processor time of one process so far.
pub fn of_process(process: u32) -> Duration {
    stat(process).map_or(Duration::ZERO, |stat| time(stat[USER] + stat[SYSTEM]))
}

fn time(ticks: u64) -> Duration {
    TICK * u32::try_from(ticks).expect("less than a year")
}

fn stat(process: u32) -> Option<Vec<u64>> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    Some(fields.split_ascii_whitespace().map(|field| field.parse().unwrap_or_default()).collect())
}
