//! `bpf_trace_printk`'s formats (kernel/bpf/helpers.c, `bpf_bprintf_prepare`): `%d %i %u %x %X %c %p %s`
//! with `l`, `ll`, flags and widths, and up to three values.

use std::fmt::Write as _;

/// Most bytes of a format.
pub(super) const MAX_FORMAT: usize = 256;
/// Most characters of a line, and most bytes of a string in it.
pub(super) const MAX_LINE: usize = 256;
/// The widest that a number is padded to.
const MAX_WIDTH: usize = 32;

/// What a format takes.
pub(super) struct Arguments<F> {
    /// r3 to r5.
    pub(super) values: [u64; 3],
    /// The string at an address.
    pub(super) string: F,
}

/// One conversion of a format.
struct Conversion {
    kind: u8,
    /// 64 bits rather than 32.
    long: bool,
    /// Pad with zeroes rather than blanks.
    zeroes: bool,
    width: usize,
}

/// The line that `format` makes, up to its first NUL.
pub(super) fn format<'a, F>(format: &[u8], arguments: Arguments<F>) -> String
where
    F: Fn(u64) -> Option<&'a [u8]>,
{
    let mut out = String::new();
    let mut values = arguments.values.into_iter();
    let mut rest = format.split(|&byte| byte == 0).next().unwrap_or_default();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            out.push(char::from(byte));
            continue;
        }
        let conversion = conversion(&mut rest);
        if conversion.kind == b'%' {
            out.push('%');
            continue;
        }
        // A fourth value has no register; the kernel refuses such formats.
        let Some(value) = values.next() else { break };
        match conversion.kind {
            b's' => {
                let bytes = (arguments.string)(value).unwrap_or(b"(fault)");
                out.push_str(&String::from_utf8_lossy(bytes));
            }
            _ => conversion.write(value, &mut out),
        }
    }
    out.trim_end().chars().take(MAX_LINE).collect()
}

/// Takes a conversion off the front, after its percent sign.
fn conversion(rest: &mut &[u8]) -> Conversion {
    let mut found = Conversion {
        kind: b'%',
        long: false,
        zeroes: false,
        width: 0,
    };
    while let Some((&byte, after)) = rest.split_first() {
        *rest = after;
        match byte {
            b'0' if found.width == 0 => found.zeroes = true,
            b'0'..=b'9' => found.width = found.width * 10 + usize::from(byte - b'0'),
            b'l' => found.long = true,
            b'-' | b'+' | b'#' | b' ' | b'h' | b'.' => {}
            kind => {
                found.kind = kind;
                break;
            }
        }
        found.width = found.width.min(MAX_WIDTH);
    }
    found
}

impl Conversion {
    fn write(&self, value: u64, out: &mut String) {
        let narrow = !self.long && self.kind != b'p';
        let value = if narrow {
            u64::from(value as u32)
        } else {
            value
        };
        let signed = if narrow {
            i64::from(value as i32)
        } else {
            value as i64
        };
        let text = match self.kind {
            b'd' | b'i' => signed.to_string(),
            b'u' => value.to_string(),
            b'x' => format!("{value:x}"),
            b'X' => format!("{value:X}"),
            b'c' => char::from(value as u8).to_string(),
            b'p' => format!("{value:#x}"),
            other => format!("%{}", char::from(other)),
        };
        let width = self.width;
        // Writing to a string cannot fail.
        let _ = if self.zeroes {
            write!(out, "{text:0>width$}")
        } else {
            write!(out, "{text:>width$}")
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn shows(text: &str, values: [u64; 3], expected: &str) {
        let arguments = Arguments {
            values,
            string: |address| (address == 7).then_some(b"seven" as &[u8]),
        };
        assert_eq!(format(text.as_bytes(), arguments), expected, "{text}");
    }

    #[test]
    fn formats_as_the_kernel_does() {
        let minus = -5i64 as u64;
        shows("plain\n\0junk", [0; 3], "plain");
        shows("%d %u %x", [minus, minus, 255], "-5 4294967291 ff");
        shows(
            "%lld %llu %lX",
            [minus, 1 << 40, 255],
            "-5 1099511627776 FF",
        );
        shows("%5d|%05d|%c", [1, 2, 65], "    1|00002|A");
        shows("100%% %p", [0x10, 0, 0], "100% 0x10");
        shows("%s %s", [7, 8, 0], "seven (fault)");
        shows("%d %d %d %d", [1, 2, 3], "1 2 3");
        shows("%", [0; 3], "%");
        shows("%999999999999999999999d", [1, 0, 0], &format!("{:>32}", 1));
    }
}
