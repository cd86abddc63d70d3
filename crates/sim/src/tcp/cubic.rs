//! CUBIC after RFC 9438, window in segments, with the delay rule by which Linux's leaves slow start
//! early (HyStart, net/ipv4/tcp_cubic.c).

use std::time::Duration;

use guywire_flow::Time;

use super::congestion::{INITIAL, Sample};

/// How steep the cube is (RFC 9438, section 5).
const C: f64 = 0.4;
/// What is kept of the window at a loss (section 4.6).
const BETA: f64 = 0.7;
/// What the window of the Reno-friendly region gains for a window of acknowledgements (section 4.3).
const ALPHA: f64 = 3.0 * (1.0 - BETA) / (1.0 + BETA);
/// The target is at most so many times the window (section 4.4).
const FURTHEST: f64 = 1.5;
/// The smallest window after a loss.
const FLOOR: f64 = 2.0;
/// Round trips of a round that slow start looks at.
const SAMPLES: u32 = 8;
/// Slow start ends when they exceed the smallest by an eighth, within these bounds.
const RISE: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(4)..=Duration::from_millis(16);

/// See the module.
#[derive(Debug)]
pub struct Cubic {
    window: f64,
    threshold: f64,
    /// The window at the last loss, or below it where it fell twice in a row.
    most: f64,
    /// The window before the last loss.
    prior: f64,
    /// The stage of congestion avoidance, from its first acknowledgement on.
    stage: Option<Stage>,
    start: SlowStart,
}

/// Since the window was cut, or slow start ended.
#[derive(Debug)]
struct Stage {
    began: Time,
    /// Seconds until the cube is back at the window before the loss.
    k: f64,
    /// What Reno would have by now.
    reno: f64,
}

/// What slow start has seen of the queue.
#[derive(Debug)]
struct SlowStart {
    least: Duration,
    round_ends: u64,
    of_round: Duration,
    samples: u32,
}

impl Cubic {
    pub(super) fn new() -> Cubic {
        Cubic {
            window: INITIAL as f64,
            threshold: f64::INFINITY,
            most: 0.0,
            prior: 0.0,
            stage: None,
            start: SlowStart {
                least: Duration::MAX,
                round_ends: 0,
                of_round: Duration::MAX,
                samples: 0,
            },
        }
    }

    pub(super) fn window(&self) -> u64 {
        (self.window as u64).max(1)
    }

    pub(super) fn handle_ack(&mut self, sample: &Sample) {
        if sample.loss_begins {
            self.cut();
        } else if !sample.recovering {
            self.grow(sample);
        }
    }

    pub(super) fn handle_timeout(&mut self) {
        if self.window > 1.0 {
            self.cut();
        }
        // The cube begins anew where slow start ends (section 4.8).
        self.window = 1.0;
        self.most = 0.0;
    }

    fn cut(&mut self) {
        // Fast convergence (section 4.7): who has less than before leaves room to newcomers.
        self.most = match self.window < self.most {
            true => self.window * (1.0 + BETA) / 2.0,
            false => self.window,
        };
        self.prior = self.window;
        self.window = (self.window * BETA).max(FLOOR);
        self.threshold = self.window;
        self.stage = None;
    }

    fn grow(&mut self, sample: &Sample) {
        if self.window < self.threshold && self.start.queue_grows(sample) {
            self.threshold = self.window;
        }
        if ((sample.flying + sample.acked) as f64) < self.window / 2.0 {
            // What was not used proves nothing (section 5.8).
            return;
        }
        match self.window < self.threshold {
            true => self.window += sample.acked as f64,
            false => self.avoid(sample),
        }
    }

    /// Congestion avoidance (section 4.2).
    fn avoid(&mut self, sample: &Sample) {
        let (window, most) = (self.window, self.most);
        let stage = self.stage.get_or_insert_with(|| Stage {
            began: sample.now,
            k: ((most - window).max(0.0) / C).cbrt(),
            reno: window,
        });
        if most < window {
            self.most = window;
        }
        let since = sample.now.since(stage.began).as_secs_f64();
        let cube = |time: f64| C * (time - stage.k).powi(3) + self.most;
        let acked = sample.acked as f64;
        let alpha = if stage.reno >= self.prior { 1.0 } else { ALPHA };
        stage.reno += alpha * acked / window;
        if cube(since) < stage.reno {
            self.window = window.max(stage.reno);
            return;
        }
        let target = cube(since + sample.srtt.as_secs_f64()).clamp(window, FURTHEST * window);
        self.window += (target - window) / window * acked;
    }
}

impl SlowStart {
    /// Whether the round trips of this round show that a queue is building up.
    fn queue_grows(&mut self, sample: &Sample) -> bool {
        if sample.prior_delivered >= self.round_ends {
            self.round_ends = sample.delivered;
            self.of_round = Duration::MAX;
            self.samples = 0;
        }
        let Some(round_trip) = sample.round_trip else {
            return false;
        };
        self.least = self.least.min(round_trip);
        if self.samples >= SAMPLES {
            return false;
        }
        self.samples += 1;
        self.of_round = self.of_round.min(round_trip);
        let rise = (self.least / 8).clamp(*RISE.start(), *RISE.end());
        self.samples == SAMPLES && self.of_round > self.least + rise
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at: Duration, acked: u64) -> Sample {
        Sample {
            now: Time::ZERO + at,
            rate: None,
            limited: false,
            acked,
            flying: 1 << 20,
            delivered: 0,
            prior_delivered: 0,
            round_trip: None,
            srtt: Duration::from_millis(100),
            losses: 0,
            loss_begins: false,
            recovering: false,
        }
    }

    /// A window of 1,000 segments is cut and fed with acknowledgements for `time`.
    fn after(time: Duration) -> f64 {
        let mut cubic = Cubic::new();
        cubic.window = 1_000.0;
        cubic.handle_ack(&Sample {
            losses: 1,
            loss_begins: true,
            ..sample(Duration::ZERO, 1)
        });
        let mut at = Duration::ZERO;
        while at < time {
            cubic.handle_ack(&sample(at, (cubic.window / 10.0) as u64));
            at += Duration::from_millis(10);
        }
        cubic.window
    }

    #[test]
    fn the_cube_is_back_where_it_was_after_k() {
        assert!((after(Duration::ZERO) - 700.0).abs() < 1e-9);
        // (1000 x 0.3 / 0.4)^(1/3) = 9.09 s; flat around it, steep before and behind.
        let k = Duration::from_millis(9_086);
        assert!((after(k) - 1_000.0).abs() < 5.0, "{}", after(k));
        assert!(after(k / 2) > 950.0 && after(2 * k) > 1_250.0);
    }

    #[test]
    fn small_windows_grow_as_renos_do() {
        let mut cubic = Cubic::new();
        cubic.window = 10.0;
        cubic.handle_ack(&Sample {
            losses: 1,
            loss_begins: true,
            ..sample(Duration::ZERO, 1)
        });
        // Ten round trips of 10 ms: the cube has hardly moved by then.
        for round in 0..10 {
            let acked = cubic.window as u64;
            cubic.handle_ack(&sample(Duration::from_millis(10 * round), acked));
        }
        // From 7 on by 0.53 each, and by 1 each once it is back at 10.
        assert!((13.5..14.5).contains(&cubic.window), "{}", cubic.window);
    }

    #[test]
    fn slow_start_ends_before_the_queue_does() {
        let mut cubic = Cubic::new();
        let (mut at, mut delivered) = (Duration::ZERO, 0);
        for round_trip in [40, 40, 44, 52, 70, 90] {
            for _ in 0..cubic.window() {
                at += Duration::from_micros(100);
                delivered += 1;
                let of_round = Sample {
                    delivered,
                    prior_delivered: delivered.saturating_sub(cubic.window() / 2),
                    round_trip: Some(Duration::from_millis(round_trip)),
                    ..sample(at, 1)
                };
                cubic.handle_ack(&of_round);
            }
        }
        assert!(cubic.threshold < 200.0, "{}", cubic.threshold);
        cubic.handle_timeout();
        assert_eq!(cubic.window(), 1);
    }
}
