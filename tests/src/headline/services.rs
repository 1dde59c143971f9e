//! The shop's services, as a process calls them: through a client that tries again, over a network that fails.

use super::{
    faults::{Service, Trouble},
    process::Process,
    world::World,
};
use checkout::{
    CancelledOrder, Catalogue, Charge, ChargeRequest, ConfigError, CreateOrderError, Gateway, GatewayError, Letter,
    LineItem, MailError, Mailer, Order, Orders, Pricing, Product, ProductId, RefundRequest, Release, Reservation,
    ReserveError, Reversal, Shop, Stock, StoreError,
};
use std::{collections::BTreeMap, sync::Arc};
use stepwell::{TaskId, Timestamp};

/// The services in the hands of one process.
#[derive(Clone, Debug)]
pub struct Services {
    world: Arc<World>,
    process: Arc<Process>,
}

impl Services {
    /// The services of this world, called by this process.
    pub fn new(world: &Arc<World>, process: &Arc<Process>) -> Self {
        Self { world: Arc::clone(world), process: Arc::clone(process) }
    }

    fn checkout(&self) -> usize {
        self.process.trail.number
    }
}

impl Shop for Services {
    type Catalogue = Self;
    type Stock = Self;
    type Orders = Self;
    type Gateway = Self;
    type Mailer = Self;

    fn catalogue(&self) -> Result<Self, ConfigError> {
        Ok(self.clone())
    }

    fn stock(&self) -> Result<Self, ConfigError> {
        Ok(self.clone())
    }

    fn orders(&self) -> Result<Self, ConfigError> {
        Ok(self.clone())
    }

    fn gateway(&self) -> Result<Self, ConfigError> {
        Ok(self.clone())
    }

    fn mailer(&self) -> Result<Self, ConfigError> {
        Ok(self.clone())
    }

    fn pricing(&self) -> Result<Pricing, ConfigError> {
        Pricing::from_env()
    }
}

impl Catalogue for Services {
    async fn products(&self, ids: &[ProductId]) -> Result<BTreeMap<ProductId, Product>, StoreError> {
        self.process.call(Service::Catalogue, || async { self.world.products(ids) }).await.map_err(store_error)
    }
}

impl Gateway for Services {
    async fn charge(&self, request: &ChargeRequest<'_>) -> Result<Charge, GatewayError> {
        let effect = || async { self.world.charge(self.checkout(), request) };
        self.process.call(Service::Gateway, effect).await.map_err(gateway_error)?
    }

    async fn refund(&self, request: &RefundRequest<'_>) -> Result<Reversal, GatewayError> {
        let effect = || async { self.world.refund(self.checkout(), request) };
        self.process.call(Service::Gateway, effect).await.map_err(gateway_error)
    }
}

impl Stock for Services {
    async fn reserve(&self, key: &str, lines: &[LineItem], _: Timestamp) -> Result<Reservation, ReserveError> {
        let effect = || async { self.world.reserve(self.checkout(), key, lines) };
        self.process.call(Service::Stock, effect).await.map_err(store_error)?
    }

    async fn release(&self, key: &str, at: Timestamp) -> Result<Release, StoreError> {
        let effect = || async { self.world.release(self.checkout(), key, at) };
        self.process.call(Service::Stock, effect).await.map_err(store_error)
    }
}

impl Orders for Services {
    async fn create(&self, order: Order) -> Result<Order, CreateOrderError> {
        let effect = || async { self.world.create_order(self.checkout(), &order) };
        self.process.call(Service::Orders, effect).await.map_err(store_error)?
    }

    async fn cancel(&self, task: TaskId, at: Timestamp) -> Result<CancelledOrder, StoreError> {
        let effect = || async { self.world.cancel_order(self.checkout(), task, at) };
        self.process.call(Service::Orders, effect).await.map_err(store_error)
    }
}

impl Mailer for Services {
    async fn send(&self, letter: &Letter) -> Result<String, MailError> {
        let sent = self.process.call(Service::Mail, || async { self.world.send(self.checkout(), letter) }).await;
        sent.map_err(|trouble| match trouble {
            Trouble::Throttled => MailError::RateLimited,
            Trouble::Failed => MailError::Unavailable("ServiceUnavailable".to_owned()),
            Trouble::NoAnswer | Trouble::AnswerLost => MailError::Unavailable("timeout".to_owned()),
        })
    }
}

fn gateway_error(trouble: Trouble) -> GatewayError {
    match trouble {
        Trouble::Throttled => GatewayError::RateLimited,
        Trouble::Failed => GatewayError::TemporaryFailure,
        Trouble::NoAnswer | Trouble::AnswerLost => GatewayError::Timeout,
    }
}

fn store_error(trouble: Trouble) -> StoreError {
    match trouble {
        Trouble::Throttled => StoreError::Busy("ThrottlingException".to_owned()),
        Trouble::Failed => StoreError::Failed("InternalServerError".to_owned()),
        Trouble::NoAnswer | Trouble::AnswerLost => StoreError::Failed("timeout".to_owned()),
    }
}
