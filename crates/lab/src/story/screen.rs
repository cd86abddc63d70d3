//! What is shown while the story goes on: on a terminal a block of bars that
//! is drawn again and again, elsewhere a plain line now and then.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::time::{Duration, Instant};

use super::transfer::Watch;
use crate::protocol::LinkStatus;
use crate::spec::{LinkSpec, RateSpec};

/// How often a terminal is drawn.
const DRAW: Duration = Duration::from_millis(200);

/// How often a plain line is written.
const LINE: Duration = Duration::from_secs(2);

/// Widest bar, in characters.
const WIDEST: usize = 48;

/// Most characters of what a link is like.
const WORDS: usize = 32;

/// Characters of a line that are neither that nor the bar.
const BESIDE: usize = 20;

/// Eighths of a character, for the end of a bar.
const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

/// Where the story is shown.
pub(super) struct Screen {
    kind: Kind,
    /// Lines of the block drawn last; they are drawn over.
    drawn: usize,
    last: Option<Instant>,
    /// The longest bar means this many Mbit/s.
    scale: f64,
    /// What goes on, as shown last.
    title: String,
}

enum Kind {
    Terminal,
    Plain,
    Nothing,
}

impl Screen {
    /// Standard output, or nothing.
    pub(super) fn new(show: bool) -> Screen {
        let kind = match show {
            false => Kind::Nothing,
            true if io::stdout().is_terminal() => Kind::Terminal,
            true => Kind::Plain,
        };
        Screen {
            kind,
            drawn: 0,
            last: None,
            scale: 1.0,
            title: String::new(),
        }
    }

    /// A line that stays.
    pub(super) fn say(&mut self, text: &str) {
        if !matches!(self.kind, Kind::Nothing) {
            self.write(&format!("{text}\n"));
            self.drawn = 0;
        }
    }

    /// What a transfer came to; stays.
    pub(super) fn note(&mut self, what: &str, mbps: f64) {
        self.say_over(&format!("{what}: {mbps:.1} Mbit/s"));
    }

    /// A moment of a transfer.
    pub(super) fn show(&mut self, what: &str, watch: &Watch) {
        let every = if matches!(self.kind, Kind::Terminal) {
            DRAW
        } else {
            LINE
        };
        let news = self.title != what;
        if !news
            && self
                .last
                .is_some_and(|last| watch.now.saturating_duration_since(last) < every)
        {
            return;
        }
        self.last = Some(watch.now);
        self.title = what.to_owned();
        match self.kind {
            Kind::Nothing => {}
            Kind::Plain => self.write(&plain_line(what, watch)),
            Kind::Terminal => {
                let block = self.block(what, watch);
                self.redraw(&block);
            }
        }
    }

    /// The last block makes room for what comes.
    pub(super) fn finish(&mut self) {
        if matches!(self.kind, Kind::Terminal) {
            self.redraw("");
        }
    }

    fn say_over(&mut self, text: &str) {
        match self.kind {
            Kind::Nothing => {}
            Kind::Plain => self.write(&format!("{text}\n")),
            Kind::Terminal => {
                self.redraw(&format!("{text}\n"));
                self.drawn = 0;
            }
        }
    }

    /// Draws over what was drawn last.
    fn redraw(&mut self, block: &str) {
        let mut text = String::new();
        if self.drawn > 0 {
            // Up by so many lines, then clear to the end of the screen.
            let _ = write!(text, "\x1b[{}A\x1b[J", self.drawn);
        }
        text.push_str(block);
        self.drawn = block.lines().count();
        self.write(&text);
    }

    fn block(&mut self, what: &str, watch: &Watch) -> String {
        let nominal: f64 = watch.links.iter().map(nominal_mbps).sum();
        self.scale = self.scale.max(nominal).max(watch.total.mbps);
        let mut rows: Vec<(&str, &str, f64)> = Vec::new();
        for (link, mbps) in watch.links.iter().zip(&watch.link_mbps) {
            rows.push((&link.name, words(link), *mbps));
        }
        let total = &watch.total;
        rows.push((total.name, total.what, total.mbps));
        let words = rows
            .iter()
            .map(|(_, words, _)| words.len())
            .max()
            .unwrap_or(0)
            .min(WORDS);
        let width = columns().saturating_sub(words + BESIDE).clamp(8, WIDEST);
        let mut block = format!("\n  {what}, {:.1} s\n\n", watch.elapsed.as_secs_f64());
        for (name, text, mbps) in rows {
            let bar = bar(mbps / self.scale, width);
            // Writing to a string cannot fail.
            let _ = writeln!(block, "  {name:<6} {text:<words$.words$} {mbps:>6.1} {bar}");
        }
        block
    }

    fn write(&mut self, text: &str) {
        // A closed pipe ends what is shown, not the story.
        let mut out = io::stdout().lock();
        if out
            .write_all(text.as_bytes())
            .and_then(|()| out.flush())
            .is_err()
        {
            self.kind = Kind::Nothing;
        }
    }
}

fn plain_line(what: &str, watch: &Watch) -> String {
    let mut line = format!("{what}, {:4.1} s:", watch.elapsed.as_secs_f64());
    for (link, mbps) in watch.links.iter().zip(&watch.link_mbps) {
        let state = if link.state == "up" {
            String::new()
        } else {
            format!(" ({})", link.state)
        };
        let _ = write!(line, "  {}{state} {mbps:.1}", link.name);
    }
    let _ = writeln!(
        line,
        "  {} {:.1} Mbit/s",
        watch.total.name, watch.total.mbps
    );
    line
}

/// What a link is like, or what is wrong with it.
fn words(link: &LinkStatus) -> &str {
    if link.state == "up" {
        &link.spec
    } else {
        &link.state
    }
}

/// What a link should carry; nothing is known of plain ones and of traces.
fn nominal_mbps(link: &LinkStatus) -> f64 {
    match link.spec.parse() {
        Ok(LinkSpec::Emulated(emulated)) => match emulated.down.rate {
            RateSpec::Fixed(rate) => rate.bits_per_second() as f64 / 1e6,
            RateSpec::Trace(_) => 0.0,
        },
        _ => 0.0,
    }
}

/// A bar of up to `width` characters.
fn bar(share: f64, width: usize) -> String {
    let eighths = (share.clamp(0.0, 1.0) * width as f64 * 8.0).round() as usize;
    "█".repeat(eighths / 8) + EIGHTHS[eighths % 8]
}

fn columns() -> usize {
    rustix::termios::tcgetwinsize(io::stdout()).map_or(80, |size| usize::from(size.ws_col).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_grow_by_eighths() {
        assert_eq!(bar(0.0, 4), "");
        assert_eq!(bar(1.0, 4), "████");
        assert_eq!(bar(2.0, 4), "████");
        assert_eq!(bar(0.5 + 1.0 / 32.0, 4), "██▏");
        assert_eq!(bar(f64::NAN, 4), "");
    }
}
