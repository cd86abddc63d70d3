//! Scenarios that are right, and each way to be wrong.

use super::*;
use crate::spec::LinkState;

const GOOD: &str = r#"
links = ["100mbit/20ms", "veth"]
duration = "30s"

[[transfers]]
direction = "down"

[[transfers]]
direction = "up"
at = "1.5s"
bytes = 1000000
flows = 3
rate = "5mbit"
every = "12s"

[[events]]
at = "20s"
link = 1
verb = "set loss=1%,uprate=5mbit"

[[events]]
at = "10s"
link = 2
verb = "silent in"
"#;

#[test]
fn reads_links_events_and_transfers() {
    let scenario = Scenario::parse(GOOD).expect("a good scenario");
    assert_eq!(scenario.links.to_string(), "100mbit/20ms,veth");
    assert_eq!(scenario.duration, Duration::from_secs(30));
    let verbs: Vec<String> = scenario
        .events
        .iter()
        .map(|event| format!("{:?} {} {}", event.at, event.link, event.verb))
        .collect();
    let expected = ["10s 2 silent in", "20s 1 set loss=1%,uprate=5mbit"];
    assert_eq!(verbs, expected, "sorted by time");
    assert_eq!(scenario.events[0].verb, Verb::State(LinkState::SilentIn));
    let upload = Transfer {
        direction: TransferDirection::Up,
        at: Duration::from_millis(1_500),
        bytes: Some(1_000_000),
        flows: 3,
        rate: Some(read_rate("5mbit").expect("a rate")),
        every: Some(Duration::from_secs(12)),
    };
    assert_eq!(scenario.transfers[1], upload);
    let begins: Vec<f64> = upload
        .begins(scenario.duration)
        .map(|at| at.as_secs_f64())
        .collect();
    assert_eq!(begins, [1.5, 13.5, 25.5]);
    assert_eq!(scenario.transfers[0].begins(scenario.duration).count(), 1);
}

#[test]
fn errors_say_what_and_where() {
    let table: [(&str, &str, &[&str]); 12] = [
        ("\"12s\"", "\"0s\"", &["a transfer's `every`", "0ns"]),
        ("\"12s\"", "\"1ms\"", &["transfer 2", "30003 flows"]),
        ("\"5mbit\"", "\"5\"", &["`5` is not a rate"]),
        (
            "duration",
            "durations",
            &["line 3", "unknown field", "`durations`", "`duration`"],
        ),
        (
            "flows = 3",
            "flow = 3",
            &["unknown field `flow`", "`flows`"],
        ),
        (
            "\"veth\"",
            "\"fast\"",
            &["link 2", "`fast`", "allowed are a rate"],
        ),
        (
            "[\"100mbit/20ms\", \"veth\"]",
            "[]",
            &["0 are given", "1 to 32"],
        ),
        ("30s", "30", &["line 3", "`30` is not a time"]),
        ("30s", "25h", &["`25h` is not a time such as `20ms`"]),
        ("link = 2", "link = 3", &["event 2", "no link 3", "1 to 2"]),
        ("silent in", "silence", &["`silence`", "verbs are down"]),
        ("\"20s\"", "\"40s\"", &["40s", "up to 30s"]),
    ];
    for (good, bad, words) in table {
        let error = Scenario::parse(&GOOD.replacen(good, bad, 1))
            .expect_err(bad)
            .to_string();
        for word in words {
            assert!(error.contains(word), "{bad}: {word:?} is not in {error}");
        }
    }
}

#[test]
fn names_a_file_that_is_missing() {
    let error = Scenario::load(Path::new("/no/such/scenario.toml")).expect_err("no such file");
    assert!(error.to_string().contains("/no/such/scenario.toml"));
}
