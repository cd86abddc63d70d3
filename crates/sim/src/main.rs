//! Plays networks by hand.
//!
//! ```text
//! guywire-sim sweep COUNT [FIRST]   many networks on all cores; the last line is JSON
//! guywire-sim replay SEED           one network, with what occurred in it
//! guywire-sim scenario FILE         a scenario of the lab
//! guywire-sim schedulers            the names of every scheduler that is built in
//! guywire-sim innocent COUNT NAME   that scheduler over many networks; the last line is JSON
//! guywire-sim twins COUNT           every BPF scheduler beside its native twin; a JSON line for each
//! ```

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use guywire_lab::scenario::Scenario;
use guywire_sim::schedulers;
use guywire_sim::sweep::{Swept, sweep};
use guywire_sim::twins::{TWINS, compare};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let played = match words[..] {
        ["sweep", count] => many(count, "0"),
        ["sweep", count, first] => many(count, first),
        ["replay", seed] => one(seed),
        ["scenario", file] => scenario(file),
        ["schedulers"] => schedulers(),
        ["innocent", count, name] => innocent(count, name),
        ["twins", count] => twins(count),
        _ => Err(
            "usage: guywire-sim sweep COUNT [FIRST] | replay SEED | scenario FILE | schedulers | \
             innocent COUNT NAME | twins COUNT"
                .to_owned(),
        ),
    };
    match played {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(text) => {
            eprintln!("{text}");
            ExitCode::from(2)
        }
    }
}

fn number(text: &str) -> Result<u64, String> {
    let read = text.parse();
    read.map_err(|_| format!("{text:?} is no seed or count; write a whole number"))
}

fn many(count: &str, first: &str) -> Result<bool, String> {
    let (first, count) = (number(first)?, number(count)?);
    let begin = Instant::now();
    let swept = sweep(first..first.saturating_add(count));
    for failure in &swept.failures {
        println!("{failure}");
    }
    println!("{}", json(&swept, begin.elapsed().as_secs_f64()));
    Ok(swept.failures.is_empty())
}

fn json(swept: &Swept, seconds: f64) -> String {
    let seeds: Vec<u64> = swept.failures.iter().map(|failure| failure.seed).collect();
    let networks = swept.outcomes.len() + swept.failures.len();
    let hours = swept.elapsed().as_secs_f64() / 3_600.0;
    let bytes: u64 = swept
        .outcomes
        .iter()
        .map(|outcome| outcome.seen.bytes)
        .sum();
    let steps: u64 = swept.outcomes.iter().map(|outcome| outcome.steps).sum();
    let standing = swept.outcomes.iter().map(|o| o.seen.longest_stand_ms).max();
    format!(
        "{{\"networks\":{networks},\"virtual_hours\":{hours:.3},\"bytes\":{bytes},\"steps\":{steps},\
         \"longest_stand_ms\":{},\"seconds\":{seconds:.1},\"failed_seeds\":{seeds:?}}}",
        standing.unwrap_or(0)
    )
}

fn schedulers() -> Result<bool, String> {
    for factory in schedulers::all() {
        println!("{}", factory.name());
    }
    Ok(true)
}

fn innocent(count: &str, name: &str) -> Result<bool, String> {
    let count = number(count)?;
    let mut all = schedulers::all().into_iter();
    let factory = all
        .find(|factory| factory.name() == name)
        .ok_or_else(|| format!("there is no scheduler {name}; `guywire-sim schedulers` has all"))?;
    let swept = schedulers::play(&factory, 0..count);
    let ejected: Vec<_> = swept
        .outcomes
        .iter()
        .filter(|outcome| !outcome.ejected.is_empty())
        .collect();
    for failure in &swept.failures {
        println!("{name}: {failure}");
    }
    for outcome in &ejected {
        println!("{name}: seed {}: {:?}", outcome.seed, outcome.ejected);
    }
    println!(
        "{{\"scheduler\":\"{name}\",\"networks\":{},\"failures\":{},\"ejected\":{}}}",
        swept.outcomes.len() + swept.failures.len(),
        swept.failures.len(),
        ejected.len()
    );
    Ok(swept.failures.is_empty() && ejected.is_empty())
}

fn twins(count: &str) -> Result<bool, String> {
    let count = number(count)?;
    let mut alike = true;
    for (bpf, native) in TWINS {
        let compared = compare(bpf, native, count, 1);
        alike &= compared.is_ok();
        if let Err(what) = &compared {
            println!("{bpf}: {what}");
        }
        let same = compared.is_ok();
        println!(
            "{{\"bpf\":\"{bpf}\",\"native\":\"{native}\",\"states\":{count},\"alike\":{same}}}"
        );
    }
    Ok(alike)
}

fn one(seed: &str) -> Result<bool, String> {
    Ok(tell(guywire_sim::run(number(seed)?)))
}

fn scenario(file: &str) -> Result<bool, String> {
    let scenario = Scenario::load(Path::new(file)).map_err(|error| error.to_string())?;
    let scheduler = guywire_sched::Factory::default();
    let network = guywire_sim::scenario::network(&scenario, scheduler);
    let network = network.map_err(|error| error.to_string())?;
    Ok(tell(guywire_sim::replay(&network)))
}

fn tell(played: Result<guywire_sim::Outcome, guywire_sim::Failure>) -> bool {
    match &played {
        Ok(outcome) => println!("{outcome:#?}"),
        Err(failure) => println!("{failure}"),
    }
    played.is_ok()
}
