//! Traces that are right, and each way to be wrong.

use super::*;

#[test]
fn reads_opportunities_and_wraps_at_the_last() {
    let trace = Trace::parse("# a comment\n0\n5\n5\r\n\n10\n").expect("a good trace");
    assert_eq!(trace.opportunities(), [0, 5, 5, 10]);
    assert_eq!(trace.period(), Duration::from_millis(10));
    assert_eq!(trace.mean_rate(), Rate::from_bits_per_second(4_800_000));
}

#[test]
fn names_the_line_that_is_wrong() {
    let table = [
        ("", TraceParseError::Empty),
        ("0\n0\n", TraceParseError::Empty),
        (
            "1\nfast\n",
            TraceParseError::NotMillisecond {
                line: 2,
                text: "fast".to_string(),
            },
        ),
        (
            "1\n86400001\n",
            TraceParseError::NotMillisecond {
                line: 2,
                text: "86400001".to_string(),
            },
        ),
        (
            "7\n# x\n6\n",
            TraceParseError::Backwards {
                line: 3,
                millisecond: 6,
                earlier: 7,
            },
        ),
    ];
    for (text, error) in table {
        assert_eq!(Trace::parse(text), Err(error), "trace {text:?}");
    }
}

#[test]
fn refuses_more_lines_than_it_stores() {
    let text = "1\n".repeat(MAX_OPPORTUNITIES + 1);
    let error = TraceParseError::TooLong {
        line: MAX_OPPORTUNITIES + 1,
    };
    assert_eq!(Trace::parse(&text), Err(error));
}

#[test]
fn names_a_file_that_is_missing() {
    let error = Trace::load(Path::new("/no/such/trace")).expect_err("there is no such file");
    let text = error.to_string();
    assert!(text.contains("/no/such/trace"), "{text}");
}
