//! The shop as a whole: its files, its steps and its two ports.

use crate::{
    failure::{Failure, other},
    reconciliation::Reconciler,
};
use checkout::{EmailAddress, Product, Shop, Storefront};
use checkout_api::Limits;
use checkout_local::{GATEWAY_SCHEMA, LocalShop, Outbox, SCHEMA};
use console::{Console, Operator};
use futures::future::try_join_all;
use http_api::{Rights, TaskKeys};
use std::{
    collections::BTreeMap,
    env, fs,
    num::NonZeroU16,
    path::{Path, PathBuf},
    time::Duration,
};
use stepwell::{Client, Runtime, System, core::plan::Plan};
use stepwell_local::{
    DEFAULT_SLOTS, File, Host, Local, create_folder,
    http::{self, Metrics, Secret},
};
use tasks_api::ShopIntake;
use tokio::{net::TcpListener, sync::watch};

/// The products that an empty catalogue begins with.
const PRODUCTS: &str = include_str!("../../../../../infra/products.json");

/// The sender of the e-mails.
const SENDER: &str = "orders@shop.example";

/// The time for what is open after a stop was asked for.
const GRACE: Duration = Duration::from_secs(10);

const HOUR: Duration = Duration::from_secs(60 * 60);

/// What a shop on one machine is told.
#[derive(Debug)]
pub(crate) struct Settings {
    /// The folder of all data.
    pub(crate) data: PathBuf,
    /// 0 is any free port.
    pub(crate) customers_port: u16,
    /// 0 is any free port.
    pub(crate) operators_port: u16,
    pub(crate) limits: Limits,
    pub(crate) slots: Slots,
    /// What Prometheus reads at the operators' port.
    pub(crate) metrics: Metrics,
}

/// How many deliveries of a step are in flight at most, by its name, where that is not [`DEFAULT_SLOTS`].
pub(crate) type Slots = BTreeMap<String, NonZeroU16>;

/// A shop that is open, and does nothing until it is run.
pub(crate) struct Server {
    host: Host<System>,
    gateway: File,
    ports: [(TcpListener, axum::Router); 2],
    pub(crate) customers_url: String,
    pub(crate) operators_url: String,
    /// The address that logs a browser in to the console, once.
    pub(crate) login: String,
    /// The file of the operators' token.
    pub(crate) token: PathBuf,
    /// The file with the operators' address, which is there while the shop runs.
    address: PathBuf,
}

/// The shop's file in the folder of all data.
pub(crate) const SHOP: &str = "shop.sqlite";

/// The file of the simulated gateway.
pub(crate) const GATEWAY: &str = "gateway.sqlite";

/// The folder of the e-mails.
pub(crate) const MAIL: &str = "mail";

/// The folder of the log.
pub(crate) const LOG: &str = "log";

/// The files of a shop.
pub(crate) struct Files {
    pub(crate) file: File,
    pub(crate) gateway: File,
    pub(crate) shop: LocalShop,
}

impl Files {
    /// Opens the files in this folder, or creates them.
    ///
    /// # Errors
    /// See [`Failure`].
    pub(crate) fn open(data: &Path) -> Result<Self, Failure> {
        // The lock of the first file guards the whole folder.
        let file = File::open(&data.join(SHOP), &[stepwell_local::SCHEMA, SCHEMA])?;
        let gateway = File::open(&data.join(GATEWAY), &[GATEWAY_SCHEMA])?;
        let mail = data.join(MAIL);
        let sender: EmailAddress = SENDER.parse().map_err(other)?;
        let outbox = Outbox::open(&mail, sender).map_err(|source| Failure::Folder { path: mail, source })?;
        let shop = LocalShop::new(file.clone(), gateway.clone(), outbox);
        Ok(Self { file, gateway, shop })
    }
}

/// Fills an empty catalogue.
pub(crate) async fn load_products(shop: &LocalShop) -> Result<(), Failure> {
    if shop.all_products().await?.is_empty() {
        shop.load_products(sample_products()?).await?;
    }
    Ok(())
}

/// The products that an empty catalogue begins with.
pub(crate) fn sample_products() -> Result<Vec<Product>, Failure> {
    serde_json::from_str(PRODUCTS).map_err(other)
}

impl Server {
    /// Opens the shop's files and ports.
    ///
    /// # Errors
    /// See [`Failure`].
    pub(crate) async fn open(settings: &Settings) -> Result<Self, Failure> {
        let workflow = checkout::workflow().map_err(other)?;
        if let Some(name) = settings.slots.keys().find(|name| workflow.plan().step(name).is_none()) {
            return Err(no_step(name, workflow.plan()));
        }
        let data = settings.data.as_path();
        let no_folder = |source| Failure::Folder { path: data.to_owned(), source };
        create_folder(data).map_err(no_folder)?;
        let Files { file, gateway, shop } = Files::open(data)?;
        let token = data.join("operator-token");
        let operator_token = Secret::load_or_create(&token)?;
        let secret = Secret::load_or_create(&data.join("task-key"))?;
        let keys = TaskKeys::new(secret.expose(), []).map_err(other)?;
        let customers = loopback::listen(settings.customers_port).await?;
        let operators = loopback::listen(settings.operators_port).await?;

        load_products(&shop).await?;
        let local = Local::new(file, System).await?;
        let engine = Client::new(local.clone(), local.clone(), System);
        let reconciler = Reconciler::new(&shop, &engine)?;
        let host = host(&local, &shop, &reconciler, &settings.slots)?;

        let intake = ShopIntake::new(shop.clone());
        let (limits, pricing) = (settings.limits, shop.pricing().map_err(other)?);
        let for_customers = checkout_api::router(engine.clone(), shop.clone(), keys, limits, pricing).map_err(other)?;
        let engine = engine.with_result_types(tasks_api::result_types::<LocalShop>());
        let mailer = shop.mailer().map_err(other)?;
        let probes = tasks_api::probes(engine.clone());
        let operate = tasks_api::router(engine, local, shop, mailer, intake);
        let console = Console::new(console::Settings {
            place: format!("the shop in {}", data.display()),
            operator: Operator::Named(
                ["USER", "LOGNAME"]
                    .into_iter()
                    .find_map(|name| env::var(name).ok().filter(|name| !name.is_empty()))
                    .unwrap_or("operator".to_owned()),
            ),
            token: Some(operator_token.expose().to_owned()),
            rights: Rights::Act,
            metered: false,
            codes: checkout::error_codes().collect(),
        });
        let console = console.map_err(other)?;
        let login = console.link(&url(&operators)?);
        let by_browser = console.router(http::named(operate.clone()));
        let operate = operate.merge(settings.metrics.clone().router()).merge(reconciler.router());
        let for_operators = by_browser.fallback_service(http::for_operators(operate, probes, operator_token));
        let (customers_url, operators_url, address) = (url(&customers)?, url(&operators)?, data.join("operators-url"));
        // For the command `stepwell`.
        fs::write(&address, &operators_url).map_err(|source| Failure::Folder { path: address.clone(), source })?;
        let ports = [(customers, for_customers), (operators, for_operators)];
        Ok(Self { host, gateway, ports, customers_url, operators_url, login, token, address })
    }

    /// Runs the shop until `stop`. Returns when what was open is done, or after [`GRACE`].
    ///
    /// # Errors
    /// A port or the file failed.
    pub(crate) async fn run(self, stop: impl Future<Output = ()>) -> Result<(), Failure> {
        let stop = async {
            stop.await;
            // One that a killed process leaves behind names a port on which nobody answers, or somebody else.
            let _ = fs::remove_file(self.address);
        };
        tokio::select! {
            done = run(self.host, self.ports, stop) => done,
            broken = self.gateway.broken() => Err(broken.into()),
        }
    }
}

/// The URL of a port.
fn url(listener: &TcpListener) -> Result<String, Failure> {
    Ok(format!("http://{}", listener.local_addr().map_err(other)?))
}

/// Runs a host and its ports until `stop`. Returns when what was open is done, or after [`GRACE`].
///
/// # Errors
/// A port or the file failed.
pub(crate) async fn run(
    host: Host<System>,
    ports: impl IntoIterator<Item = (TcpListener, axum::Router)>,
    stop: impl Future<Output = ()>,
) -> Result<(), Failure> {
    let (stopping, stopped) = watch::channel(false);
    let is_stopped = || {
        let mut stopped = stopped.clone();
        // An error says that all has ended.
        async move { drop(stopped.wait_for(|stopped| *stopped).await) }
    };
    let serve = |(listener, router)| loopback::serve(listener, router, is_stopped(), GRACE);
    let stop = async {
        stop.await;
        stopping.send_replace(true);
        std::future::pending().await
    };
    let all = async {
        let ports = async { try_join_all(ports.into_iter().map(serve)).await.map_err(other) };
        let host = async { host.run(is_stopped(), GRACE).await.map_err(Failure::from) };
        tokio::try_join!(ports, host).map(drop)
    };
    tokio::select! {
        done = all => done,
        done = stop => done,
    }
}

/// Hosts all steps and compensations.
pub(crate) fn host_steps<A: Runtime + Clone + 'static>(
    local: &Local<A>,
    shop: &LocalShop,
    runtime: A,
    slots: &Slots,
) -> Result<Host<A>, Failure> {
    let workflow = checkout::workflow().map_err(other)?;
    let mut host = Host::new(local.clone(), runtime);
    macro_rules! step {
        ($name:literal, $($library:tt)+) => {
            let slots = slots.get($name).map_or(DEFAULT_SLOTS, |slots| slots.get().into());
            host.step(&workflow, $name, slots, $($library)+::step(shop).map_err(other)?);
        };
    }
    tasks_api::each_checkout_step!(step);
    Ok(host)
}

/// Says that a plan has no such step, and which it has.
pub(crate) fn no_step(name: &str, plan: &Plan) -> Failure {
    let names: Vec<&str> = plan.steps().iter().chain(plan.compensations()).map(|step| step.name.as_str()).collect();
    Failure::Option(format!("there is no step {name}; there are {}", names.join(", ")))
}

/// Hosts all steps and compensations, and what is done each hour.
fn host(
    local: &Local<System>,
    shop: &LocalShop,
    reconciler: &Reconciler,
    slots: &Slots,
) -> Result<Host<System>, Failure> {
    let mut host = host_steps(local, shop, System, slots)?;
    let reconciler = reconciler.clone();
    host.every(HOUR, "reconciliation", move || {
        let reconciler = reconciler.clone();
        async move { reconciler.mend().await }
    });
    let shop = shop.clone();
    host.every(HOUR, "expiry", move || {
        let shop = shop.clone();
        async move {
            if let Err(error) = shop.delete_expired(System.now()).await {
                tracing::error!(%error, "expired card tokens and counters could not be deleted");
            }
        }
    });
    Ok(host)
}
