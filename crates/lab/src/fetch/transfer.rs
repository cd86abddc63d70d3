//! The download and the upload loop.
//!
//! Both wait for whichever comes first: something on the connection, the
//! next 100-ms mark, the end of the time asked for, or of patience.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::{Method, Request, Response};
use tokio::time::{sleep, timeout};

use super::dial::{Connection, RequestBody, Target, connect, no_body};
use super::report::{Ending, FetchReport};
use super::{FetchOptions, Progress};
use crate::internet::body::{ContentBody, Produced};
use crate::internet::content::{BodyHash, Content};
use crate::internet::http::{CONGESTION, SinkReport};
use crate::measure::{GapReport, Meter, SAMPLE, goodput};

/// The longest answer read that is not the body being measured.
const MAX_ANSWER: usize = 1 << 20;

/// A failure, in the words of the report.
struct Failure {
    ending: Ending,
    text: String,
}

/// Receives the target's body.
pub(super) async fn download(
    options: &FetchOptions,
    mut progress: impl FnMut(Progress),
) -> FetchReport {
    let mut meter = Meter::start(Instant::now()).listing(options.gaps);
    let mut hash = BodyHash::new(options.verify);
    let mut report = blank(options);
    let outcome = receive(options, &mut report, &mut meter, &mut hash, &mut progress).await;
    report.bytes = meter.bytes();
    report.seconds = meter.last().as_secs_f64();
    report.first_byte_seconds = meter.first().map(|first| first.as_secs_f64());
    report.goodput_mbps = meter.goodput(options.skip) / 1e6;
    report.longest_gap = meter.longest_gap().into();
    report.gaps = meter.gaps().iter().map(|gap| Some(*gap).into()).collect();
    report.samples = meter.samples().to_vec();
    report.sha256 = hash.finish();
    conclude(&mut report, outcome);
    if options.verify && options.target.path().starts_with("/bytes/") {
        let stated = stated_hash(options, report.bytes).await;
        report.identical = stated.map(|stated| Some(&stated) == report.sha256.as_ref());
    }
    report
}

async fn receive(
    options: &FetchOptions,
    report: &mut FetchReport,
    meter: &mut Meter,
    hash: &mut BodyHash,
    progress: &mut impl FnMut(Progress),
) -> Result<Ending, Failure> {
    let begin = Instant::now();
    let mut connection = open(options, report).await?;
    let request = request(
        &options.target,
        Method::GET,
        options.target.path(),
        no_body(),
    );
    let response = respond(&mut connection, request, options.patience).await?;
    report.server_congestion = congestion_of(&response);
    let mut body = response.into_body();
    let mut quiet_since = begin;
    let mut next_mark = SAMPLE;
    loop {
        let now = Instant::now();
        let elapsed = now.saturating_duration_since(begin);
        if options.seconds.is_some_and(|seconds| elapsed >= seconds) {
            meter.stop(now);
            return Ok(Ending::Stopped);
        }
        if options.limit.is_some_and(|limit| meter.bytes() >= limit) {
            return Ok(Ending::Stopped);
        }
        if now.saturating_duration_since(quiet_since) >= options.patience {
            meter.stop(now);
            return Err(impatient(options.patience));
        }
        if elapsed >= next_mark {
            progress(Progress {
                elapsed: elapsed.as_secs_f64(),
                bytes: meter.bytes(),
            });
            next_mark += SAMPLE;
        }
        let wait = next_mark
            .min(options.seconds.unwrap_or(Duration::MAX))
            .saturating_sub(elapsed);
        let due = options
            .rate
            .map_or(Duration::ZERO, |rate| rate.time_for(meter.bytes()));
        if due > elapsed {
            sleep(wait.min(due - elapsed)).await;
            quiet_since = Instant::now();
            continue;
        }
        match timeout(wait, body.frame()).await {
            Err(_) => continue,
            Ok(None) => return Ok(Ending::Complete),
            Ok(Some(Err(error))) => return Err(failure(&error)),
            Ok(Some(Ok(frame))) => {
                let Some(data) = frame.data_ref() else {
                    continue;
                };
                quiet_since = Instant::now();
                meter.record(quiet_since, data.len() as u64);
                hash.update(data);
            }
        }
    }
}

/// Sends `bytes` of the stream, or what the time asked for allows.
pub(super) async fn upload(
    options: &FetchOptions,
    bytes: u64,
    mut progress: impl FnMut(Progress),
) -> FetchReport {
    let begin = Instant::now();
    let content = Arc::new(Content::new());
    let mut report = blank(options);
    let sent = send(options, bytes, content.clone(), &mut report, &mut progress).await;
    report.seconds = begin.elapsed().as_secs_f64();
    match sent {
        Err(failure) => conclude(&mut report, Err(failure)),
        Ok(sink) => {
            let end = Duration::from_secs_f64(sink.seconds.max(0.0));
            report.bytes = sink.bytes;
            report.goodput_mbps = goodput(&sink.samples, end, options.skip) / 1e6;
            report.longest_gap = sink.longest_gap;
            report.samples = sink.samples;
            report.ending = if sink.bytes == bytes {
                Ending::Complete
            } else {
                Ending::Stopped
            };
            if let Some(stated) = sink.sha256 {
                let known = tokio::task::spawn_blocking(move || content.sha256(sink.bytes)).await;
                report.identical = known.ok().map(|known| known == stated);
                report.sha256 = Some(stated);
            }
        }
    }
    report
}

async fn send(
    options: &FetchOptions,
    bytes: u64,
    content: Arc<Content>,
    report: &mut FetchReport,
    progress: &mut impl FnMut(Progress),
) -> Result<SinkReport, Failure> {
    let begin = Instant::now();
    let mut connection = open(options, report).await?;
    let mut body = ContentBody::new(content, bytes, options.rate);
    if let Some(seconds) = options.seconds {
        body = body.until(begin + seconds);
    }
    let produced = body.produced();
    let path = match options.target.path() {
        path if path.contains('?') => path.to_owned(),
        path if options.verify => format!("{path}?samples"),
        path => format!("{path}?samples&unhashed"),
    };
    let request = request(&options.target, Method::POST, &path, body.boxed());
    let mut response = std::pin::pin!(connection.sender.send_request(request));
    let mut seen = (0, begin);
    let response = loop {
        match timeout(SAMPLE, &mut response).await {
            Ok(response) => break response.map_err(|error| failure(&error))?,
            Err(_) => seen = watch(&produced, seen, begin, options.patience, progress)?,
        }
    };
    report.server_congestion = congestion_of(&response);
    let answer = read_answer(accept(response)?, options.patience).await?;
    serde_json::from_slice(&answer).map_err(|error| Failure {
        ending: Ending::Failed,
        text: format!("the answer to the upload is not what /sink says: {error}"),
    })
}

/// A look at an upload under way: tells the progress and watches patience.
/// `seen` is how much was sent at the last change, and when that was.
fn watch(
    produced: &Produced,
    seen: (u64, Instant),
    begin: Instant,
    patience: Duration,
    progress: &mut impl FnMut(Progress),
) -> Result<(u64, Instant), Failure> {
    let (bytes, now) = (produced.bytes(), Instant::now());
    progress(Progress {
        elapsed: now.saturating_duration_since(begin).as_secs_f64(),
        bytes,
    });
    if bytes != seen.0 {
        Ok((bytes, now))
    } else if now.saturating_duration_since(seen.1) < patience {
        Ok(seen)
    } else {
        Err(impatient(patience))
    }
}

async fn open(options: &FetchOptions, report: &mut FetchReport) -> Result<Connection, Failure> {
    let connection = connect(options).await.map_err(|error| failure(&error))?;
    report.address = Some(connection.address.to_string());
    report.congestion = connection.congestion.clone();
    Ok(connection)
}

/// What the server says about the first `bytes` of the stream; `None` when it
/// does not know or cannot be reached.
async fn stated_hash(options: &FetchOptions, bytes: u64) -> Option<String> {
    let mut connection = connect(options).await.ok()?;
    let request = request(
        &options.target,
        Method::GET,
        &format!("/sha256/{bytes}"),
        no_body(),
    );
    let response = respond(&mut connection, request, options.patience)
        .await
        .ok()?;
    let answer = read_answer(response, options.patience).await.ok()?;
    Some(String::from_utf8_lossy(&answer).trim().to_owned())
}

fn request(target: &Target, method: Method, path: &str, body: RequestBody) -> Request<RequestBody> {
    let mut request = Request::new(body);
    *request.method_mut() = method;
    // A path that came out of a parsed URI, or digits after a fixed one.
    *request.uri_mut() = path.parse().unwrap_or_default();
    if let Ok(host) = target.authority().parse() {
        request.headers_mut().insert(hyper::header::HOST, host);
    }
    request
}

async fn respond(
    connection: &mut Connection,
    request: Request<RequestBody>,
    patience: Duration,
) -> Result<Response<Incoming>, Failure> {
    match timeout(patience, connection.sender.send_request(request)).await {
        Ok(Ok(response)) => accept(response),
        Ok(Err(error)) => Err(failure(&error)),
        Err(_) => Err(impatient(patience)),
    }
}

fn accept(response: Response<Incoming>) -> Result<Response<Incoming>, Failure> {
    match response.status() {
        status if status.is_success() => Ok(response),
        status => Err(Failure {
            ending: Ending::Status,
            text: format!("the web server says {status}"),
        }),
    }
}

fn congestion_of(response: &Response<Incoming>) -> Option<String> {
    let name = response.headers().get(CONGESTION)?.to_str().ok()?;
    Some(name.to_owned())
}

async fn read_answer(response: Response<Incoming>, patience: Duration) -> Result<Vec<u8>, Failure> {
    let mut body = http_body_util::Limited::new(response.into_body(), MAX_ANSWER);
    let mut answer = Vec::new();
    loop {
        match timeout(patience, body.frame()).await {
            Err(_) => return Err(impatient(patience)),
            Ok(None) => return Ok(answer),
            Ok(Some(Ok(frame))) => answer.extend(frame.into_data().unwrap_or_default()),
            Ok(Some(Err(error))) => return Err(failure(error.as_ref())),
        }
    }
}

fn impatient(patience: Duration) -> Failure {
    Failure {
        ending: Ending::TimedOut,
        text: format!("nothing happened for {} s", patience.as_secs_f64()),
    }
}

/// Sorts an error by what lies at its root.
fn failure(error: &(dyn Error + 'static)) -> Failure {
    let mut texts = Vec::new();
    let mut ending = Ending::Failed;
    let mut next = Some(error);
    while let Some(cause) = next {
        texts.push(cause.to_string());
        if let Some(error) = cause.downcast_ref::<io::Error>() {
            ending = match error.kind() {
                io::ErrorKind::ConnectionReset => Ending::Reset,
                io::ErrorKind::ConnectionRefused => Ending::Refused,
                io::ErrorKind::TimedOut => Ending::TimedOut,
                io::ErrorKind::UnexpectedEof => Ending::CutShort,
                _ => ending,
            };
        }
        if cause
            .downcast_ref::<hyper::Error>()
            .is_some_and(hyper::Error::is_incomplete_message)
        {
            ending = Ending::CutShort;
        }
        next = cause.source();
    }
    Failure {
        ending,
        text: texts.join(": "),
    }
}

fn conclude(report: &mut FetchReport, outcome: Result<Ending, Failure>) {
    match outcome {
        Ok(ending) => report.ending = ending,
        Err(Failure { ending, text }) => {
            report.ending = ending;
            report.error = Some(text);
        }
    }
}

/// Seconds since 1970 by the machine's clock.
fn unix_now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs_f64()
}

fn blank(options: &FetchOptions) -> FetchReport {
    FetchReport {
        url: options.target.url(),
        began_unix: unix_now(),
        address: None,
        congestion: None,
        server_congestion: None,
        ending: Ending::Failed,
        error: None,
        bytes: 0,
        seconds: 0.0,
        first_byte_seconds: None,
        skip_seconds: options.skip.as_secs_f64(),
        goodput_mbps: 0.0,
        longest_gap: GapReport::default(),
        gaps: Vec::new(),
        sha256: None,
        identical: None,
        samples: Vec::new(),
    }
}
