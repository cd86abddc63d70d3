//! One bonded transfer over links that chance has put together.

use anyhow::Result;
use serde_json::json;
use xtask::lab::Lab;

use super::super::Run;
use super::super::goodput::{Direction, Way, alone, goodput};
use super::super::report::{Bound, Report};
use super::super::sample::{Choices, least, median};

/// Sets of links.
const SETS: usize = 30;
/// The most that the links of a set carry together, in Mbit/s.
const MOST: u64 = 400;
/// The median of the shares of the sum is at least this, in percent.
const OF_SUM: f64 = 96.0;
/// No transfer is slower than this share of the best single link, in percent.
const OF_BEST: f64 = 97.0;

pub(super) fn measure(run: &Run, report: &mut Report) -> Result<()> {
    let (mut of_sum, mut of_best) = (Vec::new(), Vec::new());
    let sets = run.part.share(sets(run.pick(SETS, 4)));
    report.condition(format!(
        "{} seeded sets of 2 to 5 links, 2 to 200 Mbit/s, at most {MOST} Mbit/s together, 5 to 300 ms, \
         half of them with up to 2 % of loss; downloads and uploads in turn",
        sets.len()
    ));
    for (links, direction) in sets {
        let lab = Lab::up(&run.binary, "links", &links)?;
        let count = links.split(',').count();
        let alone = alone(run, &lab, report, &links, direction, count)?;
        let bonded = goodput(run, &lab, report, &links, direction, Way::Bonded)?;
        let best = alone.iter().copied().fold(0.0, f64::max);
        let sum = bonded * 100.0 / alone.iter().sum::<f64>();
        let of_one = bonded * 100.0 / best;
        run.say(format_args!(
            "{sum:.1} % of the sum, {of_one:.0} % of the best"
        ));
        report.sample(json!({
            "links": links, "direction": direction.to_string(), "alone_mbps": alone,
            "bonded_mbps": bonded, "of_sum_percent": sum, "of_best_percent": of_one,
        }));
        of_sum.push(sum);
        of_best.push(of_one);
    }
    report.judge(
        "share of the sum: median",
        median(&of_sum),
        "%",
        Bound::AtLeast(OF_SUM),
    );
    report.note("share of the sum: least", least(&of_sum), "%");
    report.judge(
        "share of the best single link: least",
        least(&of_best),
        "%",
        Bound::AtLeast(OF_BEST),
    );
    Ok(())
}

/// The first `count` of the seeded sets, as a lab reads them, and which way their transfer goes.
pub(super) fn sets(count: usize) -> Vec<(String, Direction)> {
    let mut choices = Choices::seeded(5);
    let mut sets = Vec::with_capacity(count);
    while sets.len() < count {
        let links: Vec<Link> = (0..2 + choices.below(4))
            .map(|_| Link::drawn(&mut choices))
            .collect();
        if links.iter().map(|link| link.rate).sum::<u64>() <= MOST {
            let texts: Vec<String> = links.iter().map(Link::spec).collect();
            sets.push((texts.join(","), Direction::BOTH[sets.len() % 2]));
        }
    }
    sets
}

/// A link drawn by chance.
struct Link {
    /// In Mbit/s.
    rate: u64,
    /// In ms.
    round_trip: u64,
    /// In tenths of a percent.
    loss: usize,
}

impl Link {
    fn drawn(choices: &mut Choices) -> Self {
        Self {
            rate: spread(choices, 2.0, 200.0),
            round_trip: spread(choices, 5.0, 300.0),
            loss: choices.below(2) * choices.below(21),
        }
    }

    fn spec(&self) -> String {
        let Self {
            rate, round_trip, ..
        } = self;
        let mut spec = format!("{rate}mbit/{round_trip}ms");
        if self.loss > 0 {
            spec += &format!("/loss{}.{}%", self.loss / 10, self.loss % 10);
        }
        spec
    }
}

/// A number from `least` to `most`, every order of magnitude as likely as another: of links as they
/// are, few are fast or long.
fn spread(choices: &mut Choices, least: f64, most: f64) -> u64 {
    const STEPS: usize = 1_000;
    let share = choices.below(STEPS + 1) as f64 / STEPS as f64;
    (least * (most / least).powf(share)).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_within_their_bounds_and_always_the_same() {
        let drawn = sets(SETS);
        assert_eq!(drawn, sets(SETS));
        assert_eq!(drawn.len(), SETS);
        let lossy = drawn.iter().filter(|(links, _)| links.contains("loss"));
        assert!((SETS / 2..SETS).contains(&lossy.count()));
        for (links, _) in &drawn {
            let rates = links.split(',').map(|link| {
                let (rate, _) = link.split_once("mbit/").expect("a rate comes first");
                rate.parse::<u64>().expect("whole megabits")
            });
            assert!((2..=5).contains(&links.split(',').count()), "{links}");
            assert!(
                rates.clone().all(|rate| (2..=200).contains(&rate)),
                "{links}"
            );
            assert!(rates.sum::<u64>() <= MOST, "{links}");
        }
    }
}
