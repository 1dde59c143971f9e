//! The command `footprint`: the zip size, the start-up time and the memory of each function.
//!
//! A small TCP server stands in for Lambda's runtime API. A function has started when it asks that server for its next
//! invocation. No answer ever comes, so the command measures the start and nothing else.

#![allow(clippy::print_stdout, reason = "the table is this command's output")]

use clap::Parser;
use std::{
    collections::HashMap,
    error::Error,
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// The project's aims for one function: zip size, start-up time, and memory.
const AIM_ZIP_MB: f64 = 4.0;
const AIM_START_MS: f64 = 30.0;
const AIM_MEMORY_MB: f64 = 30.0;

/// The time after which a function counts as failed to start.
const PATIENCE: Duration = Duration::from_secs(20);

/// Measures size, start-up time and memory of each function, next to the project's aims.
///
/// Builds the functions as they are deployed first, unless --binaries names a folder.
#[derive(Parser)]
struct Options {
    /// The folder with the functions' binaries: PACKAGE, or PACKAGE/bootstrap as cargo-lambda names them.
    #[arg(long, value_name = "FOLDER")]
    binaries: Option<PathBuf>,
    /// How often to start each function; the figures are medians.
    #[arg(long, value_name = "N", default_value_t = 11, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
}

/// The figures of one function.
struct Footprint {
    name: String,
    zip_mb: f64,
    start_ms: f64,
    memory_mb: f64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    let functions = functions()?;
    let binaries = match options.binaries {
        Some(folder) => folder,
        None => build(&functions)?,
    };
    let zips = zipped_bytes(&binaries)?;
    let mut footprints = Vec::new();
    for (name, package) in functions {
        let binary = find(&binaries, &package)?;
        let zip = zips.get(&name).ok_or_else(|| format!("infra/package.py made no zip of `{name}`"))?;
        let zip_mb = f64::from(u32::try_from(*zip)?) / 1e6;
        footprints.push(measure(&name, &binary, options.runs, zip_mb)?);
    }
    print(&footprints);
    Ok(())
}

fn print(footprints: &[Footprint]) {
    println!("{:<20} {:>12} {:>18} {:>14}", "function", "zipped", "start to 1st poll", "memory");
    for f in footprints {
        let within = f.zip_mb <= AIM_ZIP_MB && f.start_ms <= AIM_START_MS && f.memory_mb <= AIM_MEMORY_MB;
        let note = if within { "" } else { "   more than aimed at" };
        println!("{:<20} {:>9.2} MB {:>15.1} ms {:>11.1} MB{note}", f.name, f.zip_mb, f.start_ms, f.memory_mb);
    }
    println!("{:<20} {AIM_ZIP_MB:>9.2} MB {AIM_START_MS:>15.1} ms {AIM_MEMORY_MB:>11.1} MB", "aim, at most");
}

/// Builds the functions for this machine, otherwise as they are deployed. Answers with their folder.
fn build(functions: &[(String, String)]) -> Result<PathBuf, Box<dyn Error>> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(repository()).args(["build", "--release", "--features", "lambda"]);
    for (_, package) in functions {
        cargo.args(["--package", package]);
    }
    let ended = cargo.status()?;
    if !ended.success() {
        return Err(format!("the functions were not built: {ended}").into());
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository().join("target"), PathBuf::from);
    Ok(target.join("release"))
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The name and the package of each function, from the scripts' list.
fn functions() -> Result<Vec<(String, String)>, Box<dyn Error>> {
    let listed = fs::read_to_string(repository().join("infra/functions.txt"))?;
    let words = listed.lines().filter(|line| !line.starts_with('#')).map(|line| line.split(' '));
    Ok(words.filter_map(|mut words| Some((words.next()?.to_owned(), words.next()?.to_owned()))).collect())
}

fn find(binaries: &Path, name: &str) -> Result<PathBuf, Box<dyn Error>> {
    let places = [binaries.join(name).join("bootstrap"), binaries.join(name)];
    let found = places.iter().find(|place| place.is_file());
    found.cloned().ok_or_else(|| format!("no binary of `{name}` in {}; build it first", binaries.display()).into())
}

fn measure(name: &str, binary: &Path, runs: u32, zip_mb: f64) -> Result<Footprint, Box<dyn Error>> {
    let mut starts = Vec::new();
    let mut memories = Vec::new();
    for _ in 0..runs {
        let (start, memory) = start_once(name, binary)?;
        starts.push(start.as_secs_f64() * 1_000.0);
        memories.push(memory);
    }
    Ok(Footprint { name: name.to_owned(), zip_mb, start_ms: median(starts), memory_mb: median(memories) })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The size of each function's zip that a deployment uploads, by the function's name.
fn zipped_bytes(binaries: &Path) -> Result<HashMap<String, u64>, Box<dyn Error>> {
    let folder = std::env::temp_dir().join(format!("stepwell-footprint-{}", std::process::id()));
    let package = repository().join("infra/package.py");
    let made = Command::new("python3").arg(package).args([&*folder, binaries]).stderr(Stdio::inherit()).output()?;
    if !made.status.success() {
        return Err(format!("infra/package.py made no zips: {}", made.status).into());
    }
    let mut sizes = HashMap::new();
    for line in String::from_utf8(made.stdout)?.lines() {
        let [name, _, key, _] = line.split(' ').collect::<Vec<_>>()[..] else {
            return Err(format!("infra/package.py says `{line}`").into());
        };
        sizes.insert(name.to_owned(), fs::metadata(folder.join(key))?.len());
    }
    fs::remove_dir_all(&folder)?;
    Ok(sizes)
}

/// A running function. Dropping it kills it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start_once(name: &str, binary: &Path) -> Result<(Duration, f64), Box<dyn Error>> {
    let runtime_api = TcpListener::bind("127.0.0.1:0")?;
    runtime_api.set_nonblocking(true)?;
    let address = runtime_api.local_addr()?;

    let begin = Instant::now();
    let mut function = Running(
        Command::new(binary)
            .env("AWS_LAMBDA_RUNTIME_API", address.to_string())
            .env("AWS_LAMBDA_FUNCTION_NAME", name)
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
            .env("AWS_LAMBDA_LOG_GROUP_NAME", "none")
            .env("AWS_LAMBDA_LOG_STREAM_NAME", "none")
            // Nothing is called at the start, so the values do not matter.
            .envs([("AWS_REGION", "us-east-1"), ("AWS_ENDPOINT_URL", "http://127.0.0.1:9")])
            .envs([("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")])
            .envs([("STEPWELL_TABLE", "tasks"), ("STEPWELL_QUEUE_URL_PREFIX", "http://127.0.0.1:9/1/")])
            .env("STEPWELL_START_SHARDS", "4")
            .envs([
                ("SHOP_TABLE_PREFIX", "shop-"),
                ("SHOP_MAIL_SENDER", "orders@example.com"),
                ("SHOP_TEST_STAGE", "true"),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?,
    );
    let poll = accept(&runtime_api, &mut function.0, begin)?;
    // The connection is kept open, so that the function goes on waiting.
    let _poll = expect_next_invocation(poll)?;
    let start = begin.elapsed();
    let memory_mb = resident_mb(function.0.id())?;
    // The function ends before its connection does; otherwise it would log the loss.
    drop(function);
    Ok((start, memory_mb))
}

/// Accepts the function's first connection. Polling keeps the error of the measured time below the pause.
fn accept(runtime_api: &TcpListener, function: &mut Child, begin: Instant) -> Result<TcpStream, Box<dyn Error>> {
    loop {
        match runtime_api.accept() {
            Ok((connection, _)) => return Ok(connection),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
        if let Some(status) = function.try_wait()? {
            return Err(format!("the function ended before it asked for work: {status}").into());
        }
        if begin.elapsed() > PATIENCE {
            return Err(format!("the function has not asked for work within {} s", PATIENCE.as_secs()).into());
        }
        std::thread::sleep(Duration::from_micros(100));
    }
}

fn expect_next_invocation(mut connection: TcpStream) -> Result<TcpStream, Box<dyn Error>> {
    connection.set_nonblocking(false)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    while !request.windows(4).any(|window| window == b"\r\n\r\n") {
        let read = connection.read(&mut buffer)?;
        request.extend_from_slice(buffer.get(..read).unwrap_or_default());
        if read == 0 {
            return Err("the function hung up before it had asked for work".into());
        }
    }
    let line = String::from_utf8_lossy(&request).lines().next().unwrap_or_default().to_owned();
    if line.starts_with("GET ") && line.contains("/runtime/invocation/next") {
        return Ok(connection);
    }
    // The request may report that the start failed. The function may then end by itself, so that its log is complete.
    let _ = connection.write_all(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n");
    Err(format!("the function's first request is not for work but `{line}`").into())
}

fn resident_mb(process: u32) -> Result<f64, Box<dyn Error>> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS in /proc")?;
    let kilobytes: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes * 1024.0 / 1e6)
}
