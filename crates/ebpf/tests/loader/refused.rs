//! What cannot be loaded is refused, with a reason that names what is wrong.

use std::collections::BTreeSet;

use crate::support::{bpf, load_from_zoo, read};
use guywire_ebpf::LoadFault;
use guywire_ebpf::loader::load;
use serde::Deserialize;

/// The object with every `from` written as `to`, which is no longer: its end is filled with NULs.
fn renamed(object: &str, from: &str, to: &str) -> Vec<u8> {
    renamed_at_most(object, from, to, usize::MAX)
}

/// The same in the types only, which clang writes before all other names.
fn renamed_in_types(object: &str, from: &str, to: &str) -> Vec<u8> {
    renamed_at_most(object, from, to, 1)
}

fn renamed_at_most(object: &str, from: &str, to: &str, most: usize) -> Vec<u8> {
    let mut file = read(object);
    let (from, mut to) = (from.as_bytes(), to.as_bytes().to_vec());
    assert!(to.len() <= from.len());
    to.resize(from.len(), 0);
    let places: Vec<usize> = (0..file.len() - from.len())
        .filter(|&at| file[at..].starts_with(from))
        .collect();
    assert!(!places.is_empty(), "{object} has no {from:?}");
    for at in places.into_iter().take(most) {
        file[at..at + to.len()].copy_from_slice(&to);
    }
    file
}

#[track_caller]
fn refused(file: &[u8]) -> (LoadFault, String) {
    let error = load("strange.o", file).expect_err("it is refused");
    let text = error.to_string();
    assert!(text.starts_with("strange.o: "), "{text}");
    (error.fault, text)
}

#[test]
fn what_is_no_object_is_refused() {
    for file in [&b""[..], b"\x7fELF", &[0; 4096], b"#!/bin/sh\n"] {
        assert!(matches!(refused(file).0, LoadFault::Elf(_)), "{file:?}");
    }
    let (fault, _) = refused(&vec![0; 5 << 20]);
    assert!(matches!(fault, LoadFault::TooMany { what: "bytes", .. }));
    let mut file = read("g2_kernel");
    file[18] = 62; // e_machine: x86-64
    assert_eq!(refused(&file).0, LoadFault::NotBpf { machine: 62 });
    assert_eq!(
        refused(&renamed("g2_kernel", ".BTF\0", ".ATF\0")).0,
        LoadFault::NoBtf
    );
}

#[test]
fn every_truncation_is_refused() {
    let file = read("g2b_kernel");
    for end in 0..file.len() {
        assert!(load("cut", &file[..end]).is_err(), "{end} bytes");
    }
}

#[test]
fn old_forms_of_the_interface_are_refused_by_name() {
    let (fault, text) = refused(&renamed("g2b_kernel", "\0get_retrans\0", "\0data_init\0"));
    assert!(matches!(fault, LoadFault::Generation0 { .. }), "{text}");
    assert!(
        text.contains("data_init") && text.contains("get_send(msk)"),
        "{text}"
    );
    let (fault, text) = refused(&renamed(
        "g2b_kernel",
        "bpf_mptcp_subflow_ctx_by_pos",
        "mptcp_subflow_ctx_by_pos",
    ));
    assert!(matches!(fault, LoadFault::Generation0 { .. }), "{text}");
    let (fault, _) = refused(&renamed("g2b_kernel", "\0get_retrans\0", "\0push\0"));
    assert_eq!(fault, LoadFault::Push);
    let fault = load_from_zoo("z_push").expect_err("it is refused").fault;
    assert_eq!(fault, LoadFault::Push);
    let error = load_from_zoo("z_2022").expect_err("it is refused");
    assert!(error.to_string().contains("returns nothing"), "{error}");
}

/// What an object of 2022 calls is missing too, but that it is of 2022 explains more.
#[test]
fn the_form_of_the_interface_is_told_before_what_is_missing() {
    let mut file = renamed("g2b_kernel", "\0get_retrans\0", "\0data_init\0");
    for at in 0..file.len() - 8 {
        if file[at..].starts_with(b"_ctx_by_pos") {
            file[at..at + 11].copy_from_slice(b"_of_another");
        }
    }
    let (fault, text) = refused(&file);
    assert!(matches!(fault, LoadFault::Generation0 { .. }), "{text}");
}

#[test]
fn schedulers_that_make_no_sense_are_refused() {
    let (_, text) = refused(&renamed("g2b_kernel", "mptcp_sched_ops", "tcp_cong_ops"));
    assert!(text.contains("is a `struct tcp_cong_ops`"), "{text}");
    let (_, text) = refused(&renamed("g2b_kernel", "\0get_retrans\0", "\0get_anything"));
    assert!(text.contains("get_anything"), "{text}");
    let (_, text) = refused(&renamed("g2b_kernel", "\0get_retrans\0", "\0get_subflow\0"));
    assert!(text.contains("two forms"), "{text}");
    let (fault, _) = refused(&renamed("g2_kernel", "\0get_subflow\0", "\0release\0"));
    assert_eq!(
        fault,
        LoadFault::NoCallback {
            variable: "g2".to_owned()
        }
    );
    let (fault, _) = refused(&renamed_in_types(
        "g2b_kernel",
        ".struct_ops.link",
        ".struct_ops.lank",
    ));
    assert_eq!(fault, LoadFault::NoScheduler);
    // The variable's content; its functions have an underscore behind the number.
    for name in ["g2 kernel\0", "\0"] {
        let (fault, text) = refused(&renamed("g2_kernel", "g2_kernel\0", name));
        assert!(matches!(fault, LoadFault::BadName { .. }), "{text}");
    }
}

#[test]
fn what_the_kernel_lacks_is_refused_with_its_place() {
    let (_, text) = refused(&renamed(
        "g3_kernel",
        "mptcp_subflow_active",
        "mptcp_subflow_asleep",
    ));
    assert!(
        text.contains("mptcp_subflow_asleep") && text.contains("(g3_get_send)"),
        "{text}"
    );
    // A weak one must not be reached, that is all.
    let file = renamed("g3_kernel", "bpf_rdonly_cast", "bpf_rdonly_cost");
    let object = load("weak", &file).expect("it loads");
    assert!(
        object
            .poison
            .iter()
            .any(|why| why.contains("bpf_rdonly_cost")),
        "{:?}",
        object.poison
    );
    // Declared as one function, called by the name of another, which takes something else.
    let file = renamed(
        "g2b_kernel",
        "mptcp_subflow_set_scheduled",
        "mptcp_set_timeout",
    );
    assert!(matches!(refused(&file).0, LoadFault::KfuncTypes { .. }));
}

#[test]
fn missing_members_poison_what_reads_them() {
    let file = renamed("g2_kernel", "sk_pacing_rate", "sk_racing_rate");
    let object = load("poisoned", &file).expect("it loads");
    assert_eq!(
        object.poison,
        ["struct sock.sk_racing_rate is not modelled"]
    );
}

#[test]
fn maps_that_are_not_modelled_are_refused() {
    let (_, text) = refused(&renamed("g3_kernel", "\0max_entries\0", "\0mux_entries\0"));
    assert!(text.contains("first_map"), "{text}");
    let (fault, _) = refused(&renamed("g3_kernel", "\0map_flags\0", "\0numa_node\0"));
    assert!(matches!(fault, LoadFault::BadMap { map, .. } if map == "second_map"));
}

/// What is to become of the members of the zoo (`bpf/zoo/zoo.toml`).
#[derive(Deserialize)]
struct Zoo {
    member: Vec<Member>,
}

#[derive(Deserialize)]
struct Member {
    name: String,
    outcome: String,
    reason: Option<String>,
    because: String,
}

#[test]
fn the_zoo_loads_but_for_those_that_the_table_says_do_not() {
    let folder = bpf().join("zoo");
    let text = std::fs::read_to_string(folder.join("zoo.toml")).expect("the table");
    let page = std::fs::read_to_string(folder.join("README.md")).expect("the page");
    let zoo: Zoo = toml_edit::de::from_str(&text).expect("a table");
    for Member {
        name,
        outcome,
        reason,
        because,
    } in &zoo.member
    {
        let is_refused = reason.as_deref() == Some("load_refused");
        let loaded = load_from_zoo(name);
        assert_eq!(loaded.is_err(), is_refused, "{name}: {loaded:?}");
        let reason = reason
            .as_ref()
            .map_or(String::new(), |reason| format!(": `{reason}`"));
        assert!(
            page.contains(&format!("| {outcome}{reason} | {because} |")),
            "{name} in README.md"
        );
    }
    let listed: BTreeSet<&str> = zoo
        .member
        .iter()
        .map(|member| member.name.as_str())
        .collect();
    let sources = std::fs::read_dir(&folder)
        .expect("the folder")
        .filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            name.strip_suffix(".bpf.c").map(str::to_owned)
        });
    assert_eq!(
        sources.collect::<BTreeSet<_>>(),
        listed.iter().map(|name| (*name).to_owned()).collect()
    );
}

#[test]
fn the_zoo_is_refused_for_the_right_reasons() {
    let fault = |name: &str| load_from_zoo(name).expect_err("it is refused").fault;
    assert!(matches!(fault("z_huge_map"), LoadFault::MapMemory { map, .. } if map == "huge"));
    assert!(
        matches!(fault("z_unknown"), LoadFault::UnknownKfunc { function, .. } if function == "tcp_send_fin_now")
    );
}
