//! The world that the services stand for: the money, the stock, the orders and the letters, whoever asked for them.
//!
//! It keeps the promises of the shop's own tables and gateway: what is asked for again under the same key is done once,
//! and what has been undone, or ruled out before it was done, is not done any more.

use super::locked;
use checkout::{
    CancelledOrder, Charge, ChargeRequest, CreateOrderError, GatewayError, InsufficientStock, InventoryChange, Letter,
    LineItem, Money, Order, OrderStatus, Product, ProductId, RefundRequest, Release, ReleasedProduct, Reservation,
    ReserveError, Reversal, Token, UpdatedProduct,
};
use std::{collections::BTreeMap, sync::Mutex};
use stepwell::{TaskId, Timestamp};

/// What every customer who can be served buys.
pub const LAMP: u32 = 1;

/// A product of which the catalogue shows a few that are not there any more.
pub const SOLD_OUT: u32 = 2;

/// A token that the gateway declines.
pub const DECLINED: &str = "test_declined_visa";

/// The price of any product, in cents.
pub const PRICE_CENTS: i64 = 4_398;

/// Enough for everybody.
const PLENTY: u32 = 1_000_000_000;

/// The state of the world.
#[derive(Debug, Default)]
pub struct World {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    lamps_taken: u32,
    charges: BTreeMap<String, Entry<Charge>>,
    reservations: BTreeMap<String, Entry<Reservation>>,
    orders: BTreeMap<TaskId, Entry<Order>>,
    letters: BTreeMap<usize, u32>,
}

/// What was done for a checkout under one key.
#[derive(Debug)]
struct Entry<T> {
    checkout: usize,
    /// `None` where it was ruled out before it was done.
    done: Option<T>,
    undone_at: Option<Timestamp>,
}

impl<T> Entry<T> {
    fn done(checkout: usize, what: T) -> Self {
        Self { checkout, done: Some(what), undone_at: None }
    }

    fn nothing(checkout: usize) -> Self {
        Self { checkout, done: None, undone_at: None }
    }

    /// What was done and stands.
    fn standing(&self) -> Option<&T> {
        self.done.as_ref().filter(|_| self.undone_at.is_none())
    }
}

/// What stands in the world for one checkout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Charges that were not given back.
    pub charges: u32,
    /// Reservations of stock that were not given back.
    pub reservations: u32,
    /// Orders that were not cancelled.
    pub orders: u32,
    /// Letters sent.
    pub letters: u32,
}

impl World {
    /// The products with these numbers, as the catalogue shows them.
    pub fn products(&self, ids: &[ProductId]) -> BTreeMap<ProductId, Product> {
        let product = |id: u32, name: &str, stock| {
            let (id, name) = (ProductId(id), name.to_owned());
            (id, Product { id, name, price: Money::from_cents(PRICE_CENTS), stock, active: true })
        };
        let lamps = PLENTY - locked(&self.state).lamps_taken;
        let all = [product(LAMP, "Lamp", lamps), product(SOLD_OUT, "Chair", 5)];
        all.into_iter().filter(|(id, _)| ids.contains(id)).collect()
    }

    /// Charges a card, unless that was done before.
    ///
    /// # Errors
    /// The card is declined, or the charge was ruled out.
    pub fn charge(&self, checkout: usize, request: &ChargeRequest<'_>) -> Result<Charge, GatewayError> {
        if *request.token == Token::from(DECLINED) {
            return Err(GatewayError::Declined("card declined"));
        }
        let mut state = locked(&self.state);
        let key = request.idempotency_key.to_owned();
        let charge = Charge {
            payment_id: format!("pay_{key}"),
            transaction_id: format!("txn_{key}"),
            amount: request.amount,
            currency: request.currency.to_owned(),
            card: "visa".to_owned(),
            charged_at: request.at,
        };
        let entry = state.charges.entry(key).or_insert_with(|| Entry::done(checkout, charge));
        entry.standing().cloned().ok_or(GatewayError::Voided)
    }

    /// Gives the money of a charge back, or rules the charge out.
    pub fn refund(&self, checkout: usize, request: &RefundRequest<'_>) -> Reversal {
        let mut state = locked(&self.state);
        let key = request.idempotency_key.to_owned();
        let entry = state.charges.entry(key).or_insert_with(|| Entry::nothing(checkout));
        let at = *entry.undone_at.get_or_insert(request.at);
        match entry.done.clone() {
            Some(charge) => Reversal::Refunded { refund_id: format!("ref_{}", charge.payment_id), charge, at },
            None => Reversal::Voided { at },
        }
    }

    /// Takes stock, unless that was done before.
    ///
    /// # Errors
    /// There is not enough, or the reservation was ruled out.
    pub fn reserve(&self, checkout: usize, key: &str, lines: &[LineItem]) -> Result<Reservation, ReserveError> {
        let mut state = locked(&self.state);
        if let Some(earlier) = state.reservations.get(key) {
            return earlier.standing().cloned().ok_or(ReserveError::Void);
        }
        if let Some(line) = lines.iter().find(|line| line.product_id == ProductId(SOLD_OUT)) {
            let (name, requested) = (line.name.clone(), line.quantity);
            return Err(InsufficientStock { name, available: 0, requested }.into());
        }
        let reservation = reservation(lines, PLENTY - state.lamps_taken);
        state.lamps_taken += reservation.total_items_reserved;
        state.reservations.insert(key.to_owned(), Entry::done(checkout, reservation.clone()));
        Ok(reservation)
    }

    /// Puts stock back that was taken under this key, or rules the reservation out.
    pub fn release(&self, checkout: usize, key: &str, at: Timestamp) -> Release {
        let State { reservations, lamps_taken, .. } = &mut *locked(&self.state);
        let entry = reservations.entry(key.to_owned()).or_insert_with(|| Entry::nothing(checkout));
        let units = entry.done.as_ref().map_or(0, |reservation| reservation.total_items_reserved);
        if entry.undone_at.is_none() {
            *lamps_taken -= units;
        }
        let released_at = *entry.undone_at.get_or_insert(at);
        release(units, PLENTY - *lamps_taken, released_at)
    }

    /// Keeps an order, unless its task has made one.
    ///
    /// # Errors
    /// The order was cancelled, or ruled out.
    pub fn create_order(&self, checkout: usize, order: &Order) -> Result<Order, CreateOrderError> {
        let mut state = locked(&self.state);
        let order_number = format!("ORD-{}-{:08X}", order.placed_at.yyyymmdd(), state.orders.len());
        let new = || Entry::done(checkout, Order { order_number, ..order.clone() });
        state.orders.entry(order.order_id).or_insert_with(new).standing().cloned().ok_or(CreateOrderError::Void)
    }

    /// Cancels the order of a task, or rules it out.
    pub fn cancel_order(&self, checkout: usize, task: TaskId, at: Timestamp) -> CancelledOrder {
        let mut state = locked(&self.state);
        let entry = state.orders.entry(task).or_insert_with(|| Entry::nothing(checkout));
        let cancelled_at = *entry.undone_at.get_or_insert(at);
        if let Some(order) = &mut entry.done {
            (order.status, order.cancelled_at) = (OrderStatus::Cancelled, Some(cancelled_at));
        }
        let order = entry.done.as_ref();
        CancelledOrder {
            order_id: order.map(|order| order.order_id),
            order_number: order.map(|order| order.order_number.clone()),
            cancelled_at,
        }
    }

    /// Sends a letter.
    pub fn send(&self, checkout: usize, _: &Letter) -> String {
        let mut state = locked(&self.state);
        let letters = state.letters.entry(checkout).or_default();
        *letters += 1;
        format!("letter-{checkout}-{letters}")
    }

    /// What stands for each of so many checkouts.
    ///
    /// # Panics
    /// Where the stock is not what it was less what was taken: then the world itself is wrong.
    pub fn standing(&self, checkouts: usize) -> Vec<Standing> {
        let state = locked(&self.state);
        let taken = state.reservations.values().filter_map(Entry::standing);
        let taken: u32 = taken.map(|reservation| reservation.total_items_reserved).sum();
        assert_eq!(taken, state.lamps_taken, "the stock is off");
        let mut standing = vec![Standing::default(); checkouts];
        count(state.charges.values(), |checkout| standing[checkout].charges += 1);
        count(state.reservations.values(), |checkout| standing[checkout].reservations += 1);
        count(state.orders.values(), |checkout| standing[checkout].orders += 1);
        state.letters.iter().for_each(|(&checkout, &letters)| standing[checkout].letters = letters);
        standing
    }
}

fn count<'a, T: 'a>(entries: impl Iterator<Item = &'a Entry<T>>, mut add: impl FnMut(usize)) {
    entries.filter(|entry| entry.standing().is_some()).for_each(|entry| add(entry.checkout));
}

fn reservation(lines: &[LineItem], previous_stock: u32) -> Reservation {
    let updated = lines.iter().map(|line| UpdatedProduct {
        product_id: line.product_id,
        name: line.name.clone(),
        previous_stock,
        new_stock: previous_stock - line.quantity,
        quantity_reserved: line.quantity,
    });
    let changes = lines.iter().map(|line| InventoryChange {
        product_id: line.product_id,
        change_type: "reservation".to_owned(),
        quantity: -i64::from(line.quantity),
    });
    Reservation {
        updated_products: updated.collect(),
        total_items_reserved: lines.iter().map(|line| line.quantity).sum(),
        inventory_changes: changes.collect(),
    }
}

fn release(units: u32, new_stock: u32, released_at: Timestamp) -> Release {
    let product = ReleasedProduct {
        product_id: ProductId(LAMP),
        name: "Lamp".to_owned(),
        previous_stock: new_stock - units,
        new_stock,
        quantity_released: units,
    };
    let change =
        InventoryChange { product_id: ProductId(LAMP), change_type: "release".to_owned(), quantity: i64::from(units) };
    let any = units > 0;
    Release {
        released_products: any.then_some(product).into_iter().collect(),
        total_items_released: units,
        inventory_changes: any.then_some(change).into_iter().collect(),
        released_at,
    }
}
