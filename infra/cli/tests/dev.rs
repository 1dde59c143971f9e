//! `stepwell dev`: its processes, with scripts in place of cargo and of the program; and the shop in a copy of this repository.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail loudly")]

mod repository;

use repository::{copy_to, set_version};
use serde_json::Value;
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::Duration,
};
use stepwell_cli::dev::Sources;
use tempfile::TempDir;

/// The longest time for a line. The first build may take minutes.
const PATIENCE: Duration = Duration::from_secs(900);

const STEP: &str = "functions/checkout/send_confirmation/src/lib.rs";

/// The running command. It is killed when the test fails.
struct Dev {
    process: Child,
    /// What it and the compiler say.
    said: Receiver<String>,
    /// What the programs say.
    printed: Receiver<String>,
}

fn target() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap()
}

fn lines(output: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || BufReader::new(output).lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    lines
}

/// Waits for a line with this text.
#[track_caller]
fn until(lines: &Receiver<String>, text: &str) -> String {
    loop {
        let line = lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("it never says: {text}"));
        if line.contains(text) {
            return line;
        }
    }
}

impl Dev {
    fn start(root: &Path, data: &Path) -> Self {
        Self::start_with(Path::new(env!("CARGO")), root, data)
    }

    fn start_with(cargo: &Path, root: &Path, data: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stepwell"));
        command.args(["dev", "--port", "0", "--operators-port", "0", "--data"]).arg(data).current_dir(root);
        command.env("CARGO", cargo).env("CARGO_TARGET_DIR", target());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let (said, printed) = (lines(process.stderr.take().unwrap()), lines(process.stdout.take().unwrap()));
        Self { process, said, printed }
    }

    fn signal(&self, signal: &str) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// Waits for a start of the program. Returns the host and port for customers.
    fn address(&self) -> String {
        let line = until(&self.printed, "customers  http://");
        line.rsplit_once('/').unwrap().1.to_owned()
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // It has ended, unless the test fails. Then its program has to end, too.
        if let Ok(None) = self.process.try_wait() {
            let _ = Command::new("kill").args(["-TERM", &self.process.id().to_string()]).status();
            let _ = self.process.wait();
        }
    }
}

fn ask(address: &str, request: &str, body: &str) -> Value {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    write!(
        stream,
        "{request} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap()
}

/// The files that the program was built from, by cargo, of which `stepwell dev` takes no notice.
fn not_watched(root: &Path) -> Vec<String> {
    let sources = Sources::new(root, &[]).unwrap();
    let built_from = fs::read_to_string(target().join("debug/checkout_local.d")).unwrap();
    let files: Vec<&str> = built_from.split_whitespace().skip(1).collect();
    assert!(files.iter().any(|file| file.ends_with(STEP)), "{files:?}");
    files.into_iter().filter(|file| sources.source(Path::new(file)).is_none()).map(str::to_owned).collect()
}

/// A project whose cargo is a script: it builds nothing, and names the script `program`.
struct Scripts(TempDir);

impl Scripts {
    fn new() -> Self {
        let scripts = Self(tempfile::tempdir().unwrap());
        fs::create_dir(scripts.0.path().join("infra")).unwrap();
        fs::write(scripts.0.path().join("infra/settings.yaml"), "workflows: []").unwrap();
        let program = scripts.0.path().join("program");
        scripts.write("cargo", 0o700, &format!("echo '{}'", serde_json::json!({ "executable": program })));
        scripts
    }

    fn write(&self, name: &str, mode: u32, script: &str) {
        let path = self.0.path().join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Writes a program that does this when it gets SIGTERM. It ends by itself after a minute, so that a test that fails leaves none behind.
    fn write_program(&self, mode: u32, when_told: &str) {
        let runs = "echo started; for _ in $(seq 1200); do sleep 0.05; done";
        self.write("program", mode, &format!("trap '{when_told}' TERM; {runs}"));
    }

    /// Changes a source.
    fn change(&self) {
        fs::write(self.0.path().join("Cargo.toml"), "").unwrap();
    }

    fn start(&self) -> Dev {
        let root = self.0.path();
        Dev::start_with(&root.join("cargo"), root, &root.join("data"))
    }
}

#[test]
fn each_signal_that_ends_the_command_stops_the_program_first() {
    for signal in ["-HUP", "-INT", "-QUIT", "-TERM"] {
        let scripts = Scripts::new();
        scripts.write_program(0o700, "echo stopped; exit 0");
        let mut dev = scripts.start();
        until(&dev.printed, "started");
        dev.signal(signal);
        assert_eq!(dev.process.wait().unwrap().code(), Some(0), "{signal}");
        until(&dev.printed, "stopped");
    }
}

#[test]
fn program_that_does_not_stop_is_killed() {
    let scripts = Scripts::new();
    scripts.write_program(0o700, "");
    let mut dev = scripts.start();
    until(&dev.printed, "started");
    dev.signal("-INT");
    until(&dev.said, "the program has ended: signal: 9");
    assert_eq!(dev.process.wait().unwrap().code(), Some(0));
}

#[test]
fn program_that_is_not_there_or_cannot_be_started_is_started_after_a_change() {
    let scripts = Scripts::new();
    let mut dev = scripts.start();
    until(&dev.said, "the built program is not there");
    scripts.write_program(0o600, "exit 0");
    scripts.change();
    until(&dev.said, "the program cannot be started: Permission denied");
    fs::set_permissions(scripts.0.path().join("program"), fs::Permissions::from_mode(0o700)).unwrap();
    scripts.change();
    until(&dev.printed, "started");
    dev.signal("-INT");
    assert_eq!(dev.process.wait().unwrap().code(), Some(0));
}

/// It builds the shop in a copy. The copy stays, so that a second run only builds what has changed.
#[test]
#[ignore = "it builds the shop: tests/run.sh new_step"]
fn checkout_that_waits_goes_on_in_the_program_that_a_change_has_built() {
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dev");
    let root = scratch.as_path();
    copy_to(root);
    set_version(root, "0.1.0-dev");
    let data = tempfile::tempdir().unwrap();
    let mut dev = Dev::start(root, data.path());
    let address = dev.address();
    let request = fs::read_to_string(root.join("events/requests/gateway_rate_limited.json")).unwrap();
    let started = ask(&address, "POST /checkout", &request);
    let status = format!("GET {}", started["checkout_url"].as_str().unwrap());
    let retry_url = loop {
        let now = ask(&address, &status, "");
        if let Some(url) = now["retrying"]["retry_url"].as_str() {
            break url.to_owned();
        }
        assert_eq!(now["status"], "processing", "{now}");
    };

    // Another one cannot have the same data, and it is the first program of its session.
    assert_eq!(Dev::start(root, data.path()).process.wait().unwrap().code(), Some(3));

    // While the code does not compile, the program goes on.
    let code = fs::read_to_string(root.join(STEP)).unwrap();
    fs::write(root.join(STEP), code.replacen("pub fn step", "pub fn step step", 1)).unwrap();
    until(&dev.said, "error: expected");
    until(&dev.said, "the build failed: the running program goes on");
    assert_eq!(ask(&address, &status, "")["status"], "processing");

    let subject = "        message.subject = \"From the new code\".to_owned();\n";
    let sends = "        let message_id = self.mailer.send(";
    let changed =
        code.replacen("let message =", "let mut message =", 1).replacen(sends, &format!("{subject}{sends}"), 1);
    assert!(changed.contains(subject), "{STEP} sends no more as it did");
    // A customer who waits for the end does not hold up the new program.
    let mut open = TcpStream::connect(&address).unwrap();
    write!(open, "{status}&wait=25 HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    fs::write(root.join(STEP), changed).unwrap();
    until(&dev.said, "the program is ended at once");
    let address = dev.address();
    // It would be retried half a minute after its first attempt.
    ask(&address, &format!("POST {retry_url}"), "");
    let ended = ask(&address, &format!("{status}&wait=25"), "");
    assert_eq!(ended["status"], "completed", "{ended}");
    let mail = fs::read_dir(data.path().join("mail")).unwrap().next().unwrap().unwrap();
    let mail = fs::read_to_string(mail.path()).unwrap();
    assert!(mail.contains("Subject: From the new code"), "{mail}");

    assert_eq!(not_watched(root), [""; 0]);

    dev.signal("-INT");
    until(&dev.printed, "stopped");
    assert_eq!(dev.process.wait().unwrap().code(), Some(0));
}
