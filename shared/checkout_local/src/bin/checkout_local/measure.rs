//! `checkout_local measure`: drives `checkout_local noop` in a process of its own, and says how long a workflow takes and what it costs.
//!
//! The load is a closed loop: each connection starts its next workflow when the last one is complete. The latency is the time from
//! before the request is written until the last byte of the answer with the result of the last step. The processor time is that
//! of the served process, in user and kernel mode, from `/proc`. Its memory is `VmRSS` after the runs.

use crate::{
    failure::{Failure, other},
    say,
    serve::stop_flag,
};
use clap::Args;
use std::{
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

/// The longest time for an answer. The server's own limit is shorter.
const PATIENCE: Duration = Duration::from_secs(60);

/// The clock ticks a second of the times in `/proc`, on every Linux that Rust runs on.
const TICKS: f64 = 100.0;

/// The connections that bring the file to the wanted number of tasks.
const FILLING: usize = 64;

/// The options of `measure`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How many workflows run at once; a row of the table for each
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', default_value = "1,32")]
    concurrency: Vec<u16>,
    /// The workflows of each row; after a fifth as many that are not measured [default: 200 one by one, 2000 at once]
    #[arg(long, value_name = "NUMBER")]
    runs: Option<u32>,
    /// The number of workflows that run before the first row, so that their tasks are in the file
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    tasks: u32,
    /// The folder of the data, which stays; without it a temporary one
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
}

/// Measures, and prints a row for each concurrency.
///
/// # Errors
/// The served process cannot be started, or does not answer as it should.
pub(crate) fn measure(options: &Options) -> Result<(), Failure> {
    let stop = stop_flag()?;
    let temporary = tempfile::Builder::new().prefix("stepwell-measure-").tempdir().map_err(other)?;
    let served = Served::start(options.data.as_deref().unwrap_or_else(|| temporary.path()), stop)?;
    if options.tasks > 0 {
        served.load(FILLING, options.tasks)?;
    }
    say("concurrency    runs   p50 ms   p95 ms   p99 ms   workflows/s   CPU ms/workflow   RSS MiB")?;
    for &concurrency in &options.concurrency {
        let runs = options.runs.unwrap_or(if concurrency == 1 { 200 } else { 2_000 });
        let concurrency = usize::from(concurrency).max(1);
        served.load(concurrency, runs / 5)?;
        let (cpu, begun) = (served.cpu()?, Instant::now());
        let mut latencies = served.load(concurrency, runs)?;
        let (seconds, cpu) = (begun.elapsed().as_secs_f64(), served.cpu()? - cpu);
        latencies.sort_unstable();
        let percentile = |of: usize| {
            let rank = (latencies.len() * of).div_ceil(100).max(1);
            latencies.get(rank - 1).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1_000.0)
        };
        let (p50, p95, p99) = (percentile(50), percentile(95), percentile(99));
        let (rate, each) = (f64::from(runs) / seconds, cpu * 1_000.0 / f64::from(runs));
        let memory = served.memory()?;
        say(format_args!(
            "{concurrency:>11} {runs:>7} {p50:>8.2} {p95:>8.2} {p99:>8.2} {rate:>13.1} {each:>17.2} {memory:>9}"
        ))?;
    }
    Ok(())
}

/// The process that is measured. It is ended when this is dropped.
struct Served {
    process: Child,
    /// Its host and port.
    address: String,
    /// Whether the load is to be broken off.
    stop: Arc<AtomicBool>,
}

impl Served {
    fn start(data: &Path, stop: Arc<AtomicBool>) -> Result<Self, Failure> {
        let program = std::env::current_exe().map_err(other)?;
        let mut command = Command::new(program);
        command.arg("noop").arg("--data").arg(data).args(["--port", "0", "--until-stdin-ends"]).env("RUST_LOG", "warn");
        // It holds the other end, so that the server ends with this process, whatever ends that.
        let process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(other)?;
        let mut served = Self { process, address: String::new(), stop };
        let mut line = String::new();
        if let Some(stdout) = served.process.stdout.take() {
            BufReader::new(stdout).read_line(&mut line).map_err(other)?;
        }
        let address = line.split_once("http://").and_then(|(_, url)| url.split_once('/')).map(|(address, _)| address);
        served.address =
            address.ok_or_else(|| other("`checkout_local noop` has not started; it has said why"))?.to_owned();
        Ok(served)
    }

    /// Takes this many workflows to their ends. Returns their latencies.
    fn load(&self, concurrency: usize, runs: u32) -> Result<Vec<Duration>, Failure> {
        let next = AtomicU32::new(0);
        let work = || -> io::Result<Vec<Duration>> {
            let mut connection = Connection::open(&self.address)?;
            let mut latencies = Vec::new();
            loop {
                let number = next.fetch_add(1, Relaxed);
                if number >= runs {
                    return Ok(latencies);
                }
                if self.stop.load(Relaxed) {
                    return Err(io::ErrorKind::Interrupted.into());
                }
                latencies.push(connection.workflow(number)?);
            }
        };
        thread::scope(|scope| {
            let workers: Vec<_> = (0..concurrency).map(|_| scope.spawn(work)).collect();
            let mut all = Vec::new();
            for worker in workers {
                let latencies = worker.join().map_err(|_| other("a connection of the load has panicked"))?;
                all.extend(latencies.map_err(|error| other(format!("the load was broken off: {error}")))?);
            }
            Ok(all)
        })
    }

    /// The processor time that the process has used, in seconds.
    fn cpu(&self) -> Result<f64, Failure> {
        let stat = self.proc("stat")?;
        // The name of the program, in parentheses, may have spaces. User and kernel time are the fields 14 and 15 of proc(5).
        let fields: Vec<&str> =
            stat.rsplit_once(')').map_or(Vec::new(), |(_, fields)| fields.split_whitespace().collect());
        let ticks = |field: usize| fields.get(field - 3).and_then(|ticks| ticks.parse::<f64>().ok());
        match (ticks(14), ticks(15)) {
            (Some(user), Some(kernel)) => Ok((user + kernel) / TICKS),
            _ => Err(other(format!("the processor time cannot be read in `{stat}`"))),
        }
    }

    /// Its resident memory, in MiB.
    fn memory(&self) -> Result<u64, Failure> {
        let status = self.proc("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kilobytes.map(|kilobytes| kilobytes / 1_024).ok_or_else(|| other("the process has ended"))
    }

    fn proc(&self, file: &str) -> Result<String, Failure> {
        let path = PathBuf::from(format!("/proc/{}/{file}", self.process.id()));
        fs::read_to_string(&path).map_err(|source| Failure::Folder { path, source })
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended already. What it has answered is on the disk.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A connection that stays open from workflow to workflow.
struct Connection {
    stream: BufReader<TcpStream>,
    address: String,
}

impl Connection {
    fn open(address: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream: BufReader::new(stream), address: address.to_owned() })
    }

    /// Starts a workflow and waits for its result.
    fn workflow(&mut self, number: u32) -> io::Result<Duration> {
        let id = format!("order-{number}");
        let order = format!(
            r#"{{"order_id":"{id}","customer":"c-1001","items":[{{"sku":"A-1","qty":2,"price":1999}},{{"sku":"B-7","qty":1,"price":4900}}]}}"#
        );
        let request = format!(
            "POST /noop?wait=25 HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{order}",
            self.address,
            order.len()
        );
        let begun = Instant::now();
        self.stream.get_mut().write_all(request.as_bytes())?;
        let (status, body) = self.answer()?;
        let took = begun.elapsed();
        let result = format!("send_confirmation-{id}");
        if status.contains(" 200 ") && body.contains(&result) {
            Ok(took)
        } else {
            Err(io::Error::other(format!("a workflow was answered with {} {body}", status.trim())))
        }
    }

    fn answer(&mut self) -> io::Result<(String, String)> {
        let (mut status, mut length) = (String::new(), 0);
        self.stream.read_line(&mut status)?;
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let line = line.trim().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().map_err(io::Error::other)?;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }
}
