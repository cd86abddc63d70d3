//! The keeper's control socket: one request and one reply per connection, a
//! line of JSON each; see [`crate::protocol`].

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use super::timetable::Timetable;
use super::{Lab, guywire};
use crate::launch::report;
use crate::plan::Progress;
use crate::protocol::{LabStatus, LinkVerb, MAX_LINE, NodeStatus, Reply, Request};
use crate::topology::Node;

/// How long a client may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(5);

/// The pause after a connection that could not be accepted.
const RETRY: Duration = Duration::from_millis(50);

/// Says that the lab is complete and serves it until it is asked to end.
/// Requests are served one after the other: all are quick.
pub(super) async fn serve(
    mut lab: Lab,
    mut timetable: Timetable,
    warning: Option<String>,
) -> Result<()> {
    let socket = lab.place.socket();
    let listener = UnixListener::bind(&socket)
        .with_context(|| format!("cannot listen on {}", socket.display()))?;
    timetable.start_transfers(&lab)?;
    report(&Progress::Ready(warning));
    loop {
        let accepted = tokio::select! {
            () = timetable.next() => {
                timetable.act(&mut lab).await;
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(RETRY).await;
            continue;
        };
        // A client that went away is no reason to end.
        if let Ok(true) = answer(&mut lab, stream).await {
            return Ok(());
        }
    }
}

/// Answers one request; whether it was the last.
async fn answer(lab: &mut Lab, stream: UnixStream) -> Result<bool> {
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    let mut reader = BufReader::new(reader.take(MAX_LINE));
    // A client that says nothing must not hold up the others for long.
    timeout(PATIENCE, reader.read_line(&mut line)).await??;
    let (reply, last) = match serde_json::from_str::<Request>(&line) {
        Ok(request) => (reply(lab, &request).await, request == Request::Down),
        Err(error) => (
            Reply::Error(format!("cannot read the request: {error}")),
            false,
        ),
    };
    let line = serde_json::json!(reply).to_string() + "\n";
    timeout(PATIENCE, writer.write_all(line.as_bytes())).await??;
    Ok(last)
}

async fn reply(lab: &mut Lab, request: &Request) -> Reply {
    let answer = match request {
        Request::Status => value(status(lab).await),
        Request::Links => value(lab.links.status()),
        Request::Holder(node) => value(lab.holders[node]),
        Request::Down => value(()),
        Request::Link { link, verb } => match verb.parse::<LinkVerb>() {
            Ok(verb) => match lab.links.apply(&lab.network, link, verb).await {
                Ok(status) => value(status),
                Err(error) => Err(error.to_string()),
            },
            Err(error) => Err(error.to_string()),
        },
    };
    answer.map_or_else(Reply::Error, Reply::Ok)
}

fn value(value: impl Serialize) -> Result<Value, String> {
    serde_json::to_value(value).map_err(|error| error.to_string())
}

/// How the lab is, with process ids as the keeper sees them.
async fn status(lab: &Lab) -> LabStatus {
    let (router, server) = tokio::join!(
        guywire::status(lab, Node::Router),
        guywire::status(lab, Node::Server)
    );
    let addresses = lab.network.addresses().await;
    let nodes = Node::VISIBLE.map(|node| NodeStatus {
        name: node,
        pid: lab.holders.get(&node).copied(),
        addresses: addresses.get(&node).cloned().unwrap_or_default(),
    });
    let living = |role: &str| {
        lab.services
            .get(role)
            .copied()
            .filter(|pid| lab.children.lives(*pid))
    };
    let worker = |status: &Option<Value>| status.as_ref().and_then(guywire::worker);
    let processes = BTreeMap::from([
        ("keeper".to_owned(), Some(std::process::id())),
        ("internet".to_owned(), living("internet")),
        ("router_supervisor".to_owned(), living("router")),
        ("router_worker".to_owned(), worker(&router)),
        ("server_supervisor".to_owned(), living("server")),
        ("server_worker".to_owned(), worker(&server)),
    ]);
    LabStatus {
        name: lab.place.name().to_string(),
        directory: lab.place.directory().to_string_lossy().into_owned(),
        uptime_seconds: lab.since.elapsed().as_secs_f64(),
        nodes: nodes.into(),
        links: lab.links.status(),
        processes,
        ended: lab.children.ended(),
        router,
        server,
    }
}
