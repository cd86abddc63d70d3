//! The most that each link has carried: what is known of its rate without a test that would fill it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use guywire_control::worker::PathStatus;

/// What passes in less time says little of a rate: queues and bursts count in it.
const SHORTEST: Duration = Duration::from_millis(400);

/// Peaks by name of the link.
#[derive(Default)]
pub(super) struct Peaks(HashMap<String, Peak>);

#[derive(Clone, Copy)]
struct Peak {
    /// When bytes were counted last, and how many they were.
    at: Instant,
    sent: u64,
    received: u64,
    /// In bits a second.
    most_sent: u64,
    most_received: u64,
}

impl Peaks {
    /// Counts what passed since the last time, and notes each path's peak in its status.
    pub(super) fn note(&mut self, now: Instant, paths: &mut [PathStatus]) {
        for path in paths {
            let (sent, received) = (path.sent_bytes, path.received_bytes);
            let peak = self.0.entry(path.link.clone()).or_insert(Peak {
                at: now,
                sent,
                received,
                most_sent: 0,
                most_received: 0,
            });
            let time = now.saturating_duration_since(peak.at);
            if time >= SHORTEST {
                // Bytes of connections that are closed are not counted any more.
                let rate = |bytes: u64| (bytes as f64 * 8.0 / time.as_secs_f64()) as u64;
                let (out, back) = (
                    rate(sent.saturating_sub(peak.sent)),
                    rate(received.saturating_sub(peak.received)),
                );
                *peak = Peak {
                    at: now,
                    sent,
                    received,
                    most_sent: peak.most_sent.max(out),
                    most_received: peak.most_received.max(back),
                };
            }
            (path.most_sent_bps, path.most_received_bps) = (peak.most_sent, peak.most_received);
        }
    }
}

#[cfg(test)]
mod tests {
    use guywire_control::worker::PathState;

    use super::*;

    #[test]
    fn the_fastest_half_second_counts() {
        let start = Instant::now();
        let mut peaks = Peaks::default();
        let mut at = |millis: u64, sent_bytes, received_bytes| {
            let mut paths = [PathStatus {
                session: "server".into(),
                link: "wan1".into(),
                state: PathState::Up,
                srtt_us: 0,
                min_rtt_us: 0,
                rate_bps: 0,
                most_sent_bps: 0,
                most_received_bps: 0,
                repeated_ppm: 0,
                subflows: 1,
                sent_bytes,
                received_bytes,
            }];
            peaks.note(start + Duration::from_millis(millis), &mut paths);
            (paths[0].most_sent_bps, paths[0].most_received_bps)
        };
        assert_eq!(at(0, 5_000, 5_000), (0, 0));
        assert_eq!(at(500, 67_500, 5_000), (1_000_000, 0));
        // Too soon to tell, and then a connection less.
        assert_eq!(at(501, 99_000, 99_000), (1_000_000, 0));
        assert_eq!(at(1_000, 1_000, 130_000), (1_000_000, 2_000_000));
    }
}
