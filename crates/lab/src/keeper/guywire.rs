//! Router and server of the lab, set up and started by the commands that a
//! person would use, in nodes that look like machines of their own.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use guywire_net::nft::{NatRules, install_nat};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::Request;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::time::{Instant, timeout};

use super::Lab;
use crate::launch::report;
use crate::plan::{Plan, Progress};
use crate::topology::{Link, Node, SERVER};

/// The server's port.
const PORT: u16 = 443;
/// The router's name on the server.
const NAME: &str = "lab";

/// The longest answer of a supervisor that is read, in bytes.
const MAX_ANSWER: usize = 1 << 20;

/// How long a supervisor may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long a supervisor may take to come up.
const START: Duration = Duration::from_secs(15);

/// How long the router may take to reach the server by its links.
const BOND: Duration = Duration::from_secs(10);

/// How often is asked.
const POLL: Duration = Duration::from_millis(50);

/// Makes a lab without Guywire complete: the router masquerades like any other.
pub(super) fn without(lab: &Lab) -> Result<()> {
    let rules = NatRules {
        wan: Link::all(lab.links.count()).map(Link::name).collect(),
        lan: vec!["lan0".into()],
        closed: false,
    };
    Ok(lab
        .network
        .site(Node::Router)
        .inside(|| install_nat(&rules))??)
}

/// Sets up and starts server and router, and waits until every link is in
/// use. A link that is not is a warning, not an error: it may be meant so.
pub(super) async fn start(lab: &mut Lab, plan: &Plan) -> Result<Option<String>> {
    report(&Progress::Step("starting the server".into()));
    let addresses = SERVER
        .addresses()
        .map(|ip| SocketAddr::new(ip, PORT).to_string());
    let [v4, v6] = &addresses;
    let mut init = vec![
        "guywire",
        "server",
        "init",
        "--address",
        v4,
        "--address",
        v6,
    ];
    if plan.objects {
        init.extend(["--objects-from", NAME]);
    }
    run(lab, Node::Server, &init).await?;
    permit(lab, Node::Server, plan.flows).await?;
    lab.start("server", Node::Server, &["guywire", "server", "run"])?;
    await_status(lab, Node::Server).await?;
    let line = run(lab, Node::Server, &["guywire", "server", "invite", NAME]).await?;
    report(&Progress::Step("starting the router".into()));
    join(lab, line.trim(), plan.scheduler.as_deref()).await?;
    permit(lab, Node::Router, plan.flows).await?;
    lab.start("router", Node::Router, &["guywire", "router", "run"])?;
    await_status(lab, Node::Router).await?;
    report(&Progress::Step("bonding the links".into()));
    Ok(await_links(lab).await)
}

/// Makes the router join the server; what goes past Guywire is left out.
async fn join(lab: &Lab, line: &str, scheduler: Option<&str>) -> Result<()> {
    let links = || Link::all(lab.links.count());
    let wan: Vec<String> = links().map(Link::name).collect();
    let direct: Vec<String> = links()
        .flat_map(|link| link.direct().addresses())
        .map(|address| address.to_string())
        .collect();
    let (wan, direct) = (wan.join(","), direct.join(","));
    let mut program = vec![
        "guywire", "router", "join", line, "--lan", "lan0", "--wan", &wan, "--bypass", &direct,
    ];
    if let Some(scheduler) = scheduler {
        program.extend(["--scheduler", scheduler]);
    }
    run(lab, Node::Router, &program).await?;
    Ok(())
}

/// Makes a node permit so many connections, with the memory that they need.
async fn permit(lab: &Lab, node: Node, flows: Option<u32>) -> Result<()> {
    /// Twice the least share of a connection: half of the memory is a reserve, split equally.
    const EACH: u64 = 8_192;
    let Some(flows) = flows else {
        return Ok(());
    };
    let memory = u64::from(flows) * EACH / 1_024;
    let script = format!(
        "printf '[limits]\\nmax_flows = {flows}\\nsession_memory = \"{memory} KiB\"\\n' >> /etc/guywire/{node}.toml"
    );
    run(lab, node, &["sh", "-c", &script]).await?;
    Ok(())
}

/// Waits until the router's paths are up; says which are not.
async fn await_links(lab: &Lab) -> Option<String> {
    let deadline = Instant::now() + BOND;
    loop {
        let status = status(lab, Node::Router).await.unwrap_or_default();
        let missing: Vec<String> = Link::all(lab.links.count())
            .map(Link::name)
            .filter(|link| !is_up(&status, link))
            .collect();
        if missing.is_empty() {
            return None;
        }
        if Instant::now() > deadline {
            return Some(format!(
                "the router does not use {} yet; see `guywire lab status`",
                missing.join(", ")
            ));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Whether a router's status says that it has a working path over `link`.
fn is_up(status: &Value, link: &str) -> bool {
    let paths = status["paths"].as_array();
    paths.is_some_and(|paths| {
        paths
            .iter()
            .any(|path| path["link"] == link && path["state"] == "up")
    })
}

async fn run(lab: &Lab, node: Node, program: &[&str]) -> Result<String> {
    let mut command = lab.command(node, program)?;
    Ok(lab
        .children
        .run(&program[..3].join(" "), &mut command)
        .await?)
}

/// Waits until a supervisor can be asked how it is.
async fn await_status(lab: &Lab, node: Node) -> Result<()> {
    let deadline = Instant::now() + START;
    while status(lab, node).await.is_none() {
        if !lab.children.lives(lab.services[node.name()]) || Instant::now() > deadline {
            bail!("the {node} did not come up: {}", lab.log_text(node.name()));
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

/// What a node's supervisor says of itself, if it can be asked.
pub(super) async fn status(lab: &Lab, node: Node) -> Option<Value> {
    let socket = lab
        .place
        .node(node.name())
        .join("run")
        .join(format!("{node}.sock"));
    timeout(PATIENCE, ask(&socket)).await.ok()?.ok()
}

async fn ask(socket: &std::path::Path) -> Result<Value> {
    let stream = UnixStream::connect(socket).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::get("/status")
        .header("host", "guywire")
        .body(Empty::<Bytes>::new())?;
    let body = sender.send_request(request).await?.into_body();
    let body = Limited::new(body, MAX_ANSWER).collect().await;
    let bytes = body.map_err(|error| anyhow::anyhow!("{error}"))?.to_bytes();
    serde_json::from_slice(&bytes).context("a status is JSON")
}

/// The worker's process id in a supervisor's status, as the lab sees it.
pub(super) fn worker(status: &Value) -> Option<u32> {
    let pid = status.pointer("/worker/pid")?.as_u64()?;
    u32::try_from(pid).ok()
}
