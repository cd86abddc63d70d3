//! The internet host's web server: downloads and uploads that can be checked.
//!
//! | request | answer |
//! |---|---|
//! | `GET /` | this table, as text |
//! | `GET /bytes/N[?rate=R]` | the first N bytes of the stream in [`Content`], at most R (`5mbit`) |
//! | `GET /sha256/N` | the SHA-256 of those N bytes, in hexadecimal, as text |
//! | `POST /sink[?samples][&unhashed]` | JSON [`SinkReport`] of what was uploaded |
//! | `GET /hold/S` | nothing for S seconds (at most 600), then a word of text |
//! | `GET /ip` | the address and port the request came from |
//!
//! Every answer names the congestion control of the server's socket.
//! A body's SHA-256 is a question of its own, not a header: it would have to
//! be computed before the first byte is sent.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use guywire_net::tcp::congestion_control;
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};

use super::body::ContentBody;
use super::content::{BodyHash, Content, MAX_BYTES, MAX_HASHED};
use crate::measure::{GapReport, Meter};
use crate::spec::read_rate;

/// Header that names the congestion control of the server's socket.
pub const CONGESTION: HeaderName = HeaderName::from_static("x-congestion-control");

/// Most bytes the server keeps buffered for one connection.
const BUFFER: usize = 128 * 1024;

/// Connections served at once; more wait in the listener's queue.
const MAX_CONNECTIONS: usize = 12_000;

/// The longest that `/hold` holds, in seconds.
const MAX_HOLD: u64 = 600;

/// How long a client may take to send its request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// What `/sink` says about an upload.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SinkReport {
    /// Bytes received.
    pub bytes: u64,
    /// SHA-256 of them, in hexadecimal; not with `?unhashed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Seconds from the request's head to its last byte.
    pub seconds: f64,
    /// The longest pause between two reads.
    pub longest_gap: GapReport,
    /// Bytes per 100 ms since the request's head; only with `?samples`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub samples: Vec<u64>,
}

type Answer = Response<BoxBody<Bytes, Infallible>>;

/// Accepts connections until the task is dropped.
pub async fn serve(listener: TcpListener, content: Arc<Content>) {
    let permits = Arc::new(tokio::sync::Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, peer)) => {
                let content = content.clone();
                tokio::spawn(async move {
                    connection(stream, peer, content).await;
                    drop(permit);
                });
            }
            // Out of descriptors or a connection that died in the queue:
            // neither ends the server, and neither may spin.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn connection(stream: TcpStream, peer: SocketAddr, content: Arc<Content>) {
    let congestion = congestion_control(&stream).ok();
    let congestion = congestion.and_then(|name| HeaderValue::try_from(name).ok());
    let service = service_fn(move |request| {
        let (content, congestion) = (content.clone(), congestion.clone());
        async move {
            let mut answer = answer(request, peer, content).await;
            answer
                .headers_mut()
                .extend(congestion.map(|name| (CONGESTION, name)));
            Ok::<_, Infallible>(answer)
        }
    });
    // A client that goes away in the middle is not worth a word.
    let _ = hyper::server::conn::http1::Builder::new()
        .max_buf_size(BUFFER)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer(request: Request<Incoming>, peer: SocketAddr, content: Arc<Content>) -> Answer {
    let path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    let reading = matches!(*request.method(), Method::GET | Method::HEAD);
    let writing = matches!(*request.method(), Method::POST | Method::PUT);
    if let (Some(number), true) = (path.strip_prefix("/bytes/"), reading) {
        return bytes(number, &query, content);
    }
    if let (Some(number), true) = (path.strip_prefix("/sha256/"), reading) {
        return sha256(number, content).await;
    }
    if let (Some(number), true) = (path.strip_prefix("/hold/"), reading) {
        return hold(number).await;
    }
    match path.as_str() {
        "/sink" if writing => sink(request.into_body(), &query).await,
        "/" if reading => text(StatusCode::OK, HELP),
        "/ip" if reading => text(StatusCode::OK, format!("{}\n", canonical(peer))),
        "/sink" | "/" | "/ip" => text(
            StatusCode::METHOD_NOT_ALLOWED,
            format!("{path} does not take {}\n", request.method()),
        ),
        _ => text(StatusCode::NOT_FOUND, format!("no {path} here; see /\n")),
    }
}

const HELP: &str = "\
GET  /bytes/N[?rate=R]  the first N bytes of a fixed pseudo-random stream, paced to R (5mbit)
GET  /sha256/N          the SHA-256 of those N bytes
GET  /hold/S            nothing for S seconds, then a word
POST /sink              upload; answers {bytes, sha256, seconds, longest_gap}
GET  /ip                the address your request came from
";

fn bytes(number: &str, query: &str, content: Arc<Content>) -> Answer {
    let length = match parse_length(number, MAX_BYTES) {
        Ok(length) => length,
        Err(why) => return text(StatusCode::BAD_REQUEST, why),
    };
    let rate = match query.strip_prefix("rate=") {
        None if query.is_empty() => None,
        None => {
            return text(
                StatusCode::BAD_REQUEST,
                format!("unknown query {query:?}; rate=5mbit is one\n"),
            );
        }
        Some(rate) => match read_rate(rate) {
            Ok(rate) => Some(rate),
            Err(why) => return text(StatusCode::BAD_REQUEST, format!("{why}\n")),
        },
    };
    let mut response = Response::new(ContentBody::new(content, length, rate).boxed());
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    response
}

async fn sha256(number: &str, content: Arc<Content>) -> Answer {
    match parse_length(number, MAX_HASHED) {
        Err(why) => text(StatusCode::BAD_REQUEST, why),
        Ok(length) => match tokio::task::spawn_blocking(move || content.sha256(length)).await {
            Ok(digest) => text(StatusCode::OK, format!("{digest}\n")),
            Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "hashing failed\n"),
        },
    }
}

async fn hold(number: &str) -> Answer {
    match number.parse() {
        Ok(seconds) if seconds <= MAX_HOLD => {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            text(StatusCode::OK, "held\n")
        }
        _ => text(
            StatusCode::BAD_REQUEST,
            format!("{number:?} is not a number of seconds from 0 to {MAX_HOLD}\n"),
        ),
    }
}

async fn sink(mut body: Incoming, query: &str) -> Answer {
    let asked = |word| query.split('&').any(|asked| asked == word);
    let mut meter = Meter::start(Instant::now());
    let mut hash = BodyHash::new(!asked("unhashed"));
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            // The sender broke off: nobody is left to answer.
            return text(StatusCode::BAD_REQUEST, "the upload broke off\n");
        };
        if let Some(data) = frame.data_ref() {
            meter.record(Instant::now(), data.len() as u64);
            hash.update(data);
        }
        if meter.bytes() > MAX_BYTES {
            return text(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("more than {MAX_BYTES} bytes\n"),
            );
        }
    }
    let report = SinkReport {
        bytes: meter.bytes(),
        sha256: hash.finish(),
        seconds: meter.last().as_secs_f64(),
        longest_gap: meter.longest_gap().into(),
        samples: if asked("samples") {
            meter.samples().to_vec()
        } else {
            Vec::new()
        },
    };
    let mut response = text(StatusCode::OK, serde_json::json!(report).to_string() + "\n");
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// An IPv4 peer of a socket for both families, written as IPv4.
fn canonical(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}

fn parse_length(number: &str, most: u64) -> Result<u64, String> {
    match number.parse::<u64>() {
        Ok(length) if length <= most => Ok(length),
        _ => Err(format!(
            "{number:?} is not a number of bytes from 0 to {most}\n"
        )),
    }
}

fn text(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Full::new(text.into()).boxed());
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}
