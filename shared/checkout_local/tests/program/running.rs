//! The program as a process of its own, and requests to it.

use serde_json::Value;
use std::{
    io::{self, BufRead, BufReader, Lines, Read, Write},
    net::TcpStream,
    path::Path,
    process::{ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// The header line that names this machine.
pub(crate) const HOST: &str = "Host: localhost\r\n";

/// The longest time that a test waits for something.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Asks again and again until it is so.
pub(crate) fn until(what: &str, mut ask: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !ask() {
        assert!(begun.elapsed() < PATIENCE, "not in {} s: {what}", PATIENCE.as_secs());
        thread::sleep(Duration::from_millis(10));
    }
}

/// The arguments of `serve` on this folder and this port; 0 is any free one.
pub(crate) fn serve(command: &mut Command, data: &Path, port: &str) {
    command.args(["serve", "--port", port, "--operators-port", "0", "--data"]).arg(data);
    command.env_remove("RUST_LOG").stdin(Stdio::null());
}

/// What the program prints. It has to be kept open, so that the program can print.
pub(crate) struct Output(Lines<BufReader<ChildStdout>>);

impl Output {
    pub(crate) fn new(stdout: ChildStdout) -> Self {
        Self(BufReader::new(stdout).lines())
    }

    /// The addresses of the customers and of the operators, once the program says that it listens. `None` if it ends before.
    pub(crate) fn addresses(&mut self) -> Option<(String, String)> {
        let mut address = |of: &str| {
            let line = self.0.next()?.ok()?;
            let url = line.strip_prefix(of).unwrap_or_else(|| panic!("{line}")).trim_start();
            Some(url.split(' ').next()?.strip_prefix("http://")?.to_owned())
        };
        Some((address("customers")?, address("operators")?))
    }
}

/// The status and the body of the answer to a request with these further header lines.
///
/// # Errors
/// There was no whole answer.
pub(crate) fn ask(address: &str, request: &str, headers: &str, body: &str) -> io::Result<(u16, Value)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let length = body.len();
    let head = format!("{request} HTTP/1.1\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n");
    stream.write_all(format!("{head}{body}").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    parse(&answer).ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, answer))
}

/// The status and the JSON of an answer. `None` if it is not whole.
pub(crate) fn parse(answer: &str) -> Option<(u16, Value)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.get(9..12)?.parse().ok()?, serde_json::from_str(body).ok()?))
}
