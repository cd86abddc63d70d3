//! What happens to links.

use guywire_flow::PathState;
use guywire_lab::emulator::{DirectionConfig, Gate};
use guywire_lab::spec::{LinkState, Settings, Verb};

use super::World;
use super::links::lab;
use crate::network::{Action, ROUTER, SERVER};
use crate::oracle::Trouble;

impl World<'_> {
    /// A fault happens.
    ///
    /// # Errors
    /// It names a trace that cannot be read.
    pub(super) fn happen(&mut self, index: usize) -> Result<(), Trouble> {
        let fault = &self.network.faults[index];
        match &fault.action {
            Action::Verb(Verb::State(state)) => self.set_state(fault.link, *state),
            Action::Verb(Verb::Set(settings)) => self.change(fault.link, settings)?,
            Action::Reset => self.reset_connections(fault.link),
            Action::BlackHole => self.links[fault.link].black_hole = true,
        }
        Ok(())
    }

    fn set_state(&mut self, path: usize, state: LinkState) {
        // By sending end: the router's packets go out, the server's come in.
        let gates = match state {
            LinkState::Up => [Gate::Open; 2],
            LinkState::Down => [Gate::Down; 2],
            LinkState::Silent => [Gate::Silent; 2],
            LinkState::SilentOut => [Gate::Silent, Gate::Open],
            LinkState::SilentIn => [Gate::Open, Gate::Silent],
        };
        let link = &mut self.links[path];
        for (direction, gate) in link.directions.iter_mut().zip(gates) {
            direction.set_gate(gate);
        }
        link.works_since = match state {
            LinkState::Up => link.works_since.or(Some(self.now)),
            _ => None,
        };
        let gone = state == LinkState::Down;
        let was_gone = std::mem::replace(&mut link.gone, gone);
        if gone && !was_gone {
            self.seen.gone += 1;
            self.ends[ROUTER].withdraw_path(self.now, path as u8);
        } else if was_gone && !gone {
            self.ends[ROUTER].add_path(self.now, path as u8, Default::default());
        }
        if self.links.iter().all(|link| !link.works()) {
            self.seen.no_link += 1;
        }
    }

    fn change(&mut self, path: usize, settings: &Settings) -> Result<(), Trouble> {
        self.seen.changes += 1;
        let link = &mut self.links[path];
        settings.apply(&mut link.spec);
        let (down, up) = DirectionConfig::resolve_link(&link.spec)?;
        let now = lab(self.now);
        link.directions[ROUTER].reconfigure(now, up);
        link.directions[SERVER].reconfigure(now, down);
        link.look(ROUTER);
        link.look(SERVER);
        Ok(())
    }

    fn reset_connections(&mut self, path: usize) {
        for id in self.connections(path) {
            self.seen.connection_resets += 1;
            self.break_end(ROUTER, id);
            self.break_end(SERVER, id);
        }
    }

    pub(super) fn note_path(&mut self, side: usize, _path: u8, state: PathState) {
        match state {
            PathState::Stale => self.seen.stale += 1,
            PathState::Up if side == ROUTER => self.seen.returned += 1,
            PathState::Up | PathState::Down | PathState::Withdrawn => {}
        }
    }
}
