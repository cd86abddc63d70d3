//! DNS as Guywire passes it on: questions and answers as they are. Nothing here looks into a message beyond its id and
//! its flags.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Semaphore;

use crate::config::parse_resolver;

/// An asker waits this long at most.
pub const ANSWER_BOUND: Duration = Duration::from_secs(5);
/// A resolver has this long before the next one is asked.
pub const RESOLVER_BOUND: Duration = Duration::from_millis(1_500);
/// A message has at least its header (RFC 1035, section 4.1.1).
const HEADER: usize = 12;
/// An answer by UDP is at most this long; a question may announce less, which the resolver minds.
const UDP_ANSWER: usize = 4_096;
/// The most resolvers that are taken from a file.
const RESOLVERS: usize = 8;

/// The resolvers of this machine, from /etc/resolv.conf.
#[must_use]
pub fn system_resolvers() -> Vec<SocketAddr> {
    resolvers_in(&std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default())
}

/// The resolvers that a resolv.conf names. A scope (`fe80::1%eth0`) is more than a plain address says; such a resolver
/// is left out.
fn resolvers_in(resolv_conf: &str) -> Vec<SocketAddr> {
    let lines = resolv_conf
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("nameserver"));
    let addresses = lines.filter_map(|rest| rest.split_whitespace().next());
    addresses
        .filter_map(parse_resolver)
        .take(RESOLVERS)
        .collect()
}

/// Answers the questions that come to a socket with what `ask` finds, at most `most` at once. More are dropped, and the
/// asker tries again.
pub async fn answer_udp<F>(socket: UdpSocket, most: usize, ask: impl Fn(Vec<u8>) -> F)
where
    F: Future<Output = Option<Vec<u8>>> + Send + 'static,
{
    let socket = Arc::new(socket);
    let turns = Arc::new(Semaphore::new(most));
    let mut buffer = vec![0; UDP_ANSWER];
    loop {
        let (length, asker) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                // An earlier answer could not be delivered, most likely.
                tracing::debug!(%error, "dns socket");
                continue;
            }
        };
        let Ok(turn) = turns.clone().try_acquire_owned() else {
            continue;
        };
        let (socket, asked) = (socket.clone(), ask(buffer[..length].to_vec()));
        tokio::spawn(async move {
            if let Ok(Some(answer)) = tokio::time::timeout(ANSWER_BOUND, asked).await {
                let _ = socket.send_to(&answer, asker).await;
            }
            drop(turn);
        });
    }
}

/// Asks the resolvers one after the other.
pub async fn resolve(question: &[u8], resolvers: &[SocketAddr]) -> Option<Vec<u8>> {
    if question.len() < HEADER {
        return None;
    }
    for &resolver in resolvers {
        let asked = tokio::time::timeout(RESOLVER_BOUND, ask_resolver(question, resolver)).await;
        match asked {
            Ok(Ok(answer)) => return Some(answer),
            Ok(Err(error)) => tracing::debug!(%resolver, %error, "no answer"),
            Err(_) => tracing::debug!(%resolver, "no answer in time"),
        }
    }
    None
}

/// By UDP first; by TCP if the answer was cut short.
async fn ask_resolver(question: &[u8], resolver: SocketAddr) -> std::io::Result<Vec<u8>> {
    let any: SocketAddr = match resolver {
        SocketAddr::V4(_) => ([0; 4], 0).into(),
        SocketAddr::V6(_) => ([0; 16], 0).into(),
    };
    // A socket of its own for each question: its random port is half of what a forger must guess.
    let socket = UdpSocket::bind(any).await?;
    socket.connect(resolver).await?;
    socket.send(question).await?;
    let mut answer = vec![0; UDP_ANSWER];
    loop {
        let length = socket.recv(&mut answer).await?;
        if length >= HEADER && answer[..2] == question[..2] {
            answer.truncate(length);
            break;
        }
    }
    /// The TC bit of the header's third byte.
    const TRUNCATED: u8 = 0x02;
    if answer[2] & TRUNCATED == 0 {
        return Ok(answer);
    }
    ask_by_tcp(question, resolver).await
}

async fn ask_by_tcp(question: &[u8], resolver: SocketAddr) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(resolver).await?;
    stream.write_all(&framed(question)).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; length.into()];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

/// A message as it travels over TCP: behind two bytes of its length (RFC 1035, section 4.2.2).
#[must_use]
pub fn framed(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend_from_slice(&message[..length.into()]);
    framed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resolv_conf_names_resolvers() {
        let text = "# x\nsearch lan\nnameserver 203.0.113.1\nnameserver fe80::1%eth0\nnameserver 2001:db8::53 \nnameserver\n";
        let expected: [SocketAddr; 2] = [
            "203.0.113.1:53".parse().unwrap(),
            "[2001:db8::53]:53".parse().unwrap(),
        ];
        assert_eq!(resolvers_in(text), expected);
    }
}
