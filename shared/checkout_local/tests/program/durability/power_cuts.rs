//! The power is cut at any moment of a recorded run.
//!
//! The run is that of three processes while customers buy: the first makes the files and is stopped, the second is killed, and the third
//! goes on until SQLite has begun its log anew. The gateway's file and the e-mails are cut at the same moment, because they are on
//! the same machine. A real gateway would lose nothing, and the shop finds its charges again: it records a payment before it charges.

use super::{
    books::{self, Told},
    customers::{CUSTOMERS, Customers},
    disk::{Disk, Loss},
    number,
    recording::{CALLS, Event, Recording},
    seed,
};
use crate::running::{self, Output};
use fastrand::Rng;
use std::{
    fs,
    io::Read,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};
use tempfile::{TempDir, tempdir};

/// When a process is ended.
#[derive(Clone, Copy, Debug)]
enum Until {
    /// So many checkouts are complete.
    Completed(usize),
    /// SQLite has moved its log into the database and begun it anew. Then its header has another number.
    LogBegunAnew,
}

/// Each process, and the signal that ends it.
const PROCESSES: [(Until, &str); 3] =
    [(Until::Completed(8), "-TERM"), (Until::Completed(10), "-KILL"), (Until::LogBegunAnew, "-TERM")];

const SIGKILL: i32 = 9;

/// How many more checkouts are complete then.
const AFTERWARDS: usize = 10;

/// The longest time of a process.
const PATIENCE: Duration = Duration::from_secs(300);

/// A folder in memory, where the machine has one: the copies need not survive anything themselves.
fn fast_folder() -> TempDir {
    let within = |folder: &Path| tempfile::Builder::new().prefix("power-cut-").tempdir_in(folder);
    within(Path::new("/dev/shm")).or_else(|_| within(&std::env::temp_dir())).unwrap()
}

fn record(rng: &mut Rng) -> Vec<Event> {
    let folder = tempdir().unwrap();
    let root = folder.path().join("root");
    fs::create_dir(&root).unwrap();
    let mut recording = Recording::new(&root);
    for (number, (until, signal)) in PROCESSES.into_iter().enumerate() {
        let trace = folder.path().join(format!("{number}.trace"));
        record_process(&root.canonicalize().unwrap().join("data"), &trace, until, signal, rng);
        recording.add(&trace);
        fs::remove_file(trace).unwrap();
    }
    recording.events
}

fn record_process(data: &Path, trace: &Path, until: Until, signal: &str, rng: &mut Rng) {
    let mut command = Command::new("strace");
    command.args([
        "-f",
        "--seccomp-bpf",
        "-qq",
        "-a",
        "1",
        "-xx",
        "-y",
        "-s",
        "100000000",
        "-e",
        &format!("trace={CALLS}"),
        "-o",
    ]);
    command.arg(trace).arg(env!("CARGO_BIN_EXE_checkout_local"));
    running::serve(&mut command, data, "0");
    command.args(["--checkouts-per-email", "0"]).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut strace = Traced(command.spawn().expect("strace runs; Debian's package is called strace"), None);
    let mut output = Output::new(strace.0.stdout.take().unwrap());
    let (address, _) = output.addresses().expect("strace may trace, and the program says where it listens");
    let recorded = fs::read(trace).unwrap();
    let process = String::from_utf8(recorded.split(|byte| *byte == b' ').next().unwrap().to_vec()).unwrap();
    strace.1 = Some(process.clone());

    let customers = Customers::default();
    customers.come_to(address);
    thread::scope(|scope| {
        let _leave = customers.leave_at_the_end();
        for _ in 0..CUSTOMERS {
            let rng = rng.fork();
            scope.spawn(|| customers.buy(rng));
        }
        let (begun, log, mut first) = (Instant::now(), data.join("shop.sqlite-wal"), None);
        let mut is_over = || match until {
            Until::Completed(checkouts) => customers.completed() >= checkouts,
            Until::LogBegunAnew => {
                let header = log_header(&log);
                header.is_some() && *first.get_or_insert(header) != header
            }
        };
        while !is_over() && begun.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(1));
        }
        let completed = customers.completed();
        while customers.completed() < completed + AFTERWARDS && begun.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(1));
        }
        // Others are on their way.
        customers.abandon();
        assert!(begun.elapsed() < PATIENCE, "{until:?} has not come");
        assert!(Command::new("kill").args([signal, &process]).status().unwrap().success());
        // It ends as the program that it has traced.
        let status = strace.0.wait().unwrap();
        assert!(status.success() || signal == "-KILL" && status.signal() == Some(SIGKILL), "{signal}: {status}");
    });
    assert_eq!(customers.into_told().1, [""; 0]);
}

/// The header of SQLite's log, if there is one. See <https://sqlite.org/fileformat2.html>, section 4.1.
fn log_header(log: &Path) -> Option<[u8; 32]> {
    let mut header = [0; 32];
    fs::File::open(log).ok()?.read_exact(&mut header).ok()?;
    Some(header)
}

/// strace, and the process that it traces. Both are killed when the test fails.
struct Traced(Child, Option<String>);

impl Drop for Traced {
    fn drop(&mut self) {
        if let (Ok(None), Some(process)) = (self.0.try_wait(), &self.1) {
            let _ = Command::new("kill").args(["-KILL", process]).status();
        }
        // They have ended, unless the test fails.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A moment: before the event of this number.
fn any_moment(events: &[Event], rng: &mut Rng) -> usize {
    let is_sync = |event: &Event| matches!(event, Event::Sync(..));
    let is_answer = |event: &Event| matches!(event, Event::Answer(_));
    let numbers = |is: &dyn Fn(&Event) -> bool| -> Vec<usize> {
        events.iter().enumerate().filter(|(_, event)| is(event)).map(|(number, _)| number).collect()
    };
    match rng.u8(..3) {
        // Most is unsure right before a sync, and most depends on it right after an answer.
        0 => *rng.choice(&numbers(&is_sync)).unwrap(),
        1 => rng.choice(&numbers(&is_answer)).unwrap() + 1,
        _ => rng.usize(..=events.len()),
    }
}

/// Cuts the power before each of these events, which are in order, and returns what is wrong after the first that leaves anything
/// wrong. Its files are kept.
fn cut(events: &[Event], moments: &[(usize, Loss, Rng)]) -> Option<String> {
    let (mut disk, mut told, mut applied) = (Disk::default(), Vec::<Told>::new(), 0);
    for (moment, loss, rng) in moments {
        for event in &events[applied..*moment] {
            disk.apply(applied, event);
            if let Event::Answer(answer) = event {
                told.push(answer.clone());
            }
            applied += 1;
        }
        let folder = fast_folder();
        disk.cut(*loss, &mut rng.clone(), folder.path());
        let faults = books::audit(&folder.path().join("data"), &books::products(), &told).faults;
        if !faults.is_empty() {
            let (of, faults) = (events.len(), faults.join("\n  "));
            let kept = tempdir().unwrap().keep();
            disk.cut(*loss, &mut rng.clone(), &kept);
            let kept = kept.display();
            return Some(format!("cut before event {moment} of {of}, {loss:?} lost, files in {kept}:\n  {faults}"));
        }
    }
    None
}

#[test]
#[ignore = "it takes a minute and needs strace: tests/run.sh one_machine"]
fn whatever_was_answered_is_there_after_the_power_was_cut_at_any_moment() {
    let (cuts, seed) = (number("STEPWELL_CUTS", 500), seed());
    let mut rng = Rng::with_seed(seed);
    let events = record(&mut rng);
    let syncs = events.iter().filter(|event| matches!(event, Event::Sync(..))).count();
    let answers = events.iter().filter(|event| matches!(event, Event::Answer(_))).count();
    eprintln!("recorded {} events, of which {syncs} syncs and {answers} answers", events.len());
    let moment = |_| (any_moment(&events, &mut rng), *rng.choice(&Loss::ALL).unwrap(), rng.fork());
    let mut moments: Vec<(usize, Loss, Rng)> = (0..cuts).map(moment).collect();
    moments.sort_by_key(|(moment, ..)| *moment);
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let faults: Vec<String> = thread::scope(|scope| {
        let cutting = (0..threads).map(|first| {
            let mine: Vec<_> = moments.iter().skip(first).step_by(threads).cloned().collect();
            let events = &events;
            scope.spawn(move || cut(events, &mine))
        });
        let cutting: Vec<_> = cutting.collect();
        cutting.into_iter().filter_map(|cutting| cutting.join().unwrap()).collect()
    });
    assert!(faults.is_empty(), "STEPWELL_SEED={seed}\n{}", faults.join("\n"));
}
