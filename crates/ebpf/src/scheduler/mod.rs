//! A BPF object as a scheduler of flows: what the kernel does around its programs, done here.
//!
//! A session has one machine for an object, as a kernel has one set of its maps; each direction of a flow
//! is an `mptcp_sock` to it. What the kernel does (net/mptcp/sched.c, net/mptcp/protocol.c), and where
//! this differs:
//!
//! | kernel | here |
//! |---|---|
//! | `init` when the socket takes the scheduler | before the first question |
//! | `release` when the socket goes | when the flow goes; not when the scheduler itself is given up, and its maps with it |
//! | a subflow flagged before the call is used without a call, so a flag counts although -1 is returned | a flag counts whatever is returned |
//! | `snd_burst`: so many bytes before the next question | the same, as long as the subflow has room |
//! | `get_retrans` missing: `get_send` | the same; `get_subflow` learns it from `reinject` |
//! | several flagged: each takes the next data in turn; only what goes again is copied | copies, or the kernel's way if asked for ([`Several`]) |
//!
//! | part | what it holds |
//! |---|---|
//! | [`fields`] | what each of the kernel's fields holds: source, unit, age |
//! | `connection` | the kernel's objects of one direction of a flow |
//! | `kfuncs` | the kernel's functions |

mod connection;
pub mod fields;
mod kfuncs;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use guywire_sched::{
    Factory, FlowView, MapValue, Marks, Offence, Quirk, Quirks, Reason, Run, Scheduler, SubflowId,
};
use thiserror::Error;

use crate::embedded;
use crate::fault::{Fault, FaultKind};
use crate::machine::Machine;
use crate::object::{Callbacks, Object};
use crate::program::Program;
use crate::refusal::{Problem, Refusal};
use crate::{LoadError, loader};
use connection::{Connection, Numbers};

/// Instructions that a call may take: 250 times what the dearest scheduler of the kernel's own takes
/// with eight subflows.
pub const FUEL: u64 = 100_000;
/// What callbacks return: 0 or the negative of an error's number (include/linux/err.h, `MAX_ERRNO`).
const ANSWERS: std::ops::RangeInclusive<i32> = -4095..=0;
/// Instructions around one at fault that an incident shows, each way.
const AROUND: usize = 5;

/// What becomes of a chunk for which several subflows are marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Several {
    /// Each gets a copy: what people expect of "redundant".
    #[default]
    Copies,
    /// As in the kernel: each takes the next chunk in turn.
    InTurn,
}

/// How a scheduler is to be run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Instructions that a call may take.
    pub fuel: u64,
    /// What several marks mean.
    pub several: Several,
    /// What its maps hold at first.
    pub maps: Vec<MapValue>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            fuel: FUEL,
            several: Several::Copies,
            maps: Vec::new(),
        }
    }
}

/// Why an object cannot be used.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum Unfit {
    /// It does not load.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The static pass refuses it.
    #[error("{name}: {refusal}")]
    Refused {
        /// The object.
        name: String,
        /// Where and why.
        refusal: Box<Refusal>,
    },
}

impl Unfit {
    /// The same in one word.
    pub fn reason(&self) -> Reason {
        match self {
            Unfit::Refused { refusal, .. }
                if matches!(refusal.problem, Problem::Recursion { .. }) =>
            {
                Reason::Recursion
            }
            Unfit::Load(_) | Unfit::Refused { .. } => Reason::LoadRefused,
        }
    }
}

/// An object that is fit to run.
#[derive(Debug, Clone)]
pub struct Bpf {
    name: String,
    hash: [u8; 32],
    program: Arc<Program>,
    object: Arc<Object>,
}

impl Bpf {
    /// Loads and checks one; errors call it `name`.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn load(name: &str, file: &[u8]) -> Result<Bpf, Unfit> {
        let object = loader::load(name, file)?;
        let program = Program::check::<Connection>(&object).map_err(|refusal| Unfit::Refused {
            name: name.to_owned(),
            refusal: Box::new(refusal),
        })?;
        Ok(Bpf {
            name: object.name.clone(),
            hash: object.hash,
            program: Arc::new(program),
            object: Arc::new(object),
        })
    }

    /// The built-in one of that name.
    pub fn embedded(name: &str) -> Option<Bpf> {
        let embedded = embedded::find(name)?;
        Some(Bpf::load(embedded.name, embedded.object).expect("what is built in loads"))
    }

    /// What it calls itself.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// SHA-256 of its file.
    pub fn hash(&self) -> [u8; 32] {
        self.hash
    }

    /// What the loader made of it.
    pub fn object(&self) -> &Object {
        &self.object
    }

    /// The scheduler, for sessions.
    pub fn factory(&self, settings: Settings) -> Factory {
        let program = Arc::clone(&self.program);
        Factory::new(&self.name, move || {
            let world = Arc::new(Mutex::new(World::new(&program, &settings)));
            let (fuel, several) = (settings.fuel, settings.several);
            Box::new(move || {
                let weak = Arc::downgrade(&world);
                let connection = Connection::new(&mut lock(&world).numbers);
                Box::new(Instance::new(weak, connection, fuel, several))
            })
        })
        .of_object(self.hash)
    }
}

/// What all flows of a session share: the machine with its maps. It lives as long as the session uses
/// the scheduler, and not longer because flows remember it.
#[derive(Debug)]
struct World {
    machine: Machine,
    numbers: Numbers,
    /// What a `release` did and took: the next question tells it.
    offence: Option<Offence>,
    spent: u64,
    quirks: Quirks,
}

impl World {
    fn new(program: &Arc<Program>, settings: &Settings) -> World {
        let mut machine = Machine::new(Arc::clone(program));
        for MapValue { map, key, value } in &settings.maps {
            // Whoever takes settings from people has checked them; a map that has no room stays as it is.
            if let Some(map) = machine.map_mut(map) {
                let _ = map.set(key, value);
            }
        }
        World {
            machine,
            numbers: Numbers::default(),
            offence: None,
            spent: 0,
            quirks: Quirks::default(),
        }
    }

    /// Asks the callback that decides; what it returns decides nothing.
    fn ask(&mut self, function: usize, connection: &mut Connection, fuel: u64) {
        let answer = self.call(function, connection, fuel);
        if answer.is_some_and(|answer| !ANSWERS.contains(&answer)) {
            self.quirks.add(Quirk::OddAnswer);
        }
    }

    /// Calls a callback; what it returns.
    fn call(&mut self, function: usize, connection: &mut Connection, fuel: u64) -> Option<i32> {
        let arguments = [connection.address(), connection.data_address()];
        match self.machine.call(function, &arguments, connection, fuel) {
            Ok(finished) => {
                self.spent += finished.fuel;
                Some(finished.value as i32)
            }
            Err(fault) => {
                self.spent += fuel;
                let program = self.machine.program();
                self.offence = Some(offence(program, &fault, connection.marked_stranger));
                None
            }
        }
    }
}

fn lock(world: &Mutex<World>) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

fn offence(program: &Program, fault: &Fault, marked_stranger: bool) -> Offence {
    let reason = match fault.kind {
        FaultKind::FuelExhausted { .. } => Reason::FuelExhausted,
        FaultKind::Stack { .. } => Reason::Recursion,
        FaultKind::Unresolved { .. } => Reason::LoadRefused,
        FaultKind::BadArgument { .. } if marked_stranger => Reason::MarkedStranger,
        FaultKind::Memory { .. } | FaultKind::BadArgument { .. } | FaultKind::NoCode => {
            Reason::MemoryFault
        }
    };
    Offence {
        reason,
        text: fault.to_string(),
        pc: Some(fault.pc),
        listing: program.listing(fault.pc.saturating_sub(AROUND)..fault.pc + AROUND + 1),
    }
}

/// The scheduler of one direction of a flow.
struct Instance {
    world: Weak<Mutex<World>>,
    connection: Connection,
    fuel: u64,
    several: Several,
    /// `init` was called.
    begun: bool,
    /// What goes on without a question.
    run: Run,
    /// Subflows that were marked beside the one in turn, where each takes a chunk.
    in_turn: VecDeque<SubflowId>,
    offence: Option<Offence>,
    spent: u64,
}

impl Instance {
    fn new(world: Weak<Mutex<World>>, connection: Connection, fuel: u64, several: Several) -> Self {
        Instance {
            world,
            connection,
            fuel,
            several,
            begun: false,
            run: Run::default(),
            in_turn: VecDeque::new(),
            offence: None,
            spent: 0,
        }
    }

    /// Calls the program; what it flags is marked.
    fn ask(&mut self, flow: &FlowView<'_>, reinject: bool, marks: &mut Marks) {
        let Some(world) = self.world.upgrade() else {
            return;
        };
        if flow.subflows.is_empty() {
            return;
        }
        let world = &mut *lock(&world);
        let connection = &mut self.connection;
        if let Some(socket) = connection.show(flow, reinject, &mut world.numbers) {
            world.machine.forget_socket(socket);
        }
        let callbacks = world.machine.program().callbacks();
        if let (false, Some(init)) = (std::mem::replace(&mut self.begun, true), callbacks.init) {
            world.call(init, connection, self.fuel);
        }
        if world.offence.is_none() {
            world.ask(decides(callbacks, reinject), connection, self.fuel);
        }
        self.spent += std::mem::take(&mut world.spent);
        self.offence = world.offence.take();
        connection.take_marks(marks);
    }

    /// The subflow whose turn it is among those that were marked together.
    fn next_in_turn(&mut self, flow: &FlowView<'_>) -> Option<usize> {
        while let Some(id) = self.in_turn.pop_front() {
            let usable =
                |subflow: &guywire_sched::SubflowView| subflow.id == id && subflow.room > 0;
            if let Some(position) = flow.subflows.iter().position(usable) {
                return Some(position);
            }
        }
        None
    }
}

/// The callback to ask.
fn decides(callbacks: Callbacks, reinject: bool) -> usize {
    let retrans = callbacks.get_retrans.filter(|_| reinject);
    retrans.unwrap_or(callbacks.get_send)
}

impl Scheduler for Instance {
    fn get_send(&mut self, flow: &FlowView<'_>, marks: &mut Marks) {
        if self.run.go_on(flow, marks) {
            return;
        }
        if let Some(position) = self.next_in_turn(flow) {
            return marks.mark(position);
        }
        self.connection.set_burst(self.run.left(flow));
        self.ask(flow, false, marks);
        if self.several == Several::InTurn && !marks.is_empty() {
            let marked = marks
                .iter()
                .filter_map(|position| flow.subflows.get(position));
            self.in_turn.extend(marked.map(|subflow| subflow.id));
            let first = self.next_in_turn(flow);
            *marks = Marks::default();
            if let Some(first) = first {
                marks.mark(first);
            }
        }
        self.run = Run::start(flow, *marks, self.connection.burst());
    }

    fn get_retrans(&mut self, flow: &FlowView<'_>, marks: &mut Marks) {
        self.ask(flow, true, marks);
    }

    fn offence(&mut self) -> Option<Offence> {
        self.offence.take()
    }

    fn spent(&mut self) -> u64 {
        std::mem::take(&mut self.spent)
    }

    fn quirks(&self) -> Quirks {
        let Some(world) = self.world.upgrade() else {
            return Quirks::default();
        };
        let world = lock(&world);
        let mut quirks = world.quirks;
        quirks.join(world.machine.quirks());
        quirks
    }

    fn log(&self) -> Vec<String> {
        let Some(world) = self.world.upgrade() else {
            return Vec::new();
        };
        let world = lock(&world);
        world
            .machine
            .log()
            .lines()
            .map(|line| line.text.clone())
            .collect()
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let Some(world) = self.world.upgrade() else {
            return;
        };
        let world = &mut *lock(&world);
        if let (true, Some(release)) = (self.begun, world.machine.program().callbacks().release) {
            world.call(release, &mut self.connection, self.fuel);
        }
        for socket in self.connection.sockets() {
            world.machine.forget_socket(socket);
        }
    }
}
