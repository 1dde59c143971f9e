//! What came of the checkouts, in figures.

use super::world::Standing;
use serde::Serialize;
use std::{collections::BTreeMap, time::Duration};

/// What came of one checkout.
#[derive(Clone, Debug)]
pub struct Checkout {
    /// Whether the customer could be served at all.
    pub servable: bool,
    /// How it ended.
    pub end: End,
    /// Whether it had failed in between, and was then redriven by itself.
    pub redriven: bool,
    /// What stands for it in the world.
    pub standing: Standing,
    /// When it first met a failure that a client's own tries did not mend, since the start.
    pub trouble: Option<Duration>,
    /// When it came to its end, since the start.
    pub ended: Option<Duration>,
}

/// How a checkout ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The customer was told of an order.
    Ordered,
    /// The customer was told that there is none, and why.
    Failed(String),
    /// It has not come to an end, and nothing moves it any more.
    Stuck(String),
}

impl Checkout {
    /// Whether all is as it should be: one charge, one reservation, one order and a letter.
    fn is_whole(&self) -> bool {
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

    fn order_without_letter(&self) -> bool {
        self.standing.orders > 0 && self.standing.emails == 0
    }

    /// Whether nothing is left of it, as it has to be after a failure.
    fn is_undone(&self) -> bool {
        matches!(self.end, End::Failed(_)) && (Standing { emails: 0, ..self.standing }) == Standing::default()
    }
}

/// What came of all checkouts written in one way.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// How many checkouts there were.
    pub checkouts: usize,
    /// Of these, those whose customer was not told of an order.
    pub failed: usize,
    /// Of the failed ones, those whose customer could not be served in any case.
    pub unservable: usize,
    /// A customer has paid for more orders than there are.
    pub charged_without_order: usize,
    /// Stock was taken for more orders than there are.
    pub stock_without_order: usize,
    /// There is an order, and the customer has had no letter.
    pub order_without_letter: usize,
    /// Somebody has to look after it: it is neither whole nor undone.
    pub needing_hands: usize,
    /// Met a failure, other than one that a client's own tries mended.
    pub met_failures: usize,
    /// Of these, those that came out whole by themselves: one charge, stock taken once, one order, a letter.
    pub recovered: usize,
    /// Of the recovered ones, those that had failed in between, with the attempts of a step used up, and were redriven by
    /// themselves.
    pub redriven: usize,
    /// Of those that met failures, those that did not come out whole, though the customer could have been served.
    pub not_recovered: usize,
    /// How long recovering took, from the first failure to the end.
    pub seconds_to_recover: Option<Spread>,
    /// Why checkouts failed, and how many did so for that reason.
    pub reasons: BTreeMap<String, usize>,
}

/// How a set of durations is spread, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// Half of them are no longer.
    pub p50: f64,
    /// 99 in 100 are no longer.
    pub p99: f64,
    /// None is longer.
    pub longest: f64,
}

impl Figures {
    /// Counts.
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
            order_without_letter: count(Checkout::order_without_letter),
            needing_hands: count(|checkout| !checkout.is_whole() && !checkout.is_undone()),
            met_failures: count(|checkout| checkout.trouble.is_some()),
            recovered: recovered.len(),
            redriven: count(|checkout| checkout.redriven && checkout.is_whole()),
            not_recovered: count(|checkout| checkout.trouble.is_some() && checkout.servable && !checkout.is_whole()),
            seconds_to_recover: spread(recovered),
            reasons,
        }
    }

    /// How many in a hundred failed.
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

/// Whether a claim holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Claim {
    /// What is claimed of our checkout.
    pub claim: String,
    /// Whether the figures bear it out.
    pub holds: bool,
}

/// The most checkouts of ours that may fail, in percent.
pub const MOST_FAILED_PERCENT: f64 = 0.2;

/// What the comparison claims, held against our figures.
pub fn claims(ours: &Figures) -> Vec<Claim> {
    let claim = |holds, claim: String| Claim { claim, holds };
    vec![
        claim(ours.failed_percent() <= MOST_FAILED_PERCENT, format!("at most {MOST_FAILED_PERCENT} % fail")),
        claim(ours.failed == ours.unservable, "only customers fail who cannot be served".to_owned()),
        claim(ours.charged_without_order == 0, "nobody is charged without an order or a refund".to_owned()),
        claim(ours.needing_hands == 0, "none needs hands".to_owned()),
        claim(ours.not_recovered == 0, "every transient failure is recovered by itself".to_owned()),
    ]
}

/// The figures of several ways beside each other, as text.
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
        ("order without letter", &|figures| figures.order_without_letter.to_string()),
        ("needing hands", &|figures| figures.needing_hands.to_string()),
        ("met a failure that the client's tries did not mend", &|figures| figures.met_failures.to_string()),
        ("  of these recovered by itself", &|figures| figures.recovered.to_string()),
        ("    of these had failed and were redriven by itself", &|figures| figures.redriven.to_string()),
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

    fn undone() -> Checkout {
        Checkout { servable: false, end: End::Failed("NO".to_owned()), standing: Standing::default(), ..whole() }
    }

    fn broken_claims(checkouts: &[Checkout]) -> Vec<String> {
        let claims = claims(&Figures::of(checkouts)).into_iter();
        claims.filter(|claim| !claim.holds).map(|claim| claim.claim).collect()
    }

    #[test]
    fn who_cannot_be_served_may_fail_if_nothing_is_left_of_it() {
        let checkouts: Vec<Checkout> = std::iter::repeat_n(whole(), 999).chain([undone()]).collect();
        assert_eq!(broken_claims(&checkouts), [""; 0]);
    }

    #[test_case(Checkout { servable: true, ..undone() }, &["only customers fail who cannot be served"]; "servable")]
    #[test_case(Checkout { end: End::Stuck("PENDING".to_owned()), ..undone() }, &["none needs hands"]; "stuck")]
    #[test_case(Checkout { standing: Standing { charges: 2, ..whole().standing }, ..whole() },
        &["nobody is charged without an order or a refund", "none needs hands"]; "charged twice")]
    #[test_case(Checkout { standing: Standing { charges: 1, ..Standing::default() }, ..undone() },
        &["nobody is charged without an order or a refund", "none needs hands"]; "charged for nothing")]
    #[test_case(Checkout { standing: Standing { reservations: 1, ..Standing::default() }, ..undone() },
        &["none needs hands"]; "stock left behind")]
    #[test_case(Checkout { standing: Standing { emails: 0, ..whole().standing }, ..whole() },
        &["none needs hands"]; "no letter")]
    #[test_case(Checkout { standing: whole().standing, ..undone() }, &["none needs hands"]; "told of no order")]
    #[test_case(Checkout { servable: true, trouble: Some(Duration::ZERO), ..undone() },
        &["only customers fail who cannot be served", "every transient failure is recovered by itself"]; "not recovered")]
    fn what_breaks_a_claim(checkout: Checkout, broken: &[&str]) {
        let checkouts: Vec<Checkout> = std::iter::repeat_n(whole(), 999).chain([checkout]).collect();
        assert_eq!(broken_claims(&checkouts), broken);
    }

    #[test]
    fn three_failures_in_a_thousand_are_too_many() {
        let checkouts: Vec<Checkout> =
            std::iter::repeat_n(whole(), 997).chain(std::iter::repeat_n(undone(), 3)).collect();
        assert_eq!(broken_claims(&checkouts), ["at most 0.2 % fail"]);
    }

    #[test]
    fn recovering_lasts_from_the_first_failure_to_the_end() {
        let checkouts: Vec<Checkout> = (0..=100)
            .map(|second| Checkout { trouble: Some(Duration::from_millis(9_000 - second)), ..whole() })
            .collect();
        let spread = Figures::of(&checkouts).seconds_to_recover.unwrap();
        assert_eq!((spread.p50, spread.p99, spread.longest), (0.05, 0.099, 0.1));
    }
}
