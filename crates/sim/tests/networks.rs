//! A thousand networks, each class among them; and that each class really occurred.

use std::sync::OnceLock;

use guywire_sim::network::Class;
use guywire_sim::sweep::{Swept, sweep};
use guywire_sim::{Seen, run};

const NETWORKS: u64 = 1_000;

fn swept() -> &'static Swept {
    static SWEPT: OnceLock<Swept> = OnceLock::new();
    SWEPT.get_or_init(|| sweep(0..NETWORKS))
}

#[test]
fn a_thousand_networks_hold() {
    let failures = &swept().failures;
    let texts: Vec<String> = failures.iter().map(ToString::to_string).collect();
    assert!(failures.is_empty(), "{}", texts.join("\n"));
    // One test, because they look at the same thousand, and a runner may give each test a process of its own.
    let classes: &[fn()] = &[
        nothing_happens_in_steady_networks,
        links_fall_silent_and_return,
        acknowledgements_or_data_vanish_one_way,
        connections_are_reset,
        devices_vanish_and_return,
        all_links_are_gone_and_return,
        sessions_end_without_paths,
        links_flap,
        rates_and_delays_change,
        large_packets_vanish,
        packets_are_lost,
        windows_are_small_and_full,
        copies_are_sent,
        links_take_turns,
        directions_end_apart,
        programs_reset,
        destinations_refuse,
        readers_are_deaf,
        many_flows_are_short,
        programs_write_at_a_pace,
    ];
    for class in classes {
        class();
    }
}

#[test]
fn equal_seeds_give_equal_runs() {
    for seed in 0..20 {
        assert_eq!(format!("{:?}", run(seed)), format!("{:?}", run(seed)));
    }
}

/// At least a third of the networks of a class show what it stands for.
#[track_caller]
fn occurs(class: Class, shows: impl Fn(&Seen) -> bool) {
    let of_class = swept().outcomes.iter().filter(|o| o.class == class);
    let (all, showing) = of_class.fold((0, 0), |(all, showing), outcome| {
        (all + 1, showing + usize::from(shows(&outcome.seen)))
    });
    assert!(all >= 40, "{class:?}: only {all} networks");
    assert!(3 * showing >= all, "{class:?}: {showing} of {all}");
}

fn nothing_happens_in_steady_networks() {
    occurs(Class::Steady, |seen| {
        seen.complete > 0 && seen.swallowed_data == 0
    });
}

fn links_fall_silent_and_return() {
    occurs(Class::CutSilent, |seen| {
        seen.swallowed_data > 0 && seen.returned > 0
    });
}

fn acknowledgements_or_data_vanish_one_way() {
    occurs(Class::CutOneWay, |seen| {
        seen.swallowed_acks > 0 && seen.swallowed_data > 0
    });
    occurs(Class::CutOneWay, |seen| seen.stale > 0);
}

fn connections_are_reset() {
    occurs(Class::CutReset, |seen| seen.connection_resets > 0);
}

fn devices_vanish_and_return() {
    occurs(Class::CutGone, |seen| seen.gone > 0 && seen.complete > 0);
}

fn all_links_are_gone_and_return() {
    occurs(Class::AllGone, |seen| seen.no_link > 0 && seen.complete > 0);
}

fn sessions_end_without_paths() {
    occurs(Class::SessionEnds, |seen| seen.ended > 0);
}

fn links_flap() {
    occurs(Class::Flapping, |seen| {
        seen.swallowed_data > 0 && seen.returned > 1
    });
}

fn rates_and_delays_change() {
    occurs(Class::Changing, |seen| seen.changes > 1);
}

fn large_packets_vanish() {
    occurs(Class::BlackHole, |seen| seen.vanished > 0);
}

fn packets_are_lost() {
    occurs(Class::Lossy, |seen| seen.lost > 10);
}

fn windows_are_small_and_full() {
    occurs(Class::SmallWindow, |seen| seen.window_full > 10);
}

fn copies_are_sent() {
    occurs(Class::Copies, |seen| seen.repeated > seen.bytes / 4);
}

fn links_take_turns() {
    occurs(Class::InTurn, |seen| seen.complete > 0);
}

fn directions_end_apart() {
    occurs(Class::HalfClose, |seen| seen.half_closed > 0);
}

fn programs_reset() {
    occurs(Class::ProgramResets, |seen| seen.program_resets > 0);
}

fn destinations_refuse() {
    occurs(Class::Refusals, |seen| seen.refusals > 0);
}

fn readers_are_deaf() {
    occurs(Class::DeafReaders, |seen| {
        seen.deaf > 0 && seen.window_full > 0
    });
}

fn many_flows_are_short() {
    occurs(Class::ShortFlows, |seen| seen.complete >= 10);
}

fn programs_write_at_a_pace() {
    occurs(Class::Paced, |seen| seen.complete > 0);
}
