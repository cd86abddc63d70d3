//! The lab's own links against plain TCP, UDP and ping, past Guywire.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use xtask::lab::{Lab, THREE_LINKS};

use super::super::Run;
use super::super::machine::steadily;
use super::super::report::{Bound, Report};

/// Rate in Mbit/s and round trip in ms of each link measured; without loss, so that the rate is
/// the link's and not the congestion control's.
const LINKS: [(f64, f64); 3] = [(100.0, 20.0), (50.0, 60.0), (20.0, 120.0)];
/// Bytes of an IP packet, and of those the body of TCP and of UDP.
const PACKET: f64 = 1_500.0;
const TCP_BODY: f64 = 1_448.0;
const UDP_BODY: f64 = 1_472.0;
/// Most difference from the rate, in percent.
const RATE: f64 = 3.0;
/// Most difference from the round trip, in ms.
const ROUND_TRIP: f64 = 1.0;

pub(super) fn measure(run: &Run, report: &mut Report) -> Result<()> {
    let spec: Vec<String> = LINKS
        .iter()
        .map(|(rate, time)| format!("{rate}mbit/{time}ms"))
        .collect();
    let lab = Lab::up(&run.binary, "emulator", &spec.join(","))?;
    report.condition(format!(
        "links {}, as in {THREE_LINKS} but without loss",
        spec.join(",")
    ));
    for (index, (rate, time)) in LINKS.into_iter().enumerate() {
        let host = format!("direct{}", index + 1);
        run.say(format_args!("{rate} Mbit/s, {time} ms"));
        let tcp = steadily(&lab, report, || tcp(run, &lab, &host))?;
        difference(
            report,
            format!("TCP, {rate} Mbit/s"),
            tcp * PACKET / TCP_BODY,
            rate,
        );
        let udp = steadily(&lab, report, || udp(run, &lab, index + 1, rate))?;
        difference(
            report,
            format!("UDP, {rate} Mbit/s"),
            udp * PACKET / UDP_BODY,
            rate,
        );
        let trip = steadily(&lab, report, || ping(run, &lab, &host))?;
        report.note(format!("round trip of {time} ms"), trip, "ms");
        let bound = Bound::AtMost(ROUND_TRIP);
        report.judge(
            format!("its difference from {time} ms"),
            (trip - time).abs(),
            "ms",
            bound,
        );
    }
    Ok(())
}

fn difference(report: &mut Report, title: String, measured: f64, rate: f64) {
    let percent = (measured / rate - 1.0).abs() * 100.0;
    report.note(format!("{title}: in IP packets"), measured, "Mbit/s");
    report.judge(
        format!("{title}: difference"),
        percent,
        "%",
        Bound::AtMost(RATE),
    );
}

fn tcp(run: &Run, lab: &Lab, host: &str) -> Result<f64> {
    let (length, skip) = run.pick((15, 5), (6, 3));
    let transfer = lab
        .fetch(&format!("http://{host}/bytes/{}", 1_u64 << 33))
        .lasting(Duration::from_secs(length), Duration::from_secs(skip))
        .run()?;
    Ok(transfer.goodput_mbps)
}

/// Sends a fifth more than fits downwards and returns what arrived, in Mbit/s of body.
fn udp(run: &Run, lab: &Lab, link: usize, rate: f64) -> Result<f64> {
    let port = (5_300 + link).to_string();
    let mut server = lab
        .exec(
            "internet",
            &["iperf3", "--server", "--one-off", "--port", &port],
        )
        .stdout(std::process::Stdio::null())
        .spawn()
        .context("cannot start iperf3 in internet")?;
    std::thread::sleep(Duration::from_millis(500));
    let seconds = run.pick("10", "4");
    let host = format!("direct{link}");
    let bits = format!("{}M", rate * 1.2);
    let length = UDP_BODY.to_string();
    let mut client = vec![
        "iperf3",
        "--client",
        &host,
        "--port",
        &port,
        "--udp",
        "--reverse",
    ];
    client.extend([
        "--bitrate",
        &bits,
        "--length",
        &length,
        "--time",
        seconds,
        "--omit",
        "1",
        "--json",
    ]);
    let measured = lab.output("client", &client);
    // It ends by itself after one client; where that never came, it is ended here.
    let _ = server.kill();
    let _ = server.wait();
    let json: Value = serde_json::from_str(&measured?).context("cannot understand iperf3")?;
    udp_received(&json).context("iperf3 does not say what arrived")
}

/// Mbit/s of body that arrived, from what iperf3 prints: its own `sum` counts what was sent.
fn udp_received(json: &Value) -> Option<f64> {
    let sum = &json["end"]["sum"];
    let sent = sum["bits_per_second"].as_f64()?;
    let lost = sum["lost_percent"].as_f64()?;
    let received = json["end"]["sum_received"]["bits_per_second"].as_f64();
    Some(
        received
            .filter(|bits| *bits > 0.0)
            .unwrap_or(sent * (1.0 - lost / 100.0))
            / 1e6,
    )
}

/// The median round trip, in ms.
fn ping(run: &Run, lab: &Lab, host: &str) -> Result<f64> {
    let count = run.pick("50", "10");
    let text = lab.output("client", &["ping", "-n", "-i", "0.2", "-c", count, host])?;
    let mut times = round_trips(&text);
    times.sort_by(f64::total_cmp);
    times
        .get(times.len() / 2)
        .copied()
        .context("ping printed no round trip")
}

pub(super) fn round_trips(text: &str) -> Vec<f64> {
    let times = text.lines().filter_map(|line| line.split_once("time="));
    times
        .filter_map(|(_, rest)| rest.split_whitespace().next()?.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reads_ping() {
        let text = "PING direct1 (203.0.113.101) 56(84) bytes of data.\n\
                    64 bytes from 203.0.113.101: icmp_seq=1 ttl=62 time=20.3 ms\n\
                    64 bytes from 203.0.113.101: icmp_seq=2 ttl=62 time=21 ms\n";
        assert_eq!(round_trips(text), [20.3, 21.0]);
    }

    #[test]
    fn reads_iperf3() {
        let old = json!({"end": {"sum": {"bits_per_second": 120e6, "lost_percent": 20.0}}});
        assert_eq!(udp_received(&old), Some(96.0));
        let new = json!({"end": {
            "sum": {"bits_per_second": 120e6, "lost_percent": 20.0},
            "sum_received": {"bits_per_second": 95e6},
        }});
        assert_eq!(udp_received(&new), Some(95.0));
        assert_eq!(udp_received(&json!({})), None);
    }
}
