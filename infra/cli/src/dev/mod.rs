//! `stepwell dev`: runs the shop on this machine, and rebuilds and replaces it after each change of a source.
//!
//! `session` decides what happens next, and `sources` which files are watched.

mod session;
mod sources;

use crate::{
    findings::{Finding, Findings},
    project::{self, PROGRAM},
};
use clap::Args;
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use session::{Action, BuildEnd, Event, Session};
use sources::Changes;
pub use sources::Sources;
use std::{
    collections::{BTreeSet, VecDeque},
    env,
    ffi::OsString,
    fs,
    future::{pending, poll_fn},
    io::{self, Write},
    path::{Path, PathBuf},
    process::{ExitStatus, Output, Stdio},
    task::Poll,
    time::{Duration, Instant, SystemTime},
};
use tokio::{
    process::{Child, Command},
    signal::unix::{self, SignalKind},
    task::JoinHandle,
};

/// How long a program that is told to stop may wait for what is open. After that it is killed, which loses nothing and also ends one whose
/// step loops. A request that waits for the end of a checkout would hold up the next program for longer, and its steps are begun anew by it.
const STOPS_IN: Duration = Duration::from_secs(2);

/// The exit codes, for the help.
pub const EXIT_CODES: &str = "Exit codes:
  0    stopped as asked
  1    an error of this command
  2    an option that does not exist or is wrong
  3-8  as `checkout_local serve --help` says: the first program cannot run with this data or these ports";

/// The options of `stepwell dev`. Those of the program are passed on.
#[derive(Debug, Args)]
pub struct DevOptions {
    /// The folder of all data; it is made if it is not there
    #[arg(long, value_name = "FOLDER", default_value = "stepwell-data")]
    data: PathBuf,
    /// The customers' port on 127.0.0.1; 0 is any free one, another one after each build
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    port: u16,
    /// The operators' port on 127.0.0.1; 0 is any free one, another one after each build
    #[arg(long, value_name = "PORT", default_value_t = 8081)]
    operators_port: u16,
}

/// Runs the shop until a signal. Returns the exit code.
///
/// # Errors
/// The sources cannot be watched, or cargo cannot be started.
pub fn run(root: &Path, options: &DevOptions) -> Result<u8, Findings> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.and_then(|runtime| runtime.block_on(Dev::new(root, options)?.run()));
    done.map_err(|error| {
        Finding::new(".", format!("stepwell dev ended: {error}"), "Mend that, and start it again").into()
    })
}

/// The processes of a session.
struct Dev {
    root: PathBuf,
    arguments: Vec<OsString>,
    changes: Changes,
    build: Option<Build>,
    program: Option<Child>,
    /// When the program has to have stopped.
    stops_by: Option<Instant>,
    /// The file of the program, as the last build left it.
    built: Option<Executable>,
    /// As it was when the program was started last.
    started: Option<Executable>,
}

struct Build {
    pid: Option<Pid>,
    since: Instant,
    output: JoinHandle<io::Result<Output>>,
}

#[derive(Clone, PartialEq, Eq)]
struct Executable {
    path: PathBuf,
    modified: SystemTime,
}

impl Dev {
    fn new(root: &Path, options: &DevOptions) -> io::Result<Self> {
        let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        let sources = Sources::new(root, &[target, options.data.clone()])?;
        let arguments = ["serve".into(), "--data".into(), options.data.clone().into_os_string()];
        let ports = [("--port", options.port), ("--operators-port", options.operators_port)];
        let ports = ports.into_iter().flat_map(|(name, port)| [name.into(), port.to_string().into()]);
        Ok(Self {
            root: root.to_owned(),
            arguments: arguments.into_iter().chain(ports).collect(),
            changes: sources.watch().map_err(io::Error::other)?,
            build: None,
            program: None,
            stops_by: None,
            built: None,
            started: None,
        })
    }

    async fn run(mut self) -> io::Result<u8> {
        // All that end a process that is not told otherwise: the program, in a process group of its own, would be left behind.
        let signals = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup(), SignalKind::quit()];
        let mut signals = signals.into_iter().map(unix::signal).collect::<io::Result<Vec<_>>>()?;
        let mut session = Session::default();
        let mut actions = VecDeque::from(session.on(Event::Changed));
        loop {
            while let Some(action) = actions.pop_front() {
                match action {
                    Action::Build => self.build()?,
                    Action::StopBuild => terminate(self.build.as_ref().and_then(|build| build.pid))?,
                    Action::Start => {
                        // Another cargo may be replacing the file.
                        if let Err(error) = self.start() {
                            say(format_args!("the program cannot be started: {error}; the next build starts it"));
                            actions.extend(session.on(Event::Ended(None)));
                        }
                    }
                    Action::Stop => {
                        terminate(self.program.as_ref().and_then(pid))?;
                        self.stops_by.get_or_insert_with(|| Instant::now() + STOPS_IN);
                    }
                    Action::End(code) => return Ok(code),
                }
            }
            let event = tokio::select! {
                changed = self.changes.next() => {
                    say_changed(&changed);
                    Event::Changed
                }
                output = end_of_build(&mut self.build) => Event::Built(self.built(output?)),
                status = end_of_program(&mut self.program) => Event::Ended(self.ended(status?)),
                () = until(self.stops_by) => {
                    say("something is still open: the program is ended at once, and the next one begins that anew");
                    self.program.as_mut().map_or(Ok(()), Child::start_kill)?;
                    self.stops_by = None;
                    continue;
                }
                () = any(&mut signals) => Event::Stop,
            };
            actions.extend(session.on(event));
            if matches!(event, Event::Ended(_)) && session.waits_for_a_change() {
                say("no program runs: the next change starts one");
            }
        }
    }

    /// Begins a build of the program alone, without the AWS crates of the functions.
    fn build(&mut self) -> io::Result<()> {
        let mut cargo = project::cargo(&self.root);
        cargo.args(["build", "--package", PROGRAM, "--bin", PROGRAM, "--message-format", "json-render-diagnostics"]);
        cargo.stdin(Stdio::null()).stdout(Stdio::piped());
        let cargo = cargo.spawn()?;
        self.build =
            Some(Build { pid: pid(&cargo), since: Instant::now(), output: tokio::spawn(cargo.wait_with_output()) });
        Ok(())
    }

    fn built(&mut self, Built { since, output }: Built) -> BuildEnd {
        let executable = output.status.success().then(|| executable(&output.stdout)).flatten();
        // Another cargo may be replacing the file.
        let modified = |path: &PathBuf| fs::metadata(path)?.modified();
        let built = executable.and_then(|path| Some(Executable { modified: modified(&path).ok()?, path }));
        let Some(built) = built else {
            let what = if output.status.success() { "the built program is not there" } else { "the build failed" };
            let then = if self.program.is_some() {
                "the running program goes on"
            } else {
                "the next change begins another build"
            };
            say(format_args!("{what}: {then}"));
            return BuildEnd::Failed;
        };
        let end = if Some(&built) == self.started.as_ref() { BuildEnd::Same } else { BuildEnd::New };
        let what = if end == BuildEnd::Same { "nothing of the program has changed" } else { "built" };
        say(format_args!("{what} ({:.1} s)", since.elapsed().as_secs_f64()));
        self.built = Some(built);
        end
    }

    fn start(&mut self) -> io::Result<()> {
        let Some(built) = &self.built else { return Ok(()) };
        let mut program = Command::new(&built.path);
        // In a process group of its own, so that Ctrl-C reaches this process alone: the program would take its SIGTERM for a second
        // signal, and end at once.
        program.args(&self.arguments).stdin(Stdio::null()).process_group(0).kill_on_drop(true);
        self.program = Some(program.spawn()?);
        self.started.clone_from(&self.built);
        Ok(())
    }

    fn ended(&mut self, status: ExitStatus) -> Option<i32> {
        (self.program, self.stops_by) = (None, None);
        if !status.success() {
            say(format_args!("the program has ended: {status}"));
        }
        status.code()
    }
}

struct Built {
    since: Instant,
    output: Output,
}

async fn end_of_build(build: &mut Option<Build>) -> io::Result<Built> {
    let Some(Build { since, output, .. }) = build else { return pending().await };
    let built = Built { since: *since, output: output.await.map_err(io::Error::other)?? };
    *build = None;
    Ok(built)
}

async fn end_of_program(program: &mut Option<Child>) -> io::Result<ExitStatus> {
    match program {
        Some(program) => program.wait().await,
        None => pending().await,
    }
}

/// Returns when one of the signals has come.
async fn any(signals: &mut [unix::Signal]) {
    poll_fn(|context| match signals.iter_mut().any(|signal| signal.poll_recv(context).is_ready()) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    })
    .await;
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => pending().await,
    }
}

fn pid(child: &Child) -> Option<Pid> {
    child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?))
}

/// Sends SIGTERM, unless the process has ended.
fn terminate(pid: Option<Pid>) -> io::Result<()> {
    match pid.map(|pid| kill_process(pid, Signal::TERM)) {
        None | Some(Ok(()) | Err(rustix::io::Errno::SRCH)) => Ok(()),
        Some(Err(error)) => Err(error.into()),
    }
}

/// The part of cargo's messages that names the program's file.
#[derive(Deserialize)]
struct Message {
    executable: Option<PathBuf>,
}

fn executable(messages: &[u8]) -> Option<PathBuf> {
    let messages = serde_json::Deserializer::from_slice(messages).into_iter::<Message>();
    messages.filter_map(|message| message.ok()?.executable).last()
}

fn say_changed(changed: &BTreeSet<PathBuf>) {
    let mut names = changed.iter().take(3).map(|path| path.display().to_string()).collect::<Vec<_>>();
    if changed.len() > names.len() {
        names.push(format!("{} more", changed.len() - names.len()));
    }
    say(format_args!("changed: {}", names.join(", ")));
}

fn say(line: impl std::fmt::Display) {
    // Nobody is left to tell if stderr is closed.
    let _ = writeln!(io::stderr(), "stepwell dev: {line}");
}
