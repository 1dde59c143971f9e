//! The shop's services as a process calls them: through a client that retries, over a network that fails.

use super::{
    faults::{Service, Trouble},
    process::ServiceCaller,
    world::ShopWorld,
};
use checkout::{
    CancelOrderError, CancelledOrder, CardTokens, Catalogue, Charge, ChargesPage, ConfigError, CreateOrderError, Email,
    Gateway, GatewayError, HoldError, MailError, Mailer, OpenRequest, Order, Orders, PaymentRecords, PaymentRef,
    PaymentState, Pricing, Product, ProductId, RecordError, Release, Resend, ResendError, Reservation, Reversal,
    ShipError, Shipping, Shop, Stock, StoreError, TakeError, Token, VoidedKey,
};
use std::{collections::BTreeMap, sync::Arc};
use stepwell::{TaskId, Timestamp};

/// The services as one process calls them.
#[derive(Clone, Debug)]
pub struct Services {
    world: Arc<ShopWorld>,
    process: Arc<ServiceCaller>,
}

impl Services {
    /// The services of this world for this process.
    pub fn new(world: &Arc<ShopWorld>, process: &Arc<ServiceCaller>) -> Self {
        Self { world: Arc::clone(world), process: Arc::clone(process) }
    }

    /// Calls a service. The books are read after each effect, whether or not its answer arrives.
    async fn call<F: Future>(&self, service: Service, effect: impl Fn() -> F) -> Result<F::Output, Trouble> {
        let effect = &effect;
        let audited = || async move {
            let answer = effect().await;
            self.world.audit();
            answer
        };
        self.process.call(service, audited).await
    }

    /// Records that this process's checkout uses this key.
    fn note(&self, key: &str) {
        self.world.note(self.process.trail.number, key);
    }
}

impl Shop for Services {
    type Catalogue = Self;
    type Stock = Self;
    type Orders = Self;
    type Gateway = Self;
    type PaymentRecords = Self;
    type CardTokens = Self;
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

    fn payment_records(&self) -> Result<Self, ConfigError> {
        Ok(self.clone())
    }

    fn card_tokens(&self) -> Result<Self, ConfigError> {
        Ok(self.clone())
    }

    fn mailer(&self) -> Result<Self, ConfigError> {
        Ok(self.clone())
    }

    fn pricing(&self) -> Result<Pricing, ConfigError> {
        self.world.shop.pricing()
    }
}

impl Catalogue for Services {
    async fn products(&self, ids: &[ProductId]) -> Result<BTreeMap<ProductId, Product>, StoreError> {
        self.call(Service::Catalogue, || self.world.products(ids)).await.map_err(store_error)?
    }
}

impl Gateway for Services {
    async fn open(&self, request: &OpenRequest<'_>) -> Result<PaymentRef, GatewayError> {
        let effect = || self.world.shop.open(request);
        self.call(Service::Gateway, effect).await.map_err(gateway_error)?
    }

    async fn confirm(&self, payment: &PaymentRef, token: &Token, at: Timestamp) -> Result<Charge, GatewayError> {
        self.note(&payment.0);
        let effect = || self.world.shop.confirm(payment, token, at);
        self.call(Service::Gateway, effect).await.map_err(gateway_error)?
    }

    async fn read(&self, payment: &PaymentRef, at: Timestamp) -> Result<PaymentState, GatewayError> {
        let effect = || self.world.shop.read(payment, at);
        self.call(Service::Gateway, effect).await.map_err(gateway_error)?
    }

    async fn cancel_or_refund(&self, payment: &PaymentRef, at: Timestamp) -> Result<Reversal, GatewayError> {
        let effect = || self.world.shop.cancel_or_refund(payment, at);
        self.call(Service::Gateway, effect).await.map_err(gateway_error)?
    }

    async fn list_charges(&self, since: Timestamp, after: Option<&str>) -> Result<ChargesPage, GatewayError> {
        let effect = || self.world.shop.list_charges(since, after);
        self.call(Service::Gateway, effect).await.map_err(gateway_error)?
    }
}

/// The records are in a table of the shop's, as the orders are.
impl PaymentRecords for Services {
    async fn recorded(&self, key: &str) -> Result<Option<PaymentRef>, RecordError> {
        let effect = || self.world.shop.recorded(key);
        self.call(Service::Orders, effect).await.map_err(store_error)?
    }

    async fn record(&self, key: &str, payment: &PaymentRef) -> Result<PaymentRef, RecordError> {
        let effect = || self.world.shop.record(key, payment);
        self.call(Service::Orders, effect).await.map_err(store_error)?
    }

    async fn void(&self, key: &str, at: Timestamp) -> Result<VoidedKey, StoreError> {
        let effect = || self.world.shop.void(key, at);
        self.call(Service::Orders, effect).await.map_err(store_error)?
    }
}

/// The tokens are in a table of the shop's, as the orders are.
impl CardTokens for Services {
    async fn keep(&self, task: TaskId, token: &Token, expires_at: Timestamp) -> Result<(), StoreError> {
        let effect = || self.world.shop.keep(task, token, expires_at);
        self.call(Service::Orders, effect).await.map_err(store_error)?
    }

    async fn kept(&self, task: TaskId, now: Timestamp) -> Result<Option<Token>, StoreError> {
        let effect = || self.world.shop.kept(task, now);
        self.call(Service::Orders, effect).await.map_err(store_error)?
    }

    async fn forget(&self, task: TaskId) {
        let _ = self.call(Service::Orders, || self.world.shop.forget(task)).await;
    }
}

impl Stock for Services {
    async fn hold(&self, key: &str, wanted: &Reservation, at: Timestamp) -> Result<Reservation, HoldError> {
        self.note(key);
        let effect = || self.world.shop.hold(key, wanted, at);
        self.call(Service::Stock, effect).await.map_err(store_error)?
    }

    async fn take(&self, key: &str, at: Timestamp) -> Result<Reservation, TakeError> {
        self.note(key);
        let effect = || self.world.shop.take(key, at);
        self.call(Service::Stock, effect).await.map_err(store_error)?
    }

    async fn release(&self, key: &str, at: Timestamp) -> Result<Release, StoreError> {
        self.note(key);
        let effect = || self.world.shop.release(key, at);
        self.call(Service::Stock, effect).await.map_err(store_error)?
    }
}

impl Orders for Services {
    async fn create(&self, order: Order) -> Result<Order, CreateOrderError> {
        self.note(&order.order_id.to_string());
        let effect = || self.world.shop.create(order.clone());
        self.call(Service::Orders, effect).await.map_err(store_error)?
    }

    async fn cancel(&self, task: TaskId, at: Timestamp) -> Result<CancelledOrder, CancelOrderError> {
        self.note(&task.to_string());
        let effect = || self.world.shop.cancel(task, at);
        self.call(Service::Orders, effect).await.map_err(store_error)?
    }

    async fn ship(&self, order: TaskId, shipping: &Shipping) -> Result<Timestamp, ShipError> {
        let effect = || self.world.shop.ship(order, shipping);
        self.call(Service::Orders, effect).await.map_err(store_error)?
    }

    async fn record_resend(&self, order: TaskId, resend: &Resend) -> Result<Order, ResendError> {
        let effect = || self.world.shop.record_resend(order, resend);
        self.call(Service::Orders, effect).await.map_err(store_error)?
    }
}

impl Mailer for Services {
    async fn send(&self, email: &Email) -> Result<String, MailError> {
        self.note(email.to.as_str());
        let sent = self.call(Service::Mail, || self.world.shop.send(email)).await;
        sent.map_err(|trouble| match trouble {
            Trouble::Throttled => MailError::RateLimited,
            Trouble::Failed => MailError::Unavailable("ServiceUnavailable".to_owned()),
            Trouble::NoAnswer | Trouble::AnswerLost => MailError::Unavailable("timeout".to_owned()),
        })?
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
