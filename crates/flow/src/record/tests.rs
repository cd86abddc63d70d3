//! Every record survives the wire; nothing that arrives makes the parser panic.

use proptest::prelude::*;

use guywire_sched::{MapValue, Reason};

use super::*;

fn destination() -> impl Strategy<Value = Destination> {
    prop_oneof![
        any::<SocketAddr>().prop_map(|address| {
            // The scope and flow label of an IPv6 address do not travel.
            Destination::Address(SocketAddr::new(address.ip(), address.port()))
        }),
        "[a-z0-9.-]{0,32}".prop_map(Destination::Service),
    ]
}

fn number() -> impl Strategy<Value = u64> {
    0..=varint::MAX
}

fn choice() -> impl Strategy<Value = Choice> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..=MAX_MAP_BYTES);
    let value = ("[a-z]{0,32}", bytes(), bytes());
    let value = value.prop_map(|(map, key, value)| MapValue { map, key, value });
    let maps = prop::collection::vec(value, 0..=MAX_MAP_VALUES);
    let hash = prop::option::of(any::<[u8; 32]>());
    (
        0..CLASSES,
        number(),
        "[a-z_]{0,32}",
        hash,
        any::<bool>(),
        maps,
    )
        .prop_map(|(class, serial, name, hash, in_turn, maps)| Choice {
            class,
            serial,
            name,
            hash,
            in_turn,
            maps,
        })
}

fn piece() -> impl Strategy<Value = Piece> {
    (
        any::<[u8; 32]>(),
        1..=MAX_OBJECT,
        any::<prop::sample::Index>(),
    )
        .prop_map(|(hash, size, which)| {
            let number = which.index(size.div_ceil(OBJECT_PIECE));
            let length = (size - number * OBJECT_PIECE).min(OBJECT_PIECE);
            Piece {
                hash,
                size: size as u32,
                number: number as u32,
                bytes: vec![7; length],
            }
        })
}

fn fate() -> impl Strategy<Value = Fate> {
    let ejected = prop::sample::select(&Reason::ALL[..]).prop_map(Fate::Ejected);
    prop_oneof![
        Just(Fate::InUse),
        Just(Fate::Wanted),
        Just(Fate::Refused),
        ejected
    ]
}

fn control() -> impl Strategy<Value = Control> {
    let notice = prop_oneof![
        Just(PathNotice::Up),
        Just(PathNotice::Stale),
        Just(PathNotice::Withdrawn)
    ];
    let reason = any::<u8>().prop_map(FlowReason::from_code);
    prop_oneof![
        (any::<u8>(), notice, any::<bool>()).prop_map(|(path, notice, backup)| {
            Control::PathStatus {
                path,
                notice,
                backup,
            }
        }),
        choice().prop_map(Control::Scheduler),
        piece().prop_map(Control::SchedulerObject),
        (0..CLASSES, number(), fate(), ".{0,256}").prop_map(|(class, serial, fate, text)| {
            Control::SchedulerResult(ChoiceResult {
                class,
                serial,
                fate,
                text,
            })
        }),
        any::<u8>().prop_map(|code| Control::GoAway(SessionReason::from_code(code))),
        (number(), destination(), number(), 0..CLASSES, 0..64_u8).prop_map(
            |(flow, to, window, class, dscp)| {
                Control::Open {
                    flow,
                    to,
                    window,
                    kind: FlowKind { class, dscp },
                }
            }
        ),
        (number(), number()).prop_map(|(flow, window)| Control::Opened { flow, window }),
        (number(), reason.clone()).prop_map(|(flow, reason)| Control::Refused { flow, reason }),
        (number(), number()).prop_map(|(flow, end)| Control::Fin { flow, end }),
        (number(), reason).prop_map(|(flow, reason)| Control::Reset { flow, reason }),
        number().prop_map(|flow| Control::Done { flow }),
    ]
}

proptest! {
    #[test]
    fn control_survives_the_wire(number in number(), control in control(), cut in any::<prop::sample::Index>()) {
        let mut out = Vec::new();
        put_control(&mut out, number, &control);
        let mut short = &out[..cut.index(out.len())];
        prop_assert_eq!(take(&mut short), Ok(None));
        let mut input = &out[..];
        prop_assert_eq!(take(&mut input), Ok(Some(Record::Control(number, control))));
        prop_assert!(input.is_empty());
    }

    #[test]
    fn the_rest_survives_the_wire(flow in number(), a in number(), b in number(), bytes in prop::collection::vec(any::<u8>(), 1..4096)) {
        let mut out = Vec::new();
        out.extend_from_slice(&data_header(flow, a, bytes.len()));
        out.extend_from_slice(&bytes);
        put_ack(&mut out, flow, a, b);
        put_control_ack(&mut out, a);
        put_ping(&mut out, b);
        put_pong(&mut out, b);
        let mut input = &out[..];
        let expected = [
            Record::Data { flow, dsn: a, bytes: bytes.clone().into() },
            Record::Ack { flow, cumulative: a, window: b },
            Record::ControlAck(a),
            Record::Ping { stamp: b },
            Record::Pong { stamp: b },
        ];
        for record in expected {
            prop_assert_eq!(take(&mut input), Ok(Some(record)));
        }
        prop_assert!(input.is_empty());
    }

    #[test]
    fn one_chunk_alone_is_found_where_it_lies(
        flow in number(),
        dsn in number(),
        length in 1..MAX_CHUNK,
        off in -2_i32..=2,
    ) {
        let mut wire = data_header(flow, dsn, length).to_vec();
        let expected = wire.len() + length;
        wire.resize((expected as i32 + off) as usize, 7);
        let wire = Bytes::from(wire);
        match whole_data(&wire) {
            Some(record) => {
                prop_assert_eq!(off, 0);
                prop_assert_eq!(take(&mut &wire[..]), Ok(Some(record.clone())));
                let Record::Data { bytes, .. } = record else { panic!("{record:?}") };
                prop_assert_eq!(bytes.as_ptr_range().end, wire.as_ptr_range().end);
            }
            None => prop_assert!(off != 0),
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic_and_always_shrink(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        let mut input = &bytes[..];
        while let Ok(Some(_)) = take(&mut input) {}
        let whole = whole_data(&Bytes::from(bytes.clone()));
        if whole.is_some() {
            prop_assert_eq!(take(&mut &bytes[..]), Ok(whole));
        }
    }
}

#[test]
fn unknown_types_follow_their_flags() {
    let table: [(u8, Result<Option<Record>, RecordError>); 4] = [
        (0, Ok(None)),
        (CRITICAL, Err(RecordError::Unknown { kind: 0x3f })),
        (NUMBERED, Ok(Some(Record::Skipped(7)))),
        (
            CRITICAL | NUMBERED,
            Err(RecordError::Unknown { kind: 0x3f }),
        ),
    ];
    for (flags, expected) in table {
        let bytes = [0x3f, flags, 0, 1, 7];
        assert_eq!(take(&mut &bytes[..]), expected, "flags {flags}");
    }
}

#[test]
fn a_long_body_is_refused_before_it_arrives() {
    let bytes = [kind::DATA, CRITICAL, 1, 0x80, 0, 0x40, 1];
    assert_eq!(
        take(&mut &bytes[..]),
        Err(RecordError::TooLong {
            kind: kind::DATA,
            length: 16_385
        })
    );
}
