//! Plays networks by hand: `sweep FROM TO`, or `sweep SEED` for one.

#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;

fn main() {
    let numbers: Vec<u64> = std::env::args()
        .skip(1)
        .filter_map(|a| a.parse().ok())
        .collect();
    let (from, to) = match numbers[..] {
        [one] => (one, one + 1),
        [from, to] => (from, to),
        _ => (0, 100),
    };
    let begin = std::time::Instant::now();
    let swept = guywire_sim::sweep::sweep(from..to);
    let mut kinds = BTreeMap::<String, Vec<u64>>::new();
    for failure in &swept.failures {
        println!("{failure}");
        let text: String = failure
            .trouble
            .to_string()
            .chars()
            .filter(|c| !c.is_ascii_digit())
            .take(60)
            .collect();
        kinds.entry(text).or_default().push(failure.seed);
    }
    for (kind, seeds) in &kinds {
        println!(
            "{:5} {kind}: {:?}",
            seeds.len(),
            &seeds[..seeds.len().min(8)]
        );
    }
    if numbers.len() == 1 {
        println!("{:#?}", swept.outcomes);
    }
    let steps: u64 = swept.outcomes.iter().map(|o| o.steps).sum();
    println!(
        "{} good, {} bad, {:?} virtual, {steps} steps, {:?}",
        swept.outcomes.len(),
        swept.failures.len(),
        swept.elapsed(),
        begin.elapsed()
    );
}
