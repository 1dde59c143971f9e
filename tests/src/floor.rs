//! The floor of the functions' processor time: what the same requests to AWS take in a function that does nothing else, against a server
//! whose answers are empty.
//!
//! `shared/stepwell_aws/examples/floor.rs` is that function, built as the functions are deployed. It runs in as many processes as the
//! functions had, in turn, because a process that was not there for a while finds its caches cold.

use crate::{
    cpu::{self, FunctionTime},
    http::{Request, response},
    lock,
    requests::Requests,
    stack::repository,
};
use futures::{StreamExt, future::BoxFuture};
use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    io::{AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    process::{Child, Command},
    sync::{mpsc, oneshot},
};

/// What is run.
#[derive(Debug)]
pub struct Floor<'a> {
    /// The requests of all runs.
    pub requests: &'a Requests,
    /// The number of processes of each function.
    pub processes: &'a BTreeMap<String, usize>,
    /// The number of runs of which those are the requests, and that are measured.
    pub runs: u32,
    /// The number of runs at a time.
    pub concurrency: u32,
    /// How long a request takes. While a function waits for its answer others run, and leave it cold caches.
    pub answer_after: Duration,
}

/// Runs before the measurement: each process has made its connections then.
const WARM_UP: u32 = 200;

/// Builds the function. Answers with its file.
pub async fn build() -> PathBuf {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let cargo =
        cargo.current_dir(repository()).args(["build", "--release", "-p", "stepwell_aws", "--example", "floor"]);
    let ended = cargo.status().await.expect("cargo");
    assert!(ended.success(), "the floor was not built: {ended}");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository().join("target"), PathBuf::from);
    target.join("release/examples/floor")
}

impl Floor<'_> {
    /// The processor time of the runs, by function.
    pub async fn measure(&self, program: &Path) -> Vec<FunctionTime> {
        let wait = self.answer_after;
        let answer = move |_| -> BoxFuture<'static, _> {
            Box::pin(async move {
                tokio::time::sleep(wait).await;
                Some(empty())
            })
        };
        let aws = listen(Arc::new(answer)).await;
        let folder = std::env::temp_dir().join(format!("stepwell-floor-{}", std::process::id()));
        fs::create_dir(&folder).expect("a folder");
        let mut functions = Vec::new();
        for (name, requests) in self.requests {
            let calls = self.calls_of_a_run(requests);
            if !calls.is_empty() {
                let processes = self.processes.get(name).copied().unwrap_or(1);
                // A file of its own for each function, as deployed: so they share no code in memory.
                let copy = folder.join(name);
                fs::copy(program, &copy).expect("a copy of the floor");
                functions.push(Function::start(&copy, name, &calls.join(","), processes, &aws).await);
            }
        }
        fs::remove_dir_all(&folder).expect("the folder");
        self.run(&functions, WARM_UP).await;
        let before: Vec<Duration> = functions.iter().map(Function::time).collect();
        self.run(&functions, self.runs).await;
        let after = functions.iter().zip(before);
        after.map(|(of, before)| FunctionTime { name: of.name.clone(), time: of.time() - before }).collect()
    }

    /// What a function requests in one run, rounded: what it asks for once a process or once a minute is not in it.
    fn calls_of_a_run<'b>(&self, requests: &'b BTreeMap<String, u32>) -> Vec<&'b str> {
        let times = |number: u32| ((number + self.runs / 2) / self.runs) as usize;
        requests.iter().flat_map(|(operation, number)| vec![operation.as_str(); times(*number)]).collect()
    }

    async fn run(&self, functions: &[Function], runs: u32) {
        let runs = futures::stream::iter(0..runs).map(async |_| {
            for function in functions {
                function.invoke().await;
            }
        });
        runs.buffer_unordered(self.concurrency as usize).collect::<()>().await;
    }
}

/// A function with its processes and the runtime API that gives them their invocations.
struct Function {
    name: String,
    /// They end first, and do not complain about the end of the runtime API.
    processes: Vec<Child>,
    invocations: mpsc::UnboundedSender<oneshot::Sender<()>>,
}

impl Function {
    async fn start(program: &Path, name: &str, calls: &str, processes: usize, aws: &str) -> Self {
        let (invocations, waiting) = mpsc::unbounded_channel();
        let api = Arc::new(RuntimeApi { waiting: tokio::sync::Mutex::new(waiting), running: Mutex::default() });
        let address = listen(Arc::new(move |request| {
            let api = Arc::clone(&api);
            Box::pin(async move { api.answer(request).await })
        }))
        .await;
        let process = || {
            Command::new(program)
                .env("AWS_LAMBDA_RUNTIME_API", &address)
                .envs([("AWS_LAMBDA_FUNCTION_NAME", name), ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")])
                .envs([("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"), ("AWS_LAMBDA_LOG_GROUP_NAME", "none")])
                .envs([("AWS_LAMBDA_LOG_STREAM_NAME", "none"), ("AWS_REGION", "us-east-1")])
                .envs([("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")])
                .env("AWS_ENDPOINT_URL", format!("http://{aws}"))
                .env("FLOOR_CALLS", calls)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .kill_on_drop(true)
                .spawn()
                .expect("the floor's process")
        };
        Self { name: name.to_owned(), invocations, processes: (0..processes).map(|_| process()).collect() }
    }

    async fn invoke(&self) {
        let (done, ended) = oneshot::channel();
        self.invocations.send(done).expect("the runtime API runs");
        ended.await.expect("the function answers");
    }

    fn time(&self) -> Duration {
        self.processes.iter().filter_map(Child::id).map(cpu::of_process).sum()
    }
}

/// Lambda's runtime API, for the processes of one function.
struct RuntimeApi {
    waiting: tokio::sync::Mutex<mpsc::UnboundedReceiver<oneshot::Sender<()>>>,
    running: Mutex<HashMap<String, oneshot::Sender<()>>>,
}

impl RuntimeApi {
    async fn answer(&self, request: Request) -> Option<Vec<u8>> {
        if request.path.ends_with("/invocation/next") {
            // Those who wait for the lock get it in their order, so the processes run in turn.
            let done = self.waiting.lock().await.recv().await?;
            let id = uuid::Uuid::now_v7().to_string();
            lock(&self.running).insert(id.clone(), done);
            return Some(invocation(&id));
        }
        let text = String::from_utf8_lossy(&request.body);
        let id = request.path.strip_suffix("/response").unwrap_or_else(|| panic!("{} {text}", request.path));
        let id = id.rsplit('/').next().unwrap_or_default();
        let _ = lock(&self.running).remove(id)?.send(());
        Some(response(202, &[], b""))
    }
}

/// An invocation as of a step: a batch with one message.
fn invocation(id: &str) -> Vec<u8> {
    let deadline = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970") + Duration::from_secs(30);
    let headers = [
        ("lambda-runtime-aws-request-id", id.to_owned()),
        ("lambda-runtime-deadline-ms", deadline.as_millis().to_string()),
        ("lambda-runtime-invoked-function-arn", "arn:aws:lambda:us-east-1:000000000000:function:floor".to_owned()),
        ("content-type", "application/json".to_owned()),
    ];
    let body = serde_json::json!({ "Records": [{
        "messageId": id, "receiptHandle": id, "eventSource": "aws:sqs", "awsRegion": "us-east-1", "messageAttributes": {},
        "body": serde_json::json!({ "task_id": id, "step": "process_payment" }).to_string(),
        "attributes": { "ApproximateReceiveCount": "1", "SentTimestamp": "1700000000000" },
    }]});
    response(200, &headers.map(|(name, value)| (name.to_owned(), value)), body.to_string().as_bytes())
}

fn empty() -> Vec<u8> {
    response(200, &[("content-type".to_owned(), "application/x-amz-json-1.0".to_owned())], b"{}")
}

type Answers = Arc<dyn Fn(Request) -> BoxFuture<'static, Option<Vec<u8>>> + Send + Sync>;

/// Serves on a free port, until this program ends. Answers with its address.
async fn listen(answers: Answers) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let address = listener.local_addr().expect("a port").to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A process that ends breaks its connections. Nobody has to handle that.
            let answers = Arc::clone(&answers);
            tokio::spawn(async move { drop(serve(stream, answers).await) });
        }
    });
    address
}

async fn serve(stream: TcpStream, answers: Answers) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    while let Some(request) = Request::read(&mut stream).await? {
        let Some(answer) = answers(request).await else { return Ok(()) };
        stream.write_all(&answer).await?;
    }
    Ok(())
}
