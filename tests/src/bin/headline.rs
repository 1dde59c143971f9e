//! temp
#![allow(clippy::print_stdout)]
use stepwell_tests::headline::{Settings, Way};
use std::time::Instant;
fn main() {
    let n: usize = std::env::args().nth(1).and_then(|s| s.parse().ok()).unwrap_or(1000);
    let seed: u64 = std::env::args().nth(2).and_then(|s| s.parse().ok()).unwrap_or(1);
    let mut settings = Settings::new(seed, n);
    if let Some(limit) = std::env::args().nth(3) {
        for old in 2..6 { settings.workflow = settings.workflow.replace(&format!("default_retry_limit: {old}\n"), &format!("default_retry_limit: {limit}\n")); }
    }
    let t = Instant::now();
    let rate = settings.calibrate(0.15);
    println!("{rate} {:?}", t.elapsed());
    for way in [Way::OnePiece, Way::OnePieceSentAgain, Way::Stepwell] {
        let t = Instant::now();
        println!("{way:?} {:#?} {:?}", settings.run(way, rate), t.elapsed());
    }
}
