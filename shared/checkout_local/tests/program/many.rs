//! A shop with many tasks: how much memory it takes, and what is left when they have expired.

use super::*;
use futures::{StreamExt, stream};
use std::{
    env,
    time::{Duration, Instant},
};
use stepwell::{Actor, Client, Runtime, System, TaskId, Timestamp, Workflow};
use stepwell_local::Local;

/// The most memory that the program takes at any time, in KiB.
const MOST_MEMORY: u64 = 60 * 1024;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How many tasks are started at a time: they share commits.
const AT_ONCE: usize = 500;

/// How many tasks each customer has.
const OF_A_CUSTOMER: usize = 20;

/// How often a list is asked for to measure it.
const LOOKS: usize = 100;

/// A clock that is behind by this much.
#[derive(Clone, Copy, Debug)]
struct Behind(Duration);

impl Runtime for Behind {
    fn now(&self) -> Timestamp {
        System.now().before(self.0)
    }

    fn random(&self) -> f64 {
        System.random()
    }

    fn new_task_id(&self) -> TaskId {
        System.new_task_id()
    }
}

/// Puts tasks of this age into the shop's file, and cancels them if they are to be `ended`. The program has no handler of their step,
/// so they stay as they are.
async fn fill(data: &Path, tasks: usize, age: Duration, ended: bool) {
    fs::create_dir_all(data).unwrap();
    let file = File::open(&data.join("shop.sqlite"), &[stepwell_local::SCHEMA]).unwrap();
    let local = Local::new(file, Behind(age)).await.unwrap();
    let client = Client::new(local.clone(), local, Behind(age));
    let file = "{name: waits, step_templates: [{name: wait}], search: {email: /customer_info/email}}";
    let workflow = Workflow::from_yaml(file).unwrap();
    let request: Value = serde_json::from_str(SUCCESS).unwrap();
    let actor = Actor::new("a test", "it is over").unwrap();
    let start = async |number: usize| {
        let mut request = request.clone();
        request["customer_info"]["email"] = customer(number / OF_A_CUSTOMER).into();
        let task = client.start(&workflow, &request, None).await.unwrap().task_id;
        if ended {
            client.cancel(task, &actor).await.unwrap();
        }
    };
    stream::iter(0..tasks).map(start).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
}

fn customer(number: usize) -> String {
    format!("customer{number}@example.com")
}

/// The headers of an operator's request.
fn operator(data: &Path) -> String {
    let token = fs::read_to_string(data.join("operator-token")).unwrap();
    format!("{HOST}Authorization: Bearer {}\r\n", token.trim())
}

/// How long a page of 50 tasks takes, in each way to ask for one: the median, and the 95th percentile.
fn times_of_lists(shop: &Shop, data: &Path, tasks: usize) -> [(&'static str, Duration, Duration); 4] {
    let headers = operator(data);
    let by_key = |number: usize| format!("key=email:{}", customer(number * 7_919 % (tasks / OF_A_CUSTOMER).max(1)));
    let ways: [(&'static str, &dyn Fn(usize) -> String); 4] = [
        ("by a key", &by_key),
        ("the newest", &|_| String::new()),
        ("of a workflow", &|_| "workflow=default/waits".to_owned()),
        ("by status", &|_| "status=pending".to_owned()),
    ];
    ways.map(|(way, query)| {
        let look = |number| {
            let begun = Instant::now();
            let (status, page) = ask(&shop.operators, &format!("GET /tasks?{}", query(number)), &headers, "");
            assert_eq!((status, page["count"].as_u64() > Some(0)), (200, true), "{way}: {page}");
            begun.elapsed()
        };
        let mut took: Vec<Duration> = (0..LOOKS).map(look).collect();
        took.sort_unstable();
        (way, took[LOOKS / 2], took[LOOKS * 95 / 100])
    })
}

/// How many tasks the operators' API lists, page by page.
fn listed(shop: &Shop, data: &Path) -> usize {
    let headers = operator(data);
    let (mut count, mut next) = (0, String::new());
    loop {
        let (status, page) = ask(&shop.operators, &format!("GET /tasks?limit=200{next}"), &headers, "");
        assert_eq!(status, 200, "{page}");
        count += page["tasks"].as_array().unwrap().len();
        match page["next"].as_str() {
            Some(cursor) => next = format!("&next={cursor}"),
            None => return count,
        }
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn memory_is_bounded_however_many_tasks_there_are() {
    let tasks = env::var("STEPWELL_TASKS").map_or(10_000, |tasks| tasks.parse().unwrap());
    let folder = tempdir().unwrap();
    let data = folder.path();
    // The watchdog has to inspect all of them.
    fill(data, tasks, 10 * MINUTE, false).await;
    let mut shop = Shop::start_by(command(data, "0").stderr(Stdio::piped()));
    let watchdog_has_run = shop.read_log("tasks that need a person");
    assert_eq!(listed(&shop, data), tasks, "also while the watchdog moves them in its index");
    watchdog_has_run();
    assert_eq!(listed(&shop, data), tasks);
    for (way, p50, p95) in times_of_lists(&shop, data, tasks) {
        println!("{tasks} tasks, {way}: p50 {p50:?}, p95 {p95:?}");
    }
    let status = fs::read_to_string(format!("/proc/{}/status", shop.process.id())).unwrap();
    let of = |field: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    let (most, now) = (of("VmHWM"), of("VmRSS"));
    let size = fs::metadata(data.join("shop.sqlite")).unwrap().len() / 1024;
    println!("{tasks} tasks, {size} KiB: {most} KiB of memory at most, {now} KiB now");
    assert!(most <= MOST_MEMORY, "{most} KiB of memory with {tasks} tasks");
    assert_eq!(shop.stop(), Some(0));
}

#[tokio::test]
async fn expired_tasks_are_deleted_and_the_file_becomes_smaller() {
    const TASKS: usize = 1_000;
    let folder = tempdir().unwrap();
    let data = folder.path();
    fill(data, TASKS, 91 * DAY, true).await;
    fill(data, 10, 89 * DAY, true).await;
    let size = || fs::metadata(data.join("shop.sqlite")).unwrap().len();
    let full = size();
    let mut shop = Shop::start_by(command(data, "0").env("RUST_LOG", "stepwell_local=debug").stderr(Stdio::piped()));
    shop.read_log("done what=\"retention\"")();
    assert_eq!(listed(&shop, data), 10);
    let left = size();
    assert!(left < full / 2, "{left} of {full} bytes are left");
    assert_eq!(shop.stop(), Some(0));
}
