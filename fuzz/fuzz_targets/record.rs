//! The record parser: never panics, always gets on, and reads back what is written of what it read, in two pieces too.
#![no_main]

use guywire_flow::record::{self, Begun, Record};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut rest = input;
    loop {
        let before = rest.len();
        let Ok(Some(record)) = record::take(&mut rest) else {
            Begun::take(&mut rest);
            return;
        };
        assert!(rest.len() < before, "a record has bytes");
        if let Some(written) = written(&record) {
            let again = record::take(&mut &written[..]);
            assert_eq!(again, Ok(Some(record.clone())));
            let (mut first, mut second) = written.split_at(written.len() / 2);
            if let Some(begun) = Begun::take(&mut first) {
                assert_eq!(begun.complete(&mut second).ok(), Some(record));
            }
        }
    }
});

/// The record as this program writes it.
fn written(record: &Record) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    match record {
        Record::Control(number, control) => record::put_control(&mut out, *number, control),
        Record::Skipped(_) => return None,
        Record::ControlAck(number) => record::put_control_ack(&mut out, *number),
        Record::Ping { stamp } => record::put_ping(&mut out, *stamp),
        Record::Pong { stamp } => record::put_pong(&mut out, *stamp),
        // The header of ours may be longer than theirs, and the body then too long.
        Record::Data { bytes, .. } if bytes.len() > record::MAX_BODY - 8 => return None,
        Record::Data { flow, dsn, bytes } => {
            out.extend_from_slice(&record::data_header(*flow, *dsn, bytes.len()));
            out.extend_from_slice(bytes);
        }
        Record::Ack {
            flow,
            cumulative,
            window,
        } => record::put_ack(&mut out, *flow, *cumulative, *window),
    }
    Some(out)
}
