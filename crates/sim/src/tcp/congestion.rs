//! Congestion control: CUBIC, and a model of the bottleneck's rate and round trip after BBR version 1
//! (net/ipv4/tcp_bbr.c).

use std::time::Duration;

use guywire_flow::Time;

use super::MSS;
use super::cubic::Cubic;
use super::lumps::Lumps;
use crate::network::Algorithm;

/// The window a connection begins with, in segments (RFC 6928).
pub(super) const INITIAL: u64 = 10;
/// Pacing stays this much below the bottleneck's rate, so that queues drain (`bbr_pacing_margin_percent`).
const MARGIN: f64 = 0.99;
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
/// The window holds three bursts beside what the path holds (`bbr_quantization_budget`), of so many segments at most.
const BURSTS: u64 = 3;
const LONGEST_BURST: u64 = 45;

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
    /// The smoothed round trip.
    pub srtt: Duration,
    /// Segments held lost now.
    pub losses: u64,
    /// A loss was seen, the first of its episode.
    pub loss_begins: bool,
    /// An episode of loss goes on.
    pub recovering: bool,
}

/// How much may be in flight, and how fast it leaves.
#[derive(Debug)]
pub enum Congestion {
    /// A window that grows until something is lost.
    Cubic(Cubic),
    /// A model of the bottleneck.
    Bbr(Box<RateModel>),
}

/// How long a burst may take to leave where packets are paced: 1 ms, and two segments at least
/// (`sk_pacing_shift` of 10, `tcp_min_tso_segs`).
const BURST: Duration = Duration::from_millis(1);

impl Congestion {
    /// One that knows a handshake's round trip and nothing else.
    pub fn new(algorithm: Algorithm, now: Time, round_trip: Duration) -> Congestion {
        match algorithm {
            Algorithm::Cubic => Congestion::Cubic(Cubic::new()),
            Algorithm::Bbr => Congestion::Bbr(Box::new(RateModel::new(now, round_trip))),
        }
    }

    /// Segments that may be in flight, at least 1.
    pub fn window(&self) -> u64 {
        match self {
            Congestion::Cubic(cubic) => cubic.window(),
            Congestion::Bbr(model) => model.window,
        }
    }

    /// The time between a packet of `bytes` and the next.
    pub fn pacing_gap(&self, bytes: u64) -> Duration {
        match self {
            Congestion::Cubic(_) => Duration::ZERO,
            Congestion::Bbr(model) => Duration::from_secs_f64(bytes as f64 / model.pacing),
        }
    }

    /// Segments that leave at once where packets are paced.
    pub fn burst(&self) -> u64 {
        match self {
            Congestion::Cubic(_) => u64::MAX,
            Congestion::Bbr(model) => model.burst(),
        }
    }

    /// Takes an acknowledgement.
    pub fn handle_ack(&mut self, sample: &Sample) {
        match self {
            Congestion::Cubic(cubic) => cubic.handle_ack(sample),
            Congestion::Bbr(model) => model.handle_ack(sample),
        }
    }

    /// Nothing was acknowledged for too long.
    pub fn handle_timeout(&mut self) {
        match self {
            Congestion::Cubic(cubic) => cubic.handle_timeout(),
            Congestion::Bbr(model) => model.handle_timeout(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Startup,
    Drain,
    Cruise,
}

/// How far the search for the smallest round trip is.
#[derive(Clone, Copy, Debug)]
enum Probe {
    /// What was in flight arrives.
    Empties,
    /// Little is in flight, until then; and whether a round trip has passed meanwhile.
    Sees(Time, bool),
}

/// See [`Congestion::Bbr`].
#[derive(Debug)]
pub struct RateModel {
    window: u64,
    /// Bytes a second at which packets leave.
    pacing: f64,
    /// What it was before an episode of loss began, or the queue was emptied.
    window_before: u64,
    /// An episode of loss goes on.
    recovering: bool,
    /// In its first round trip no more leaves than arrives.
    conserving: bool,
    phase: Phase,
    /// Highest rate of each of the last round trips, in bytes a second.
    rates: [u64; ROUNDS],
    round: usize,
    /// No sample of this round trip was taken yet: the oldest one is not forgotten before.
    fresh: bool,
    round_ends: u64,
    full_rate: u64,
    full_rounds: u32,
    min_rtt: Duration,
    min_rtt_at: Time,
    /// While the queue is emptied to see the round trip.
    probe: Option<Probe>,
    step: usize,
    step_at: Time,
    lumps: Lumps,
}

impl RateModel {
    fn new(now: Time, round_trip: Duration) -> RateModel {
        let trip = round_trip.max(Duration::from_millis(1)).as_secs_f64();
        RateModel {
            window: INITIAL,
            pacing: (INITIAL * MSS) as f64 / trip * STARTUP_GAIN * MARGIN,
            window_before: INITIAL,
            recovering: false,
            conserving: false,
            phase: Phase::Startup,
            rates: [0; ROUNDS],
            round: 0,
            fresh: false,
            round_ends: 0,
            full_rate: 0,
            full_rounds: 0,
            min_rtt: round_trip,
            min_rtt_at: now,
            probe: None,
            step: 2,
            step_at: now,
            lumps: Lumps::default(),
        }
    }

    fn bottleneck(&self) -> u64 {
        self.rates.iter().copied().max().unwrap_or(0)
    }

    fn gain(&self) -> f64 {
        match self.phase {
            _ if self.probe.is_some() => 1.0,
            Phase::Startup => STARTUP_GAIN,
            Phase::Drain => 1.0 / STARTUP_GAIN,
            Phase::Cruise => CYCLE[self.step],
        }
    }

    /// Bytes a second. Until the bottleneck is known it only grows (`bbr_set_pacing_rate`).
    fn set_pacing(&mut self) {
        let rate = self.bottleneck() as f64 * self.gain() * MARGIN;
        if self.phase != Phase::Startup || rate > self.pacing {
            self.pacing = rate.max(1_000.0);
        }
    }

    fn burst(&self) -> u64 {
        let bytes = self.pacing * BURST.as_secs_f64();
        (bytes as u64 / MSS).max(2)
    }

    fn handle_ack(&mut self, sample: &Sample) {
        let round = sample.prior_delivered >= self.round_ends;
        if round {
            self.round_ends = sample.delivered;
            self.fresh = true;
            self.conserving = false;
            self.judge_startup(sample.limited);
            self.lumps.round_begins();
        }
        let limited = sample.limited || self.probe.is_some();
        if let Some(rate) = sample.rate
            && (!limited || rate > self.bottleneck())
        {
            if std::mem::take(&mut self.fresh) {
                self.round = (self.round + 1) % ROUNDS;
                self.rates[self.round] = 0;
            }
            self.rates[self.round] = self.rates[self.round].max(rate);
        }
        let rate = self.segment_rate();
        self.lumps
            .observe(sample.now, sample.acked, rate, self.window);
        self.walk(sample);
        self.see_round_trip(sample, round);
        self.set_pacing();
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

    /// The bottleneck's rate in segments a second.
    fn segment_rate(&self) -> f64 {
        self.bottleneck() as f64 / MSS as f64
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
    }

    /// Keeps the smallest round trip, and has the queue emptied when it is old (`bbr_update_min_rtt`): first what
    /// is in flight arrives, then little is for [`PROBE_TIME`] and a round trip.
    fn see_round_trip(&mut self, sample: &Sample, round: bool) {
        let old = sample.now.since(self.min_rtt_at) > ROUND_TRIP_AGE;
        let seen = sample.round_trip;
        if let Some(round_trip) = seen.filter(|&seen| old || seen <= self.min_rtt) {
            self.min_rtt = round_trip;
            self.min_rtt_at = sample.now;
        }
        if old && self.probe.is_none() {
            self.save_window();
            self.probe = Some(Probe::Empties);
        }
        match self.probe {
            Some(Probe::Empties) if sample.flying <= FLOOR => {
                self.probe = Some(Probe::Sees(sample.now + PROBE_TIME, false));
                self.round_ends = sample.delivered;
            }
            Some(Probe::Sees(until, whole)) => {
                let whole = whole || round;
                self.probe = Some(Probe::Sees(until, whole));
                if whole && sample.now > until {
                    self.probe = None;
                    self.min_rtt_at = sample.now;
                    self.window = self.window.max(self.window_before);
                }
            }
            _ => {}
        }
    }

    /// `bbr_save_cwnd`.
    fn save_window(&mut self) {
        let least = match self.recovering || self.probe.is_some() {
            true => self.window_before,
            false => 0,
        };
        self.window_before = self.window.max(least);
    }

    fn handle_timeout(&mut self) {
        self.save_window();
        self.recovering = true;
        self.conserving = false;
        self.window = 1;
    }

    /// What was lost leaves the window, which gets it back when the episode is over
    /// (`bbr_set_cwnd_to_recover_or_restore`).
    fn recover(&mut self, sample: &Sample) {
        if sample.loss_begins {
            self.save_window();
            self.conserving = true;
            self.round_ends = sample.delivered;
            self.window = sample.flying + sample.acked;
        } else {
            self.window = self.window.saturating_sub(sample.losses).max(1);
        }
        if std::mem::replace(&mut self.recovering, sample.recovering) && !sample.recovering {
            self.window = self.window.max(self.window_before);
            self.conserving = false;
        }
    }

    fn set_window(&mut self, sample: &Sample) {
        self.recover(sample);
        if self.probe.is_some() {
            self.window = self.window.min(FLOOR);
            return;
        }
        if self.conserving {
            self.window = self.window.max(sample.flying + sample.acked);
            return;
        }
        let gain = if self.phase == Phase::Startup {
            STARTUP_GAIN
        } else {
            2.0
        };
        let lumps = match self.phase {
            Phase::Startup => 0,
            _ => self.lumps.window(self.segment_rate()),
        };
        let burst = self.burst().min(LONGEST_BURST);
        let target = (self.product(gain) + lumps + BURSTS * burst).max(FLOOR);
        // `bbr_set_cwnd`: before the bottleneck is known the window is never cut.
        self.window = match self.phase {
            Phase::Startup if self.window < target || sample.delivered < INITIAL => {
                self.window + sample.acked
            }
            Phase::Startup => self.window,
            _ => (self.window + sample.acked).min(target),
        }
        .max(FLOOR);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An acknowledgement of ten segments a millisecond on a path of 100 ms with 1,000 in flight.
    fn sample(ms: u64) -> Sample {
        Sample {
            now: Time::ZERO + Duration::from_millis(ms),
            rate: Some(10_000 * MSS),
            limited: true,
            acked: 10,
            flying: 1_000,
            delivered: 10 * ms,
            prior_delivered: (10 * ms).saturating_sub(1_000),
            round_trip: Some(Duration::from_millis(100)),
            srtt: Duration::from_millis(100),
            losses: 0,
            loss_begins: false,
            recovering: false,
        }
    }

    /// The window of a sender that is in its startup for long, as those that have little to send are.
    fn starting() -> RateModel {
        let mut model = RateModel::new(Time::ZERO, Duration::from_millis(100));
        (1..400).for_each(|ms| model.handle_ack(&sample(ms)));
        assert_eq!(model.phase, Phase::Startup);
        assert!(model.window > 2_800, "{}", model.window);
        model
    }

    #[test]
    fn losses_narrow_the_window_until_they_are_over() {
        let mut model = starting();
        let before = model.window;
        let lossy = |ms, losses| Sample {
            losses,
            recovering: true,
            ..sample(ms)
        };
        model.handle_ack(&Sample {
            loss_begins: true,
            ..lossy(400, 5)
        });
        assert_eq!(model.window, 1_010, "as much leaves as arrives");
        (401..500).for_each(|ms| model.handle_ack(&lossy(ms, 5)));
        assert_eq!(model.window, 1_010, "for a round trip");
        (500..900).for_each(|ms| model.handle_ack(&lossy(ms, 10)));
        assert!(model.window < 1_100, "{}", model.window);
        model.handle_ack(&sample(900));
        assert!(model.window >= before, "{} of {before}", model.window);
    }

    #[test]
    fn a_timeout_gives_the_window_back_when_it_is_over() {
        let mut model = starting();
        let before = model.window;
        model.handle_timeout();
        assert_eq!(model.window, 1);
        model.handle_ack(&Sample {
            recovering: true,
            ..sample(400)
        });
        assert!(model.window < 20, "{}", model.window);
        model.handle_ack(&sample(401));
        assert!(model.window >= before, "{} of {before}", model.window);
    }

    #[test]
    fn it_starts_at_the_pace_of_its_first_window_and_never_slower() {
        let mut model = RateModel::new(Time::ZERO, Duration::from_millis(100));
        let first = model.pacing;
        model.handle_ack(&Sample {
            rate: Some(MSS),
            ..sample(100)
        });
        assert_eq!(model.pacing, first);
        (101..400).for_each(|ms| model.handle_ack(&sample(ms)));
        assert!(
            model.pacing > 2.0 * 10_000.0 * MSS as f64,
            "{}",
            model.pacing
        );
    }

    #[test]
    fn the_queue_is_emptied_first_and_then_its_round_trip_is_seen() {
        let mut model = starting();
        let before = model.window;
        let little = |ms| Sample {
            flying: FLOOR,
            prior_delivered: 10 * ms - FLOOR,
            round_trip: Some(Duration::from_millis(90)),
            ..sample(ms)
        };
        model.handle_ack(&sample(11_000));
        assert_eq!(model.window, FLOOR);
        model.handle_ack(&sample(11_500));
        assert_eq!(model.window, FLOOR, "much is in flight still");
        (11_501..11_700).for_each(|ms| model.handle_ack(&little(ms)));
        assert_eq!(model.window, FLOOR);
        (11_700..11_705).for_each(|ms| model.handle_ack(&little(ms)));
        assert!(model.window >= before, "{}", model.window);
        assert_eq!(model.min_rtt, Duration::from_millis(90));
    }
}
