//! Counts passes, failures and skips in what the test runners print.
//!
//! A test that cannot run here prints a line `skipped: REASON` and returns. To the runner it
//! passed; here it is a skip. Output of tests that passed is not shown again.

/// Who prints.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// `cargo nextest run --success-output=immediate`.
    Nextest,
    /// `cargo test -- --show-output`.
    Libtest,
}

/// How the tests ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Tests that ran and passed.
    pub(super) passed: usize,
    /// Names of tests that failed.
    pub(super) failed: Vec<String>,
    /// Tests that could not run.
    pub(super) skipped: Vec<Skip>,
}

/// A test that could not run.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Skip {
    pub(super) test: String,
    pub(super) reason: String,
}

impl Tally {
    /// The closing line: `N passed, N failed`, and the skips where there are some.
    pub(super) fn line(&self) -> String {
        let line = format!("{} passed, {} failed", self.passed, self.failed.len());
        match self.skipped.len() {
            0 => line,
            skipped => format!("{line}, {skipped} skipped"),
        }
    }
}

/// Reads a runner's output line by line.
pub(super) struct Reader<'a> {
    format: Format,
    tally: &'a mut Tally,
    /// The test whose output is being read, while it has passed and printed no skip.
    passed: Option<String>,
    /// Whether output of a passed test is being read.
    quiet: bool,
    /// Whether the runner repeats itself in its closing lines.
    closing: bool,
    /// What libtest is running, as cargo names it.
    program: String,
}

impl<'a> Reader<'a> {
    /// A reader that adds to `tally`.
    pub(super) fn new(format: Format, tally: &'a mut Tally) -> Self {
        Self {
            format,
            tally,
            passed: None,
            quiet: false,
            closing: false,
            program: String::new(),
        }
    }

    /// Takes one line and tells whether it is worth showing.
    pub(super) fn read(&mut self, line: &str) -> bool {
        match self.format {
            Format::Nextest => self.nextest(line),
            Format::Libtest => self.libtest(line),
        }
    }

    fn nextest(&mut self, line: &str) -> bool {
        let text = line.trim_start();
        if text.starts_with("Summary [") {
            self.closing = true;
            self.quiet = false;
        }
        if self.closing {
            return true;
        }
        match nextest_status(text) {
            Some(("PASS" | "LEAK", test)) => {
                self.tally.passed += 1;
                self.passed = Some(test.to_owned());
                self.quiet = true;
                return true;
            }
            // Still running: its end comes later.
            Some(("SLOW" | "TERMINATING", _)) => return true,
            Some((_, test)) => {
                self.tally.failed.push(test.to_owned());
                self.passed = None;
                self.quiet = false;
                return true;
            }
            None => self.skip(text),
        }
        !self.quiet
    }

    fn libtest(&mut self, line: &str) -> bool {
        let text = line.trim();
        if let Some(program) = text
            .strip_prefix("Running ")
            .or(text.strip_prefix("Doc-tests "))
        {
            program_name(program).clone_into(&mut self.program);
            self.quiet = false;
        } else if text == "successes:" {
            self.quiet = true;
        } else if text == "failures:" || text.starts_with("test result:") {
            self.quiet = false;
            self.passed = None;
        } else if let Some(test) = text
            .strip_prefix("---- ")
            .and_then(|rest| rest.strip_suffix(" stdout ----"))
        {
            self.passed = self.quiet.then(|| self.named(test));
        } else if let Some((test, result)) = libtest_status(text).filter(|_| !self.quiet) {
            let test = self.named(test);
            match result {
                "ok" => self.tally.passed += 1,
                "FAILED" => self.tally.failed.push(test),
                _ => {}
            }
        } else {
            self.skip(text);
        }
        // A program without tests says so at length.
        let empty = text == "running 0 tests" || text.starts_with("test result: ok. 0 passed; 0");
        !self.quiet && !empty
    }

    /// Turns the pass whose output is being read into a skip, where `text` says so.
    fn skip(&mut self, text: &str) {
        let Some(reason) = text.strip_prefix("skipped: ") else {
            return;
        };
        if let Some(test) = self.passed.take() {
            self.tally.passed -= 1;
            let reason = reason.trim().to_owned();
            self.tally.skipped.push(Skip { test, reason });
        }
    }

    fn named(&self, test: &str) -> String {
        format!("{} {test}", self.program)
    }
}

/// The program's name in `unittests src/lib.rs (target/debug/deps/guywire_net-0a1b)`.
fn program_name(text: &str) -> &str {
    let file = text.trim_end_matches(')').rsplit(['/', '(']).next();
    let file = file.unwrap_or(text);
    file.rsplit_once('-').map_or(file, |(name, _hash)| name)
}

/// Reads `PASS [   0.005s] (1/9) package test`: the status and the test.
fn nextest_status(text: &str) -> Option<(&str, &str)> {
    let (status, rest) = text.split_once(" [")?;
    let shaped = status
        .chars()
        .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '-');
    let (time, test) = rest.split_once("] ")?;
    let timed = time.trim_start_matches(['>', ' ']).ends_with('s') && time.contains('.');
    let test = match test.strip_prefix('(') {
        Some(counted) => counted.split_once(") ")?.1,
        None => test,
    };
    (shaped && timed && !status.is_empty()).then_some((status, test.trim()))
}

/// Reads `test tests::name ... ok`: the test and its result.
fn libtest_status(text: &str) -> Option<(&str, &str)> {
    let (test, result) = text.strip_prefix("test ")?.rsplit_once(" ... ")?;
    let result = result.split([',', ' ']).next()?;
    Some((test, result))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEXTEST: &str = "\
    Starting 4 tests across 1 binary (1 test skipped)
        PASS [   0.005s] (1/4) scratch b
  stdout ───

    running 1 test
    hello
    test b ... ok

        SLOW [> 60.000s] (───) scratch a
        PASS [  61.006s] (2/4) scratch a
  stderr ───
    skipped: no root

     SIGABRT [   0.004s] (3/4) scratch e
  stdout ───
    skipped: this is no skip

        FAIL [   0.097s] scratch c
  stderr ───

    thread 'c' panicked
     Summary [   0.103s] 4 tests run: 2 passed, 2 failed, 1 skipped
        FAIL [   0.097s] scratch c
     SIGABRT [   0.004s] scratch e
error: test run failed";

    const LIBTEST: &str = "\
     Running unittests src/lib.rs (target/debug/deps/guywire_net-0a1b)

running 4 tests
test a ... ok
test b ... ok
test c ... FAILED
test d ... ignored, only by hand

successes:

---- a stdout ----
skipped: no root

---- b stdout ----
test x ... ok


successes:
    a
    b

failures:

---- c stdout ----

thread 'c' panicked
skipped: this is no skip


failures:
    c

test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out

   Doc-tests scratch
test src/lib.rs - f (line 3) ... ok
test result: ok. 1 passed";

    fn read(format: Format, text: &str) -> (Tally, String) {
        let mut tally = Tally::default();
        let mut reader = Reader::new(format, &mut tally);
        let shown: Vec<&str> = text.lines().filter(|line| reader.read(line)).collect();
        (tally, shown.join("\n"))
    }

    #[test]
    fn counts_what_nextest_prints() {
        let (tally, shown) = read(Format::Nextest, NEXTEST);
        assert_eq!(tally.line(), "1 passed, 2 failed, 1 skipped");
        assert_eq!(tally.failed, ["scratch e", "scratch c"]);
        assert_eq!(tally.skipped[0].test, "scratch a");
        assert_eq!(tally.skipped[0].reason, "no root");
        assert!(shown.contains("thread 'c' panicked"));
        assert!(!shown.contains("hello"));
    }

    #[test]
    fn counts_what_libtest_prints() {
        let (tally, shown) = read(Format::Libtest, LIBTEST);
        assert_eq!(tally.line(), "2 passed, 1 failed, 1 skipped");
        assert_eq!(tally.failed, ["guywire_net c"]);
        assert_eq!(tally.skipped[0].test, "guywire_net a");
        assert!(shown.contains("thread 'c' panicked"));
        assert!(!shown.contains("no root"));
    }

    #[test]
    fn no_skip_leaves_the_plain_line() {
        let tally = Tally {
            passed: 3,
            ..Tally::default()
        };
        assert_eq!(tally.line(), "3 passed, 0 failed");
    }
}
