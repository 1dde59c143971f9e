//! Many checkouts at once, and then the books: was none lost, none charged twice, is the stock exact?
//!
//! Every checkout goes through the API. Its end is read off the engine's table, a hundred tasks with one call, so that
//! the looking costs the stack next to nothing; how long it took is its own `finished_at` less the moment before the
//! request, by the clock of this one machine.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the report is this command's output")]
#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a set-up that is wrong ends the run, with a message")]

use aws_sdk_dynamodb::types::KeysAndAttributes;
use clap::Parser;
use futures::future::join_all;
use serde_json::{Value, json};
use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, HashMap},
    process::ExitCode,
    time::{Duration, Instant},
};
use stepwell::Timestamp;
use stepwell_tests::{
    cpu::{self, FunctionTime},
    shop,
    stack::{Item, Stack, charged_cents},
};
use tokio::sync::oneshot;

/// Checkouts through the API, and whether each of them came out right.
///
/// The stack is found by the environment: eval "$(infra/local.sh env)". Stock is topped up by what is going to be
/// bought, so afterwards it has to be what it was before. Nothing else may buy meanwhile.
#[derive(Parser)]
struct Options {
    /// How many checkouts to make.
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    checkouts: u32,
    /// How many of them are under way at the same time.
    #[arg(long, value_name = "C", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    concurrency: u32,
    /// How many checkouts to make before the measurement, so that the functions are warm.
    #[arg(long, value_name = "N", default_value_t = 20)]
    warm_up: u32,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

/// Between two looks at the checkouts under way.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// After this long without an end a checkout counts as lost.
const PATIENCE: Duration = Duration::from_secs(180);

/// DynamoDB reads at most 100 items in one batch.
const BATCH: usize = 100;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let options = Options::parse();
    let stack = Stack::from_env().await;
    let catalogue = active_products(&stack).await;

    let warm_up = orders(&catalogue, options.warm_up);
    let measured = orders(&catalogue, options.checkouts);
    let before = stock(&stack, &catalogue).await;
    let units = units(warm_up.iter().chain(&measured));
    for (&product, &units) in &units {
        stack.add_stock(product, units).await;
    }

    let mut results = run(&stack, &warm_up, options.concurrency, "warming up").await;
    let cpu_before = cpu::of_functions(&stack);
    let begin = Instant::now();
    let measured = run(&stack, &measured, options.concurrency, "checkouts").await;
    let took = begin.elapsed();
    // What follows a checkout's end: the acknowledgement of its last message.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let cpu = cpu::since(&cpu_before, &cpu::of_functions(&stack));

    let speed = Speed::of(&measured, took);
    results.extend(measured);
    // What was put there for a checkout that did not come about. One that is lost may still buy.
    for made in results.iter().filter(|made| matches!(made.end, End::NotStarted(_) | End::Failed(_))) {
        for &(product, _, quantity) in &made.order.lines {
            stack.add_stock(product, -quantity).await;
        }
    }
    let faults = audit(&stack, &results, &before, &units).await;
    if options.json {
        println!("{}", report_json(&options, &speed, &cpu, &faults));
    } else {
        report(&options, &speed, &cpu, &faults);
    }
    if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

// ---- What is bought

struct Product {
    id: u32,
    price_cents: i64,
}

/// One checkout that is going to be made.
#[derive(Clone)]
struct Order {
    lines: Vec<(u32, i64, i64)>,
    total_cents: i64,
}

async fn active_products(stack: &Stack) -> Vec<Product> {
    let answer = stack.api.get("/products").await.expect(200);
    let products = answer["products"].as_array().into_iter().flatten().filter(|product| product["active"] == true);
    let product = |product: &Value| {
        let id = product["id"].as_u64().and_then(|id| u32::try_from(id).ok());
        Product { id: id.expect("a product's number"), price_cents: shop::cents(&product["price"]) }
    };
    let products: Vec<Product> = products.map(product).collect();
    assert!(!products.is_empty(), "the shop sells nothing; infra/local.sh up loads its products");
    products
}

/// Carts of one to three units of the products in turn, every fourth with a second line.
fn orders(catalogue: &[Product], count: u32) -> Vec<Order> {
    let order = |number: usize| {
        let line = |at: usize, quantity: usize| {
            let product = &catalogue[at % catalogue.len()];
            (product.id, product.price_cents, i64::try_from(quantity).expect("a small number"))
        };
        let mut lines = vec![line(number, 1 + number % 3)];
        if number.is_multiple_of(4) && catalogue.len() > 1 {
            lines.push(line(number + 1, 1));
        }
        let prices: Vec<(i64, i64)> = lines.iter().map(|&(_, price, quantity)| (price, quantity)).collect();
        Order { lines, total_cents: shop::total_cents(&prices) }
    };
    (0..count as usize).map(order).collect()
}

fn units<'a>(orders: impl Iterator<Item = &'a Order>) -> BTreeMap<u32, i64> {
    let mut units = BTreeMap::new();
    for (product, _, quantity) in orders.flat_map(|order| &order.lines) {
        *units.entry(*product).or_default() += quantity;
    }
    units
}

async fn stock(stack: &Stack, catalogue: &[Product]) -> BTreeMap<u32, i64> {
    let stock = catalogue.iter().map(async |product| (product.id, stack.stock(product.id).await));
    join_all(stock).await.into_iter().collect()
}

// ---- Making the checkouts

/// What became of one checkout.
struct Made {
    order: Order,
    /// `None` where the API did not take it.
    task: Option<String>,
    end: End,
}

enum End {
    Complete { latency: Duration },
    NotStarted(String),
    Failed(String),
    Lost,
}

/// The checkouts under way, and who waits for the end of each.
type UnderWay = RefCell<HashMap<String, oneshot::Sender<(String, Option<Timestamp>)>>>;

async fn run(stack: &Stack, orders: &[Order], concurrency: u32, what: &str) -> Vec<Made> {
    let (under_way, next) = (UnderWay::default(), Cell::new(0));
    let made = RefCell::new(Vec::with_capacity(orders.len()));
    let worker = async |_| {
        while let Some(order) = orders.get(next.replace(next.get() + 1)) {
            let one = make(stack, order, &under_way).await;
            made.borrow_mut().push(one);
        }
    };
    let workers = join_all((0..concurrency).map(worker));
    tokio::select! {
        _ = workers => {}
        () = watch(stack, &under_way) => {}
        () = show_progress(&made, orders.len(), what) => {}
    }
    eprintln!("{what}: {} of {}", made.borrow().len(), orders.len());
    made.into_inner()
}

async fn make(stack: &Stack, order: &Order, under_way: &UnderWay) -> Made {
    let request = shop::request(&order.lines, "test_success_visa", "load@example.com");
    let made = |task, end| Made { order: order.clone(), task, end };
    let begin = now();
    let answer = stack.api.checkout(&request).await;
    if answer.status != 202 {
        return made(None, End::NotStarted(format!("{} {}", answer.status, answer.text)));
    }
    let task = answer.task_id();
    let (sender, end) = oneshot::channel();
    under_way.borrow_mut().insert(task.clone(), sender);
    let end = match tokio::time::timeout(PATIENCE, end).await {
        Ok(Ok((status, Some(at)))) if status == "complete" => End::Complete { latency: at.since(begin) },
        Ok(Ok((status, _))) => End::Failed(status),
        Ok(Err(_)) | Err(_) => End::Lost,
    };
    under_way.borrow_mut().remove(&task);
    made(Some(task), end)
}

/// Tells whoever waits for a checkout when it has ended. Never ends by itself.
async fn watch(stack: &Stack, under_way: &UnderWay) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let tasks: Vec<String> = under_way.borrow().keys().cloned().collect();
        let looks = tasks.chunks(BATCH).map(|tasks| statuses(stack, tasks));
        for (task, status, finished_at) in join_all(looks).await.into_iter().flatten() {
            if status != "pending"
                && let Some(waiting) = under_way.borrow_mut().remove(&task)
            {
                // Nobody waits any more where the patience was over.
                let _ = waiting.send((status, finished_at));
            }
        }
    }
}

/// The stored status of up to a hundred tasks, and when they finished. A failed call is made again at the next look.
async fn statuses(stack: &Stack, tasks: &[String]) -> Vec<(String, String, Option<Timestamp>)> {
    let key = |task: &String| {
        let text = |text: String| aws_sdk_dynamodb::types::AttributeValue::S(text);
        Item::from([("pk".to_owned(), text(format!("TASK#{task}"))), ("sk".to_owned(), text("TASK".to_owned()))])
    };
    let keys = KeysAndAttributes::builder()
        .set_keys(Some(tasks.iter().map(key).collect()))
        .projection_expression("pk, #status, finished_at")
        .expression_attribute_names("#status", "status")
        .build()
        .expect("a batch");
    let answer = stack.dynamo.batch_get_item().request_items(stack.tasks_table(), keys).send().await;
    let items = answer.ok().and_then(|answer| answer.responses).unwrap_or_default().into_values().flatten();
    let read = |item: Item| {
        let task = item.get("pk")?.as_s().ok()?.strip_prefix("TASK#")?.to_owned();
        let finished_at = item.get("finished_at").and_then(|at| at.as_n().ok()?.parse().ok());
        Some((task, item.get("status")?.as_s().ok()?.clone(), finished_at.map(Timestamp::from_millis)))
    };
    items.filter_map(read).collect()
}

async fn show_progress(made: &RefCell<Vec<Made>>, of: usize, what: &str) {
    loop {
        tokio::time::sleep(Duration::from_secs(5)).await;
        eprintln!("{what}: {} of {of}", made.borrow().len());
    }
}

fn now() -> Timestamp {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock after 1970");
    Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).expect("a clock of our time"))
}

// ---- The books

/// Everything that is not as it has to be.
async fn audit(stack: &Stack, made: &[Made], before: &BTreeMap<u32, i64>, bought: &BTreeMap<u32, i64>) -> Vec<String> {
    eprintln!("checking the books");
    let mut faults = Vec::new();
    for one in made {
        let task = one.task.as_deref().unwrap_or("a checkout");
        match &one.end {
            End::Complete { .. } => {}
            End::NotStarted(why) => faults.push(format!("{task} was not taken: {why}")),
            End::Failed(status) => faults.push(format!("{task} ended with the status {status}")),
            End::Lost => faults.push(format!("{task} is lost: no end within {} s", PATIENCE.as_secs())),
        }
    }

    let charges =
        by_task(stack.scan(&stack.shop_table("payments")).await, |payment| payment.get("charge").map(charged_cents));
    let reservations = by_task(stack.scan(&stack.shop_table("reservations")).await, |_| Some(()));
    // An order's second item keeps its number to itself; its id is not the task's.
    let orders = by_task(stack.scan(&stack.shop_table("orders")).await, |_| Some(()));
    for one in made {
        let Some(task) = &one.task else { continue };
        let charged = charges.get(task).map_or(&[][..], Vec::as_slice);
        if charged != [one.order.total_cents] {
            faults.push(format!("{task} was charged {charged:?} cents, not once {}", one.order.total_cents));
        }
        for (what, count) in [("reservations", reservations.get(task)), ("orders", orders.get(task))] {
            let count = count.map_or(0, Vec::len);
            if count != 1 {
                faults.push(format!("{task} has {count} {what}"));
            }
        }
    }

    for (&product, &units) in bought {
        let left = stack.stock(product).await;
        let expected = before.get(&product).copied().unwrap_or_default();
        if left != expected {
            faults.push(format!("product {product} has {left} units, not {expected}, after {units} were sold"));
        }
    }
    faults
}

/// What the items of a table say, by the task id that theirs begins with.
fn by_task<T>(items: Vec<Item>, say: impl Fn(&Item) -> Option<T>) -> HashMap<String, Vec<T>> {
    const TASK_ID: usize = 36;
    let mut said: HashMap<String, Vec<T>> = HashMap::new();
    for item in items {
        let task = item.get("id").and_then(|id| id.as_s().ok()?.get(..TASK_ID).map(str::to_owned));
        if let (Some(task), Some(value)) = (task, say(&item)) {
            said.entry(task).or_default().push(value);
        }
    }
    said
}

// ---- The report

struct Speed {
    took: Duration,
    complete: usize,
    /// In milliseconds, the shortest first.
    latencies: Vec<u64>,
}

impl Speed {
    fn of(made: &[Made], took: Duration) -> Self {
        let latency = |one: &Made| match one.end {
            End::Complete { latency } => u64::try_from(latency.as_millis()).ok(),
            _ => None,
        };
        let mut latencies: Vec<u64> = made.iter().filter_map(latency).collect();
        latencies.sort_unstable();
        Self { took, complete: latencies.len(), latencies }
    }

    fn throughput(&self) -> f64 {
        self.complete as f64 / self.took.as_secs_f64()
    }

    /// The latency that this many in a hundred do not exceed; `None` where there is none at all.
    fn percentile(&self, percent: usize) -> Option<u64> {
        let rank = (self.latencies.len() * percent).div_ceil(100).max(1);
        self.latencies.get(rank - 1).copied()
    }
}

fn report(options: &Options, speed: &Speed, cpu: &[FunctionTime], faults: &[String]) {
    let Options { checkouts, concurrency, .. } = options;
    println!("{checkouts} checkouts, {concurrency} at a time, in {:.1} s", speed.took.as_secs_f64());
    println!("  throughput               {:>8.1} a second", speed.throughput());
    for percent in [50, 95, 99] {
        let latency = speed.percentile(percent).map_or("none".to_owned(), |ms| ms.to_string());
        println!("  POST to completed, p{percent}   {latency:>8} ms");
    }
    if cpu.is_empty() {
        println!("  CPU of our functions     not measured: their processes are not on this machine");
    } else {
        println!("  CPU of our functions     {:>8.2} ms a checkout", cpu_ms(cpu, options));
        for FunctionTime { name, time } in cpu {
            println!("    {name:<22} {:>8.2} ms", per_checkout(*time, options));
        }
    }
    if faults.is_empty() {
        println!("  none lost, each charged once and the right amount, one order each, stock exact");
    } else {
        println!("  {} FAULTS", faults.len());
        for fault in faults.iter().take(20) {
            println!("    {fault}");
        }
    }
}

fn report_json(options: &Options, speed: &Speed, cpu: &[FunctionTime], faults: &[String]) -> Value {
    let functions: BTreeMap<&str, f64> =
        cpu.iter().map(|function| (function.name.as_str(), per_checkout(function.time, options))).collect();
    json!({
        "checkouts": options.checkouts,
        "concurrency": options.concurrency,
        "seconds": speed.took.as_secs_f64(),
        "throughput_per_second": speed.throughput(),
        "latency_ms": {"p50": speed.percentile(50), "p95": speed.percentile(95), "p99": speed.percentile(99)},
        "cpu_ms_per_checkout": (!cpu.is_empty()).then(|| cpu_ms(cpu, options)),
        "cpu_ms_per_checkout_by_function": functions,
        "faults": faults,
    })
}

fn cpu_ms(cpu: &[FunctionTime], options: &Options) -> f64 {
    per_checkout(cpu.iter().map(|function| function.time).sum(), options)
}

fn per_checkout(time: Duration, options: &Options) -> f64 {
    time.as_secs_f64() * 1_000.0 / f64::from(options.checkouts)
}
