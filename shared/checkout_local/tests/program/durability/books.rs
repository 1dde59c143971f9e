//! Lets a shop come to rest, and looks for what is wrong with it then.

use checkout::{
    Catalogue, Gateway, Money, Order, PaymentState, Product, ProductId, Shop, Storefront,
    reconciliation::{Ledger, LedgerEntry, Reconciliation, Scope},
};
use checkout_local::{GATEWAY_SCHEMA, LocalShop, Outbox, SCHEMA};
use http_api::TaskKeys;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    fs,
    path::Path,
    time::Duration,
};
use stepwell::{
    Client, Runtime, System, TaskId, Timestamp,
    core::{
        filter::Filter,
        snapshot::TaskSnapshot,
        state::{End, TaskState},
    },
};
use stepwell_local::{DEFAULT_SLOTS, File, Host, Local, http::Secret};
use tokio::{sync::oneshot, time::Instant};

/// The products that a shop begins with.
pub(crate) fn products() -> Vec<Product> {
    serde_json::from_str(include_str!("../../../../../infra/products.json")).unwrap()
}

/// What a customer was told of a checkout in one answer.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    task: TaskId,
    /// The key that opens the checkout.
    key: Option<String>,
    status: String,
    order_number: Option<String>,
}

impl Told {
    /// What this body of an answer says; `None` if it is not about a checkout that was started.
    pub(crate) fn of(body: &Value) -> Option<Self> {
        let text = |field: &str| Some(body.get(field)?.as_str()?.to_owned());
        let (task, status) = (text("task_id")?.parse().ok()?, text("status")?);
        Some(Self { task, key: text("task_key"), status, order_number: text("order_number") })
            .filter(|told| told.status != "unconfirmed")
    }

    /// Why this was not kept, if it was not.
    fn broken(&self, found: Option<&TaskSnapshot>, order: Option<&Order>, keys: &TaskKeys) -> Option<String> {
        let Self { task, key, status, order_number } = self;
        let Some(found) = found else { return Some(format!("{task} was answered ({status}), and is gone")) };
        if key.as_ref().is_some_and(|key| *key != keys.key_of(*task)) {
            return Some(format!("the key of {task} that was answered does not open it any more"));
        }
        let state = &found.task.state;
        let number = order.map(|order| &order.order_number);
        // A customer may cancel what is complete.
        let is_kept = match status.as_str() {
            "completed" => {
                matches!(state, TaskState::Completed | TaskState::Compensated(End::Cancelled))
                    && order_number.is_some()
                    && order_number.as_ref() == number
            }
            "failed" => matches!(state, TaskState::Compensated(_)),
            "cancelled" => *state == TaskState::Compensated(End::Cancelled),
            _ => true,
        };
        (!is_kept).then(|| {
            format!("{task} was answered as {status} with the order {order_number:?}, and is {state:?} with {number:?}")
        })
    }
}

/// The machine's clock, moved on without waiting where the runtime's time is paused.
#[derive(Clone, Debug)]
struct Later {
    begun: Instant,
    at: Timestamp,
}

impl Runtime for Later {
    fn now(&self) -> Timestamp {
        self.at + self.begun.elapsed()
    }

    fn random(&self) -> f64 {
        System.random()
    }

    fn new_task_id(&self) -> TaskId {
        System.new_task_id()
    }
}

type Engine = Client<Local<Later>, Local<Later>, Later>;
type Failed = Box<dyn Error>;

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Books {
    /// The number of checkouts.
    pub(crate) checkouts: usize,
    /// How many of them are complete.
    pub(crate) complete: usize,
    /// What is wrong.
    pub(crate) faults: Vec<String>,
}

/// Opens the shop in this folder, as the program does, and runs it until all checkouts have ended: hours pass in a moment. Then it
/// compares the tasks, the orders, the stock, the gateway's charges, the e-mails, and what customers were told.
///
/// `products` is what the shop began with.
pub(crate) fn audit(data: &Path, products: &[Product], told: &[Told]) -> Books {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let mut books = Books::default();
    if let Err(error) = runtime.block_on(books.fill(data, products, told)) {
        books.faults.push(format!("the shop cannot be opened, run or read: {error}"));
    }
    books
}

impl Books {
    async fn fill(&mut self, data: &Path, products: &[Product], told: &[Told]) -> Result<(), Failed> {
        fs::create_dir_all(data)?;
        // On the caller's thread, because the paused time would pass while another one works.
        let open = |name: &str, schemas: &[_]| File::open_on_caller(&data.join(name), schemas, || false);
        let file = open("shop.sqlite", &[stepwell_local::SCHEMA, SCHEMA])?;
        let gateway = open("gateway.sqlite", &[GATEWAY_SCHEMA])?;
        let keys = TaskKeys::new(Secret::load_or_create(&data.join("task-key"))?.expose(), [])?;
        let shop =
            LocalShop::new(file.clone(), gateway, Outbox::open(&data.join("mail"), "shop@example.com".parse()?)?);
        shop.load_products(products.to_vec()).await?;
        let clock = Later { begun: Instant::now(), at: System.now() };
        let local = Local::new(file.clone(), clock.clone()).await?;
        let engine = Client::new(local.clone(), local.clone(), clock);
        let tasks = run(&local, &shop, &engine).await?;

        self.checkouts = tasks.len();
        self.complete = tasks.values().filter(|task| task.task.state == TaskState::Completed).count();
        for told in told {
            let order = shop.find_order(&told.task.to_string()).await?;
            self.faults.extend(told.broken(tasks.get(&told.task), order.as_ref(), &keys));
        }
        self.check_effects(&tasks, &shop, &all_emails(&data.join("mail"))?).await?;
        self.check_stock(&tasks, &shop, products).await?;
        let scope =
            Scope { mend: false, all_refunds: true, min_age: Duration::ZERO, until: engine.now() + 60 * MINUTE };
        let report = Reconciliation::new(shop.clone(), shop.gateway()?, engine).run(&scope).await?;
        if !report.findings.is_empty() || !report.not_judged.is_empty() || report.unfinished {
            self.faults.push(format!("the reconciliation says: {report:?}"));
        }
        let count = "SELECT COUNT(*) FROM messages";
        let left = file.read(|tx| Ok(tx.query_row(count, [], |row| row.get::<_, u32>(0))?))?;
        if left > 0 {
            self.faults.push(format!("{left} messages are left, though all checkouts have ended"));
        }
        Ok(())
    }

    /// A complete checkout has one charge of the right amount, one reservation, one order and an e-mail. Any other has neither charge,
    /// reservation nor order.
    async fn check_effects(
        &mut self,
        tasks: &BTreeMap<TaskId, TaskSnapshot>,
        shop: &LocalShop,
        emails: &str,
    ) -> Result<(), Failed> {
        let standing = Standing::read(shop).await?;
        self.faults.extend(standing.faults(tasks));
        for (task, snapshot) in tasks {
            let is_complete = match snapshot.task.state {
                TaskState::Completed => true,
                TaskState::Compensated(_) => false,
                other => {
                    self.faults.push(format!("{task} has not ended: it is {other:?}"));
                    continue;
                }
            };
            let expected = if is_complete { vec![amount(snapshot)] } else { Vec::new() };
            let charged = standing.charges.get(task).cloned().unwrap_or_default();
            if charged != expected {
                self.faults.push(format!("{task} is charged {charged:?}, not {expected:?}"));
            }
            let counted = |of: &[TaskId]| of.iter().filter(|of| *of == task).count();
            let (reservations, orders) = (counted(&standing.reservations), counted(&standing.orders));
            if (reservations, orders) != (expected.len(), expected.len()) {
                let state = &snapshot.task.state;
                self.faults.push(format!("{task} is {state:?} with {reservations} reservations and {orders} orders"));
            }
            if is_complete {
                let order = shop.find_order(&task.to_string()).await?;
                let number = order.map(|order| order.order_number).unwrap_or_default();
                if number.is_empty() || !emails.contains(&number) {
                    self.faults.push(format!("nobody was written to about the order '{number}' of {task}"));
                }
            }
        }
        Ok(())
    }

    async fn check_stock(
        &mut self,
        tasks: &BTreeMap<TaskId, TaskSnapshot>,
        shop: &LocalShop,
        products: &[Product],
    ) -> Result<(), Failed> {
        let mut expected: BTreeMap<ProductId, i64> =
            products.iter().map(|product| (product.id, product.stock.into())).collect();
        for snapshot in tasks.values().filter(|snapshot| snapshot.task.state == TaskState::Completed) {
            for (product, quantity) in lines(snapshot) {
                *expected.entry(product).or_default() -= quantity;
            }
        }
        let ids: Vec<ProductId> = expected.keys().copied().collect();
        let found = shop.products(&ids).await?;
        let found = found.into_iter().map(|(id, product)| (id, i64::from(product.stock))).collect();
        if expected != found {
            self.faults.push(format!("the stock is {found:?}, not {expected:?}"));
        }
        Ok(())
    }
}

const MINUTE: Duration = Duration::from_secs(60);

/// Longer than a checkout that failed waits for its redrives and then for its compensation.
const REST: Duration = Duration::from_secs(3 * 60 * 60);

/// Runs the shop until all its checkouts have ended, or until that takes too long. Returns them.
async fn run(
    local: &Local<Later>,
    shop: &LocalShop,
    engine: &Engine,
) -> Result<BTreeMap<TaskId, TaskSnapshot>, Failed> {
    let workflow = checkout::workflow()?;
    let begun = Instant::now();
    let mut host = Host::new(local.clone(), Later { begun, at: engine.now() });
    macro_rules! step {
        ($name:literal, $($library:tt)+) => {
            host.step(&workflow, $name, DEFAULT_SLOTS, $($library)+::step(shop)?);
        };
    }
    tasks_api::each_checkout_step!(step);
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(host.run(async { drop(stopped.await) }, MINUTE));
    let tasks = loop {
        // A failed checkout is compensated after a quarter of an hour.
        tokio::time::sleep(20 * MINUTE).await;
        let tasks = all_tasks(engine).await?;
        let is_open =
            |task: &TaskSnapshot| !matches!(task.task.state, TaskState::Completed | TaskState::Compensated(_));
        if !tasks.values().any(is_open) || begun.elapsed() > REST || running.is_finished() {
            break tasks;
        }
    };
    drop(stop);
    running.await??;
    Ok(tasks)
}

async fn all_tasks(engine: &Engine) -> Result<BTreeMap<TaskId, TaskSnapshot>, Failed> {
    let (mut tasks, mut from) = (BTreeMap::new(), None);
    loop {
        let page = engine.find(&Filter::default(), from.as_ref(), 1_000).await?;
        for found in page.tasks {
            let snapshot = engine.snapshot(found.task_id).await?.ok_or("a listed task is not there")?;
            tasks.insert(found.task_id, snapshot);
        }
        from = page.next;
        if from.is_none() {
            return Ok(tasks);
        }
    }
}

/// What stands of all checkouts, by the shop's and the gateway's own records.
#[derive(Default)]
struct Standing {
    charges: BTreeMap<TaskId, Vec<Money>>,
    /// The payments that are charged, and belong to no checkout.
    unrecorded: BTreeSet<String>,
    reservations: Vec<TaskId>,
    orders: Vec<TaskId>,
}

impl Standing {
    async fn read(shop: &LocalShop) -> Result<Self, Failed> {
        let (mut standing, mut payments) = (Self::default(), BTreeMap::new());
        let mut from = None;
        loop {
            let page = shop.page(from.as_ref()).await?;
            for entry in page.entries {
                match entry {
                    LedgerEntry::Payment { key, payment: Some(payment), .. } => {
                        payments.insert(payment, task_of(&key)?);
                    }
                    LedgerEntry::Reservation { key, stands: true } => standing.reservations.push(task_of(&key)?),
                    LedgerEntry::Order { task, stands: true } => standing.orders.push(task),
                    LedgerEntry::Unreadable { id } => return Err(format!("{id} cannot be read").into()),
                    _ => {}
                }
            }
            from = page.next;
            if from.is_none() {
                break;
            }
        }
        let (gateway, mut after) = (shop.gateway()?, None);
        loop {
            let page = gateway.list_charges(Timestamp::from_millis(0), after.as_deref()).await?;
            for charge in page.charges {
                let PaymentState::Paid(paid) = gateway.read(&charge.payment, System.now()).await? else { continue };
                match payments.get(&charge.payment) {
                    Some(task) => standing.charges.entry(*task).or_default().push(paid.amount),
                    None => drop(standing.unrecorded.insert(charge.payment.0)),
                }
            }
            after = page.next;
            if after.is_none() {
                return Ok(standing);
            }
        }
    }

    /// What belongs to no task.
    fn faults(&self, tasks: &BTreeMap<TaskId, TaskSnapshot>) -> Vec<String> {
        let unrecorded = self.unrecorded.iter().map(|payment| format!("{payment} is charged for no checkout"));
        let of_tasks = self.charges.keys().chain(&self.reservations).chain(&self.orders);
        let gone = of_tasks.filter(|task| !tasks.contains_key(task));
        unrecorded
            .chain(gone.map(|task| format!("a charge, a reservation or an order is of {task}, which is gone")))
            .collect()
    }
}

/// The task of an idempotency key of a step.
fn task_of(key: &str) -> Result<TaskId, Failed> {
    Ok(key.split(':').next().unwrap_or_default().parse()?)
}

fn context(snapshot: &TaskSnapshot) -> Value {
    serde_json::from_str(&snapshot.task.context).unwrap()
}

fn amount(snapshot: &TaskSnapshot) -> Money {
    Money::from_json(&context(snapshot)["payment_info"]["amount"]).unwrap()
}

fn lines(snapshot: &TaskSnapshot) -> Vec<(ProductId, i64)> {
    let line = |line: &Value| {
        let id = u32::try_from(line["product_id"].as_u64().unwrap()).unwrap();
        (ProductId(id), line["quantity"].as_i64().unwrap())
    };
    context(snapshot)["cart_items"].as_array().unwrap().iter().map(line).collect()
}

/// The text of all e-mails in this folder.
fn all_emails(folder: &Path) -> Result<String, Failed> {
    let mut all = String::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "eml") {
            // Long lines are broken with `=` at their ends.
            all += &fs::read_to_string(path)?.replace("=\r\n", "");
        }
    }
    Ok(all)
}
