//! `guywire sched use`, `pardon`, `incidents` and `trace`: what is said to a running router or server.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use data_encoding::{BASE64, HEXLOWER, HEXLOWER_PERMISSIVE};
use guywire_control::client::Client;
use guywire_control::supervisor::{
    ChoiceRequest, Incident, MAX_TRIAL, PardonRequest, Quarantined, SchedulersAnswer, TraceAnswer,
    TraceRequest, UseRequest,
};
use guywire_control::worker::{Answer, Ejection, MapSetting, TracedDecision};
use guywire_ebpf::object::MapSpec;
use guywire_ebpf::scheduler::Bpf;
use guywire_sched::native;
use guywire_sim::trial;

use super::super::output::print;
use super::super::places::Places;
use super::check::{self, Report, Verdict};

/// How long `use` waits for the server's answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);
/// How often it looks, and `trace` does.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Which router or server is meant.
#[derive(Debug, Args)]
pub(in crate::cli) struct End {
    #[command(flatten)]
    places: Places,
    /// The server that runs on this machine, not the router
    #[arg(long)]
    server: bool,
}

impl End {
    pub(super) fn client(&self) -> Client {
        Client::new(match self.server {
            true => self.places.server_socket(),
            false => self.places.router_socket(),
        })
    }
}

/// What several marks mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Marks {
    /// Each marked link gets a copy
    Copies,
    /// Each takes the next piece in turn, as in the kernel
    Kernel,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct UseArgs {
    /// The name of one that is built in, an object file, or `configured`: what the configuration says
    #[arg(value_name = "NAME|OBJ")]
    what: String,
    /// Only for this class of traffic (`[[class]]` in router.toml)
    #[arg(long, value_name = "NAME")]
    class: Option<String>,
    /// What it means that a scheduler marks several links for one piece
    #[arg(long, value_enum, default_value_t = Marks::Copies)]
    marks: Marks,
    /// A value for a map of the object, as often as needed; both are numbers, or bytes as 0x...
    #[arg(long = "map", value_name = "MAP:KEY=VALUE")]
    maps: Vec<String>,
    /// Only for a time, such as 10m: then what scheduled it before does so again, and `guywire sched incidents` compares
    #[arg(long, value_name = "TIME", value_parser = trial_time)]
    trial: Option<Duration>,
    /// Use an object without or against the verdict of `guywire sched check`; the guard stays
    #[arg(long)]
    i_know_why: bool,
    #[command(flatten)]
    end: End,
}

impl UseArgs {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let choice = match self.what.as_str() {
            "configured" => None,
            _ => Some(self.choice()?),
        };
        let client = self.end.client();
        let request = UseRequest {
            class: self.class.clone(),
            choice,
            trial_secs: self.trial.map(|trial| trial.as_secs()),
        };
        client.post::<_, ()>("/schedulers", &request).await?;
        print(&outcome(&client, &request).await?)?;
        if let Some(secs) = request.trial_secs {
            print(&format!(
                "for {secs} s; then what was there before comes back, and `guywire sched incidents` compares\n"
            ))?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn choice(&self) -> anyhow::Result<ChoiceRequest> {
        let plain = |name: &str| ChoiceRequest {
            name: name.to_owned(),
            object: None,
            source: None,
            verdict: "works".into(),
            in_turn: self.marks == Marks::Kernel,
            maps: Vec::new(),
        };
        if native(&self.what).is_some() {
            if self.marks == Marks::Kernel || !self.maps.is_empty() {
                bail!(
                    "`{}` is native: --marks and --map are for BPF schedulers",
                    self.what
                );
            }
            return Ok(plain(&self.what));
        }
        if let Some(bpf) = Bpf::embedded(&self.what) {
            return Ok(ChoiceRequest {
                maps: map_settings(&bpf.object().maps, &self.maps)?,
                ..plain(&self.what)
            });
        }
        let object = check::read(&self.what)?;
        let bpf = Bpf::load(&self.what, &object)?;
        let source = std::path::absolute(Path::new(&self.what))?;
        Ok(ChoiceRequest {
            object: Some(BASE64.encode(&object)),
            source: Some(source.display().to_string()),
            verdict: self.verdict(&bpf)?.to_owned(),
            maps: map_settings(&bpf.object().maps, &self.maps)?,
            ..plain(bpf.name())
        })
    }

    /// Asks what becomes of it before anything depends on it.
    fn verdict(&self, bpf: &Bpf) -> anyhow::Result<&'static str> {
        if self.i_know_why {
            return Ok("not asked");
        }
        let report = Report::of_object(bpf, &trial::fixed());
        if report.verdict != Verdict::Works {
            eprint!("{}", report.text());
        }
        match report.verdict {
            Verdict::Refused => bail!(
                "{} is not used; --i-know-why uses it all the same, under the guard",
                self.what
            ),
            verdict => Ok(verdict.word()),
        }
    }
}

/// Reads how long a trial takes: whole seconds, minutes or hours, at most a day.
fn trial_time(text: &str) -> Result<Duration, String> {
    let units = [("s", 1), ("m", 60), ("h", 3_600)];
    let read = |(unit, secs): (&str, u64)| {
        text.strip_suffix(unit)?
            .parse::<u64>()
            .ok()?
            .checked_mul(secs)
    };
    match units.into_iter().find_map(read) {
        Some(secs @ 1..=MAX_TRIAL) => Ok(Duration::from_secs(secs)),
        _ => Err(format!(
            "{text:?} is no time from 1s to 24h, such as 90s, 10m or 2h"
        )),
    }
}

/// What became of the choice for a class: waits a little for the worker and for the server.
async fn outcome(client: &Client, request: &UseRequest) -> anyhow::Result<String> {
    let until = Instant::now() + ANSWER_WITHIN;
    loop {
        // What was reported before the choice says nothing of it.
        tokio::time::sleep(LOOK_EVERY).await;
        let answer: SchedulersAnswer = client.get("/schedulers").await?;
        if let Some(text) = settled(&answer, request) {
            return Ok(text);
        }
        if Instant::now() >= until {
            return Ok(
                "chosen; the server has not answered yet (`guywire sched list` tells more)\n"
                    .into(),
            );
        }
    }
}

/// What became of the choice for a class, once that is known.
fn settled(answer: &SchedulersAnswer, request: &UseRequest) -> Option<String> {
    let class = request.class.as_deref().unwrap_or_default();
    let class = answer.classes.iter().find(|other| other.name == class)?;
    let what = match class.name.as_str() {
        "" => "all traffic without a class of its own".to_owned(),
        name => format!("the class {name}"),
    };
    let name = match (&class.chosen, &class.configured) {
        (Some(chosen), _) => chosen.id.to_string(),
        (None, Some(name)) => name.clone(),
        (None, None) => return Some(format!("all other traffic's scheduler schedules {what}\n")),
    };
    let chosen = class.chosen.as_ref();
    // Whoever was ejected is not chosen any more.
    if let (Some(wanted), Some(chosen)) = (&request.choice, chosen)
        && chosen.id.name != wanted.name
    {
        let mut out = answer.quarantine.iter().rev();
        let out = out.find(|entry| entry.id.name == wanted.name)?;
        let Quarantined {
            id, reason, text, ..
        } = out;
        return Some(format!(
            "{id} was ejected at once, `default` schedules {what}: {reason}: {text}\n"
        ));
    }
    let report = answer.in_use.iter().find(|report| {
        report.class == class.id && chosen.is_none_or(|chosen| chosen.id == report.here)
    })?;
    match report.answer.as_ref()? {
        Answer::InUse => Some(format!("{name} schedules {what}, here and at the server\n")),
        Answer::Refused { text } | Answer::Ejected { text, .. } => Some(format!(
            "{name} schedules {what} here; the server does not use it: {text}\n"
        )),
    }
}

/// Reads `MAP:KEY=VALUE`, each part as wide as the object's map says.
fn map_settings(maps: &[MapSpec], texts: &[String]) -> anyhow::Result<Vec<MapSetting>> {
    let setting = |text: &String| {
        let parts = text.split_once(':');
        let parts = parts.and_then(|(map, rest)| Some((map, rest.split_once('=')?)));
        let (name, (key, value)) =
            parts.with_context(|| format!("`{text}` is not of the form MAP:KEY=VALUE"))?;
        let map = maps.iter().find(|map| map.name == name);
        let map = map.with_context(|| {
            let names: Vec<&str> = maps.iter().map(|map| map.name.as_str()).collect();
            format!("the object has no map `{name}`, but {names:?}")
        })?;
        Ok(MapSetting {
            map: name.to_owned(),
            key: number(key, map.key_size).with_context(|| format!("`{text}`"))?,
            value: number(value, map.value_size).with_context(|| format!("`{text}`"))?,
        })
    };
    texts.iter().map(setting).collect()
}

/// A number of `size` bytes, least significant first; or, after `0x`, just these bytes. As hexadecimal digits.
fn number(text: &str, size: u32) -> anyhow::Result<String> {
    let size = size as usize;
    let bytes = match text.strip_prefix("0x") {
        Some(digits) => HEXLOWER_PERMISSIVE.decode(digits.as_bytes())?,
        None => {
            let number: u64 = text.parse()?;
            let bytes = number.to_le_bytes();
            if bytes.iter().skip(size).any(|&byte| byte != 0) {
                bail!("{number} does not fit into {size} bytes");
            }
            let mut bytes = bytes.to_vec();
            bytes.resize(size, 0);
            bytes
        }
    };
    if bytes.len() != size {
        bail!("{} bytes, needed are {size}", bytes.len());
    }
    Ok(HEXLOWER.encode(&bytes))
}

/// `guywire sched pardon`.
pub(super) async fn pardon(client: &Client, scheduler: String) -> anyhow::Result<ExitCode> {
    let request = PardonRequest { scheduler };
    let pardoned: Vec<Quarantined> = client.post("/pardon", &request).await?;
    for Quarantined { id, reason, .. } in pardoned {
        print(&format!(
            "{id} may be used again; it was ejected for: {reason}\n"
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `guywire sched incidents`: the last ejections.
pub(super) async fn incidents(
    client: &Client,
    last: usize,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let mut incidents: Vec<Incident> = client.get("/incidents").await?;
    incidents.retain(|incident| incident.kind.starts_with("scheduler-"));
    let shown = &incidents[incidents.len().saturating_sub(last)..];
    if json {
        print(&(serde_json::to_string_pretty(shown)? + "\n"))?;
    } else if shown.is_empty() {
        print("no scheduler was ejected or refused\n")?;
    } else {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        for incident in shown {
            print(&describe(incident, now))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn describe(incident: &Incident, now: u64) -> String {
    let mut out = format!("{}: {}\n", ago(incident.at, now), incident.text);
    if let Some(ejection) = &incident.ejection {
        let Ejection {
            pc,
            listing,
            decisions,
            paths,
            log,
            flow,
            ..
        } = ejection.as_ref();
        let _ = writeln!(out, "  in flow {flow}");
        let at = pc.map_or_else(String::new, |pc| format!("at instruction {pc}:"));
        let mut part = |title: &str, lines: &mut dyn Iterator<Item = String>| {
            let mut lines = lines.peekable();
            if lines.peek().is_some() {
                let _ = writeln!(out, "  {title}");
            }
            for line in lines {
                let _ = writeln!(out, "    {line}");
            }
        };
        part(&at, &mut listing.iter().cloned());
        part("paths:", &mut paths.iter().cloned());
        part("last decisions:", &mut decisions.iter().map(decision));
        part("it printed:", &mut log.iter().cloned());
    }
    out
}

/// How long ago, in words.
fn ago(at: u64, now: u64) -> String {
    let secs = now.saturating_sub(at);
    match (secs / 86_400, secs / 3600, secs / 60) {
        (0, 0, 0) => format!("{secs} s ago"),
        (0, 0, minutes) => format!("{minutes} min ago"),
        (0, hours, _) => format!("{hours} h ago"),
        (days, ..) => format!("{days} d ago"),
    }
}

/// A decision in a line: the paths that were shown, those that were marked in brackets.
fn decision(decision: &TracedDecision) -> String {
    let path = |path: &u8| match decision.marked.contains(path) {
        true => format!("[{path}]"),
        false => path.to_string(),
    };
    let paths: Vec<String> = decision.shown.iter().map(path).collect();
    let question = if decision.retrans { "again" } else { "next" };
    let secs = decision.at_us as f64 / 1e6;
    format!(
        "{secs:.6} flow {} {question}: {}",
        decision.flow,
        paths.join(" ")
    )
}

/// `guywire sched trace`: decisions as they are made, for `seconds`.
pub(super) async fn trace(client: &Client, seconds: Option<u64>) -> anyhow::Result<ExitCode> {
    let end = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let schedulers: SchedulersAnswer = client.get("/schedulers").await?;
    let mut from = None;
    let mut numbers = std::collections::HashMap::new();
    eprintln!("paths that were marked are in [brackets]; end with Ctrl-C");
    while end.is_none_or(|end| Instant::now() < end) {
        let answer: TraceAnswer = client.post("/trace", &TraceRequest { from }).await?;
        from = Some(answer.next);
        let mut text = String::new();
        for traced in &answer.decisions {
            let TracedDecision {
                session,
                class,
                number,
                ..
            } = traced;
            let next = numbers.entry((session.clone(), *class)).or_insert(*number);
            if let Some(missed @ 1..) = number.checked_sub(*next) {
                let _ = writeln!(text, "... {missed} more");
            }
            *next = number + 1;
            let class = schedulers.label(*class);
            let _ = writeln!(text, "{session} {class} {}", decision(traced));
        }
        print(&text)?;
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use guywire_control::worker::SchedulerId;

    use super::*;

    #[test]
    fn numbers_are_as_wide_as_the_map() {
        assert_eq!(number("258", 4).unwrap(), "02010000");
        assert_eq!(number("1", 12).unwrap(), "01".to_owned() + &"00".repeat(11));
        assert_eq!(number("0xAb01", 2).unwrap(), "ab01");
        for (text, size) in [("256", 1), ("0xab", 2), ("0xg0", 1), ("", 4), ("-1", 4)] {
            assert!(number(text, size).is_err(), "{text}");
        }
    }

    #[test]
    fn trials_take_seconds_minutes_or_hours() {
        for (text, secs) in [("90s", 90), ("10m", 600), ("24h", 86_400)] {
            assert_eq!(trial_time(text), Ok(Duration::from_secs(secs)), "{text}");
        }
        for text in ["10", "0s", "25h", "1.5h", "99999999999999999999s", "ms"] {
            assert!(trial_time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn maps_are_named_in_errors() {
        let bpf = Bpf::embedded("bpf_weight").unwrap();
        let maps = &bpf.object().maps;
        let settings = |text: &str| map_settings(maps, &[text.to_owned()]);
        let name = maps.iter().find(|map| map.settable).unwrap().name.clone();
        assert_eq!(settings(&format!("{name}:1=30")).unwrap()[0].map, name);
        let unknown = settings("none:1=2").unwrap_err().to_string();
        assert!(unknown.contains(&name), "{unknown}");
        let form = settings("none").unwrap_err().to_string();
        assert!(form.contains("MAP:KEY=VALUE"), "{form}");
    }

    #[test]
    fn an_incident_is_told_with_all_that_is_known() {
        let traced = TracedDecision {
            session: "server".into(),
            class: 0,
            number: 7,
            at_us: 1_500_000,
            flow: 4,
            retrans: false,
            shown: vec![1, 2],
            marked: vec![2],
        };
        let incident = Incident {
            at: 1_000,
            kind: "scheduler-ejected".into(),
            text: "the scheduler x was ejected".into(),
            ejection: Some(Box::new(Ejection {
                scheduler: SchedulerId {
                    name: "x".into(),
                    hash: None,
                },
                session: "server".into(),
                reason: "memory_fault".into(),
                text: "it read too far".into(),
                flow: 4,
                pc: Some(12),
                listing: vec!["12: r0 = *(u64 *)(r1 + 8)".into()],
                decisions: vec![traced],
                paths: vec!["path 1: up".into()],
                log: vec!["hello".into()],
            })),
        };
        let text = describe(&incident, 1_000 + 3 * 3600);
        for part in [
            "3 h ago: the scheduler x",
            "at instruction 12",
            "r0 = *(u64",
            "path 1: up",
            "1.500000 flow 4 next: 1 [2]",
            "hello",
        ] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
    }
}
