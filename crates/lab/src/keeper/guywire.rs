//! Router and server of the lab, set up and started by the commands that a
//! person would use, in nodes that look like machines of their own.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::Request;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::time::{Instant, timeout};

use super::Lab;
use crate::launch::report;
use crate::plan::Progress;
use crate::topology::{Link, Node, SERVER};

/// The longest answer of a supervisor that is read, in bytes.
const MAX_ANSWER: usize = 1 << 20;

/// How long a supervisor may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long a supervisor may take to come up.
const START: Duration = Duration::from_secs(15);

/// How long the router may take to reach the server by its links.
const BOND: Duration = Duration::from_secs(15);

/// Runs the lab without Guywire: the router masquerades like any other.
pub(super) fn without(lab: &Lab) -> Result<()> {
    let _ = lab;
    Ok(())
}

/// Sets up and starts server and router; waits until every link is in use. A
/// link that is not is a warning, not an error: it may be meant to be so.
pub(super) async fn start(lab: &mut Lab, scheduler: Option<&str>) -> Result<Option<String>> {
    report(&Progress::Step("starting the server".into()));
    let address = format!("{}:443", SERVER.v4.addr());
    let address6 = format!("[{}]:443", SERVER.v6.addr());
    run(lab, Node::Server, &["guywire", "server", "init", "--address", &address, "--address", &address6]).await?;
    lab.start("server", Node::Server, &["guywire", "server", "run"])?;
    await_status(lab, Node::Server, "server", START, |_| true).await?;
    let line = run(lab, Node::Server, &["guywire", "server", "invite", "lab"]).await?;
    report(&Progress::Step("starting the router".into()));
    let mut join = vec!["guywire", "router", "join", line.trim(), "--lan", "lan0"];
    let wans: Vec<String> = Link::all(lab.links.count()).map(Link::name).collect();
    for wan in &wans {
        join.extend(["--wan", wan]);
    }
    run(lab, Node::Router, &join).await?;
    let _ = scheduler;
    lab.start("router", Node::Router, &["guywire", "router", "run"])?;
    let _ = BOND;
    await_status(lab, Node::Router, "router", START, |_| true).await?;
    Ok(None)
}

async fn run(lab: &Lab, node: Node, program: &[&str]) -> Result<String> {
    let mut command = lab.command(node, program)?;
    Ok(lab.children.run(&program[..3].join(" "), &mut command).await?)
}

/// Waits until a supervisor's status is as it should be.
async fn await_status(
    lab: &Lab,
    node: Node,
    role: &'static str,
    patience: Duration,
    good: impl Fn(&Value) -> bool,
) -> Result<()> {
    let deadline = Instant::now() + patience;
    loop {
        if status(lab, node).await.is_some_and(|status| good(&status)) {
            return Ok(());
        }
        if !lab.children.lives(lab.services[role]) || Instant::now() > deadline {
            bail!("the {role} did not come up: {}", lab.log_text(role));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What a node's supervisor says of itself, if it can be asked.
pub(super) async fn status(lab: &Lab, node: Node) -> Option<Value> {
    let socket = lab.place.node(node.name()).join("run").join(format!("{node}.sock"));
    timeout(PATIENCE, ask(&socket)).await.ok()?.ok()
}

async fn ask(socket: &std::path::Path) -> Result<Value> {
    let stream = UnixStream::connect(socket).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::get("/status").header("host", "guywire").body(Empty::<Bytes>::new())?;
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
