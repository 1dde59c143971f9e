//! A shop in memory, for tests. It obeys the rules of the deployed shop: repeated calls under one key have one effect,
//! and a key that was compensated or voided can have no effect later.

pub mod recording;
pub mod rules;
pub mod steps;

use crate::{
    CURRENCY, CancelOrderError, CancelledOrder, CardTokens, Catalogue, Charge, ChargesPage, ConfigError, Counters,
    CreateOrderError, Email, Gateway, GatewayError, HoldError, MailError, Mailer, Money, OpenRequest, Order,
    OrderStatus, Orders, PaymentRecords, PaymentRef, PaymentState, Pricing, Priority, Product, ProductId, RecordError,
    Release, Resend, ResendError, Reservation, Reversal, ShipError, Shipping, Shop, Stock, StoreError, Storefront,
    TakeError, Token, VoidedKey, order_numbers,
    reconciliation::{
        Acknowledgement, FindingKind, Ledger, LedgerCursor, LedgerEntry, LedgerPage, LedgerPart, Subject,
    },
    test_card::{self, SimulatedPayment},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use stepwell::{TaskId, Timestamp};

/// A shop in memory. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct MemoryShop(Arc<Mutex<ShopState>>);

#[derive(Debug, Default)]
struct ShopState {
    products: BTreeMap<ProductId, Product>,
    unreadable: BTreeSet<ProductId>,
    payments: BTreeMap<PaymentRef, SimulatedPayment>,
    failed_opens: BTreeMap<String, GatewayError>,
    payment_records: BTreeMap<String, PaymentRef>,
    voided_keys: BTreeMap<String, Timestamp>,
    card_tokens: BTreeMap<TaskId, (Token, Timestamp)>,
    counters: BTreeMap<String, u32>,
    reservations: BTreeMap<String, Reservation>,
    taken: BTreeSet<String>,
    releases: BTreeMap<String, Release>,
    orders: BTreeMap<TaskId, Order>,
    cancelled: BTreeMap<TaskId, Timestamp>,
    order_numbers: BTreeSet<String>,
    resends: BTreeMap<TaskId, Vec<Resend>>,
    emails: Vec<Email>,
    acknowledged: BTreeMap<(Subject, FindingKind), Acknowledgement>,
    outage: Outage,
}

/// An order without lines and without a customer, of this task, which was placed at this time. Its number is still to be given.
pub fn order(id: TaskId, at: Timestamp) -> Order {
    Order {
        order_id: id,
        order_number: String::new(),
        status: OrderStatus::Confirmed,
        items: Vec::new(),
        subtotal: Money::ZERO,
        tax: Money::ZERO,
        shipping: Money::ZERO,
        total_amount: Money::ZERO,
        currency: CURRENCY.to_owned(),
        payment_id: "pay_1".to_owned(),
        simulated: true,
        customer_email: None,
        customer_name: None,
        shipping_info: BTreeMap::new(),
        priority: Priority::Standard,
        placed_at: at,
        created_at: at,
        estimated_delivery: at,
        cancelled_at: None,
        shipped_at: None,
    }
}

/// The errors that the ports return without any effect; `None` where a port works.
#[derive(Clone, Debug, Default)]
pub struct Outage {
    /// The catalogue, the stock, the orders, the record of payments and the cards' tokens.
    pub tables: Option<StoreError>,
    /// The counters.
    pub counters: Option<StoreError>,
    /// The payment gateway.
    pub gateway: Option<GatewayError>,
    /// The e-mail service.
    pub mail: Option<MailError>,
}

impl MemoryShop {
    /// Makes a shop with these products.
    pub fn selling(products: impl IntoIterator<Item = Product>) -> Self {
        let shop = Self::default();
        shop.state().products = products.into_iter().map(|product| (product.id, product)).collect();
        shop
    }

    /// Loses the shop's record of a checkout's payment, as a table does that is restored from an older backup.
    pub fn lose_record(&self, key: &str) {
        self.state().payment_records.remove(key);
    }

    /// Makes a product's row unreadable.
    pub fn spoil(&self, id: ProductId) {
        self.state().unreadable.insert(id);
    }

    /// Sets which ports fail from now on. The default repairs them.
    pub fn set_outage(&self, outage: Outage) {
        self.state().outage = outage;
    }

    /// Removes a product from the catalogue.
    pub fn remove(&self, id: ProductId) {
        self.state().products.remove(&id);
    }

    /// Returns the stock of a product; 0 where the product does not exist.
    pub fn stock_of(&self, id: ProductId) -> u32 {
        self.state().products.get(&id).map_or(0, |product| product.stock)
    }

    /// Returns the charges that were not refunded, by the gateway's payment.
    pub fn charges(&self) -> BTreeMap<PaymentRef, Charge> {
        let state = self.state();
        let in_force = state.payments.iter().filter(|(_, payment)| payment.reversed_at.is_none());
        in_force.filter_map(|(payment, stored)| Some((payment.clone(), stored.charge.clone()?))).collect()
    }

    /// Returns the tasks of which a card's token is kept, expired or not.
    pub fn tasks_with_tokens(&self) -> BTreeSet<TaskId> {
        self.state().card_tokens.keys().copied().collect()
    }

    /// Returns the reservations that were not released, held or taken, by idempotency key.
    pub fn reservations(&self) -> BTreeMap<String, Reservation> {
        self.state().reservations.clone()
    }

    /// Returns the keys of the reservations that are held: neither taken nor released.
    pub fn holds(&self) -> BTreeSet<String> {
        let state = self.state();
        state.reservations.keys().filter(|key| !state.taken.contains(*key)).cloned().collect()
    }

    /// Returns all orders, cancelled or not.
    pub fn all_orders(&self) -> Vec<Order> {
        self.state().orders.values().cloned().collect()
    }

    /// Returns the recorded resends of an order, in order.
    pub fn resends(&self, order: TaskId) -> Vec<Resend> {
        self.state().resends.get(&order).cloned().unwrap_or_default()
    }

    /// Returns the e-mails that were sent, in order.
    pub fn emails(&self) -> Vec<Email> {
        self.state().emails.clone()
    }

    fn state(&self) -> MutexGuard<'_, ShopState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tables(&self) -> Result<MutexGuard<'_, ShopState>, StoreError> {
        let state = self.state();
        state.outage.tables.clone().map_or(Ok(state), Err)
    }

    fn gateway_state(&self) -> Result<MutexGuard<'_, ShopState>, GatewayError> {
        let state = self.state();
        state.outage.gateway.clone().map_or(Ok(state), Err)
    }
}

impl ShopState {
    fn stocks(&self) -> BTreeMap<ProductId, u32> {
        self.products.iter().map(|(id, product)| (*id, product.stock)).collect()
    }

    fn move_stock(&mut self, id: ProductId, change: impl FnOnce(u32) -> u32) {
        if let Some(product) = self.products.get_mut(&id) {
            product.stock = change(product.stock);
        }
    }
}

impl Catalogue for MemoryShop {
    async fn products(&self, ids: &[ProductId]) -> Result<BTreeMap<ProductId, Product>, StoreError> {
        let state = self.tables()?;
        if let Some(id) = ids.iter().find(|id| state.unreadable.contains(id)) {
            return Err(StoreError::Unreadable(format!("product {id}")));
        }
        Ok(ids.iter().filter_map(|id| Some((*id, state.products.get(id)?.clone()))).collect())
    }
}

impl Storefront for MemoryShop {
    async fn all_products(&self) -> Result<Vec<Product>, StoreError> {
        let state = self.tables()?;
        Ok(state.products.values().filter(|product| !state.unreadable.contains(&product.id)).cloned().collect())
    }

    async fn find_order(&self, id: &str) -> Result<Option<Order>, StoreError> {
        let state = self.tables()?;
        Ok(id.parse().ok().and_then(|id: TaskId| state.orders.get(&id).cloned()))
    }
}

impl Stock for MemoryShop {
    async fn hold(&self, key: &str, wanted: &Reservation, _: Timestamp) -> Result<Reservation, HoldError> {
        let mut state = self.tables()?;
        if state.releases.contains_key(key) {
            return Err(HoldError::Void);
        }
        if let Some(reservation) = state.reservations.get(key) {
            return Ok(reservation.clone());
        }
        let stocks = state.stocks();
        let available = |id: &ProductId| stocks.get(id).copied().unwrap_or_default();
        let short = wanted.updated_products.iter().find(|line| available(&line.product_id) < line.quantity_reserved);
        if let Some(lack) = wanted.lack().or_else(|| short.map(|line| line.lack(available(&line.product_id)))) {
            return Err(lack.into());
        }
        for line in &wanted.updated_products {
            state.move_stock(line.product_id, |stock| stock.saturating_sub(line.quantity_reserved));
        }
        state.reservations.insert(key.to_owned(), wanted.clone());
        Ok(wanted.clone())
    }

    async fn take(&self, key: &str, _: Timestamp) -> Result<Reservation, TakeError> {
        let mut state = self.tables()?;
        if state.releases.contains_key(key) {
            return Err(TakeError::Void);
        }
        let reservation = state.reservations.get(key).cloned().ok_or(TakeError::NothingHeld)?;
        state.taken.insert(key.to_owned());
        Ok(reservation)
    }

    async fn release(&self, key: &str, at: Timestamp) -> Result<Release, StoreError> {
        let mut state = self.tables()?;
        if let Some(release) = state.releases.get(key) {
            return Ok(release.clone());
        }
        let reservation = state.reservations.remove(key).unwrap_or_default();
        state.taken.remove(key);
        let release = Release::of(&reservation, &state.stocks(), at);
        for line in &release.released_products {
            state.move_stock(line.product_id, |stock| stock.saturating_add(line.quantity_released));
        }
        state.releases.insert(key.to_owned(), release.clone());
        Ok(release)
    }
}

impl MemoryShop {
    /// Acts on a payment of the gateway.
    fn with_payment<T>(
        &self,
        payment: &PaymentRef,
        act: impl FnOnce(&mut SimulatedPayment) -> Result<T, GatewayError>,
    ) -> Result<T, GatewayError> {
        let mut state = self.gateway_state()?;
        act(state.payments.get_mut(payment).ok_or_else(test_card::no_such_payment)?)
    }
}

impl Gateway for MemoryShop {
    /// A failure is remembered for the key, as real gateways do: a repeated request gets it again, though the outage is over.
    async fn open(&self, request: &OpenRequest<'_>) -> Result<PaymentRef, GatewayError> {
        let mut state = self.state();
        let error = state.failed_opens.get(request.key).or(state.outage.gateway.as_ref()).cloned();
        if let Some(error) = error {
            if error != GatewayError::RateLimited {
                state.failed_opens.insert(request.key.to_owned(), error.clone());
            }
            return Err(error);
        }
        let payment = test_card::payment_ref(request);
        state.payments.entry(payment.clone()).or_insert_with(|| SimulatedPayment::open(request)).check(request)?;
        Ok(payment)
    }

    async fn confirm(&self, payment: &PaymentRef, token: &Token, at: Timestamp) -> Result<Charge, GatewayError> {
        self.with_payment(payment, |stored| stored.confirm(payment, token, at))
    }

    async fn read(&self, payment: &PaymentRef, at: Timestamp) -> Result<PaymentState, GatewayError> {
        self.with_payment(payment, |stored| Ok(stored.state(payment, at)))
    }

    async fn cancel_or_refund(&self, payment: &PaymentRef, at: Timestamp) -> Result<Reversal, GatewayError> {
        self.with_payment(payment, |stored| stored.cancel_or_refund(payment, at))
    }

    async fn list_charges(&self, since: Timestamp, after: Option<&str>) -> Result<ChargesPage, GatewayError> {
        let state = self.gateway_state()?;
        let mut rest =
            state.payments.iter().filter(|(payment, _)| after.is_none_or(|after| payment.0.as_str() > after));
        let page: Vec<_> = rest.by_ref().take(LEDGER_PAGE).collect();
        let next = page.last().map(|(last, _)| last.0.clone());
        let charges = page.into_iter().filter_map(|(payment, stored)| stored.listed(payment, since)).collect();
        Ok(ChargesPage { charges, next })
    }
}

impl PaymentRecords for MemoryShop {
    async fn recorded(&self, key: &str) -> Result<Option<PaymentRef>, RecordError> {
        let state = self.tables()?;
        if state.voided_keys.contains_key(key) {
            return Err(RecordError::Void);
        }
        Ok(state.payment_records.get(key).cloned())
    }

    async fn record(&self, key: &str, payment: &PaymentRef) -> Result<PaymentRef, RecordError> {
        let mut state = self.tables()?;
        if state.voided_keys.contains_key(key) {
            return Err(RecordError::Void);
        }
        Ok(state.payment_records.entry(key.to_owned()).or_insert_with(|| payment.clone()).clone())
    }

    async fn void(&self, key: &str, at: Timestamp) -> Result<VoidedKey, StoreError> {
        let mut state = self.tables()?;
        let at = *state.voided_keys.entry(key.to_owned()).or_insert(at);
        Ok(VoidedKey { payment: state.payment_records.get(key).cloned(), at })
    }
}

impl CardTokens for MemoryShop {
    async fn keep(&self, task: TaskId, token: &Token, expires_at: Timestamp) -> Result<(), StoreError> {
        self.tables()?.card_tokens.insert(task, (token.clone(), expires_at));
        Ok(())
    }

    async fn kept(&self, task: TaskId, now: Timestamp) -> Result<Option<Token>, StoreError> {
        let state = self.tables()?;
        let kept = state.card_tokens.get(&task).filter(|(_, expires_at)| now < *expires_at);
        Ok(kept.map(|(token, _)| token.clone()))
    }

    async fn forget(&self, task: TaskId) {
        let Ok(mut state) = self.tables() else { return };
        state.card_tokens.remove(&task);
    }
}

impl Counters for MemoryShop {
    async fn count(&self, name: &str, _: Timestamp) -> Result<u32, StoreError> {
        let mut state = self.state();
        state.outage.counters.clone().map_or(Ok(()), Err)?;
        let counted = state.counters.entry(name.to_owned()).or_default();
        *counted += 1;
        Ok(*counted)
    }
}

impl Orders for MemoryShop {
    async fn create(&self, order: Order) -> Result<Order, CreateOrderError> {
        let mut state = self.tables()?;
        if state.cancelled.contains_key(&order.order_id) {
            return Err(CreateOrderError::Void);
        }
        if let Some(order) = state.orders.get(&order.order_id) {
            return Ok(order.clone());
        }
        let mut numbers = order_numbers(order.order_id, order.placed_at);
        let order_number = numbers.find(|number| state.order_numbers.insert(number.clone()));
        let order_number = order_number.ok_or_else(|| StoreError::Busy("no free order number".to_owned()))?;
        let order = Order { order_number, ..order };
        state.orders.insert(order.order_id, order.clone());
        Ok(order)
    }

    async fn cancel(&self, task: TaskId, at: Timestamp) -> Result<CancelledOrder, CancelOrderError> {
        let state = &mut *self.tables()?;
        if let Some(shipped_at) = state.orders.get(&task).and_then(|order| order.shipped_at) {
            return Err(CancelOrderError::Shipped(shipped_at));
        }
        let cancelled_at = *state.cancelled.entry(task).or_insert(at);
        let order = state.orders.get_mut(&task).map(|order| {
            (order.status, order.cancelled_at) = (OrderStatus::Cancelled, Some(cancelled_at));
            order.clone()
        });
        Ok(CancelledOrder::new(order, cancelled_at))
    }

    async fn ship(&self, order: TaskId, shipping: &Shipping) -> Result<Timestamp, ShipError> {
        let mut state = self.tables()?;
        let order = state.orders.get_mut(&order).ok_or(ShipError::NotFound)?;
        match order.cancelled_at {
            Some(at) => Err(ShipError::Cancelled(at)),
            None => Ok(*order.shipped_at.get_or_insert(shipping.at)),
        }
    }

    async fn record_resend(&self, order: TaskId, resend: &Resend) -> Result<Order, ResendError> {
        let state = &mut *self.tables()?;
        let order = state.orders.get_mut(&order).ok_or(ResendError::NotFound)?;
        if order.status != resend.tells {
            return Err(ResendError::Status(order.status));
        }
        let recorded = state.resends.entry(order.order_id).or_default();
        if recorded.len() >= Resend::MOST {
            return Err(ResendError::TooMany);
        }
        let corrected = resend.corrected.as_ref().map(ToString::to_string);
        if corrected.is_none() && order.customer_email.is_none() {
            return Err(ResendError::NoAddress);
        }
        order.customer_email = corrected.or_else(|| order.customer_email.take());
        recorded.push(resend.clone());
        Ok(order.clone())
    }
}

/// How many records a page of the ledger has: few, so that tests turn pages.
const LEDGER_PAGE: usize = 3;

impl Ledger for MemoryShop {
    async fn page(&self, from: Option<&LedgerCursor>) -> Result<LedgerPage, StoreError> {
        let state = self.tables()?;
        let LedgerCursor { part, after } = from.cloned().unwrap_or_default();
        let mut rest = state.ledger(part);
        if let Some(after) = &after {
            rest = rest.split_off(after);
            rest.remove(after);
        }
        let page: Vec<(String, LedgerEntry)> = rest.into_iter().take(LEDGER_PAGE).collect();
        let next = match page.last() {
            Some((last, _)) => Some(LedgerCursor { part, after: Some(last.clone()) }),
            None => part.next().map(|part| LedgerCursor { part, after: None }),
        };
        Ok(LedgerPage { entries: page.into_iter().map(|(_, entry)| entry).collect(), next })
    }

    async fn acknowledge(&self, settled: &Acknowledgement) -> Result<(), StoreError> {
        let mut state = self.tables()?;
        state.acknowledged.entry((settled.of.clone(), settled.kind)).or_insert_with(|| settled.clone());
        Ok(())
    }
}

impl ShopState {
    /// The records of a part, by id.
    fn ledger(&self, part: LedgerPart) -> BTreeMap<String, LedgerEntry> {
        match part {
            LedgerPart::Payments => {
                let keys: BTreeSet<&String> = self.payment_records.keys().chain(self.voided_keys.keys()).collect();
                let payments = keys.into_iter().map(|key| {
                    let payment = self.payment_records.get(key).cloned();
                    let voided_at = self.voided_keys.get(key).copied();
                    (key.clone(), LedgerEntry::Payment { key: key.clone(), payment, voided_at })
                });
                let settled = self.acknowledged.values().map(|settled| {
                    let id = format!("acknowledged:{}:{}", settled.of, settled.kind);
                    (id, LedgerEntry::Acknowledged(settled.clone()))
                });
                payments.chain(settled).collect()
            }
            LedgerPart::Reservations => {
                let keys: BTreeSet<&String> = self.reservations.keys().chain(self.releases.keys()).collect();
                let stands = |key: &String| self.reservations.contains_key(key);
                let entry = |key: &String| LedgerEntry::Reservation { key: key.clone(), stands: stands(key) };
                keys.into_iter().map(|key| (key.clone(), entry(key))).collect()
            }
            LedgerPart::Orders => {
                let tasks: BTreeSet<TaskId> = self.orders.keys().chain(self.cancelled.keys()).copied().collect();
                let entry = |task: TaskId| LedgerEntry::Order { task, stands: !self.cancelled.contains_key(&task) };
                tasks.into_iter().map(|task| (task.to_string(), entry(task))).collect()
            }
        }
    }
}

impl Mailer for MemoryShop {
    async fn send(&self, email: &Email) -> Result<String, MailError> {
        let mut state = self.state();
        if let Some(error) = &state.outage.mail {
            return Err(error.clone());
        }
        state.emails.push(email.clone());
        // As long as SES's message ids.
        Ok(format!("email-{:053}", state.emails.len()))
    }
}

impl Shop for MemoryShop {
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
        Pricing::standard()
    }
}
