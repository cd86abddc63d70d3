//! The record parser: never panics, always gets on, and reads back what is written of what it read.
#![no_main]

use bytes::Bytes;
use guywire_flow::record::{self, Record};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Some(record) = record::whole_data(&Bytes::copy_from_slice(input)) {
        let mut rest = input;
        assert_eq!(record::take(&mut rest), Ok(Some(record)));
        assert!(rest.is_empty(), "it is all of the input");
    }
    let mut rest = input;
    loop {
        let before = rest.len();
        let Ok(Some(record)) = record::take(&mut rest) else {
            return;
        };
        assert!(rest.len() < before, "a record has bytes");
        if let Some(written) = written(&record) {
            let again = record::take(&mut &written[..]);
            assert_eq!(again, Ok(Some(record.clone())));
            let is_data = matches!(record, Record::Data { .. });
            let alone = record::whole_data(&Bytes::from(written));
            assert_eq!(alone, Some(record).filter(|_| is_data));
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
