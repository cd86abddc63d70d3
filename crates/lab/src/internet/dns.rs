//! The internet host's name server: the zone `lab.test`, over UDP and TCP.
//!
//! Authoritative for that zone only; a question about any other name is
//! REFUSED. `large.lab.test` has more text than fits a UDP answer, so that
//! asking for it ends in a truncated answer and a second question over TCP.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::rr::rdata::{A, AAAA, NS, SOA, TXT};
use hickory_proto::rr::{Name, RData, Record};
use hickory_server::Server;
use hickory_server::net::runtime::TokioRuntimeProvider;
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{AxfrPolicy, Catalog, ZoneType};
use tokio::net::{TcpListener, UdpSocket};

/// The zone's name.
pub const ZONE: &str = "lab.test.";

/// How long answers may be kept, in seconds: short, labs come and go.
const TTL: u32 = 60;

/// A TCP client is dropped after this long without a question.
const TCP_TIMEOUT: Duration = Duration::from_secs(10);

/// Answers kept for a slow TCP reader.
const TCP_ANSWERS: usize = 32;

/// The zone's serial number; it never changes.
const SERIAL: u32 = 1;

/// Serves the zone on the given sockets until dropped.
///
/// `hosts` are the names below the zone (`www`) with their addresses.
pub fn server(
    hosts: &[(String, Vec<IpAddr>)],
    sockets: Vec<UdpSocket>,
    listeners: Vec<TcpListener>,
) -> Result<Server<Catalog>, hickory_proto::ProtoError> {
    let mut server = Server::new(catalog(hosts)?);
    for socket in sockets {
        server.register_socket(socket);
    }
    for listener in listeners {
        server.register_listener(listener, TCP_TIMEOUT, TCP_ANSWERS);
    }
    Ok(server)
}

fn catalog(hosts: &[(String, Vec<IpAddr>)]) -> Result<Catalog, hickory_proto::ProtoError> {
    let origin = Name::from_ascii(ZONE)?;
    let master = Name::from_ascii("internet")?.append_domain(&origin)?;
    let contact = Name::from_ascii("hostmaster")?.append_domain(&origin)?;
    let mut zone = InMemoryZoneHandler::<TokioRuntimeProvider>::empty(
        origin.clone(),
        ZoneType::Primary,
        AxfrPolicy::Deny,
    );
    let soa = SOA::new(master.clone(), contact, SERIAL, 3600, 600, 86_400, TTL);
    zone.upsert_mut(
        Record::from_rdata(origin.clone(), TTL, RData::SOA(soa)),
        SERIAL,
    );
    zone.upsert_mut(
        Record::from_rdata(origin.clone(), TTL, RData::NS(NS(master))),
        SERIAL,
    );
    for (host, addresses) in hosts {
        let name = Name::from_ascii(host)?.append_domain(&origin)?;
        for address in addresses {
            let data = match *address {
                IpAddr::V4(address) => RData::A(A(address)),
                IpAddr::V6(address) => RData::AAAA(AAAA(address)),
            };
            zone.upsert_mut(Record::from_rdata(name.clone(), TTL, data), SERIAL);
        }
    }
    let large = Name::from_ascii("large")?.append_domain(&origin)?;
    for line in 0..40 {
        let text = TXT::new(vec![format!(
            "line {line:02} of a text that does not fit one UDP answer {}",
            "-".repeat(80)
        )]);
        zone.upsert_mut(
            Record::from_rdata(large.clone(), TTL, RData::TXT(text)),
            SERIAL,
        );
    }
    let mut catalog = Catalog::new();
    catalog.upsert(origin.into(), vec![Arc::new(zone)]);
    Ok(catalog)
}
