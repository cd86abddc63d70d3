//! Choices last, the quarantine too, and what cannot be used says why.

use super::*;
use crate::testing::TempDir;

fn class(name: &str, scheduler: Option<&str>) -> Class {
    Class {
        name: name.into(),
        scheduler: scheduler.map(Into::into),
        rule: ClassRule::default(),
    }
}

fn open(dir: &TempDir) -> Schedulers {
    let classes = vec![
        class("", Some("default")),
        class("ssh", Some("redundant")),
        class("bulk", None),
    ];
    Schedulers::open(dir.path(), classes).unwrap()
}

fn choice(name: &str, object: Option<&[u8]>) -> ChoiceRequest {
    ChoiceRequest {
        name: name.into(),
        object: object.map(|bytes| BASE64.encode(bytes)),
        source: None,
        verdict: "works".into(),
        in_turn: false,
        maps: Vec::new(),
    }
}

fn choose(
    schedulers: &Schedulers,
    class: Option<&str>,
    choice: Option<ChoiceRequest>,
) -> Result<(), ChoiceError> {
    schedulers.choose(UseRequest {
        class: class.map(Into::into),
        choice,
        trial_secs: None,
    })
}

fn try_out(
    schedulers: &Schedulers,
    choice: Option<ChoiceRequest>,
    secs: u64,
) -> Result<(), ChoiceError> {
    schedulers.choose(UseRequest {
        class: None,
        choice,
        trial_secs: Some(secs),
    })
}

fn in_use(schedulers: &Schedulers) -> Vec<(u8, String)> {
    let (setup, objects) = schedulers.setup();
    assert_eq!(setup.fds.len(), objects.len());
    let named = setup.chosen.into_iter();
    named.map(|chosen| (chosen.class, chosen.id.name)).collect()
}

fn ejection(scheduler: SchedulerId) -> Ejection {
    Ejection {
        scheduler,
        session: "server".into(),
        reason: "stalled".into(),
        text: "it did nothing".into(),
        flow: 2,
        pc: None,
        listing: Vec::new(),
        decisions: Vec::new(),
        paths: Vec::new(),
        log: Vec::new(),
    }
}

#[test]
fn choices_last_and_go_back_to_what_is_configured() {
    let dir = TempDir::new("schedulers-choices");
    let schedulers = open(&dir);
    let named = |class, name: &str| (class, name.to_owned());
    assert_eq!(
        in_use(&schedulers),
        [named(0, "default"), named(1, "redundant")]
    );
    choose(&schedulers, None, Some(choice("bpf_rr", None))).unwrap();
    choose(
        &schedulers,
        Some("bulk"),
        Some(choice("mine", Some(b"object"))),
    )
    .unwrap();
    let again = open(&dir);
    let all = [named(0, "bpf_rr"), named(1, "redundant"), named(2, "mine")];
    assert_eq!(in_use(&again), all);
    choose(&again, Some("bulk"), None).unwrap();
    choose(&again, None, None).unwrap();
    assert_eq!(in_use(&again), [named(0, "default"), named(1, "redundant")]);
}

#[test]
fn a_trial_goes_back_to_what_was_there_before() {
    let dir = TempDir::new("schedulers-trial");
    let schedulers = open(&dir);
    let mine = |bytes| Some(choice("mine", Some(bytes)));
    choose(&schedulers, None, mine(b"before")).unwrap();
    try_out(&schedulers, Some(choice("bpf_rr", None)), 600).unwrap();
    // Another one in its place, and a restart.
    try_out(&schedulers, Some(choice("redundant", None)), 60).unwrap();
    let again = open(&dir);
    assert_eq!(in_use(&again)[0].1, "redundant");
    let until = again.next_trial_end().unwrap();
    assert_eq!(again.classes()[0].trial_until, Some(until));
    assert!(again.end_trials(until - 1).unwrap().is_empty());
    let ended = again.end_trials(until).unwrap();
    assert_eq!(ended.len(), 1);
    assert!(
        ended[0].scheduler == "redundant" && ended[0].again.starts_with("mine"),
        "{ended:?}"
    );
    assert_eq!(ended[0].ended - ended[0].began, 60);
    // The object was kept meanwhile.
    assert_eq!(in_use(&again)[0].1, "mine");
    assert_eq!(again.next_trial_end(), None);
    for (choice, secs) in [(None, 60), (mine(b"x"), 0), (mine(b"x"), MAX_TRIAL + 1)] {
        assert!(matches!(
            try_out(&again, choice, secs),
            Err(ChoiceError::Trial)
        ));
    }
}

#[test]
fn a_trial_of_a_class_that_is_gone_ends_too() {
    let dir = TempDir::new("schedulers-trial-gone");
    let trial = UseRequest {
        class: Some("bulk".into()),
        choice: Some(choice("bpf_rr", None)),
        trial_secs: Some(60),
    };
    open(&dir).choose(trial).unwrap();
    let again = Schedulers::open(dir.path(), vec![class("", None)]).unwrap();
    let until = again.next_trial_end().unwrap();
    assert!(again.end_trials(until).unwrap().is_empty());
    assert_eq!(again.next_trial_end(), None);
}

#[test]
fn who_is_ejected_on_trial_does_not_come_back() {
    let dir = TempDir::new("schedulers-trial-ejected");
    let schedulers = open(&dir);
    try_out(&schedulers, Some(choice("bpf_rr", None)), 600).unwrap();
    let id = schedulers.setup().0.chosen[0].id.clone();
    schedulers.quarantine(&ejection(id)).unwrap();
    assert_eq!(schedulers.next_trial_end(), None);
    assert_eq!(in_use(&schedulers)[0].1, "default");
}

#[test]
fn who_was_ejected_stays_out_until_pardoned() {
    let dir = TempDir::new("schedulers-quarantine");
    let schedulers = open(&dir);
    let mine = || Some(choice("mine", Some(b"object")));
    choose(&schedulers, None, mine()).unwrap();
    let id = schedulers.setup().0.chosen[0].id.clone();
    schedulers.quarantine(&ejection(id)).unwrap();
    assert_eq!(in_use(&schedulers)[0].1, "default");
    let again = open(&dir);
    assert_eq!(in_use(&again)[0].1, "default");
    let refused = choose(&again, None, mine()).unwrap_err().to_string();
    assert!(refused.contains("guywire sched pardon mine"), "{refused}");
    // Another one of that name is another one.
    choose(&again, None, Some(choice("mine", Some(b"another")))).unwrap();
    choose(&again, None, None).unwrap();
    assert!(again.pardon("other").is_err());
    assert_eq!(again.pardon("mine").unwrap().len(), 1);
    assert_eq!(in_use(&again)[0].1, "default", "a pardon is no choice");
    choose(&again, None, mine()).unwrap();
    assert_eq!(in_use(&again)[0].1, "mine");
}

#[test]
fn who_is_configured_and_was_ejected_is_out_of_its_class() {
    let dir = TempDir::new("schedulers-configured");
    let classes = vec![class("", Some("bpf_rr")), class("ssh", Some("bpf_rr"))];
    let schedulers = Schedulers::open(dir.path(), classes).unwrap();
    let id = schedulers.setup().0.chosen[0].id.clone();
    schedulers.quarantine(&ejection(id)).unwrap();
    let by_default = |class| (class, "default".to_owned());
    assert_eq!(in_use(&schedulers), [by_default(0), by_default(1)]);
    schedulers.pardon("bpf_rr").unwrap();
    assert_eq!(in_use(&schedulers), [by_default(0), by_default(1)]);
    choose(&schedulers, None, None).unwrap();
    assert_eq!(in_use(&schedulers)[0].1, "bpf_rr");
}

#[test]
fn what_cannot_be_used_says_why() {
    let dir = TempDir::new("schedulers-refused");
    let schedulers = open(&dir);
    let mut maps = choice("bpf_weight", None);
    maps.maps = vec![MapSetting {
        map: "weights".into(),
        key: "0g".into(),
        value: "00".into(),
    }];
    let table = [
        (Some("nobody"), choice("default", None), "`ssh`, `bulk`"),
        (None, choice("none", None), "guywire sched list"),
        (None, choice("a/b", Some(b"object")), "1 to 15 letters"),
        (None, choice("mine", Some(b"")), "allowed are 1 to"),
        (None, maps, "no hexadecimal number"),
    ];
    for (class, choice, part) in table {
        let error = choose(&schedulers, class, Some(choice))
            .unwrap_err()
            .to_string();
        assert!(error.contains(part), "{part} is missing in {error}");
    }
    let server = Schedulers::open(dir.path(), Vec::new()).unwrap();
    let error = choose(&server, None, Some(choice("default", None))).unwrap_err();
    assert!(
        error.to_string().contains("as its routers choose"),
        "{error}"
    );
}

#[test]
fn a_full_quarantine_takes_no_objects() {
    let dir = TempDir::new("schedulers-full");
    let schedulers = open(&dir);
    for number in 0..=MAX_QUARANTINED {
        let hash = Some(format!("{number:064x}"));
        let name = format!("s{number}");
        schedulers
            .quarantine(&ejection(SchedulerId { name, hash }))
            .unwrap();
    }
    assert_eq!(schedulers.quarantined().len(), MAX_QUARANTINED);
    let refused = choose(&schedulers, None, Some(choice("mine", Some(b"object"))));
    assert!(matches!(refused, Err(ChoiceError::Full)));
    choose(&schedulers, None, Some(choice("bpf_rr", None))).unwrap();
}

#[test]
fn a_damaged_file_is_set_aside() {
    let dir = TempDir::new("schedulers-damaged");
    std::fs::write(dir.path().join("schedulers.json"), "{").unwrap();
    assert_eq!(in_use(&open(&dir)).len(), 2);
    assert!(dir.path().join("schedulers.json.damaged").exists());
}
