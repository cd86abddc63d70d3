//! Specifications that are right, each way to be wrong, and round trips of
//! arbitrary ones.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;

fn link(text: &str) -> EmulatedLink {
    match text.parse() {
        Ok(LinkSpec::Emulated(link)) => link,
        other => panic!("{text} reads as {other:?}"),
    }
}

fn mbit(count: u64) -> RateSpec {
    RateSpec::Fixed(Rate::from_bits_per_second(count * 1_000_000))
}

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

#[test]
fn reads_the_usual_three_links() {
    let text = "100mbit/20ms,50mbit/60ms,20mbit/120ms/loss0.5%";
    let specs: LinkSpecs = text.parse().expect("a good list");
    assert_eq!(specs.0.len(), 3);
    assert_eq!(specs.to_string(), text);
    let third = link("20mbit/120ms/loss0.5%");
    assert_eq!(third.down, third.up);
    assert_eq!(third.down.rate, mbit(20));
    assert_eq!(third.down.delay, ms(60));
    let half_percent = Loss::from_parts_per_million(5_000);
    assert_eq!(third.down.loss, LossSpec::Random(half_percent));
}

#[test]
fn reads_unequal_directions() {
    let spec = link("down100mbit/up20mbit/down8ms/up12ms/uploss1%/downqueue64p/upred");
    assert_eq!((&spec.down.rate, &spec.up.rate), (&mbit(100), &mbit(20)));
    assert_eq!((spec.down.delay, spec.up.delay), (ms(8), ms(12)));
    assert_eq!(spec.round_trip(), ms(20));
    assert_eq!(spec.down.loss, LossSpec::None);
    assert_eq!(spec.down.queue, QueueSpec::Packets(64));
    assert!(spec.up.red && !spec.down.red);
}

#[test]
fn reads_traces_with_slashes_in_their_names() {
    let spec = link("20ms/downtrace:/tmp/a/down.trace/uptrace:up/b.trace");
    assert_eq!(spec.down.rate, RateSpec::Trace("/tmp/a/down.trace".into()));
    assert_eq!(spec.up.rate, RateSpec::Trace("up/b.trace".into()));
    assert_eq!(spec.down.delay, ms(10));
}

#[test]
fn displays_in_one_canonical_form() {
    let table = [
        ("2.5gbit/0ms", "2500mbit"),
        ("20ms/1000kbit/loss0%", "1mbit/20ms"),
        ("1.5s/8kbit/queue0.5s", "8kbit/1500ms/queue500ms"),
        (
            "1mbit/queue4MB/red/reorder/jitter250us",
            "1mbit/jitter250us/reorder/queue4000kB/red",
        ),
        ("1mbit/burst1.25%x10", "1mbit/burst1.25%x10"),
        ("down1mbit/up1mbit/down5ms", "1mbit/down5ms"),
        ("1MBIT/1ns", "1mbit/up1ns"),
        ("1mbit/largest1.28kB/red", "1mbit/red/largest1280B"),
        ("1mbit/downlargest1500B", "1mbit"),
        ("veth", "veth"),
    ];
    for (text, shown) in table {
        let spec: LinkSpec = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(spec.to_string(), shown, "from {text}");
    }
}

#[test]
fn errors_name_link_part_value_and_bound() {
    let table: [(&str, &[&str]); 17] = [
        ("", &["no link", "100mbit/20ms"]),
        ("1mbit,,1mbit", &["link 2", "empty"]),
        ("1mbit,fast", &["link 2", "`fast`", "allowed are a rate"]),
        ("1mbit/5", &["link 1", "`5`", "`100mbit`", "`20ms`"]),
        ("1bit", &["`1bit`", "8kbit to 10gbit"]),
        ("11gbit", &["`11gbit`", "8kbit to 10gbit"]),
        ("1mbit/11s", &["11s", "at most 10s"]),
        ("1mbit/up6s", &["`up6s`", "one-way", "at most 5s"]),
        ("1mbit/loss101%", &["`loss101%`", "0% to 100%"]),
        ("1mbit/loss0.00001%", &["`0.00001%`", "share"]),
        ("1mbit/burst60%x2", &["60%", "0% to 50%"]),
        ("1mbit/burst1%x0", &["`burst1%x0`", "1 to 1000 packets"]),
        ("1mbit/queue70000p", &["70000p", "65536p"]),
        ("1mbit/largest9000B", &["9000B", "68B to 1500B"]),
        ("1mbit/20ms/uploss1%/loss2%", &["`loss2%`", "`uploss1%`"]),
        (
            "20ms/up1mbit",
            &["no rate towards the router", "down100mbit"],
        ),
        ("veth/20ms", &["`veth`", "no other parts"]),
    ];
    for (text, words) in table {
        let error = text.parse::<LinkSpecs>().expect_err(text).to_string();
        for word in words {
            assert!(error.contains(word), "{text}: {word:?} is not in {error:?}");
        }
    }
    let many = vec!["veth"; MAX_LINKS + 1].join(",");
    let error = many.parse::<LinkSpecs>().expect_err("too many").to_string();
    assert!(
        error.contains("33 links") && error.contains("at most 32"),
        "{error}"
    );
}

#[test]
fn settings_change_a_link() {
    let mut spec = link("100mbit/20ms/loss1%/jitter5ms");
    let text =
        "uprate=5mbit,rtt=40ms,loss=0%,queue=bdp,red=on,jitter=0ms,downdelay=1ms,downlargest=1280B";
    let settings: Settings = text.parse().expect("good settings");
    assert_eq!(settings.to_string(), text);
    settings.apply(&mut spec);
    let shown = spec.to_string();
    assert_eq!(
        shown,
        "down100mbit/up5mbit/down1ms/up20ms/red/downlargest1280B"
    );
}

#[test]
fn settings_errors_name_key_and_value() {
    let table = [
        ("", "nothing to set"),
        ("loss", "`loss` is not KEY=VALUE"),
        (
            "speed=1mbit",
            "key `speed` is not known; keys are rate, rtt",
        ),
        ("red=maybe", "`maybe` is not `on` or `off`"),
        ("rtt=20", "`20` is not a time such as `20ms`"),
        ("trace=", "the name of a file"),
    ];
    for (text, words) in table {
        let error = text.parse::<Settings>().expect_err(text).to_string();
        assert!(error.contains(words), "{text}: {error}");
    }
}

fn any_rate() -> impl Strategy<Value = RateSpec> {
    prop_oneof![
        (8_000u64..=10_000_000_000).prop_map(|n| RateSpec::Fixed(Rate::from_bits_per_second(n))),
        (8u64..=10_000).prop_map(mbit),
        "/?[a-z0-9 .]{0,5}(/[a-zA-Zäß%:]{1,5}){0,3}[a-z]"
            .prop_map(|name| { RateSpec::Trace(name.trim().replace("trace:", "t")) }),
    ]
}

fn any_loss() -> impl Strategy<Value = LossSpec> {
    let share = |most: u32| (1..=most).prop_map(Loss::from_parts_per_million);
    prop_oneof![
        Just(LossSpec::None),
        share(1_000_000).prop_map(LossSpec::Random),
        (share(500_000), 1..=MAX_BURST)
            .prop_map(|(share, length)| LossSpec::Bursty { share, length }),
    ]
}

fn any_queue() -> impl Strategy<Value = QueueSpec> {
    prop_oneof![
        Just(QueueSpec::Bdp),
        (1_000_000..=10_000_000_000u64).prop_map(|n| QueueSpec::Time(Duration::from_nanos(n))),
        (1..=MAX_QUEUE_PACKETS).prop_map(QueueSpec::Packets),
        (1..=MAX_QUEUE_BYTES).prop_map(QueueSpec::Bytes),
    ]
}

fn any_time(most: Duration) -> impl Strategy<Value = Duration> {
    let nanos = most.as_nanos() as u64;
    prop_oneof![
        (0..=nanos).prop_map(Duration::from_nanos),
        (0..=nanos / 1_000_000).prop_map(Duration::from_millis),
    ]
}

prop_compose! {
    fn any_direction()(
        rate in any_rate(),
        delay in any_time(MAX_DELAY),
        loss in any_loss(),
        jitter in any_time(MAX_JITTER),
        reorder: bool,
        queue in any_queue(),
        red: bool,
        largest in 68..=MAX_PACKET,
    ) -> DirectionSpec {
        DirectionSpec { rate, delay, loss, jitter, reorder, queue, red, largest }
    }
}

fn any_link() -> impl Strategy<Value = LinkSpec> {
    (any_direction(), option::of(any_direction()), 0..8u8).prop_map(|(down, up, veth)| {
        if veth == 0 {
            return LinkSpec::Veth;
        }
        let up = up.unwrap_or_else(|| down.clone());
        LinkSpec::Emulated(EmulatedLink { down, up })
    })
}

/// Texts made of the pieces that specifications are made of: they reach
/// further into the parser than arbitrary ones.
fn almost_spec() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            "down", "up", "100", "mbit", "ms", "loss", "burst", "%", "x", "jitter", "queue", "p",
            "kB", "red", "reorder", "largest", "trace:", "veth", "/", ",", "=", "0.5", ".",
            "rate=", "bdp",
        ])
        .prop_map(str::to_string),
        "[0-9]{1,30}",
        ".{0,3}",
    ];
    vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

/// Everything that is accepted must display as something that reads back as
/// the same.
fn check(text: &str) -> Result<(), TestCaseError> {
    if let Ok(specs) = text.parse::<LinkSpecs>() {
        let again = specs.to_string().parse();
        prop_assert_eq!(again, Ok(specs));
    }
    if let Ok(settings) = text.parse::<Settings>() {
        let again = settings.to_string().parse();
        prop_assert_eq!(again, Ok(settings));
    }
    Ok(())
}

proptest! {
    #[test]
    fn any_links_display_and_read_back(links in vec(any_link(), 1..4)) {
        let specs = LinkSpecs(links);
        prop_assert_eq!(specs.to_string().parse(), Ok(specs));
    }

    #[test]
    fn arbitrary_text_never_panics(text in ".{0,60}") {
        check(&text)?;
    }

    #[test]
    fn almost_right_text_never_panics(text in almost_spec()) {
        check(&text)?;
    }
}
