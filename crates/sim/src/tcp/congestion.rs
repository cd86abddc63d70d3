//! Congestion control: a simple one (slow start, additive increase, one cut a round trip, after RFC
//! 5681 with CUBIC's factor) and a good one (bottleneck rate and round trip, after BBR version 1,
//! net/ipv4/tcp_bbr.c).

use std::time::Duration;

use guywire_flow::Time;

use super::MSS;

/// The window a connection begins with, in segments (RFC 6928).
const INITIAL: u64 = 10;
/// What CUBIC keeps of its window at a loss.
const KEPT: f64 = 0.7;
const STARTUP_GAIN: f64 = 2.89;
/// Gains of one cycle, each for one smallest round trip.
const CYCLE: [f64; 8] = [1.25, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0];
/// The bottleneck's rate is the highest of so many round trips.
const ROUNDS: usize = 10;
/// How long the smallest round trip is believed, and how long the queue is emptied to see it again.
const ROUND_TRIP_AGE: Duration = Duration::from_secs(10);
const PROBE_TIME: Duration = Duration::from_millis(200);
/// The smallest window, in segments.
const FLOOR: u64 = 4;

/// What an acknowledgement tells congestion control.
#[derive(Debug)]
pub struct Sample {
    /// When it came.
    pub now: Time,
    /// Delivery rate in bytes a second, where it could be told.
    pub rate: Option<u64>,
    /// The rate is what the sender had, not what the link takes.
    pub limited: bool,
    /// Segments it delivered.
    pub acked: u64,
    /// Segments in flight now.
    pub flying: u64,
    /// Segments delivered in all.
    pub delivered: u64,
    /// What was delivered when the newest of its segments was sent.
    pub prior_delivered: u64,
    /// A round trip, if it can be told.
    pub round_trip: Option<Duration>,
    /// A loss was seen, the first of its episode.
    pub loss_begins: bool,
    /// An episode of loss goes on.
    pub recovering: bool,
}

/// How much may be in flight, and how fast it leaves.
#[derive(Debug)]
pub enum Congestion {
    /// A window only.
    Window(Window),
    /// Rate and round trip.
    Rate(Box<RateModel>),
}

impl Congestion {
    /// A window that grows until something is lost.
    pub fn window_based() -> Congestion {
        Congestion::Window(Window {
            window: INITIAL as f64,
            threshold: f64::INFINITY,
        })
    }

    /// A model of the bottleneck.
    pub fn rate_based(now: Time, round_trip: Duration) -> Congestion {
        Congestion::Rate(Box::new(RateModel::new(now, round_trip)))
    }

    /// Segments that may be in flight, at least 1.
    pub fn window(&self) -> u64 {
        match self {
            Congestion::Window(model) => (model.window as u64).max(1),
            Congestion::Rate(model) => model.window,
        }
    }

    /// The time between a packet of `bytes` and the next.
    pub fn pacing_gap(&self, bytes: u64, srtt: Duration) -> Duration {
        match self {
            Congestion::Window(_) => Duration::ZERO,
            Congestion::Rate(model) => {
                Duration::from_secs_f64(bytes as f64 / model.pacing_rate(srtt))
            }
        }
    }

    /// Takes an acknowledgement.
    pub fn handle_ack(&mut self, sample: &Sample) {
        match self {
            Congestion::Window(model) => model.handle_ack(sample),
            Congestion::Rate(model) => model.handle_ack(sample),
        }
    }

    /// Nothing was acknowledged for too long.
    pub fn handle_timeout(&mut self) {
        match self {
            Congestion::Window(model) => {
                model.threshold = (model.window * KEPT).max(2.0).min(model.threshold);
                model.window = 1.0;
            }
            Congestion::Rate(model) => model.window = 1,
        }
    }
}

/// See [`Congestion::window_based`].
#[derive(Debug)]
pub struct Window {
    window: f64,
    threshold: f64,
}

impl Window {
    fn handle_ack(&mut self, sample: &Sample) {
        if sample.loss_begins {
            self.window = (self.window * KEPT).max(2.0);
            self.threshold = self.window;
        } else if ((sample.flying + sample.acked) as f64) < self.window / 2.0 {
            // What was not used proves nothing.
        } else if self.window < self.threshold {
            self.window += sample.acked as f64;
        } else if !sample.recovering {
            self.window += sample.acked as f64 / self.window;
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Startup,
    Drain,
    Cruise,
}

/// See [`Congestion::rate_based`].
#[derive(Debug)]
pub struct RateModel {
    window: u64,
    phase: Phase,
    /// Highest rate of each of the last round trips, in bytes a second.
    rates: [u64; ROUNDS],
    round: usize,
    round_ends: u64,
    full_rate: u64,
    full_rounds: u32,
    min_rtt: Duration,
    min_rtt_at: Time,
    /// While the queue is emptied to see the round trip.
    probing_until: Option<Time>,
    step: usize,
    step_at: Time,
}

impl RateModel {
    fn new(now: Time, round_trip: Duration) -> RateModel {
        RateModel {
            window: INITIAL,
            phase: Phase::Startup,
            rates: [0; ROUNDS],
            round: 0,
            round_ends: 0,
            full_rate: 0,
            full_rounds: 0,
            min_rtt: round_trip,
            min_rtt_at: now,
            probing_until: None,
            step: 2,
            step_at: now,
        }
    }

    fn bottleneck(&self) -> u64 {
        self.rates.iter().copied().max().unwrap_or(0)
    }

    fn gain(&self) -> f64 {
        match self.phase {
            Phase::Startup => STARTUP_GAIN,
            Phase::Drain => 1.0 / STARTUP_GAIN,
            Phase::Cruise if self.probing_until.is_some() => 1.0,
            Phase::Cruise => CYCLE[self.step],
        }
    }

    fn pacing_rate(&self, srtt: Duration) -> f64 {
        let rate = match self.bottleneck() {
            0 => (INITIAL * MSS) as f64 / srtt.as_secs_f64().max(1e-3),
            rate => rate as f64,
        };
        (rate * self.gain()).max(1_000.0)
    }

    fn handle_ack(&mut self, sample: &Sample) {
        if let Some(round_trip) = sample.round_trip
            && (round_trip <= self.min_rtt
                || sample.now.since(self.min_rtt_at) > ROUND_TRIP_AGE + PROBE_TIME)
        {
            self.min_rtt = round_trip;
            self.min_rtt_at = sample.now;
        }
        if sample.prior_delivered >= self.round_ends {
            self.round_ends = sample.delivered;
            self.round = (self.round + 1) % ROUNDS;
            self.rates[self.round] = 0;
            self.judge_startup(sample.limited);
        }
        if let Some(rate) = sample.rate
            && (!sample.limited || rate > self.bottleneck())
        {
            self.rates[self.round] = self.rates[self.round].max(rate);
        }
        self.walk(sample);
        self.set_window(sample);
    }

    fn judge_startup(&mut self, limited: bool) {
        if self.phase != Phase::Startup || limited {
            return;
        }
        let rate = self.bottleneck();
        if rate as f64 >= self.full_rate as f64 * 1.25 {
            self.full_rate = rate;
            self.full_rounds = 0;
            return;
        }
        self.full_rounds += 1;
        if self.full_rounds >= 3 {
            self.phase = Phase::Drain;
        }
    }

    fn product(&self, gain: f64) -> u64 {
        let bytes = self.bottleneck() as f64 * self.min_rtt.as_secs_f64() * gain;
        (bytes / MSS as f64).ceil() as u64
    }

    fn walk(&mut self, sample: &Sample) {
        if self.phase == Phase::Drain && sample.flying <= self.product(1.0) {
            self.phase = Phase::Cruise;
            self.step_at = sample.now;
        }
        if self.phase == Phase::Cruise && sample.now.since(self.step_at) > self.min_rtt {
            self.step = (self.step + 1) % CYCLE.len();
            self.step_at = sample.now;
        }
        let old = sample.now.since(self.min_rtt_at) > ROUND_TRIP_AGE;
        match self.probing_until {
            None if old => self.probing_until = Some(sample.now + PROBE_TIME.max(self.min_rtt)),
            Some(until) if sample.now >= until => {
                self.probing_until = None;
                self.min_rtt_at = sample.now;
            }
            _ => {}
        }
    }

    fn set_window(&mut self, sample: &Sample) {
        if self.probing_until.is_some() {
            self.window = FLOOR;
            return;
        }
        let gain = if self.phase == Phase::Startup {
            STARTUP_GAIN
        } else {
            2.0
        };
        let target = (self.product(gain) + 3).max(FLOOR);
        self.window = match self.phase {
            Phase::Startup => (self.window + sample.acked).max(INITIAL),
            _ if self.window < target => (self.window + sample.acked).min(target),
            _ => target,
        };
    }
}
