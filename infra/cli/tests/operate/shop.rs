//! A running shop of one machine, an API that answers as a test says, and the command.

use serde_json::Value;
use std::{
    env, fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::{Arc, Mutex, OnceLock},
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// The longest time that a test waits for something.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

/// What a command has come to.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// The output, if this is the exit code.
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        self
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// That stderr has this text.
    pub(crate) fn says(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "'{text}' is not said: {self:?}");
        self
    }

    /// That stdout has this text.
    pub(crate) fn prints(self, text: &str) -> Self {
        assert!(self.stdout.contains(text), "'{text}' is not printed: {self:?}");
        self
    }
}

/// The command, without what the environment of the tests would tell it.
pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stepwell"));
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("AWS_") || name.starts_with("STEPWELL_") {
            command.env_remove(name);
        }
    }
    command.env("USER", "ann").stdin(Stdio::null());
    command
}

pub(crate) fn run(command: &mut Command) -> Ended {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// A running shop. It is killed at the end.
pub(crate) struct Shop {
    pub(crate) data: TempDir,
    /// The form of its log, if it has one.
    log: Option<&'static str>,
    process: Child,
    /// It is kept open, so that the program can print.
    _output: BufReader<ChildStdout>,
    pub(crate) customers: String,
}

impl Shop {
    pub(crate) fn start() -> Self {
        Self::start_in(TempDir::new().unwrap(), None)
    }

    /// What it logs to stderr, in this form, is the file `stderr` in its folder. Anything in the process can tell all.
    pub(crate) fn start_with_log(form: &'static str) -> Self {
        Self::start_in(TempDir::new().unwrap(), Some(form))
    }

    fn start_in(data: TempDir, log: Option<&'static str>) -> Self {
        let mut serve = Command::new(program());
        serve.args(["serve", "--port", "0", "--operators-port", "0", "--data"]).arg(data.path());
        if let Some(form) = log {
            let file = fs::File::options().create(true).append(true).open(data.path().join("stderr")).unwrap();
            serve.args(["--log", form]).env("RUST_LOG", "trace").stderr(file);
        } else {
            serve.env_remove("RUST_LOG").stderr(Stdio::null());
        }
        let mut process = serve.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let customers = line.trim().strip_prefix("customers  http://").expect("it says where it listens").to_owned();
        // The last line.
        while !line.starts_with("Ctrl-C") {
            line.clear();
            assert!(output.read_line(&mut line).unwrap() > 0, "it has ended");
        }
        Self { data, log, process, _output: output, customers }
    }

    /// The address of the operators' API.
    pub(crate) fn operators(&self) -> String {
        let url = fs::read_to_string(self.data.path().join("operators-url")).unwrap();
        url.trim().trim_start_matches("http://").to_owned()
    }

    /// Kills it.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Stops it by SIGTERM.
    pub(crate) fn stop(&mut self) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        self.process.wait().unwrap();
    }

    /// Kills it, and starts another one on its data.
    pub(crate) fn restart(mut self) -> Self {
        self.kill();
        let data = std::mem::replace(&mut self.data, TempDir::new().unwrap());
        Self::start_in(data, self.log)
    }

    /// Runs the command on this shop.
    pub(crate) fn operate(&self, arguments: &[&str]) -> Ended {
        run(&mut self.command(arguments))
    }

    /// The command on this shop.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = command();
        command.args(arguments).arg("--data").arg(self.data.path());
        command
    }

    /// Runs `replay` on this shop, of this task. In the place of cargo, which would build the program with other features, it has one that is built.
    pub(crate) fn replay(&self, task: &str, arguments: &[&str]) -> Ended {
        let cargo = self.data.path().join("cargo");
        let program = program().display();
        let script = format!("#!/bin/sh\nuntil [ \"$1\" = -- ]; do shift; done\nshift\nexec {program} \"$@\"\n");
        fs::write(&cargo, script).unwrap();
        fs::set_permissions(&cargo, fs::Permissions::from_mode(0o700)).unwrap();
        let arguments = [&["replay", task, "--step"], arguments].concat();
        run(self.command(&arguments).env("CARGO", cargo).current_dir(repository()))
    }

    /// Starts a checkout with one of `events/requests`, and waits for its end unless it waits for longer. Returns its task.
    pub(crate) fn buy(&self, request: &str) -> String {
        let answer = ask(&self.customers, "POST /checkout?wait=5", &request_of(request));
        answer["task_id"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    /// Starts a checkout, and returns its task.
    pub(crate) fn begin(&self, request: &str) -> String {
        let started = ask(&self.customers, "POST /checkout", &request_of(request));
        started["task_id"].as_str().unwrap_or_else(|| panic!("{started}")).to_owned()
    }

    /// Starts a checkout, and waits until its payment waits for the next attempt.
    pub(crate) fn buy_later(&self) -> String {
        let task = self.begin("gateway_rate_limited");
        until("the payment waits", || self.operate(&["show", &task]).stdout.contains("retrying  until"));
        task
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        // It has ended, unless the test fails.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn request_of(name: &str) -> String {
    fs::read_to_string(repository().join(format!("events/requests/{name}.json"))).unwrap()
}

pub(crate) fn until(what: &str, mut ask: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !ask() {
        assert!(begun.elapsed() < PATIENCE, "not in {} s: {what}", PATIENCE.as_secs());
        thread::sleep(Duration::from_millis(20));
    }
}

fn ask(address: &str, request: &str, body: &str) -> Value {
    let answer = read_answer(address, request, "Host: localhost\r\n", body);
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

/// The whole answer to a request with these further header lines.
pub(crate) fn read_answer(address: &str, request: &str, headers: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = body.len();
    let head = format!("{request} HTTP/1.1\r\n{headers}Connection: close\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Builds the program of one machine as it is in the working tree, once for all tests.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let mut build = Command::new(env!("CARGO"));
        // What tests/run.sh builds, so nothing is compiled twice.
        build.args(["build", "--locked", "--workspace", "--features", "lambda", "--bin", "checkout_local"]);
        let output = build.args(["--message-format", "json"]).current_dir(repository()).output().unwrap();
        assert!(output.status.success(), "checkout_local does not compile");
        let messages = String::from_utf8(output.stdout).unwrap();
        let messages = messages.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let mut programs = messages.filter_map(|message| Some(PathBuf::from(message["executable"].as_str()?)));
        programs.next().expect("cargo names the program")
    })
}

/// A server that gives one answer after the other, and the last one again and again. It stands for AWS, and for an API that fails.
pub(crate) struct Scripted {
    pub(crate) url: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Scripted {
    /// Each answer has a status and a body. `URL` in a body is its own URL. A 503 may be asked again after a second. An `errorMessage`
    /// is what Lambda answers with for a function that has failed.
    pub(crate) fn new(answers: &[(u16, &str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let mut answers: Vec<_> = answers.iter().map(|(status, body)| (*status, body.replace("URL", &url))).collect();
        answers.reverse();
        let requests = Arc::<Mutex<Vec<String>>>::default();
        let seen = requests.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                seen.lock().unwrap().push(read_request(&mut stream));
                let (status, body) = if answers.len() > 1 { answers.pop().unwrap() } else { answers[0].clone() };
                let length = body.len();
                let wait = if status == 503 { "Retry-After: 1\r\n" } else { "" };
                let failed = if body.contains("errorMessage") { "X-Amz-Function-Error: Unhandled\r\n" } else { "" };
                let head = format!(
                    "HTTP/1.1 {status} Said\r\nConnection: close\r\n{wait}{failed}Content-Length: {length}\r\n\r\n"
                );
                // Whoever has asked may be gone.
                let _ = stream.write_all(format!("{head}{body}").as_bytes());
            }
        });
        Self { url, requests }
    }

    /// The heads and bodies of the requests so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn read_request(stream: &mut TcpStream) -> String {
    let mut reader = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if let Some(number) = line.to_lowercase().strip_prefix("content-length:") {
            length = number.trim().parse().unwrap();
        }
        head.push_str(&line);
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    head + &String::from_utf8(body).unwrap()
}
