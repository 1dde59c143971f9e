//! The report: how the checkouts ended, counted.

use super::world::Standing;
use serde::Serialize;
use std::{collections::BTreeMap, time::Duration};

/// How one checkout ended.
#[derive(Clone, Debug)]
pub struct Checkout {
    /// Whether the customer could be served.
    pub servable: bool,
    /// How it ended.
    pub end: End,
    /// Whether it had failed in between and the engine redrove it.
    pub redriven: bool,
    /// Its charges, reservations, orders and e-mails.
    pub standing: Standing,
    /// The time since the start at which it first met a failure that survived the client's retries.
    pub trouble: Option<Duration>,
    /// The time since the start at which it ended.
    pub ended: Option<Duration>,
}

/// How a checkout ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The customer was told of an order.
    Ordered,
    /// The customer was told that there is no order, with this reason.
    Failed(String),
    /// It is open, and nothing moves it any more.
    Stuck(String),
}

impl Checkout {
    /// Whether it is complete: one charge, one reservation, one order and an e-mail.
    pub(super) fn is_whole(&self) -> bool {
        let Standing { charges, reservations, orders, emails } = self.standing;
        self.end == End::Ordered && (charges, reservations, orders) == (1, 1, 1) && emails > 0
    }

    fn failed(&self) -> bool {
        self.end != End::Ordered
    }

    fn charged_without_order(&self) -> bool {
        self.standing.charges > self.standing.orders
    }

    fn stock_without_order(&self) -> bool {
        self.standing.reservations > self.standing.orders
    }

    fn order_without_email(&self) -> bool {
        self.standing.orders > 0 && self.standing.emails == 0
    }

    /// Whether it failed and left nothing behind.
    pub(super) fn is_compensated(&self) -> bool {
        matches!(self.end, End::Failed(_)) && (Standing { emails: 0, ..self.standing }) == Standing::default()
    }
}

/// How all checkouts of one design ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// The number of checkouts.
    pub checkouts: usize,
    /// The checkouts whose customer was not told of an order.
    pub failed: usize,
    /// The failed checkouts whose customer could not be served in any case.
    pub unservable: usize,
    /// The checkouts with more charges than orders.
    pub charged_without_order: usize,
    /// The checkouts with more reservations than orders.
    pub stock_without_order: usize,
    /// The checkouts with an order and no e-mail.
    pub order_without_email: usize,
    /// The checkouts that a person has to reconcile: neither complete nor compensated.
    pub needing_reconciliation: usize,
    /// The checkouts that met a failure which survived the client's retries.
    pub met_failures: usize,
    /// Of these, those that completed without a person: one charge, one reservation, one order, an e-mail.
    pub recovered: usize,
    /// Of the recovered ones, those that had failed with a step's attempts used up, and that the engine redrove.
    pub redriven: usize,
    /// Of those that met failures, those that did not complete although the customer could be served.
    pub not_recovered: usize,
    /// The time from the first failure to the end of the recovered ones.
    pub seconds_to_recover: Option<Spread>,
    /// The number of failed checkouts by reason.
    pub reasons: BTreeMap<String, usize>,
}

/// The spread of a set of durations, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The median.
    pub p50: f64,
    /// The 99th percentile.
    pub p99: f64,
    /// The maximum.
    pub longest: f64,
}

impl Figures {
    /// Counts these checkouts.
    pub fn of(checkouts: &[Checkout]) -> Self {
        let count = |which: fn(&Checkout) -> bool| checkouts.iter().filter(|&checkout| which(checkout)).count();
        let recovered = checkouts.iter().filter(|checkout| checkout.is_whole());
        let recovered: Vec<Duration> =
            recovered.filter_map(|checkout| Some(checkout.ended?.saturating_sub(checkout.trouble?))).collect();
        let mut reasons = BTreeMap::new();
        for checkout in checkouts {
            if let End::Failed(why) | End::Stuck(why) = &checkout.end {
                *reasons.entry(why.clone()).or_default() += 1;
            }
        }
        Self {
            checkouts: checkouts.len(),
            failed: count(Checkout::failed),
            unservable: count(|checkout| checkout.failed() && !checkout.servable),
            charged_without_order: count(Checkout::charged_without_order),
            stock_without_order: count(Checkout::stock_without_order),
            order_without_email: count(Checkout::order_without_email),
            needing_reconciliation: count(|checkout| !checkout.is_whole() && !checkout.is_compensated()),
            met_failures: count(|checkout| checkout.trouble.is_some()),
            recovered: recovered.len(),
            redriven: count(|checkout| checkout.redriven && checkout.is_whole()),
            not_recovered: count(|checkout| checkout.trouble.is_some() && checkout.servable && !checkout.is_whole()),
            seconds_to_recover: spread(recovered),
            reasons,
        }
    }

    /// The failed checkouts, in percent.
    pub fn failed_percent(&self) -> f64 {
        100.0 * self.failed as f64 / self.checkouts.max(1) as f64
    }
}

fn spread(mut durations: Vec<Duration>) -> Option<Spread> {
    durations.sort_unstable();
    let last = durations.len().checked_sub(1)?;
    let at = |part: f64| durations[(last as f64 * part).ceil() as usize].as_secs_f64();
    Some(Spread { p50: at(0.5), p99: at(0.99), longest: at(1.0) })
}

/// A claim, and whether it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Claim {
    /// The claim about the Stepwell checkout.
    pub claim: String,
    /// Whether the figures confirm it.
    pub holds: bool,
}

/// The failure rate that the claims allow, in percent.
pub const MAX_FAILED_PERCENT: f64 = 0.2;

/// The comparison's claims, checked against Stepwell's figures.
pub fn claims(ours: &Figures) -> Vec<Claim> {
    let claim = |holds, claim: String| Claim { claim, holds };
    vec![
        claim(ours.failed_percent() <= MAX_FAILED_PERCENT, format!("at most {MAX_FAILED_PERCENT} % fail")),
        claim(ours.failed == ours.unservable, "only customers fail who cannot be served".to_owned()),
        claim(ours.charged_without_order == 0, "nobody is charged without an order or a refund".to_owned()),
        claim(ours.needing_reconciliation == 0, "none needs reconciliation".to_owned()),
        claim(ours.not_recovered == 0, "every transient failure is recovered by itself".to_owned()),
    ]
}

/// The figures of several designs side by side, as text.
pub fn table(columns: &[(&str, &Figures)]) -> String {
    let percent = |figures: &Figures| format!("{:.2} %", figures.failed_percent());
    let spread = |figures: &Figures| match figures.seconds_to_recover {
        Some(Spread { p50, p99, longest }) => format!("{p50:.0} / {p99:.0} / {longest:.0} s"),
        None => "-".to_owned(),
    };
    type Cell<'a> = &'a dyn Fn(&Figures) -> String;
    let rows: [(&str, Cell<'_>); 12] = [
        ("failed", &percent),
        ("failed, checkouts", &|figures| figures.failed.to_string()),
        ("  of these cannot be served at all", &|figures| figures.unservable.to_string()),
        ("charged without order or refund", &|figures| figures.charged_without_order.to_string()),
        ("stock taken without order", &|figures| figures.stock_without_order.to_string()),
        ("order without e-mail", &|figures| figures.order_without_email.to_string()),
        ("needing reconciliation", &|figures| figures.needing_reconciliation.to_string()),
        ("met a failure that survived the client's retries", &|figures| figures.met_failures.to_string()),
        ("  of these recovered by itself", &|figures| figures.recovered.to_string()),
        ("    of these had failed and were redriven by the engine", &|figures| figures.redriven.to_string()),
        ("  of these did not, though servable", &|figures| figures.not_recovered.to_string()),
        ("time to recover: p50 / p99 / longest", &spread),
    ];
    let heading = ("", columns.iter().map(|(name, _)| (*name).to_owned()).collect::<Vec<_>>());
    let rows = rows.iter().map(|(what, cell)| (*what, columns.iter().map(|(_, figures)| cell(figures)).collect()));
    let line = |(what, cells): (&str, Vec<String>)| {
        let cells: String = cells.iter().map(|cell| format!("{cell:>26}")).collect();
        format!("{what:<52}{cells}\n")
    };
    std::iter::once(heading).chain(rows).map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_case::test_case;

    fn whole() -> Checkout {
        let standing = Standing { charges: 1, reservations: 1, orders: 1, emails: 1 };
        let (end, ended) = (End::Ordered, Some(Duration::from_secs(9)));
        Checkout { servable: true, end, redriven: false, standing, trouble: None, ended }
    }

    fn compensated() -> Checkout {
        Checkout { servable: false, end: End::Failed("NO".to_owned()), standing: Standing::default(), ..whole() }
    }

    fn broken_claims(checkouts: &[Checkout]) -> Vec<String> {
        let claims = claims(&Figures::of(checkouts)).into_iter();
        claims.filter(|claim| !claim.holds).map(|claim| claim.claim).collect()
    }

    #[test]
    fn unservable_customer_may_fail_when_nothing_is_left_behind() {
        let checkouts: Vec<Checkout> = std::iter::repeat_n(whole(), 999).chain([compensated()]).collect();
        assert_eq!(broken_claims(&checkouts), [""; 0]);
    }

    #[test_case(Checkout { servable: true, ..compensated() }, &["only customers fail who cannot be served"]; "servable")]
    #[test_case(Checkout { end: End::Stuck("PENDING".to_owned()), ..compensated() }, &["none needs reconciliation"]; "stuck")]
    #[test_case(Checkout { standing: Standing { charges: 2, ..whole().standing }, ..whole() },
        &["nobody is charged without an order or a refund", "none needs reconciliation"]; "charged twice")]
    #[test_case(Checkout { standing: Standing { charges: 1, ..Standing::default() }, ..compensated() },
        &["nobody is charged without an order or a refund", "none needs reconciliation"]; "charged for nothing")]
    #[test_case(Checkout { standing: Standing { reservations: 1, ..Standing::default() }, ..compensated() },
        &["none needs reconciliation"]; "stock left behind")]
    #[test_case(Checkout { standing: Standing { emails: 0, ..whole().standing }, ..whole() },
        &["none needs reconciliation"]; "no e-mail")]
    #[test_case(Checkout { standing: whole().standing, ..compensated() }, &["none needs reconciliation"]; "told of no order")]
    #[test_case(Checkout { servable: true, trouble: Some(Duration::ZERO), ..compensated() },
        &["only customers fail who cannot be served", "every transient failure is recovered by itself"]; "not recovered")]
    fn defect_breaks_its_claims(checkout: Checkout, broken: &[&str]) {
        let checkouts: Vec<Checkout> = std::iter::repeat_n(whole(), 999).chain([checkout]).collect();
        assert_eq!(broken_claims(&checkouts), broken);
    }

    #[test]
    fn three_failures_in_a_thousand_break_the_claim() {
        let checkouts: Vec<Checkout> =
            std::iter::repeat_n(whole(), 997).chain(std::iter::repeat_n(compensated(), 3)).collect();
        assert_eq!(broken_claims(&checkouts), ["at most 0.2 % fail"]);
    }

    #[test]
    fn recovery_time_runs_from_the_first_failure_to_the_end() {
        let checkouts: Vec<Checkout> = (0..=100)
            .map(|second| Checkout { trouble: Some(Duration::from_millis(9_000 - second)), ..whole() })
            .collect();
        let spread = Figures::of(&checkouts).seconds_to_recover.unwrap();
        assert_eq!((spread.p50, spread.p99, spread.longest), (0.05, 0.099, 0.1));
    }
}
