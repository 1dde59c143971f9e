//! A shop whose ports keep each call on record.

use crate::{
    CancelOrderError, CancelledOrder, CardTokens, Catalogue, Charge, ChargesPage, ConfigError, CreateOrderError, Email,
    Gateway, GatewayError, HoldError, MailError, Mailer, OpenRequest, Order, Orders, PaymentRecords, PaymentRef,
    PaymentState, Pricing, Product, ProductId, RecordError, Release, Resend, ResendError, Reservation, Reversal,
    ShipError, Shipping, Shop, Stock, StoreError, TakeError, Token, VoidedKey,
};
use redaction::redact;
use serde::Serialize;
use std::{
    collections::BTreeMap,
    fmt::Debug,
    mem,
    sync::{Arc, Mutex, PoisonError},
};
use stepwell::{TaskId, Timestamp};

/// A call of a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Call {
    /// The port, its method and the arguments, such as `stock.take("018f4e4e-...", 2026-11-28T07:00:00Z)`, as `Debug` writes them, without the
    /// secrets of this process.
    pub call: String,
    /// What the port has answered, written likewise.
    pub answer: String,
}

/// A shop that passes on each call of its ports to those of another shop, and keeps it on record.
#[derive(Clone, Debug)]
pub struct Recording<S> {
    shop: S,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl<S: Shop> Recording<S> {
    /// The shop that records what is asked of this one.
    pub fn new(shop: S) -> Self {
        Self { shop, calls: Arc::default() }
    }

    /// Takes the calls since the last time, in the order of their answers.
    pub fn take_calls(&self) -> Vec<Call> {
        mem::take(&mut *self.calls.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn of<P>(&self, port: Result<P, ConfigError>) -> Result<Recorded<P>, ConfigError> {
        Ok(Recorded { port: port?, calls: self.calls.clone() })
    }
}

/// A port whose calls are recorded.
#[derive(Clone, Debug)]
pub struct Recorded<P> {
    port: P,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl<P> Recorded<P> {
    fn add(&self, call: String, answer: &impl Debug) {
        let call = Call { call: redact(&call).into_owned(), answer: redact(&format!("{answer:?}")).into_owned() };
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).push(call);
    }
}

/// Passes a call on, and adds it to the record.
macro_rules! passed_on {
    ($self:ident, $port:literal, $method:ident($($argument:expr),*)) => {{
        let arguments: &[String] = &[$(format!("{:?}", $argument)),*];
        let call = format!(concat!($port, ".", stringify!($method), "({})"), arguments.join(", "));
        let answer = $self.port.$method($($argument),*).await;
        $self.add(call, &answer);
        answer
    }};
}

impl<P: Catalogue> Catalogue for Recorded<P> {
    async fn products(&self, ids: &[ProductId]) -> Result<BTreeMap<ProductId, Product>, StoreError> {
        passed_on!(self, "catalogue", products(ids))
    }
}

impl<P: Stock> Stock for Recorded<P> {
    async fn hold(&self, key: &str, wanted: &Reservation, at: Timestamp) -> Result<Reservation, HoldError> {
        passed_on!(self, "stock", hold(key, wanted, at))
    }

    async fn take(&self, key: &str, at: Timestamp) -> Result<Reservation, TakeError> {
        passed_on!(self, "stock", take(key, at))
    }

    async fn release(&self, key: &str, at: Timestamp) -> Result<Release, StoreError> {
        passed_on!(self, "stock", release(key, at))
    }
}

impl<P: Orders> Orders for Recorded<P> {
    async fn create(&self, order: Order) -> Result<Order, CreateOrderError> {
        passed_on!(self, "orders", create(order))
    }

    async fn cancel(&self, task: TaskId, at: Timestamp) -> Result<CancelledOrder, CancelOrderError> {
        passed_on!(self, "orders", cancel(task, at))
    }

    async fn ship(&self, order: TaskId, shipping: &Shipping) -> Result<Timestamp, ShipError> {
        passed_on!(self, "orders", ship(order, shipping))
    }

    async fn record_resend(&self, order: TaskId, resend: &Resend) -> Result<Order, ResendError> {
        passed_on!(self, "orders", record_resend(order, resend))
    }
}

impl<P: Gateway> Gateway for Recorded<P> {
    async fn open(&self, request: &OpenRequest<'_>) -> Result<PaymentRef, GatewayError> {
        passed_on!(self, "gateway", open(request))
    }

    async fn confirm(&self, payment: &PaymentRef, token: &Token, at: Timestamp) -> Result<Charge, GatewayError> {
        passed_on!(self, "gateway", confirm(payment, token, at))
    }

    async fn read(&self, payment: &PaymentRef, at: Timestamp) -> Result<PaymentState, GatewayError> {
        passed_on!(self, "gateway", read(payment, at))
    }

    async fn cancel_or_refund(&self, payment: &PaymentRef, at: Timestamp) -> Result<Reversal, GatewayError> {
        passed_on!(self, "gateway", cancel_or_refund(payment, at))
    }

    async fn list_charges(&self, since: Timestamp, after: Option<&str>) -> Result<ChargesPage, GatewayError> {
        passed_on!(self, "gateway", list_charges(since, after))
    }
}

impl<P: PaymentRecords> PaymentRecords for Recorded<P> {
    async fn recorded(&self, key: &str) -> Result<Option<PaymentRef>, RecordError> {
        passed_on!(self, "payment_records", recorded(key))
    }

    async fn record(&self, key: &str, payment: &PaymentRef) -> Result<PaymentRef, RecordError> {
        passed_on!(self, "payment_records", record(key, payment))
    }

    async fn void(&self, key: &str, at: Timestamp) -> Result<VoidedKey, StoreError> {
        passed_on!(self, "payment_records", void(key, at))
    }
}

impl<P: CardTokens> CardTokens for Recorded<P> {
    async fn keep(&self, task: TaskId, token: &Token, expires_at: Timestamp) -> Result<(), StoreError> {
        passed_on!(self, "card_tokens", keep(task, token, expires_at))
    }

    async fn kept(&self, task: TaskId, now: Timestamp) -> Result<Option<Token>, StoreError> {
        passed_on!(self, "card_tokens", kept(task, now))
    }

    async fn forget(&self, task: TaskId) {
        passed_on!(self, "card_tokens", forget(task))
    }
}

impl<P: Mailer> Mailer for Recorded<P> {
    async fn send(&self, email: &Email) -> Result<String, MailError> {
        passed_on!(self, "mailer", send(email))
    }
}

impl<S: Shop> Shop for Recording<S> {
    type Catalogue = Recorded<S::Catalogue>;
    type Stock = Recorded<S::Stock>;
    type Orders = Recorded<S::Orders>;
    type Gateway = Recorded<S::Gateway>;
    type PaymentRecords = Recorded<S::PaymentRecords>;
    type CardTokens = Recorded<S::CardTokens>;
    type Mailer = Recorded<S::Mailer>;

    fn catalogue(&self) -> Result<Self::Catalogue, ConfigError> {
        self.of(self.shop.catalogue())
    }

    fn stock(&self) -> Result<Self::Stock, ConfigError> {
        self.of(self.shop.stock())
    }

    fn orders(&self) -> Result<Self::Orders, ConfigError> {
        self.of(self.shop.orders())
    }

    fn gateway(&self) -> Result<Self::Gateway, ConfigError> {
        self.of(self.shop.gateway())
    }

    fn payment_records(&self) -> Result<Self::PaymentRecords, ConfigError> {
        self.of(self.shop.payment_records())
    }

    fn card_tokens(&self) -> Result<Self::CardTokens, ConfigError> {
        self.of(self.shop.card_tokens())
    }

    fn mailer(&self) -> Result<Self::Mailer, ConfigError> {
        self.of(self.shop.mailer())
    }

    fn pricing(&self) -> Result<Pricing, ConfigError> {
        self.shop.pricing()
    }
}
