//! The links of a running router, for the simulator: as they were measured, without a test that would fill them.

use std::fmt::Write as _;

use anyhow::bail;
use guywire_control::client::Client;
use guywire_control::supervisor::Status;
use guywire_control::worker::{PathState, PathStatus};
use guywire_lab::spec::LinkSpecs;

/// A link that never carried so many bits a second has an unknown rate.
const LEAST: u64 = 100_000;
/// What a packet of 1,500 bytes carries of a connection's bytes.
const PAYLOAD: f64 = 1_448.0 / 1_500.0;

/// Asks the router.
pub(super) async fn links(client: &Client) -> anyhow::Result<LinkSpecs> {
    let status: Status = client.get("/status").await?;
    let links = of_paths(&status.paths)?;
    eprintln!("on your links: {links}");
    Ok(links)
}

/// Every path that is up, as the lab writes links.
fn of_paths(paths: &[PathStatus]) -> anyhow::Result<LinkSpecs> {
    let up: Vec<&PathStatus> = paths
        .iter()
        .filter(|path| path.state == PathState::Up)
        .collect();
    if up.is_empty() {
        bail!(
            "no link is up; `guywire router status` tells more, and --links tries on links that you write"
        );
    }
    let unknown = |path: &&&PathStatus| path.most_received_bps < LEAST;
    if let Some(path) = up.iter().find(unknown) {
        bail!(
            "the link {} has brought next to nothing since the router's worker started, so that its rate is not known: \
             download something large, or write the links with --links",
            path.link
        );
    }
    let specs: Vec<String> = up.into_iter().map(spec).collect();
    Ok(specs.join(",").parse()?)
}

/// One link. What was never filled upwards is taken to be as fast as it was seen, and not slower than a tenth of
/// downwards.
fn spec(path: &PathStatus) -> String {
    let kbit = |bits: u64| (bits as f64 / PAYLOAD / 1e3).ceil() as u64;
    let down = kbit(path.most_received_bps);
    let up = kbit(path.most_sent_bps).max(down / 10).max(kbit(LEAST));
    let trip = if path.min_rtt_us > 0 {
        path.min_rtt_us
    } else {
        path.srtt_us
    };
    let millis = trip as f64 / 1e3;
    let mut text = format!("down{down}kbit/up{up}kbit/{millis:.1}ms");
    let percent = f64::from(path.repeated_ppm) / 1e4;
    if percent >= 0.01 {
        let _ = write!(text, "/loss{percent:.2}%");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(link: &str, most_received_bps: u64, repeated_ppm: u32) -> PathStatus {
        PathStatus {
            session: "server".into(),
            link: link.into(),
            state: PathState::Up,
            srtt_us: 30_000,
            min_rtt_us: 20_500,
            rate_bps: 0,
            most_sent_bps: 1_000_000,
            most_received_bps,
            repeated_ppm,
            subflows: 2,
            sent_bytes: 0,
            received_bytes: 0,
        }
    }

    #[test]
    fn what_was_measured_is_written_as_the_lab_does() {
        let paths = [path("wan1", 90_000_000, 0), path("wan2", 9_000_000, 5_000)];
        let links = of_paths(&paths).expect("links").to_string();
        let expected = "down93233kbit/up9323kbit/20.5ms,down9324kbit/up1036kbit/20.5ms/loss0.50%";
        assert_eq!(
            links,
            expected.parse::<LinkSpecs>().expect("links").to_string()
        );
    }

    #[test]
    fn what_is_not_known_is_said() {
        let idle = [path("wan1", 90_000_000, 0), path("wan2", 0, 0)];
        let error = of_paths(&idle).expect_err("no rate").to_string();
        assert!(
            error.contains("wan2") && error.contains("--links"),
            "{error}"
        );
        let down = [PathStatus {
            state: PathState::Down,
            ..path("wan1", 90_000_000, 0)
        }];
        let error = of_paths(&down).expect_err("nothing is up").to_string();
        assert!(error.contains("no link is up"), "{error}");
    }
}
