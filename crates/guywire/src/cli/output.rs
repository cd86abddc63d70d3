//! Printing results to standard output, whose reader may go away (`guywire router status | head`).

use std::io::{self, Write as _};

/// Prints a text as it is.
///
/// # Errors
/// Standard output cannot be written; that its reader is gone is no error.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
