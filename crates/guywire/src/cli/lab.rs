//! `guywire lab`: the commands, as they are written. What they do is in
//! [`guywire_lab`].
//!
//! Several of them must not have a second thread when they start, so this
//! runs before any runtime is made.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use guywire_lab::fetch::{self, FetchOptions};
use guywire_lab::launch::{RunningLab, UpOptions};
use guywire_lab::place::{LabName, Place};
use guywire_lab::plan::Plan;
use guywire_lab::protocol::LinkVerb;
use guywire_lab::scenario::Scenario;
use guywire_lab::spec::{LinkSpecs, Rate, read_rate};
use guywire_lab::story::{self, StoryOptions};
use guywire_lab::topology::Node;
use guywire_lab::{client, enter, holder, internet, keeper, launch, topology};

use super::output;

/// A whole Guywire on this machine: client, router, emulated links, server,
/// internet. Without a subcommand it tells the story in about a minute.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct LabCommand {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    story: Story,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Start a lab; it lasts until Ctrl-C, or with --detach until `lab down`
    Up(Up),
    /// Run a program in a node, with its input, output and exit status
    Exec(Exec),
    /// Do something to a link
    Link(Link),
    /// Show links, processes, and what router and server say
    Status(Status),
    /// End a lab; nothing is left behind
    Down(Named),
    /// Transfer something by HTTP and measure how it went (in a node)
    #[command(hide = true)]
    Fetch(Fetch),
    /// The internet host's servers
    #[command(hide = true)]
    Internet(Internet),
    /// The process around a lab's namespaces, or with --first the one inside
    #[command(hide = true)]
    Keeper(Keeper),
    /// The process that holds a node
    #[command(hide = true)]
    Holder(Holder),
    /// Become a program in a node
    #[command(hide = true)]
    Enter(Enter),
}

/// Which lab is meant.
#[derive(Debug, Args)]
struct Named {
    /// Name of the lab
    #[arg(long, value_name = "NAME", default_value_t)]
    name: LabName,
}

#[derive(Debug, Args)]
struct Story {
    /// The links
    #[arg(long, value_name = "SPEC", default_value = story::LINKS)]
    links: LinkSpecs,
    /// The router's scheduler [default: its own]
    #[arg(long, value_name = "NAME")]
    scheduler: Option<String>,
    /// How long the story may take, in seconds
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(20..=3600))]
    seconds: u32,
    /// Print only the result, as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Up {
    #[command(flatten)]
    lab: Named,
    /// The links, such as `100mbit/20ms,50mbit/60ms/loss0.5%`
    #[arg(long, value_name = "SPEC", default_value = story::LINKS)]
    links: LinkSpecs,
    /// A file that says which links there are, and what happens to them
    #[arg(long, value_name = "FILE", conflicts_with = "links")]
    scenario: Option<PathBuf>,
    /// The router's scheduler [default: its own]
    #[arg(long, value_name = "NAME")]
    scheduler: Option<String>,
    /// The server takes BPF schedulers of the router's own
    #[arg(long)]
    objects: bool,
    /// How many connections both ends permit [default: their own]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(16..=65_536))]
    flows: Option<u32>,
    /// Return when the lab is complete, and leave it running
    #[arg(long)]
    detach: bool,
    /// Leave Guywire out: the router only masquerades
    #[arg(long, hide = true)]
    no_guywire: bool,
}

#[derive(Debug, Args)]
struct Exec {
    #[command(flatten)]
    lab: Named,
    /// client, router, server or internet
    node: Node,
    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    program: Vec<OsString>,
}

#[derive(Debug, Args)]
struct Link {
    #[command(flatten)]
    lab: Named,
    /// Name of the link: wan1, wan2, ...
    link: String,
    /// down, silent [in|out], up, remove, add, address ADDRESS/PREFIX, or
    /// set KEY=VALUE[,...]
    #[arg(required = true, value_name = "VERB", num_args = 1..)]
    verb: Vec<String>,
}

#[derive(Debug, Args)]
struct Status {
    #[command(flatten)]
    lab: Named,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Fetch {
    /// What to ask for, such as http://internet/bytes/1000000
    url: fetch::Target,
    /// Stop after this many seconds
    #[arg(long, value_parser = seconds)]
    seconds: Option<Duration>,
    /// Leave the first seconds out of the goodput
    #[arg(long, value_parser = seconds, default_value = "0")]
    skip: Duration,
    /// Send this many bytes instead of receiving
    #[arg(long, value_name = "BYTES")]
    upload: Option<u64>,
    /// Read, or send, no faster than this, such as `5mbit`
    #[arg(long, value_parser = read_rate)]
    rate: Option<Rate>,
    /// Stop after this many bytes
    #[arg(long, value_name = "BYTES")]
    limit: Option<u64>,
    /// Run this many at once
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(fetch::MAX_COUNT)))]
    count: u32,
    /// Give up when nothing happens for this many seconds
    #[arg(long, value_parser = seconds, default_value = "30")]
    patience: Duration,
    /// Do not hash the bytes, nor ask the server what they should be
    #[arg(long)]
    no_verify: bool,
    /// List every pause of at least this many seconds
    #[arg(long, value_parser = seconds, value_name = "SECONDS")]
    gaps: Option<Duration>,
    /// Connect by the kernel's MPTCP
    #[arg(long)]
    mptcp: bool,
    /// Use IPv4 only
    #[arg(short = '4', long, conflicts_with = "ipv6")]
    ipv4: bool,
    /// Use IPv6 only
    #[arg(short = '6', long)]
    ipv6: bool,
    /// Print a JSON object per 100 ms, then the report as the last line
    #[arg(long, requires = "json")]
    live: bool,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Internet {
    /// How many links the lab has
    #[arg(long)]
    links: usize,
}

#[derive(Debug, Args)]
struct Keeper {
    directory: PathBuf,
    /// Be the first process of the lab
    #[arg(long)]
    first: bool,
    /// End with the parent
    #[arg(long)]
    attached: bool,
}

#[derive(Debug, Args)]
struct Holder {
    directory: PathBuf,
    node: Node,
    /// How many links the lab has
    #[arg(long)]
    links: usize,
}

#[derive(Debug, Args)]
struct Enter {
    /// The process that holds the node
    #[arg(long)]
    holder: Option<u32>,
    /// Die with the parent
    #[arg(long)]
    tied: bool,
    #[arg(last = true, required = true)]
    program: Vec<OsString>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| "not a number of seconds".into())
}

impl LabCommand {
    /// Does it. The process must have one thread only.
    ///
    /// # Errors
    /// In words, ending in the next step where there is one.
    pub(crate) fn run(self) -> Result<ExitCode> {
        match self.action {
            None => tell(self.story),
            Some(Action::Up(up)) => start(up),
            Some(Action::Exec(exec)) => {
                let place = Place::find(&exec.lab.name)?;
                Ok(ExitCode::from(enter::exec(
                    &place,
                    exec.node,
                    &exec.program,
                )?))
            }
            Some(Action::Link(link)) => change(&link),
            Some(Action::Status(status)) => show(&status),
            Some(Action::Down(lab)) => {
                launch::down(&lab.name)?;
                Ok(ExitCode::SUCCESS)
            }
            Some(Action::Fetch(fetch)) => transfer(fetch),
            Some(Action::Internet(internet)) => serve(&internet),
            Some(Action::Keeper(keeper)) => keep(&keeper),
            Some(Action::Holder(holder)) => hold(&holder),
            Some(Action::Enter(enter)) => {
                let (code, why) = enter::become_program(enter.holder, enter.tied, &enter.program);
                eprintln!("{why}");
                Ok(ExitCode::from(code))
            }
        }
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
}

fn start(up: Up) -> Result<ExitCode> {
    let plan = match &up.scenario {
        Some(file) => Plan::play(&Scenario::load(file)?),
        None => Plan::new(&up.links),
    };
    let options = UpOptions {
        name: up.lab.name,
        plan: Plan {
            scheduler: up.scheduler,
            objects: up.objects,
            flows: up.flows,
            guywire: !up.no_guywire,
            ..plan
        },
        attached: !up.detach,
    };
    let mut lab = RunningLab::up(&options, |step| eprintln!("{step}"))?;
    if let Some(warning) = lab.warning() {
        eprintln!("warning: {warning}");
    }
    let name = options.name;
    if up.detach {
        output::print(&format!(
            "lab {name} is up; `guywire lab down --name {name}` ends it\n"
        ))?;
        return Ok(ExitCode::SUCCESS);
    }
    output::print(&format!("lab {name} is up; Ctrl-C ends it\n"))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(launch::until_interrupted(&mut lab))?;
    lab.down()?;
    Ok(ExitCode::SUCCESS)
}

fn change(link: &Link) -> Result<ExitCode> {
    let verb: LinkVerb = link.verb.join(" ").parse()?;
    let place = Place::find(&link.lab.name)?;
    let status = client::link(&place, &link.link, &verb)?;
    output::print(&format!(
        "{}: {}, {}\n",
        status.name, status.state, status.spec
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn show(status: &Status) -> Result<ExitCode> {
    let place = Place::find(&status.lab.name)?;
    let lab = client::status(&place)?;
    let text = match status.json {
        true => serde_json::to_string_pretty(&lab)?,
        false => lab.to_string(),
    };
    output::print(&format!("{text}\n"))?;
    Ok(ExitCode::SUCCESS)
}

fn transfer(fetch: Fetch) -> Result<ExitCode> {
    let options = FetchOptions {
        target: fetch.url,
        family: match (fetch.ipv4, fetch.ipv6) {
            (true, _) => fetch::Family::V4,
            (_, true) => fetch::Family::V6,
            _ => fetch::Family::Any,
        },
        seconds: fetch.seconds,
        skip: fetch.skip,
        upload: fetch.upload,
        rate: fetch.rate,
        limit: fetch.limit,
        patience: fetch.patience,
        gaps: fetch.gaps,
        mptcp: fetch.mptcp,
        verify: !fetch.no_verify,
    };
    let runtime = runtime()?;
    if fetch.count > 1 {
        let summary = runtime.block_on(fetch::fetch_many(&options, fetch.count));
        print(fetch.json, &summary)?;
        return Ok(success(summary.is_success()));
    }
    let report = runtime.block_on(fetch::fetch(&options, |progress| {
        if fetch.live {
            // A reader that went away does not end the transfer.
            let _ = output::print(&format!("{}\n", serde_json::json!(progress)));
        }
    }));
    print(fetch.json, &report)?;
    Ok(success(report.is_success()))
}

fn print(json: bool, report: &(impl serde::Serialize + std::fmt::Display)) -> Result<()> {
    let text = match json {
        true => serde_json::to_string(report)?,
        false => report.to_string(),
    };
    output::print(&format!("{text}\n"))
}

fn success(success: bool) -> ExitCode {
    if success {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn serve(internet: &Internet) -> Result<ExitCode> {
    let addresses = topology::internet_addresses(internet.links);
    let zone = topology::zone(internet.links);
    // The line tells the keeper that every socket listens.
    runtime()?.block_on(internet::run(&addresses, &zone, || println!("ready")))?;
    Ok(ExitCode::SUCCESS)
}

fn keep(keeper: &Keeper) -> Result<ExitCode> {
    if keeper.first {
        keeper::main(&keeper.directory)?;
    } else {
        launch::launcher(&keeper.directory, keeper.attached)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn hold(holder: &Holder) -> Result<ExitCode> {
    holder::prepare(
        &Place::of_directory(&holder.directory)?,
        holder.node,
        holder.links,
    )?;
    println!("ready");
    holder::hold()
}

fn tell(story: Story) -> Result<ExitCode> {
    let options = StoryOptions {
        links: story.links,
        scheduler: story.scheduler,
        length: Duration::from_secs(story.seconds.into()),
        show: !story.json,
    };
    let result = story::tell(&options)?;
    print(story.json, &result)?;
    Ok(success(result.is_success()))
}
