//! Configuration: what is accepted, what is refused and how the refusal reads.

use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::worker::{Priority, ServerPeer};

const KEY: &str = "aibaeaqcaibaeaqcgo7ucgq5aubefmox4cpgqm2knyaaaaahaaaa";

fn minimal() -> String {
    NewRouter {
        name: "home".into(),
        server: ServerPeer {
            addresses: vec![
                "198.51.100.10:443".parse().unwrap(),
                "[2001:db8:2::10]:443".parse().unwrap(),
            ],
            public_key: KEY.into(),
            tag_key: KEY.to_owned().into(),
        },
        lan: vec!["lan0".into()],
        wan: vec!["wan1".into(), "wan2".into()],
        bypass: vec!["203.0.113.101/32".parse().unwrap()],
        scheduler: None,
        state_dir: None,
        run_dir: None,
    }
    .to_toml()
}

fn router(text: &str) -> Result<RouterConfig, ConfigError> {
    RouterConfig::parse(Path::new("router.toml"), text)
}

/// The problems of a file that must be refused, as `line:column: text`.
#[track_caller]
fn problems(text: &str) -> Vec<String> {
    match router(text) {
        Err(ConfigError::Wrong { problems, .. }) => problems
            .iter()
            .map(|problem| format!("{}:{}: {}", problem.line, problem.column, problem.text))
            .collect(),
        other => panic!("accepted, or not read: {other:?}"),
    }
}

#[test]
fn what_join_writes_is_accepted_with_the_defaults() {
    let config = router(&minimal()).unwrap();
    assert_eq!(config.lan, ["lan0"]);
    assert_eq!(config.links.len(), 2);
    assert_eq!(
        (config.links[1].id, config.links[1].name.as_str()),
        (2, "wan2")
    );
    assert_eq!(config.links[0].priority, Priority::Normal);
    assert_eq!(config.capture.bypass, ["203.0.113.101/32".parse().unwrap()]);
    assert!(config.capture.reject_quic && config.dns && config.dns_addresses.is_none());
    assert_eq!(
        (config.capture.fail, config.session_memory, config.max_flows),
        (Fail::Open, ByteSize::mib(64), 4096)
    );
    assert_eq!(config.state_dir, Path::new("/var/lib/guywire"));
}

#[test]
fn what_init_writes_is_accepted() {
    let new = NewServer {
        address: vec!["vpn.example.org:443".parse().unwrap()],
        listen: vec!["[::]:8443".parse().unwrap()],
        state_dir: Some("/srv/\"state\"".into()),
        run_dir: None,
        objects_from: vec!["home".into()],
    };
    let config = ServerConfig::parse(Path::new("server.toml"), &new.to_toml()).unwrap();
    assert_eq!(config.state_dir, Path::new("/srv/\"state\""));
    assert_eq!(config.objects_from, ["home"]);
    assert_eq!(config.address, ["vpn.example.org:443".parse().unwrap()]);
    assert_eq!(config.listen, ["[::]:8443".parse().unwrap()]);
}

#[test]
fn every_setting_of_the_tables_is_read() {
    // Through an own copy of the struct's names: a setting that the table has and the struct lacks stays unnoticed by
    // serde, so each is set to something that is not its default and looked for in the result.
    let text = minimal().replace("[capture]\n", "[capture]\nfail = \"closed\"\nreject_quic = false\n").replace(
        "[[link]]\nname = \"wan1\"\n",
        "[[link]]\nname = \"fibre\"\npriority = \"backup\"\ncost = 7\ncongestion = \"reno\"\nmetered = true\n",
    ) + "[dns]\nenabled = false\naddresses = [\"192.168.77.1\"]\n[schedulers]\nshare = 7\ninstructions = 5000\n\
         [[class]]\nname = \"ssh\"\nscheduler = \"redundant\"\nports = [22]\nsources = [\"192.168.77.7\"]\ndscp = [46]\n[limits]\nsession_memory = \"32MiB\"\nmax_flows = 99\n";
    let text = text.replace(
        "name = \"home\"\n",
        "name = \"x\"\nscheduler = \"redundant\"\nstate_dir = \"/a\"\nrun_dir = \"/b\"\n",
    );
    let config = router(&text).unwrap();
    let link = &config.links[0];
    assert_eq!(
        (link.name.as_str(), link.cost, link.congestion.as_deref()),
        ("fibre", 7, Some("reno"))
    );
    assert!(link.priority == Priority::Backup && link.metered);
    assert!(config.capture.fail == Fail::Closed && !config.capture.reject_quic && !config.dns);
    assert_eq!(
        config.dns_addresses,
        Some(vec!["192.168.77.1".parse().unwrap()])
    );
    assert_eq!(
        (config.session_memory, config.max_flows),
        (ByteSize::mib(32), 99)
    );
    assert_eq!((config.budget.share, config.budget.instructions), (7, 5000));
    let class = &config.classes[0];
    assert_eq!(
        (class.name.as_str(), class.scheduler.as_deref()),
        ("ssh", Some("redundant"))
    );
    assert_eq!(
        (&class.rule.ports[..], &class.rule.dscp[..]),
        (&[22][..], &[46][..])
    );
    assert_eq!(class.rule.sources, ["192.168.77.7/32".parse().unwrap()]);
    assert_eq!(
        (config.name.as_str(), config.scheduler.as_str()),
        ("x", "redundant")
    );
    assert_eq!(
        (config.state_dir.to_str(), config.run_dir.to_str()),
        (Some("/a"), Some("/b"))
    );
    let mentioned = ROUTER
        .sections
        .iter()
        .flat_map(|section| section.settings)
        .all(|setting| text.contains(setting.key));
    assert!(mentioned, "a new setting belongs into this test");
}

#[test]
fn the_defaults_of_the_tables_are_valid_values() {
    for section in ROUTER.sections.iter().chain(SERVER.sections) {
        for setting in section.settings {
            if let Absent::Is(text) = setting.default {
                let value: toml_edit::Value = text.parse().expect("a value");
                assert_eq!(
                    setting.kind.check(&value),
                    Ok(()),
                    "{}.{}",
                    section.name,
                    setting.key
                );
            }
        }
    }
}

#[test]
fn unknown_keys_are_refused_with_the_nearest_name() {
    for (from, to, expected) in [
        ("devices =", "devces =", "did you mean `lan.devices`?"),
        ("bypass =", "bypas =", "did you mean `capture.bypass`?"),
        ("[capture]", "[captur]", "did you mean `capture`?"),
        (
            "name = \"home\"",
            "schedular = \"default\"",
            "did you mean `scheduler`?",
        ),
        (
            "bypass =",
            "max_flow = 3\nbypass =",
            "did you mean `limits.max_flows`?",
        ),
        (
            "name = \"home\"",
            "qqq = 1",
            "`guywire router config --explain` lists all keys",
        ),
    ] {
        let problems = problems(&minimal().replace(from, to));
        assert!(
            problems
                .iter()
                .any(|text| text.contains("unknown key") && text.contains(expected)),
            "{problems:?}"
        );
    }
}

#[test]
fn all_errors_come_at_once_with_line_and_column() {
    let text = "name = 'a b'\nschedulr = \"x\"\n[lan]\ndevices = [\"lan0\", 7]\n\n[server]\naddresses = [\"nowhere\"]\n\
                public_key = \"short\"\n[[link]]\n  cost = -1\n[limits]\nsession_memory = \"1 parsec\"\nmax_flows = 1\n";
    let found = problems(text);
    let positions: Vec<&str> = found
        .iter()
        .filter_map(|text| text.split(": ").next())
        .collect();
    assert_eq!(
        positions,
        [
            "1:8", "2:1", "4:20", "6:1", "7:14", "8:14", "9:1", "10:10", "12:18", "13:13"
        ],
        "{found:#?}"
    );
    assert!(
        found[9].contains("`limits.max_flows` is 1, allowed is a whole number from 16 to 65536"),
        "{found:#?}"
    );
}

#[test]
fn a_syntax_error_names_its_place() {
    let found = problems("name = \"home\"\n[lan\ndevices = 1\n");
    assert!(found[0].starts_with("2:5: not TOML: "), "{found:?}");
    let error = router("name = \"home\"\n[lan\n").unwrap_err().to_string();
    assert!(error.starts_with("router.toml:2:5: not TOML: "), "{error}");
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let twice = problems(&minimal().replace("name = \"wan2\"", "name = \"wan1\""));
    assert!(
        twice[0].contains("two links are named \"wan1\""),
        "{twice:?}"
    );
    let device = problems(&minimal().replace("device = \"wan2\"", "device = \"lan0\""));
    assert!(device[0].contains("also in `lan.devices`"), "{device:?}");
}

#[test]
fn sections_of_the_wrong_form_are_refused() {
    for text in [
        "lan = 3",
        "link = 3",
        "[link]\n",
        "[[lan]]\n",
        "name.x = 1",
        "limits = []",
        "[[limits]]",
    ] {
        assert!(!problems(text).is_empty(), "{text}");
    }
}

#[test]
fn a_missing_file_says_what_to_do() {
    let error = RouterConfig::load(Path::new("/nonexistent/router.toml"))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("/nonexistent/router.toml") && error.contains("guywire router join"),
        "{error}"
    );
}

#[test]
fn the_document_matches_the_tables() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
    let document = std::fs::read_to_string(path).unwrap();
    for schema in [&ROUTER, &SERVER] {
        assert!(
            document.contains(&markdown(schema)),
            "docs/configuration.md is behind the settings of {0}.toml; replace its chapter by what \
             `guywire {0} config --markdown` prints",
            schema.command
        );
    }
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in "\\PC{0,400}") {
        let _ = router(&text);
    }

    #[test]
    fn broken_pieces_never_panic(
        pieces in proptest::collection::vec(prop_oneof![
            Just("[server]\n"), Just("[[link]]\n"), Just("[link]\n"), Just("name = "), Just("\"x\"\n"), Just("device"),
            Just(" = [1, {a = 2}]\n"), Just("lan.devices = [\"é\"]\n"), Just("[limits]\nmax_flows = 1e9\n"), Just("'''"),
            Just("[capture.bypass]\n"), Just("\"\" = 1979-05-27\n"), Just("server = {addresses = []}\n"), Just("é\r\n"),
        ], 0..12),
        cut in 0usize..60,
    ) {
        let text: String = pieces.concat();
        let text: String = text.chars().take(text.chars().count().saturating_sub(cut)).collect();
        if let Err(ConfigError::Wrong { problems, .. }) = router(&text) {
            prop_assert!(!problems.is_empty());
            prop_assert!(problems.iter().all(|problem| problem.line >= 1 && problem.column >= 1 && !problem.text.is_empty()));
        }
    }

    #[test]
    fn a_flipped_character_is_refused_with_a_place_or_harmless(at in 0usize..600, with in any::<char>()) {
        let mut text: Vec<char> = minimal().chars().collect();
        let at = at % text.len();
        text[at] = with;
        let text: String = text.into_iter().collect();
        let lines = text.matches('\n').count() + 1;
        if let Err(ConfigError::Wrong { problems, .. }) = router(&text) {
            prop_assert!(problems.iter().all(|problem| problem.line <= lines));
        }
    }

    #[test]
    fn sizes_round_trip(bytes in any::<u64>()) {
        let size = ByteSize(bytes);
        prop_assert_eq!(size.to_string().parse::<ByteSize>(), Ok(size));
    }
}
