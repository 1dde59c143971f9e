//! The program as users run it: its ports, its signals, its exit codes, and what survives when it is killed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

mod durability;
mod running;

use running::{HOST, Output, PATIENCE, until};
use serde_json::Value;
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
};
use stepwell_local::{File, Schema};
use tempfile::tempdir;

mod backup;
#[cfg(target_os = "linux")]
mod disk;
mod many;
mod measure;
mod metrics;
mod step;
mod traces;

const PROGRAM: &str = env!("CARGO_BIN_EXE_checkout_local");

fn command(data: &Path, port: &str) -> Command {
    serve(Command::new(PROGRAM), data, port)
}

/// Adds the arguments of `serve` to a command that runs the program.
fn serve(mut command: Command, data: &Path, port: &str) -> Command {
    running::serve(&mut command, data, port);
    command
}

/// A running shop. It is killed when the test fails.
struct Shop {
    process: Child,
    _output: Output,
    customers: String,
    operators: String,
}

impl Shop {
    fn start(data: &Path) -> Self {
        Self::start_by(command(data, "0").stderr(Stdio::null()))
    }

    fn start_by(command: &mut Command) -> Self {
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut output = Output::new(process.stdout.take().unwrap());
        let (customers, operators) = output.addresses().expect("it says where it listens");
        Self { process, _output: output, customers, operators }
    }

    fn signal(&self, signal: &str) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// Sends SIGTERM, and returns the exit code.
    fn stop(mut self) -> Option<i32> {
        self.signal("-TERM");
        self.end()
    }

    /// Waits for its end, and returns the exit code.
    fn end(&mut self) -> Option<i32> {
        until("the shop ends", || self.process.try_wait().unwrap().is_some());
        self.process.wait().unwrap().code()
    }

    /// Reads the log to its end, on a thread of its own. What is returned waits for a line with this text.
    fn read_log(&mut self, text: &'static str) -> impl FnOnce() + use<> {
        let log = BufReader::new(self.process.stderr.take().unwrap()).lines();
        let (found, wait) = mpsc::channel();
        thread::spawn(move || {
            for line in log.map_while(Result::ok) {
                if line.contains(text) {
                    // The test may wait no more.
                    let _ = found.send(());
                }
            }
        });
        move || wait.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("the log lacks '{text}': {error}"))
    }

    /// The answer to the start of a checkout, which waits for its end.
    fn buy(&self, request: &str) -> (u16, Value) {
        ask(&self.customers, "POST /checkout?wait=20", HOST, request)
    }

    /// Starts a checkout whose gateway turns it away for half a minute, and returns its URL once its payment waits.
    fn buy_later(&self) -> String {
        let request = include_str!("../../../../events/requests/gateway_rate_limited.json");
        let (status, started) = ask(&self.customers, "POST /checkout", HOST, request);
        assert_eq!(status, 202, "{started}");
        let url = started["checkout_url"].as_str().unwrap().to_owned();
        until("the payment waits", || !self.look(&url)["retrying"].is_null());
        url
    }

    /// What a customer reads of a checkout.
    fn look(&self, url: &str) -> Value {
        let (status, found) = ask(&self.customers, &format!("GET {url}"), HOST, "");
        assert_eq!(status, 200, "{found}");
        found
    }

    /// Tries the payment that waits again, at once, and waits for the end of the checkout.
    fn retry(&self, url: &str) -> Value {
        let found = self.look(url);
        let retry = found["retrying"]["retry_url"].as_str().unwrap_or_else(|| panic!("{found}")).to_owned();
        let (status, answer) = ask(&self.customers, &format!("POST {retry}"), HOST, "");
        assert!(status < 300, "{status} {answer}");
        self.look(&format!("{url}&wait=20"))
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        // It has ended, unless the test fails.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The status and the body of the answer to a request with these further header lines.
fn ask(address: &str, request: &str, headers: &str, body: &str) -> (u16, Value) {
    running::ask(address, request, headers, body).unwrap()
}

const SUCCESS: &str = include_str!("../../../../events/requests/success.json");

/// The exit code of a start that has to fail, and what it says last.
fn refused(data: &Path, port: &str) -> (Option<i32>, String) {
    refused_by(&mut command(data, port))
}

fn refused_by(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    (output.status.code(), said.lines().last().unwrap_or_default().to_owned())
}

#[test]
fn checkout_and_its_order_outlive_the_process() {
    let folder = tempdir().unwrap();
    let data = folder.path().join("data");
    let shop = Shop::start(&data);
    let (status, started) = shop.buy(SUCCESS);
    assert_eq!((status, &started["status"]), (202, &Value::from("completed")), "{started}");
    let (code, said) = refused(&data, "0");
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("shop.sqlite is in use by another process"), "{said}");
    assert_eq!(shop.stop(), Some(0));

    let shop = Shop::start(&data);
    let url = started["checkout_url"].as_str().unwrap();
    let (status, order) = ask(&shop.customers, &format!("GET {url}"), HOST, "");
    assert_eq!((status, &order["order_number"]), (200, &started["order_number"]), "{order}");
    assert_eq!(fs::read_dir(data.join("mail")).unwrap().count(), 1, "the confirmation");
    assert_eq!(shop.stop(), Some(0));
}

#[test]
fn log_that_cannot_be_kept_is_told_once_and_holds_up_no_checkout() {
    let folder = tempdir().unwrap();
    // In the place of the folder.
    fs::write(folder.path().join("log"), "").unwrap();
    let stderr = folder.path().join("stderr");
    let shop = Shop::start_by(command(folder.path(), "0").stderr(fs::File::create(&stderr).unwrap()));
    assert_eq!(shop.buy(SUCCESS).1["status"], "completed");
    assert_eq!(shop.stop(), Some(0));
    let told = fs::read_to_string(stderr).unwrap();
    assert_eq!(told.matches("the log cannot be kept in ").count(), 1, "{told}");
    assert!(told.contains("task completed"), "{told}");
}

#[test]
fn second_signal_ends_a_stop_that_hangs_and_loses_nothing() {
    let folder = tempdir().unwrap();
    let mut waiting = None;
    for (signal, expected) in [("-INT", 130), ("-TERM", 143)] {
        let mut shop = Shop::start_by(command(folder.path(), "0").stderr(Stdio::piped()));
        let url = waiting.get_or_insert_with(|| shop.buy_later()).clone();
        // A request that waits for the end of a checkout holds up the stop.
        let mut open = TcpStream::connect(&shop.customers).unwrap();
        write!(open, "GET {url}&wait=25 HTTP/1.1\r\n{HOST}\r\n").unwrap();
        assert_eq!(shop.look(&url)["status"], "processing");
        let stopping = shop.read_log("stopping");
        shop.signal(signal);
        stopping();
        shop.signal(signal);
        assert_eq!(shop.end(), Some(expected));
    }
    let shop = Shop::start(folder.path());
    assert_eq!(shop.retry(&waiting.unwrap())["status"], "completed");
    assert_eq!(shop.stop(), Some(0));
}

#[test]
fn only_this_machine_and_only_operators_with_the_token_are_let_in() {
    let folder = tempdir().unwrap();
    let shop = Shop::start(folder.path());
    assert_eq!(ask(&shop.customers, "GET /products", HOST, "").0, 200);
    for address in [&shop.customers, &shop.operators] {
        assert_eq!(ask(address, "GET /products", "Host: shop.example\r\n", "").0, 421);
    }
    for guarded in ["GET /tasks", "GET /health/status"] {
        assert_eq!(ask(&shop.operators, guarded, HOST, "").0, 401, "{guarded}");
    }
    // For a supervisor, which has no token.
    for open in ["GET /health/live", "GET /health/ready"] {
        assert_eq!(ask(&shop.operators, open, HOST, "").0, 200, "{open}");
    }
    let token = fs::read_to_string(folder.path().join("operator-token")).unwrap();
    let headers = format!("{HOST}Authorization: Bearer {}\r\n", token.trim());
    assert_eq!(ask(&shop.operators, "GET /tasks", &headers, "").0, 200);
    let port = shop.customers.rsplit_once(':').unwrap().1;
    let other = tempdir().unwrap();
    let (code, said) = refused(other.path(), port);
    let expected = "is in use by another program; end that one, or name another port";
    assert_eq!((code, said), (Some(7), format!("checkout_local: port {port} {expected}")));
    assert_eq!(shop.stop(), Some(0));
}

#[test]
fn data_that_cannot_be_used_is_refused_with_an_exit_code_of_its_own() {
    let folder = tempdir().unwrap();
    let [newer, foreign, exposed] = ["newer", "foreign", "exposed"].map(|name| folder.path().join(name));
    for data in [&newer, &foreign, &exposed] {
        fs::create_dir(data).unwrap();
    }
    drop(File::open(&newer.join("shop.sqlite"), &[Schema { part: "shop", version: 99, sql: "" }]).unwrap());
    fs::write(foreign.join("shop.sqlite"), "no database, but a text that is long enough".repeat(99)).unwrap();
    fs::write(exposed.join("operator-token"), "x".repeat(64)).unwrap();
    fs::set_permissions(exposed.join("operator-token"), fs::Permissions::from_mode(0o644)).unwrap();
    let no_folder = foreign.join("shop.sqlite").join("data");
    for (data, code, what) in [
        (newer, 5, "was written by a newer version: its shop has version 99"),
        (foreign, 4, "is a database, but not one of Stepwell"),
        (exposed, 6, "can be read by others (mode 644); run: chmod 600"),
        (no_folder, 6, "Not a directory"),
    ] {
        let (found, said) = refused(&data, "0");
        assert_eq!(found, Some(code), "{said}");
        assert!(said.contains(what), "{said}");
    }
}

#[test]
fn readme_has_the_exit_codes_of_the_help() {
    let help = Command::new(env!("CARGO_BIN_EXE_checkout_local")).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let codes: Vec<_> = help.lines().skip_while(|line| *line != "Exit codes:").skip(1).collect();
    assert_eq!(codes.len(), 10, "{help}");
    for (code, meaning) in codes.iter().map(|line| line.trim().split_once(' ').unwrap()) {
        let row = format!("| {code} | {} |", meaning.trim());
        assert!(include_str!("../../../../README.md").contains(&row), "README.md lacks: {row}");
    }
}

/// Whether a file has this text in it.
fn contains(file: &Path, text: &str) -> bool {
    fs::read(file).unwrap().windows(text.len()).any(|found| found == text.as_bytes())
}

#[test]
fn concurrency_of_a_step_that_does_not_exist_is_refused() {
    let folder = tempdir().unwrap();
    let data = folder.path().join("data");
    let serve = |concurrency: &str| refused_by(command(&data, "0").args(["--concurrency", concurrency]));
    let (code, why) = serve("proces_payment=8");
    assert_eq!(code, Some(2), "{why}");
    assert!(why.contains("there is no step proces_payment; there are validate_cart, process_payment,"), "{why}");
    for wrong in ["process_payment=0", "process_payment", "process_payment=many"] {
        assert_eq!(serve(wrong).0, Some(2), "{wrong}");
    }
    assert!(!data.exists(), "something was made before it was refused");
}
