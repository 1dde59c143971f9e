//! The report of a load test.

use crate::{
    Options,
    chaos::Done,
    checkouts::{End, Made},
    reconcile::Audit,
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};
use stepwell_tests::{cpu::FunctionTime, requests::Requests};

pub(crate) struct LoadReport<'a> {
    pub(crate) options: &'a Options,
    pub(crate) speed: Speed,
    pub(crate) cpu: Vec<FunctionTime>,
    /// The requests to AWS, where the emulator records them.
    pub(crate) requests: Option<Requests>,
    /// How long each of the same requests took without anything else, and the processor time of all, if that was asked for.
    pub(crate) floor: Option<(Duration, Vec<FunctionTime>)>,
    /// The faults, if any.
    pub(crate) chaos: Option<Done>,
    pub(crate) audit: Audit,
}

pub(crate) struct Speed {
    took: Duration,
    complete: usize,
    cancelled: usize,
    /// The latencies in milliseconds, sorted.
    latencies: Vec<u64>,
}

impl Speed {
    pub(crate) fn of(made: &[Made], took: Duration) -> Self {
        let latency = |one: &Made| match one.end {
            End::Complete { latency } => u64::try_from(latency.as_millis()).ok(),
            _ => None,
        };
        let mut latencies: Vec<u64> = made.iter().filter_map(latency).collect();
        latencies.sort_unstable();
        let cancelled = made.iter().filter(|made| matches!(made.end, End::Cancelled)).count();
        Self { took, complete: latencies.len(), cancelled, latencies }
    }

    fn throughput(&self) -> f64 {
        self.complete as f64 / self.took.as_secs_f64()
    }

    /// The latency at this percentile; `None` without any.
    fn percentile(&self, percent: usize) -> Option<u64> {
        let rank = (self.latencies.len() * percent).div_ceil(100).max(1);
        self.latencies.get(rank - 1).copied()
    }
}

impl LoadReport<'_> {
    pub(crate) fn print(&self) {
        let Options { checkouts, concurrency, .. } = self.options;
        println!("{checkouts} checkouts, {concurrency} at a time, in {:.1} s", self.speed.took.as_secs_f64());
        println!("  throughput               {:>8.1} a second", self.speed.throughput());
        for percent in [50, 95, 99, 100] {
            let latency = self.speed.percentile(percent).map_or("none".to_owned(), |ms| ms.to_string());
            println!("  POST to completed, {:<5} {latency:>8} ms", format!("p{percent}"));
        }
        match &self.chaos {
            None => self.print_cpu(),
            Some(done) => self.print_recovery(done),
        }
        let Audit { faults, .. } = &self.audit;
        if faults.is_empty() {
            println!("  none lost, none stuck, each charged once and the right amount, one order each, stock exact");
        } else {
            println!("  {} FAULTS", faults.len());
            for fault in faults.iter().take(20) {
                println!("    {fault}");
            }
        }
    }

    /// Killed workers take their processor time with them, so that there is no figure with faults.
    fn print_cpu(&self) {
        if self.cpu.is_empty() {
            println!("  CPU of our functions     not measured: their processes are not on this machine");
            return;
        }
        println!("  requests to AWS          {:>8.2} a checkout", self.requests_of(None));
        println!("  CPU of our functions     {:>8.2} ms a checkout", self.cpu_ms());
        if let Some((wait, floor)) = &self.floor {
            let wait = wait.as_millis();
            println!(
                "  the floor                {:>8.2} ms: as many requests, of {wait} ms each, and nothing else",
                self.sum_ms(floor)
            );
        }
        for FunctionTime { name, time } in &self.cpu {
            let requests = self.requests_of(Some(name));
            let floor = self.floor.iter().flat_map(|(_, functions)| functions).find(|floor| floor.name == *name);
            let floor = floor.map_or(String::new(), |floor| format!(", floor {:.2} ms", self.per_checkout(floor.time)));
            println!("    {name:<22} {:>8.2} ms, {requests:.2} requests{floor}", self.per_checkout(*time));
        }
    }

    /// The requests of a function, or of all, for each checkout.
    fn requests_of(&self, function: Option<&str>) -> f64 {
        let all = self.requests.iter().flatten();
        let of = all.filter(|(name, _)| function.is_none_or(|wanted| wanted == name.as_str()));
        let number: u32 = of.flat_map(|(_, operations)| operations.values()).sum();
        f64::from(number) / f64::from(self.options.checkouts)
    }

    fn print_recovery(&self, done: &Done) {
        let Audit { attempts_lost, attempts_failed, redrives, recovered, emails_again, .. } = &self.audit;
        done.print();
        println!("  complete                 {:>8}", self.speed.complete);
        println!("  cancelled, compensated   {:>8}", self.speed.cancelled);
        println!("  attempts lost            {attempts_lost:>8}");
        println!("  attempts failed          {attempts_failed:>8}");
        println!("  redriven by the engine   {redrives:>8}");
        println!("  recovered checkouts      {recovered:>8}");
        println!("  e-mails sent again       {emails_again:>8}");
    }

    pub(crate) fn json(&self) -> Value {
        let Self { options, speed, cpu, floor, chaos, audit, .. } = self;
        let functions: BTreeMap<&str, f64> =
            cpu.iter().map(|function| (function.name.as_str(), self.per_checkout(function.time))).collect();
        json!({
            "checkouts": options.checkouts,
            "concurrency": options.concurrency,
            "seconds": speed.took.as_secs_f64(),
            "complete": speed.complete,
            "cancelled": speed.cancelled,
            "throughput_per_second": speed.throughput(),
            "latency_ms": {
                "p50": speed.percentile(50), "p95": speed.percentile(95), "p99": speed.percentile(99),
                "max": speed.percentile(100),
            },
            "cpu_ms_per_checkout": (!cpu.is_empty()).then(|| self.cpu_ms()),
            "cpu_ms_per_checkout_by_function": functions,
            "requests_per_checkout": self.requests.is_some().then(|| self.requests_of(None)),
            "floor_ms_per_checkout": floor.as_ref().map(|(_, floor)| self.sum_ms(floor)),
            "done_to_it": chaos.as_ref().map(Done::json),
            "attempts_lost": audit.attempts_lost,
            "attempts_failed": audit.attempts_failed,
            "redrives": audit.redrives,
            "recovered": audit.recovered,
            "emails_again": audit.emails_again,
            "faults": audit.faults,
        })
    }

    fn cpu_ms(&self) -> f64 {
        self.sum_ms(&self.cpu)
    }

    fn sum_ms(&self, functions: &[FunctionTime]) -> f64 {
        self.per_checkout(functions.iter().map(|function| function.time).sum())
    }

    fn per_checkout(&self, time: Duration) -> f64 {
        time.as_secs_f64() * 1_000.0 / f64::from(self.options.checkouts)
    }
}
