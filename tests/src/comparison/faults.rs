//! The faults that calls meet: a function of the seed and the rate, the same for every design.
//!
//! Faults come in two ways, and one rate measures both:
//!
//! * **single faults**: any try of any call fails with a probability of `rate`;
//! * **outages**: each service is out for a share of `rate` of all time, in outages of 2 seconds to 5 minutes, most of
//!   them short. During an outage nine tries in ten fail, all of them in the same way.
//!
//! The process that makes a call dies at it with a tenth of that probability, right before or right after the call
//! takes effect.
//!
//! The fault that a try meets depends on the seed, the checkout's number, the service and the number of tries that this
//! checkout has made there before. So two designs meet the same faults as long as they make the same calls, and they
//! meet the same outages in any case.

use fastrand::Rng;
use std::time::Duration;

/// A service that is called over a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// The products' table, for reads.
    Catalogue,
    /// The products' table, for reservations of stock.
    Stock,
    /// The payment gateway.
    Gateway,
    /// The orders' table.
    Orders,
    /// The mail service.
    Mail,
    /// The engine's table.
    EngineTable,
    /// The engine's queues.
    EngineQueue,
}

impl Service {
    /// The number of services.
    pub const COUNT: usize = 7;
    const ALL: [Self; Self::COUNT] =
        [Self::Catalogue, Self::Stock, Self::Gateway, Self::Orders, Self::Mail, Self::EngineTable, Self::EngineQueue];
}

/// How a try fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The service throttled the try. It had no effect.
    Throttled,
    /// The service failed, and said so. It had no effect.
    Failed,
    /// No answer came. It had no effect.
    NoAnswer,
    /// No answer came. It had its effect all the same.
    AnswerLost,
}

impl Trouble {
    const ALL: [Self; 4] = [Self::Throttled, Self::Failed, Self::NoAnswer, Self::AnswerLost];
}

/// What happens at one try of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The try succeeds.
    Well,
    /// The try fails.
    Fails(Trouble),
    /// The process dies before the call takes effect.
    DiesBefore,
    /// The process dies after the call has taken effect, before it reads the answer.
    DiesAfter,
}

/// An outage of one service.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Outage {
    from: Duration,
    to: Duration,
    how: Trouble,
}

const SHORTEST_OUTAGE_SECONDS: f64 = 2.0;
const LONGEST_OUTAGE_SECONDS: f64 = 300.0;

/// The share of tries that fail during an outage.
const SEVERITY: f64 = 0.9;

/// The probability that a process dies at a call, as a share of the probability that the call fails.
const DEATHS: f64 = 0.1;

/// Reads a rate of faults from the command line.
///
/// # Errors
/// It is not a number from 0 to below 1.
pub fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (0.0..1.0).contains(rate));
    rate.ok_or_else(|| format!("`{text}` is not a number from 0 to below 1"))
}

/// All faults of one run.
#[derive(Debug)]
pub struct Faults {
    seed: u64,
    rate: f64,
    outages: [Vec<Outage>; Service::COUNT],
}

impl Faults {
    /// Makes the faults of this seed at this rate, which is from 0 to below 1. Outages begin within `span` from the
    /// start.
    pub fn new(seed: u64, rate: f64, span: Duration) -> Self {
        Self { seed, rate, outages: Service::ALL.map(|service| outages(seed, service, rate, span)) }
    }

    /// Says what happens to the `number`-th try (from 0) of this checkout at a service, at a time since the start.
    pub fn at(&self, checkout: usize, service: Service, number: u32, now: Duration) -> Event {
        let mut rng = stream(self.seed, [1, checkout as u64, service as u64, number.into()]);
        let (death, outage, alone) = (rng.f64(), rng.f64(), rng.f64());
        let (before, how) = (rng.bool(), Trouble::ALL[rng.usize(..Trouble::ALL.len())]);
        if death < self.rate * DEATHS {
            return if before { Event::DiesBefore } else { Event::DiesAfter };
        }
        match self.outage(service, now) {
            Some(found) if outage < SEVERITY => Event::Fails(found.how),
            _ if alone < self.rate => Event::Fails(how),
            _ => Event::Well,
        }
    }

    /// Whether SQS delivers an acknowledged message once more. Standard queues deliver at least once.
    pub fn delivered_again(&self, checkout: usize, message: u64, received: u32) -> bool {
        stream(self.seed, [6, checkout as u64, message, received.into()]).f64() < self.rate
    }

    /// A stream of random numbers for everything else about a try, such as its latency.
    pub fn random(&self, checkout: usize, service: Service, number: u32) -> Rng {
        stream(self.seed, [4, checkout as u64, service as u64, number.into()])
    }

    fn outage(&self, service: Service, now: Duration) -> Option<&Outage> {
        let outages = &self.outages[service as usize];
        let next = outages.partition_point(|outage| outage.to <= now);
        outages.get(next).filter(|outage| outage.from <= now)
    }
}

/// Draws when a service is out. Lengths are spread evenly over the orders of magnitude, and gaps are exponential.
fn outages(seed: u64, service: Service, rate: f64, span: Duration) -> Vec<Outage> {
    let mut outages = Vec::new();
    if rate <= 0.0 {
        return outages;
    }
    let range = (LONGEST_OUTAGE_SECONDS / SHORTEST_OUTAGE_SECONDS).ln();
    let mean = (LONGEST_OUTAGE_SECONDS - SHORTEST_OUTAGE_SECONDS) / range;
    let mean_gap = mean * (1.0 - rate) / rate;
    let mut rng = stream(seed, [2, service as u64, 0, 0]);
    let mut now = 0.0;
    loop {
        let from = now - mean_gap * (1.0 - rng.f64()).ln();
        let to = from + SHORTEST_OUTAGE_SECONDS * (range * rng.f64()).exp();
        // The outage may throttle, fail or stay silent. While it is silent some requests still take effect.
        let how = Trouble::ALL[rng.usize(..Trouble::ALL.len())];
        if from > span.as_secs_f64() {
            return outages;
        }
        outages.push(Outage { from: Duration::from_secs_f64(from), to: Duration::from_secs_f64(to), how });
        now = to;
    }
}

/// A stream of random numbers that depends on the seed and on its purpose alone.
pub fn stream(seed: u64, of: [u64; 4]) -> Rng {
    let mixed = of.into_iter().fold(seed, |mixed, part| Rng::with_seed(mixed ^ part).u64(..));
    Rng::with_seed(mixed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    #[test]
    fn service_is_out_for_its_share_of_the_time_and_outages_do_not_overlap() {
        let faults = Faults::new(1, 0.1, 30 * DAY);
        for outages in &faults.outages {
            let out: Duration = outages.iter().map(|outage| outage.to - outage.from).sum();
            let share = out.as_secs_f64() / (30 * DAY).as_secs_f64();
            assert!((0.09..0.11).contains(&share), "{share}");
            assert!(outages.is_sorted_by(|a, b| a.to < b.from));
        }
    }

    #[test]
    fn outside_an_outage_tries_fail_at_the_rate() {
        let faults = Faults { seed: 1, rate: 0.1, outages: Default::default() };
        let events = (0..100_000).map(|checkout| faults.at(checkout, Service::Stock, 0, Duration::ZERO));
        let events: Vec<Event> = events.collect();
        let share = |wanted: fn(&Event) -> bool| events.iter().filter(|event| wanted(event)).count() as f64 / 1e5;
        assert!((0.095..0.105).contains(&share(|event| matches!(event, Event::Fails(_)))));
        assert!((0.009..0.011).contains(&share(|event| matches!(event, Event::DiesBefore | Event::DiesAfter))));
    }

    #[test]
    fn in_an_outage_most_tries_fail_in_the_same_way() {
        let faults = Faults::new(1, 0.01, DAY);
        let outage = faults.outages[Service::Mail as usize][0];
        let events = (0..1_000).map(|number| faults.at(7, Service::Mail, number, outage.from));
        let failed = events.filter(|event| *event == Event::Fails(outage.how)).count();
        assert!((850..950).contains(&failed), "{failed}");
        assert_eq!(faults.outage(Service::Mail, outage.to), None);
    }

    #[test]
    fn without_a_rate_no_try_fails() {
        let faults = Faults::new(1, 0.0, DAY);
        let well = |number| faults.at(3, Service::Gateway, number, Duration::from_secs(60)) == Event::Well;
        assert!((0..1_000).all(well));
    }
}
