//! Directions in virtual time: no socket, no clock, every run repeatable by
//! the seed that a failure prints.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::spec::{EmulatedLink, LinkSpec};
use crate::trace::Trace;

/// A full packet.
const FULL: u32 = 1_500;

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn at(millis: u64) -> Time {
    Time::ZERO + ms(millis)
}

/// The down direction of a specified link.
fn config(spec: &str) -> DirectionConfig {
    let link: EmulatedLink = match spec.parse() {
        Ok(LinkSpec::Emulated(link)) => link,
        other => panic!("{spec} reads as {other:?}"),
    };
    DirectionConfig::resolve_link(&link)
        .expect("no trace to load")
        .0
}

fn direction(spec: &str, seed: u64) -> Direction<u64> {
    Direction::new(config(spec), seed, Time::ZERO)
}

/// Offers `count` packets of `size` bytes, one every `gap`, and lets all out
/// again: what was delivered, with the time of each.
fn run(
    direction: &mut Direction<u64>,
    count: u64,
    (size, gap): (u32, Duration),
) -> Vec<(Time, u64)> {
    let mut delivered = Vec::new();
    let mut now = Time::ZERO;
    for packet in 0..count {
        pop_until(direction, now, &mut delivered);
        direction.offer(now, size, packet);
        now = now + gap;
    }
    pop_until(direction, Time::from_nanos(u64::MAX), &mut delivered);
    delivered
}

fn pop_until(direction: &mut Direction<u64>, end: Time, delivered: &mut Vec<(Time, u64)>) {
    while let Some(next) = direction.next_release().filter(|&next| next <= end) {
        while let Some(released) = direction.pop_due(next) {
            if let Released::Deliver(packet) = released {
                delivered.push((next, packet));
            }
        }
    }
}

/// Bits per second from the first delivery to the last.
fn rate(delivered: &[(Time, u64)], size: u32) -> f64 {
    let (first, last) = (delivered[0].0, delivered[delivered.len() - 1].0);
    (delivered.len() - 1) as f64 * f64::from(size) * 8.0 / (last - first).as_secs_f64()
}

#[track_caller]
fn assert_near(value: f64, expected: f64, share: f64) {
    let off = (value - expected).abs();
    assert!(
        off <= expected * share,
        "{value} is not within {share} of {expected}"
    );
}

#[test]
fn an_empty_link_takes_sending_time_and_delay() {
    let mut direction = direction("12mbit/20ms", 1);
    // 1500 bytes at 12 Mbit/s take 1 ms.
    assert_eq!(direction.offer(at(5), FULL, 0), Verdict::Admitted(at(16)));
    assert_eq!(direction.offer(at(5), FULL, 1), Verdict::Admitted(at(17)));
    assert_eq!(direction.next_release(), Some(at(16)));
    assert_eq!(direction.pop_due(at(15)), None);
    assert_eq!(direction.pop_due(at(16)), Some(Released::Deliver(0)));
    assert_eq!(direction.pop_due(at(16)), None);
    assert_eq!(direction.packets_in_flight(), 1);
    assert_eq!(direction.counters().in_flight_bytes, 1_500);
}

#[test]
fn a_flood_leaves_at_the_rate_whatever_the_packet_size() {
    for (size, mbit) in [(1_500, 100), (1_500, 5), (64, 10)] {
        let mut direction = direction(&format!("{mbit}mbit/20ms"), 1);
        let gap = Duration::from_nanos(u64::from(size) * 8 * 1_000 / (mbit * 2));
        let delivered = run(&mut direction, 20_000, (size, gap));
        assert_near(rate(&delivered, size), mbit as f64 * 1e6, 0.001);
        let counters = direction.counters();
        assert_eq!(counters.packets, delivered.len() as u64);
        assert_eq!(counters.drops.queue, 20_000 - counters.packets);
    }
}

#[test]
fn late_wake_ups_bunch_packets_but_cost_no_rate() {
    let mut direction = direction("100mbit/20ms", 1);
    let mut delivered = 0;
    // 1,000 packets in 120 ms are the rate exactly; woken every 7 ms only.
    for packet in 0..1_000u64 {
        let now = Time::from_nanos(packet * 120_000);
        direction.offer(now, FULL, packet);
        if packet % 58 == 0 {
            while direction.pop_due(now).is_some() {
                delivered += 1;
            }
        }
    }
    while direction.pop_due(at(131)).is_some() {
        delivered += 1;
    }
    assert_eq!(delivered, 1_000);
    assert!(direction.counters().late_packets > 0);
}

#[test]
fn queues_end_where_they_are_told() {
    // Packets that a burst gets in: (spec, how many full packets).
    let table = [
        ("12mbit/100ms", 100), // one bandwidth-delay product
        ("1mbit/10ms", 32),    // but at least 32 packets
        ("12mbit/10ms/queue200ms", 200),
        ("12mbit/10ms/queue64p", 64),
        ("12mbit/10ms/queue256kB", 170),
        ("12mbit/10ms/queue1B", 1), // an empty queue takes any packet
    ];
    for (spec, admitted) in table {
        let mut direction = direction(spec, 1);
        for packet in 0..1_000 {
            direction.offer(at(0), FULL, packet);
        }
        let in_flight = direction.packets_in_flight();
        assert_eq!(in_flight, admitted, "burst into {spec}");
        assert_eq!(direction.counters().drops.queue, 1_000 - admitted as u64);
        // A millisecond later one has left, so one gets in.
        if admitted > 1 && spec.starts_with("12mbit") {
            let verdict = direction.offer(at(1), FULL, 1_000);
            assert!(matches!(verdict, Verdict::Admitted(_)), "{spec}");
        }
    }
}

#[test]
fn memory_is_bounded_by_counted_drops() {
    let mut config = config("10gbit/10s/queue128MB");
    config.max_packets = 100;
    let mut direction = Direction::new(config, 1, Time::ZERO);
    for packet in 0..150u64 {
        direction.offer(at(0), FULL, packet);
    }
    assert_eq!(direction.packets_in_flight(), 100);
    assert_eq!(direction.counters().drops.memory, 50);
}

#[test]
fn packets_over_the_largest_vanish_and_others_pass() {
    let mut direction = direction("100mbit/20ms/largest1280B", 1);
    let dropped = Verdict::Dropped(DropCause::Size, 0);
    assert_eq!(direction.offer(at(0), 1_281, 0), dropped);
    assert!(matches!(
        direction.offer(at(0), 1_280, 1),
        Verdict::Admitted(_)
    ));
    assert_eq!(direction.counters().drops.size, 1);
}

#[test]
fn random_loss_has_its_share() {
    for seed in 1..4 {
        let mut direction = direction("100mbit/20ms/loss2%", seed);
        let gap = Duration::from_micros(200);
        let delivered = run(&mut direction, 100_000, (FULL, gap));
        assert_near((100_000 - delivered.len()) as f64, 2_000.0, 0.1);
    }
}

#[test]
fn bursty_loss_has_its_share_and_length() {
    for seed in 1..4 {
        let mut direction = direction("100mbit/20ms/burst2%x10", seed);
        let gap = Duration::from_micros(200);
        let delivered = run(&mut direction, 500_000, (FULL, gap));
        let lost = (500_000 - delivered.len()) as f64;
        let jumps = delivered
            .windows(2)
            .filter(|pair| pair[1].1 != pair[0].1 + 1);
        assert_near(lost, 10_000.0, 0.15);
        assert_near(lost / jumps.count() as f64, 10.0, 0.1);
    }
}

#[test]
fn jitter_keeps_order_unless_told_otherwise() {
    let gap = Duration::from_micros(500);
    for (spec, ordered) in [
        ("100mbit/60ms/jitter5ms", true),
        ("100mbit/60ms/jitter5ms/reorder", false),
    ] {
        let mut direction = direction(spec, 3);
        let delivered = run(&mut direction, 10_000, (FULL, gap));
        assert_eq!(delivered.len(), 10_000);
        assert_eq!(
            delivered.is_sorted_by_key(|&(_, packet)| packet),
            ordered,
            "{spec}"
        );
        let delays: Vec<Duration> = delivered
            .iter()
            .map(|&(time, packet)| time - (Time::ZERO + gap * packet as u32))
            .collect();
        let (least, most) = (delays.iter().min().unwrap(), delays.iter().max().unwrap());
        assert!((ms(25)..ms(26)).contains(least), "{spec}: {least:?}");
        assert!((ms(34)..ms(36)).contains(most), "{spec}: {most:?}");
    }
}

#[test]
fn red_drops_before_the_queue_is_full_and_keeps_the_rate() {
    let mut direction = direction("12mbit/100ms/red", 5);
    // 5 % more than the rate, for 100 s.
    let delivered = run(&mut direction, 100_000, (FULL, Duration::from_micros(952)));
    let drops = direction.counters().drops;
    assert_eq!(drops.queue, 0);
    assert_near(drops.early as f64, 4_800.0, 0.1);
    assert_near(rate(&delivered, FULL), 12e6, 0.01);
}

#[test]
fn a_trace_gives_its_opportunities_and_repeats() {
    let trace = Arc::new(Trace::parse("2\n2\n10\n").expect("a good trace"));
    let mut config = config("100mbit");
    config.rate = RateSource::Trace(trace);
    let mut direction = Direction::new(config, 1, Time::ZERO);
    let mut release = |now, size| match direction.offer(at(now), size, 0u64) {
        Verdict::Admitted(time) => (time - Time::ZERO).as_millis(),
        dropped => panic!("{dropped:?}"),
    };
    assert_eq!(release(0, 1_500), 2);
    assert_eq!(release(0, 1_000), 2);
    // 500 bytes are left of the second opportunity, the third has the rest.
    assert_eq!(release(0, 1_500), 10);
    assert_eq!(release(0, 500), 10);
    // What an opportunity has left is gone with it.
    assert_eq!(release(11, 1_500), 12);
    assert_eq!(release(1_000_003, 1_500), 1_000_010);
}

#[test]
fn gates_close_for_packets_that_come_and_packets_under_way() {
    for (gate, cause) in [
        (Gate::Down, DropCause::Down),
        (Gate::Silent, DropCause::Silent),
    ] {
        let mut direction = direction("12mbit/20ms", 1);
        direction.offer(at(0), FULL, 0);
        direction.set_gate(gate);
        assert_eq!(direction.offer(at(1), FULL, 1), Verdict::Dropped(cause, 1));
        assert_eq!(direction.pop_due(at(11)), Some(Released::Dropped(0)));
        direction.set_gate(Gate::Open);
        assert_eq!(direction.offer(at(12), FULL, 2), Verdict::Admitted(at(23)));
        let mut drops = Drops::default();
        drops.add(cause, 2);
        assert_eq!(direction.counters().drops, drops);
        assert_eq!(direction.counters().in_flight_bytes, 1_500);
    }
}

#[test]
fn a_new_rate_counts_for_what_waits_and_not_for_what_has_left() {
    let mut direction = direction("12mbit/20ms", 1);
    for packet in 0..10 {
        direction.offer(at(0), FULL, packet);
    }
    // At 5 ms five have left; five remain and take 10 ms each from now on.
    direction.reconfigure(at(5), config("1200kbit/20ms"));
    let mut delivered = Vec::new();
    pop_until(&mut direction, at(1_000), &mut delivered);
    let millis: Vec<u128> = delivered
        .iter()
        .map(|(time, _)| (*time - Time::ZERO).as_millis())
        .collect();
    assert_eq!(millis, [11, 12, 13, 14, 15, 25, 35, 45, 55, 65]);
}

#[test]
fn a_shorter_delay_does_not_overtake() {
    let mut direction = direction("12mbit/200ms", 1);
    direction.offer(at(0), FULL, 0);
    direction.reconfigure(at(10), config("12mbit/20ms"));
    assert_eq!(direction.offer(at(10), FULL, 1), Verdict::Admitted(at(101)));
    assert_eq!(
        direction.offer(at(200), FULL, 2),
        Verdict::Admitted(at(211))
    );
}

#[test]
fn equal_seeds_give_equal_runs() {
    let spec = "20mbit/40ms/loss3%/jitter10ms/red";
    let run_with = |seed| {
        run(
            &mut direction(spec, seed),
            5_000,
            (FULL, Duration::from_micros(500)),
        )
    };
    assert_eq!(run_with(9), run_with(9));
    assert_ne!(run_with(9), run_with(10));
}

/// Something that happens to a direction.
#[derive(Clone, Debug)]
enum Step {
    Offer(u32),
    Pass(u64),
    Gate(Gate),
    Reconfigure(usize),
}

const SPECS: [&str; 4] = [
    "10mbit/20ms",
    "1mbit/100ms/loss10%/jitter30ms/reorder",
    "100mbit/5ms/burst20%x3/red/queue64p",
    "500kbit/jitter80ms/queue20kB",
];

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..2_000u32).prop_map(Step::Offer),
        4 => (0..20_000_000u64).prop_map(Step::Pass),
        1 => prop::sample::select(vec![Gate::Open, Gate::Silent, Gate::Down]).prop_map(Step::Gate),
        1 => (0..SPECS.len()).prop_map(Step::Reconfigure),
    ]
}

proptest! {
    /// Whatever happens, no packet appears twice or is forgotten, and the
    /// counters say what was seen.
    #[test]
    fn every_packet_is_accounted_for(
        steps in prop::collection::vec(any_step(), 1..300),
        seed: u64,
    ) {
        let mut direction = direction(SPECS[0], seed);
        let (mut now, mut offered, mut out) = (Time::ZERO, 0, Vec::new());
        for step in steps {
            match step {
                Step::Offer(size) => {
                    if let Verdict::Dropped(_, packet) = direction.offer(now, size, offered) {
                        out.push(packet);
                    }
                    offered += 1;
                }
                Step::Pass(nanos) => {
                    now = now + Duration::from_nanos(nanos);
                    while let Some(released) = direction.pop_due(now) {
                        let (Released::Deliver(packet) | Released::Dropped(packet)) = released;
                        out.push(packet);
                    }
                    prop_assert!(direction.next_release().is_none_or(|next| next > now));
                }
                Step::Gate(gate) => direction.set_gate(gate),
                Step::Reconfigure(index) => direction.reconfigure(now, config(SPECS[index])),
            }
            let counters = direction.counters();
            prop_assert_eq!(counters.packets + counters.drops.total(), out.len() as u64);
            prop_assert_eq!(out.len() + direction.packets_in_flight(), offered as usize);
            prop_assert_eq!(counters.in_flight_bytes == 0 || direction.packets_in_flight() > 0, true);
        }
        out.extend(direction.into_packets());
        out.sort_unstable();
        prop_assert_eq!(out, (0..offered).collect::<Vec<_>>());
    }
}
