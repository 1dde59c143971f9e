//! The program of one machine as a backend: each scenario has a process and a folder of its own.

use super::{Backend, Reservation, SentEmail};
use checkout::{Money, ProductId, test_card::SimulatedPayment};
use checkout_local::{GATEWAY_SCHEMA, LocalShop, Outbox, SCHEMA};
use http_api::TaskKeys;
use rusqlite::{Connection, OpenFlags, Params, Row};
use serde_json::Value;
use std::{
    fs,
    io::{BufRead, BufReader, Lines},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::OnceLock,
    thread,
};
use stepwell_local::File;
use stepwell_tests::{api::Api, checkout::products, operators::Operator, shop::Product, stack::repository};
use tempfile::TempDir;

/// A running `checkout_local serve`. Dropping it ends the process and deletes its folder.
pub(crate) struct Local {
    _process: Process,
    folder: TempDir,
    /// The program can print as long as somebody may read it.
    _lines: Lines<BufReader<ChildStdout>>,
    api: Api,
    operators: Api,
    token: String,
}

impl Backend for Local {
    const OPERATOR: &'static str = "operator";

    async fn open<const N: usize>(own: [(i64, i64); N]) -> (Self, [Product; N]) {
        let folder = TempDir::new().unwrap();
        let own = own.map(|(price_cents, units)| (Product::new(price_cents), units));
        fill_catalogue(folder.path(), &own).await;
        (Self::start(folder), own.map(|(product, _)| product))
    }

    fn api(&self) -> &Api {
        &self.api
    }

    fn operator(&self) -> Operator {
        Operator::with_token(&self.operators, self.token.clone())
    }

    fn strangers(&self) -> Vec<(Operator, &'static [u16])> {
        let nearly = self.token.chars().rev().collect();
        vec![
            (Operator::without_authorization(&self.operators), &[401]),
            (Operator::with_token(&self.operators, nearly), &[401]),
        ]
    }

    /// Nobody else buys them.
    async fn provide(&self, sample: u32, units: i64) {
        assert!(self.stock(sample).await >= units, "infra/products.json has fewer units of product {sample}");
    }

    async fn stock(&self, product: u32) -> i64 {
        self.shop("SELECT stock FROM products WHERE id = ?", [product], |row| row.get(0))[0]
    }

    async fn tasks_with(&self, text: &str) -> usize {
        self.shop("SELECT 1 FROM items WHERE instr(item ->> 'context', ?) > 0", [text], |_| Ok(())).len()
    }

    async fn payments(&self, task: &str) -> Vec<Option<i64>> {
        const RECORDED: &str = "SELECT payment FROM payment_records WHERE key GLOB ? || ':*' AND payment IS NOT NULL";
        let recorded: Vec<String> = self.shop(RECORDED, [task], |row| row.get(0));
        let kept = |payment: String| {
            let select = "SELECT value FROM payments WHERE id = ?";
            let stored: Vec<String> = self.rows("gateway.sqlite", select, [payment], |row| row.get(0));
            let payment: SimulatedPayment = serde_json::from_str(&stored[0]).unwrap();
            payment.charge.filter(|_| payment.reversed_at.is_none()).map(|charge| charge.amount.cents())
        };
        recorded.into_iter().map(kept).collect()
    }

    async fn card_tokens(&self, task: &str) -> usize {
        self.shop("SELECT 1 FROM card_tokens WHERE task = ?", [task], |_| Ok(())).len()
    }

    async fn reservations(&self, task: &str) -> Vec<Reservation> {
        const SELECT: &str =
            "SELECT release IS NOT NULL, taken_at IS NOT NULL FROM reservations WHERE key GLOB ? || ':*'";
        self.shop(SELECT, [task], |row| {
            Ok(match (row.get(0)?, row.get(1)?) {
                (true, _) => Reservation::Released,
                (false, true) => Reservation::Taken,
                (false, false) => Reservation::Held,
            })
        })
    }

    async fn orders(&self, task: &str) -> usize {
        const STANDING: &str = "SELECT 1 FROM orders WHERE task = ? AND value IS NOT NULL AND cancelled_at IS NULL";
        self.shop(STANDING, [task], |_| Ok(())).len()
    }

    async fn emails_to(&self, address: &str) -> Vec<SentEmail> {
        let files = fs::read_dir(self.folder.path().join("mail")).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|it| it == "eml")).collect();
        files.sort();
        let emails = files.into_iter().filter_map(|path| {
            let text = fs::read_to_string(path).unwrap();
            let header = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned();
            let bare = |field: String| field.trim_matches(['<', '>']).to_owned();
            let email = SentEmail { id: bare(header("Message-ID: ")), subject: header("Subject: ") };
            (bare(header("To: ")) == address).then_some(email)
        });
        emails.collect()
    }

    async fn logs(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }
}

/// Shows what the program has logged if the scenario fails.
impl Drop for Local {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", fs::read_to_string(self.folder.path().join("log")).unwrap_or_default());
        }
    }
}

impl Local {
    fn start(folder: TempDir) -> Self {
        let data = folder.path();
        let log = fs::File::create(data.join("log")).unwrap();
        // Some scenarios have many customers with one e-mail address.
        const OPTIONS: [&str; 7] = ["serve", "--port", "0", "--operators-port", "0", "--checkouts-per-email", "0"];
        let mut serve = Command::new(program());
        serve.args(OPTIONS).arg("--data").arg(data).env_remove("RUST_LOG");
        let process = serve.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn();
        let mut process = Process(process.unwrap());
        let mut lines = BufReader::new(process.0.stdout.take().unwrap()).lines();
        let url = |of: &str| {
            let line = lines.next().unwrap_or_else(|| panic!("{}", fs::read_to_string(data.join("log")).unwrap()));
            let line = line.unwrap();
            line.strip_prefix(of).unwrap().split_whitespace().next().unwrap().to_owned()
        };
        // It has all its files once it says where it listens.
        let urls = ["customers", "operators"].map(url);
        let secret = |name: &str| fs::read_to_string(data.join(name)).unwrap().trim().to_owned();
        let keys = TaskKeys::new(secret("task-key"), []).unwrap();
        let [api, operators] = urls.map(|url| Api::new(url).with_keys(keys.clone()));
        let token = secret("operator-token");
        Self { _process: process, folder, _lines: lines, api, operators, token }
    }

    fn shop<T>(&self, select: &str, with: impl Params, row: impl FnMut(&Row<'_>) -> rusqlite::Result<T>) -> Vec<T> {
        self.rows("shop.sqlite", select, with, row)
    }

    /// The rows of a query on one of the program's files, of which nothing is written.
    fn rows<T>(
        &self,
        file: &str,
        select: &str,
        with: impl Params,
        row: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Vec<T> {
        let path = self.folder.path().join(file);
        let file = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        let mut select = file.prepare(select).unwrap();
        select.query_map(with, row).unwrap().collect::<Result<_, _>>().unwrap()
    }
}

/// A process that does not outlive its scenario.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Writes the sample products and these others to a new shop's file.
async fn fill_catalogue(data: &Path, own: &[(Product, i64)]) {
    let file = File::open(&data.join("shop.sqlite"), &[SCHEMA]).unwrap();
    let gateway = File::open(&data.join("gateway.sqlite"), &[GATEWAY_SCHEMA]).unwrap();
    let outbox = Outbox::open(&data.join("mail"), "orders@shop.example".parse().unwrap()).unwrap();
    let own = own.iter().map(|(product, units)| checkout::Product {
        id: ProductId(product.id),
        name: product.name.clone(),
        price: Money::from_cents(product.price_cents),
        stock: (*units).try_into().unwrap(),
        active: true,
    });
    let all = products().into_iter().chain(own).collect();
    LocalShop::new(file, gateway, outbox).load_products(all).await.unwrap();
}

/// Builds the program as it is in the working tree, once for all scenarios, and returns its path.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let mut build = Command::new(env!("CARGO"));
        // What tests/run.sh builds, so nothing is compiled twice.
        build.args(["build", "--locked", "--workspace", "--features", "lambda", "--bin", "checkout_local"]);
        build.args(["--message-format", "json"]).current_dir(repository()).stderr(Stdio::inherit());
        let output = build.output().unwrap();
        assert!(output.status.success(), "checkout_local does not compile");
        let messages = String::from_utf8(output.stdout).unwrap();
        let messages = messages.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let mut programs = messages.filter_map(|message| Some(PathBuf::from(message["executable"].as_str()?)));
        programs.next().expect("cargo names the program")
    })
}
