//! Schedulers of other people: compiled as they are, loaded, and played in simulated networks.
//!
//! The sources stay where they are, and what is built of them goes into a folder of its own that is
//! removed. Of a form of the interface that is spoken every scheduler has to run; of others, each has to
//! be refused by the name of what it needs.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use xtask::lab::programs::Scratch;

use super::super::Run;
use super::super::report::Report;
use super::judge::judge;
use crate::{command, workspace};

/// The most of a reason that is shown.
const SHOWN: usize = 160;

pub(super) fn measure(run: &Run, report: &mut Report) -> Result<()> {
    let folders = match run.folders.is_empty() {
        true => vec![workspace::root().join("bpf")],
        false => run.folders.clone(),
    };
    let mut sources = Vec::new();
    for folder in &folders {
        collect(folder, &mut sources)
            .with_context(|| format!("cannot read {}", folder.display()))?;
    }
    sources.sort();
    ensure!(
        !sources.is_empty(),
        "there is no source of a scheduler in these folders"
    );
    let workshop = Workshop::new(&run.include)?;
    report.condition(format!(
        "compiled with {}; 40 simulated networks each, with the scheduler at both ends",
        workshop.clang
    ));
    for source in run.part.share(sources) {
        let tried = workshop.try_out(&run.binary, &source)?;
        run.say(format_args!("{}: {}", tried.name, tried.outcome()));
        tried.tell(report);
    }
    Ok(())
}

/// Finds sources in a folder and those in it; the zoo's members are meant to fail.
fn collect(folder: &Path, sources: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() && path.file_name() != Some(OsStr::new("zoo")) {
            collect(&path, sources)?;
        } else if path.extension() == Some(OsStr::new("c")) {
            sources.push(path);
        }
    }
    Ok(())
}

/// Forms of the interface, and branches of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Generation {
    /// One that Guywire speaks.
    Spoken(&'static str),
    /// One that no kernel has, or that only one branch had, and what makes it so.
    Foreign(&'static str, &'static str),
}

impl Generation {
    /// What the source was written for, by what it mentions.
    fn of(source: &str) -> Generation {
        let has = |text: &str| source.contains(text);
        if has("set_avoid(") {
            return Self::Foreign("branch with `avoid`", "mptcp_subflow_set_avoid");
        }
        if has(".push") {
            return Self::Foreign("branch with `push`", "push");
        }
        if ["data_init", "->bitmap", "is_scheduled"]
            .into_iter()
            .any(has)
        {
            return Self::Foreign("0", "2022");
        }
        Self::Spoken(match (has(".get_subflow"), has("mptcp_sched_data")) {
            (true, _) if has("bpf_for_each") => "2",
            (true, _) => "1",
            (false, true) => "2b",
            (false, false) => "3",
        })
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Spoken(name) | Self::Foreign(name, _)) = self;
        let is_branch = name.starts_with("branch");
        f.write_str(if is_branch { "" } else { "generation " })?;
        f.write_str(name)
    }
}

/// Where sources are compiled.
struct Workshop {
    scratch: Scratch,
    clang: String,
    include: Vec<PathBuf>,
}

impl Workshop {
    fn new(include: &[PathBuf]) -> Result<Self> {
        let clang = std::env::var("CLANG").unwrap_or_else(|_| "clang-19".to_owned());
        let scratch = Scratch::new("compat")?;
        // For sources that bring none of their own: this kernel's types.
        let types = Command::new("bpftool")
            .args([
                "btf",
                "dump",
                "file",
                "/sys/kernel/btf/vmlinux",
                "format",
                "c",
            ])
            .output();
        if let Ok(types) = types.map(|output| output.stdout) {
            fs::write(scratch.path().join("vmlinux.h"), types)?;
        }
        Ok(Self {
            scratch,
            clang,
            include: include.to_vec(),
        })
    }

    /// Compiles a source and has the object checked.
    fn try_out(&self, guywire: &Path, source: &Path) -> Result<Tried> {
        let text = fs::read(source).with_context(|| format!("cannot read {}", source.display()))?;
        let object = self.scratch.path().join("object.o");
        let mut tried = Tried {
            name: name(source),
            generation: Generation::of(&String::from_utf8_lossy(&text)),
            loads: false,
            verdict: "does not compile".to_owned(),
            reason: String::new(),
        };
        let compiled = command::capture(&mut self.compiler(source, &object))?;
        if !compiled.status.success() {
            let error = compiled
                .output
                .lines()
                .find(|line| line.contains("error: "));
            tried.reason = error.unwrap_or(&compiled.output).to_owned();
            return Ok(tried);
        }
        let judged = judge(guywire, &object, &[])?;
        tried.loads = judged.loads();
        let reason = judged.reasons.first().map_or("", String::as_str);
        let prefix = format!("{}: ", object.display());
        tried.reason = reason.strip_prefix(&prefix).unwrap_or(reason).to_owned();
        tried.verdict = judged.verdict;
        Ok(tried)
    }

    fn compiler(&self, source: &Path, object: &Path) -> Command {
        let mut clang = Command::new(&self.clang);
        clang.args(["-target", "bpfel", "-mcpu=v3", "-O2", "-g", "-w"]);
        let own = source.parent().map(Path::to_path_buf);
        for folder in own.iter().chain(&self.include) {
            clang.arg("-I").arg(folder);
        }
        // Where Debian keeps what the headers of the system want of its architecture.
        let system = format!("/usr/include/{}-linux-gnu", std::env::consts::ARCH);
        clang.arg("-idirafter").arg(self.scratch.path());
        clang.arg("-idirafter").arg(system);
        clang.arg("-c").arg(source).arg("-o").arg(object);
        clang
    }
}

/// A source by its folder and file.
fn name(source: &Path) -> String {
    let file = source.file_name().unwrap_or_default().to_string_lossy();
    let folder = source
        .parent()
        .and_then(Path::file_name)
        .unwrap_or_default();
    format!("{}/{file}", folder.to_string_lossy())
}

/// What became of one source.
struct Tried {
    name: String,
    generation: Generation,
    loads: bool,
    verdict: String,
    reason: String,
}

impl Tried {
    /// Whether that is what has to become of it.
    fn is_right(&self) -> bool {
        match self.generation {
            Generation::Spoken(_) => self.loads && self.verdict != "refused",
            Generation::Foreign(_, cause) => {
                !self.loads && self.verdict == "refused" && self.reason.contains(cause)
            }
        }
    }

    fn outcome(&self) -> String {
        let first = self.reason.lines().next().unwrap_or_default();
        let reason: String = first.chars().take(SHOWN).collect();
        match reason.is_empty() {
            true => self.verdict.clone(),
            false => format!("{}: {reason}", self.verdict),
        }
    }

    fn tell(&self, report: &mut Report) {
        report.fact(
            format!("{} ({})", self.name, self.generation),
            self.is_right(),
            self.outcome(),
        );
        report.sample(json!({
            "source": self.name, "generation": self.generation.to_string(), "loads": self.loads,
            "verdict": self.verdict, "reason": self.reason,
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_of_the_interface_is_read_off_the_source() {
        for (source, generation) in [
            (
                ".data_init = (void *)x, .get_subflow = (void *)y",
                "generation 0",
            ),
            (".get_subflow = (void *)x", "generation 1"),
            (
                "bpf_for_each(mptcp_subflow, s, msk) .get_subflow = (void *)x",
                "generation 2",
            ),
            (
                "struct mptcp_sched_data *data .get_send = (void *)x",
                "generation 2b",
            ),
            (".get_send = (void *)x", "generation 3"),
            (
                ".get_send = (void *)x, .push = (void *)y",
                "branch with `push`",
            ),
        ] {
            assert_eq!(Generation::of(source).to_string(), generation, "{source}");
        }
    }

    #[test]
    fn what_is_spoken_has_to_run_and_what_is_not_to_be_refused_by_name() {
        let mut tried = Tried {
            name: "a/b.c".to_owned(),
            generation: Generation::of(".get_send = (void *)x"),
            loads: true,
            verdict: "experimental".to_owned(),
            reason: "not modelled: y\nmore".to_owned(),
        };
        assert!(tried.is_right());
        assert_eq!(tried.outcome(), "experimental: not modelled: y");
        tried.verdict = "refused".to_owned();
        assert!(!tried.is_right());
        tried.generation = Generation::Foreign("0", "2022");
        tried.loads = false;
        assert!(!tried.is_right());
        tried.reason = "built for the interface of 2022".to_owned();
        assert!(tried.is_right());
    }
}
