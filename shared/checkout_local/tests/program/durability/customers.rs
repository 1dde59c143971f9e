//! Customers who buy at the same time, and repeat whatever is not answered.

use super::books::Told;
use crate::running::{self, HOST};
use checkout::Money;
use fastrand::Rng;
use serde_json::{Value, json};
use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};
use uuid::Uuid;

/// The number of customers at a time.
pub(crate) const CUSTOMERS: usize = 12;

/// A card, a product, its quantity, and the total in cents.
type Kind = (&'static str, u32, u32, i64);

const KINDS: [Kind; 6] = [
    ("test_success_visa", 2, 1, 2_066),
    ("test_success_amex", 2, 1, 2_066),
    ("test_success_mastercard", 3, 1, 1_795),
    ("test_success_visa", 7, 1, 2_903),
    ("test_declined_visa", 3, 1, 1_795),
    // More than there are.
    ("test_success_visa", 4, 999, 13_919_568),
];

/// The gateway fails at first. Five such attempts in a row would open its breaker, so they are rare.
const FAILING: [Kind; 2] = [("test_answerlost_visa", 3, 1, 1_795), ("test_temp_fail_visa", 2, 1, 2_066)];

/// One of so many customers has one of these.
const FAILS: u8 = 12;

/// One of so many customers cancels.
const CANCELS: u8 = 6;

/// The longest time without an answer, whatever happens to the shop meanwhile. Longer than the gateway's breaker is open, should it open
/// by chance.
const PATIENCE: Duration = Duration::from_secs(180);

/// The wait before a request without an answer is repeated.
const AGAIN: Duration = Duration::from_millis(5);

/// The customers of a shop, which may be killed and be at another address each time.
#[derive(Default)]
pub(crate) struct Customers {
    address: Mutex<String>,
    told: Mutex<Vec<Told>>,
    faults: Mutex<Vec<String>>,
    completed: AtomicUsize,
    closed: AtomicBool,
    abandoned: AtomicBool,
}

impl Customers {
    /// The shop is at this address from now on.
    pub(crate) fn come_to(&self, address: String) {
        *self.address.lock().unwrap() = address;
    }

    /// Nobody begins another checkout.
    pub(crate) fn close(&self) {
        self.closed.store(true, SeqCst);
    }

    /// Nobody begins another checkout or waits for an answer any more.
    pub(crate) fn abandon(&self) {
        self.close();
        self.abandoned.store(true, SeqCst);
    }

    /// What lets all of them go when it is dropped, also by a panic: whoever waits for them would wait for ever.
    pub(crate) fn leave_at_the_end(&self) -> impl Drop + '_ {
        struct Leave<'a>(&'a Customers);
        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                self.0.abandon();
            }
        }
        Leave(self)
    }

    /// How many were told that their checkout is complete.
    pub(crate) fn completed(&self) -> usize {
        self.completed.load(SeqCst)
    }

    /// What customers were told, and what they complain of.
    pub(crate) fn into_told(self) -> (Vec<Told>, Vec<String>) {
        (self.told.into_inner().unwrap(), self.faults.into_inner().unwrap())
    }

    /// Buys until the shop is closed.
    pub(crate) fn buy(&self, mut rng: Rng) {
        while !self.closed.load(SeqCst) {
            self.buy_once(&mut rng);
            thread::sleep(Duration::from_millis(rng.u64(..20)));
        }
    }

    fn buy_once(&self, rng: &mut Rng) {
        let (request, key) = (any_request(rng), Uuid::from_u128(rng.u128(..)));
        let headers = format!("{HOST}Idempotency-Key: {key}\r\n");
        let wait = if rng.bool() { "?wait=2" } else { "" };
        let Some(first) = self.start(&format!("POST /checkout{wait}"), &headers, &request) else { return };
        if rng.u8(..4) == 0 {
            let again = self.start("POST /checkout", &headers, &request);
            if again.is_some_and(|again| again["task_id"] != first["task_id"]) {
                self.complain(format!("a repeated request has begun another checkout than {first}"));
            }
        }
        let (task, key) = (first["task_id"].as_str().unwrap(), first["task_key"].as_str().unwrap());
        if rng.u8(..CANCELS) == 0 {
            thread::sleep(Duration::from_millis(rng.u64(..50)));
            // Whether it is heard or not: the shop may be gone, and the checkout may have ended.
            let _ = self.ask(&format!("POST /cancel_checkout/{task}?key={key}"), HOST, "");
        }
        if let Ok((200, status)) = self.ask(&format!("GET /order_status/{task}?key={key}"), HOST, "") {
            self.note(&status);
        }
    }

    /// Sends this until it is answered. `None` if it is not taken.
    fn start(&self, request: &str, headers: &str, body: &str) -> Option<Value> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE && !self.abandoned.load(SeqCst) {
            match self.ask(request, headers, body) {
                Ok((202, answer)) => {
                    self.note(&answer);
                    return Some(answer);
                }
                // It takes no new checkouts for now, so nothing was begun.
                Ok((503, _)) if self.closed.load(SeqCst) => return None,
                Ok((503, _)) | Err(_) => thread::sleep(AGAIN),
                Ok((status, answer)) => {
                    self.complain(format!("the answer to a checkout is {status} {answer}"));
                    return None;
                }
            }
        }
        if !self.abandoned.load(SeqCst) {
            self.complain(format!("a checkout was not answered in {} s", PATIENCE.as_secs()));
        }
        None
    }

    fn ask(&self, request: &str, headers: &str, body: &str) -> std::io::Result<(u16, Value)> {
        let address = self.address.lock().unwrap().clone();
        running::ask(&address, request, headers, body)
    }

    fn note(&self, answer: &Value) {
        if answer["status"] == "completed" {
            self.completed.fetch_add(1, SeqCst);
        }
        self.told.lock().unwrap().extend(Told::of(answer));
    }

    /// Notes a fault.
    pub(crate) fn complain(&self, of: String) {
        self.faults.lock().unwrap().push(of);
    }
}

fn any_request(rng: &mut Rng) -> String {
    let kinds = if rng.u8(..FAILS) == 0 { &FAILING[..] } else { &KINDS };
    let &(token, product, quantity, cents) = rng.choice(kinds).unwrap();
    json!({"checkout": {
        "cart_items": [{"product_id": product, "quantity": quantity}],
        "payment_info": {"token": token, "amount": Money::from_cents(cents)},
        "customer_info": {"email": "test@example.com", "name": "Test Customer"},
    }})
    .to_string()
}
