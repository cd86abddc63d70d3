//! Draws a network from a seed.

use std::time::Duration;

use guywire_lab::spec::{EmulatedLink, LinkSpec, LinkState, Verb};
use guywire_sched::{Factory, native};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use crate::network::{Action, Algorithm, Answer, Class, Fault, Network, ROUTER, SERVER, Talk};

/// Most bytes of a flow's direction; a network's bytes are what costs time.
const MOST: u64 = 3 << 20;

/// The schedulers of networks that are drawn for something else; the others have
/// [`crate::schedulers`]. A longer list would draw other networks from the same seeds.
const DRAWN: [&str; 3] = ["default", "redundant", "roundrobin"];

/// The network with this seed; always the same.
pub fn network(seed: u64) -> Network {
    let mut draw = Draw {
        rng: Pcg64Mcg::seed_from_u64(seed ^ 0x6775_7977),
    };
    let class = Class::of_seed(seed);
    let mut network = Network {
        seed,
        class,
        links: draw.links(class),
        faults: Vec::new(),
        talks: Vec::new(),
        scheduler: draw.scheduler(class),
        memory: draw.memory(class),
        max_flows: 64,
        algorithm: match draw.rng.random_bool(0.7) {
            true => Algorithm::Bbr,
            false => Algorithm::Cubic,
        },
        ends: class == Class::SessionEnds,
        begin: Duration::ZERO,
        until: None,
        pings: None,
    };
    network.talks = draw.talks(class);
    draw.faults(&mut network);
    network.faults.sort_by_key(|fault| fault.at);
    network
}

struct Draw {
    rng: Pcg64Mcg,
}

impl Draw {
    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.rng.random_range(0..from.len())]
    }

    fn millis(&mut self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.rng.random_range(range))
    }

    /// A number of bytes, small ones as likely as large ones.
    fn bytes(&mut self, most: u64) -> u64 {
        let exponent = self.rng.random_range(0.0..(most as f64).log2());
        exponent.exp2() as u64
    }

    fn links(&mut self, class: Class) -> Vec<EmulatedLink> {
        let single = class == Class::Steady && self.rng.random_bool(0.2);
        let count = if single {
            1
        } else {
            self.rng.random_range(2..=5)
        };
        (0..count).map(|_| self.link(class)).collect()
    }

    fn link(&mut self, class: Class) -> EmulatedLink {
        let rate = self.pick(&[2, 5, 8, 12, 20, 30, 50, 80, 100, 200]);
        let trip = self.pick(&[5, 10, 20, 25, 30, 40, 60, 80, 120, 200, 300]);
        let mut text = format!("{rate}mbit/{trip}ms");
        let lossy = class == Class::Lossy;
        if self.rng.random_bool(if lossy { 0.8 } else { 0.2 }) {
            let loss = self.pick(&["loss0.1%", "loss0.5%", "loss1%", "loss2%", "burst1%x5"]);
            text = format!("{text}/{loss}");
        }
        if self.rng.random_bool(if lossy { 0.5 } else { 0.1 }) {
            text = format!("{text}/jitter{}ms", self.rng.random_range(1..=25));
        }
        if self.rng.random_bool(0.2) {
            text = format!("{text}/queue{}ms", self.pick(&[20, 50, 100, 200]));
        }
        match text.parse() {
            Ok(LinkSpec::Emulated(link)) => link,
            other => panic!("{text} reads as {other:?}"),
        }
    }

    fn scheduler(&mut self, class: Class) -> Factory {
        let name = match class {
            Class::Copies => "redundant",
            Class::InTurn => "roundrobin",
            _ if self.rng.random_bool(0.1) => self.pick(&DRAWN),
            _ => "default",
        };
        native(name).expect("a native scheduler").into()
    }

    fn memory(&mut self, class: Class) -> [u64; 2] {
        let sizes: &[u64] = match class {
            Class::SmallWindow => &[512 << 10, 1 << 20],
            Class::DeafReaders => &[1 << 20, 8 << 20, 64 << 20],
            _ => &[8 << 20, 64 << 20, 256 << 20],
        };
        [self.pick(sizes), self.pick(sizes)]
    }

    fn talks(&mut self, class: Class) -> Vec<Talk> {
        let count = match class {
            Class::ShortFlows => self.rng.random_range(10..40),
            Class::DeafReaders | Class::ProgramResets | Class::Refusals => {
                self.rng.random_range(4..10)
            }
            _ => self.rng.random_range(1..=4),
        };
        (0..count).map(|index| self.talk(class, index)).collect()
    }

    fn talk(&mut self, class: Class, index: usize) -> Talk {
        let mut talk = Talk {
            at: self.millis(100..2_000),
            ..Talk::default()
        };
        let first = index == 0;
        match self.rng.random_range(0..4) {
            _ if class == Class::ShortFlows => {
                talk.programs[ROUTER].bytes = self.bytes(2_000);
                talk.programs[SERVER].bytes = self.bytes(100_000);
                talk.programs[SERVER].answers = self.rng.random_bool(0.5);
            }
            0 => talk.programs[ROUTER].bytes = MOST / 4 + self.bytes(MOST * 3 / 4),
            1 => talk.programs[SERVER].bytes = MOST / 4 + self.bytes(MOST * 3 / 4),
            _ => {
                let both = [self.bytes(MOST), self.bytes(MOST)];
                talk.programs[ROUTER].bytes = both[ROUTER];
                talk.programs[SERVER].bytes = both[SERVER];
            }
        }
        if self.rng.random_bool(0.1) {
            talk.answer = Answer::AcceptAfter(self.millis(1..1_500));
        }
        self.shape(class, first, &mut talk);
        talk
    }

    /// What the class asks of a talk.
    fn shape(&mut self, class: Class, first: bool, talk: &mut Talk) {
        let side = self.rng.random_range(0..2);
        let often = first || self.rng.random_bool(0.5);
        match class {
            Class::HalfClose if often => {
                talk.programs[side].bytes = self.bytes(20_000);
                talk.programs[1 - side].bytes = MOST / 2 + self.bytes(MOST);
                talk.programs[1 - side].answers = self.rng.random_bool(0.5);
            }
            Class::ProgramResets if often => {
                let whole = talk.programs[ROUTER].bytes + talk.programs[SERVER].bytes;
                talk.programs[side].resets_after = Some(self.rng.random_range(0..=whole / 2));
            }
            Class::Refusals if often => talk.answer = Answer::Refuse,
            Class::DeafReaders if often => {
                talk.programs[1 - side].bytes = MOST;
                let from = self.millis(0..1_000);
                let until = from + self.millis(2_000..20_000);
                talk.programs[side].deaf = Some((from, until));
            }
            Class::Paced if often => {
                let piece = self.rng.random_range(100..20_000);
                let every = self.millis(5..200);
                let program = &mut talk.programs[side];
                program.bytes = piece * 60;
                program.pace = Some((piece, every));
            }
            Class::SmallWindow => talk.programs[side].bytes = MOST / 2 + self.bytes(MOST),
            // Whatever lasts until the faults have come and gone.
            _ if first && class != Class::ShortFlows => {
                talk.programs[side].bytes = MOST;
                talk.programs[side].pace = Some((MOST / 100, Duration::from_millis(60)));
            }
            _ => {}
        }
    }

    fn faults(&mut self, network: &mut Network) {
        let links = network.links.len();
        let link = self.rng.random_range(0..links);
        let at = self.millis(200..4_000);
        let long = self.pick(&[100, 300, 600, 1_000, 3_000, 8_000]);
        let back = at + self.millis(long / 2..long * 3 / 2);
        use LinkState::{Down, Silent, SilentIn, SilentOut};
        match network.class {
            Class::CutSilent | Class::Copies | Class::InTurn => {
                cut(network, link, Silent, at, back);
            }
            Class::CutOneWay => {
                let way = self.pick(&[SilentIn, SilentOut]);
                cut(network, link, way, at, back);
                if self.rng.random_bool(0.3) {
                    let way = self.pick(&[SilentIn, SilentOut]);
                    let later = back + self.millis(1..2_000);
                    cut(network, link, way, later, later + self.millis(200..3_000));
                }
            }
            Class::CutReset => {
                for _ in 0..self.rng.random_range(1..4) {
                    let fault = Fault {
                        at: self.millis(150..5_000),
                        link: self.rng.random_range(0..links),
                        action: Action::Reset,
                    };
                    network.faults.push(fault);
                }
            }
            Class::CutGone => cut(network, link, Down, at, back),
            Class::AllGone => {
                for link in 0..links {
                    let state = self.pick(&[Silent, Silent, Down, SilentIn, SilentOut]);
                    let early = self.millis(0..300);
                    cut(
                        network,
                        link,
                        state,
                        at + early,
                        back + self.millis(300..5_000),
                    );
                }
            }
            Class::SessionEnds => {
                for link in 0..links {
                    network.faults.push(state(link, Down, at));
                }
            }
            Class::Flapping => {
                let mut at = at;
                for _ in 0..self.rng.random_range(3..12) {
                    let until = at + self.millis(30..1_200);
                    let way = self.pick(&[Silent, Down, SilentIn, SilentOut]);
                    cut(network, link, way, at, until);
                    at = until + self.millis(30..1_500);
                }
            }
            Class::Changing => self.changes(network),
            Class::BlackHole => network.faults.push(Fault {
                at,
                link,
                action: Action::BlackHole,
            }),
            _ if self.rng.random_bool(0.2) => cut(network, link, Silent, at, back),
            _ => {}
        }
    }

    fn changes(&mut self, network: &mut Network) {
        for _ in 0..self.rng.random_range(2..8) {
            let rate = self.pick(&[2, 4, 10, 25, 60, 150]);
            let trip = self.pick(&[5, 20, 60, 150, 300]);
            let text = match self.rng.random_range(0..3) {
                0 => format!("set rate={rate}mbit"),
                1 => format!("set rtt={trip}ms"),
                _ => format!("set rate={rate}mbit,rtt={trip}ms"),
            };
            let fault = Fault {
                at: self.millis(200..6_000),
                link: self.rng.random_range(0..network.links.len()),
                action: Action::Verb(text.parse().expect("a verb")),
            };
            network.faults.push(fault);
        }
    }
}

fn state(link: usize, state: LinkState, at: Duration) -> Fault {
    Fault {
        at,
        link,
        action: Action::Verb(Verb::State(state)),
    }
}

/// A link is in `what` from one time to another.
fn cut(network: &mut Network, link: usize, what: LinkState, from: Duration, until: Duration) {
    network.faults.push(state(link, what, from));
    network.faults.push(state(link, LinkState::Up, until));
}
