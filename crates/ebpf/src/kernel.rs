//! What the machine asks of the modelled kernel: objects, kfuncs, and the world outside.

use crate::memory::ProgramMemory;

/// A function of the kernel that programs may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kfunc {
    /// Its symbol.
    pub name: &'static str,
    /// How many arguments it reads, from r1 on.
    pub arguments: u8,
    /// Whether it has a value; without one, r0 holds nothing afterwards.
    pub returns: bool,
}

/// A socket as helpers see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Socket {
    /// It is a TCP socket, not MPTCP's own.
    pub tcp: bool,
    /// It speaks IPv6.
    pub ipv6: bool,
}

/// A kfunc was handed something that the kernel would have refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadArgument {
    /// Which argument, from 1 (in r1).
    pub argument: u8,
    /// What is wrong with it, as in "argument 1 *is no subflow*".
    pub problem: String,
}

/// The kernel as programs see it.
///
/// An object has a number, and so an address that is no address of the host's:
/// [`crate::memory::object_address`]. The machine checks every access against the object's length; the
/// kernel says which bytes may be written. An object's number must not be given to another as long as
/// a program may remember the address.
pub trait Kernel {
    /// The kfuncs there are. Programs are checked against this table.
    const KFUNCS: &'static [Kfunc];

    /// The bytes of an object, as its BTF lays them out.
    fn object(&self, number: u32) -> Option<&[u8]>;

    /// `length` bytes from `offset` on, if programs may write to all of them.
    fn writable(&mut self, number: u32, offset: usize, length: usize) -> Option<&mut [u8]>;

    /// What to call an object in messages.
    fn name(&self, number: u32) -> Option<String>;

    /// The full socket at this address, if there is one.
    fn socket(&self, address: u64) -> Option<Socket>;

    /// Calls the kfunc of this number in [`Self::KFUNCS`]. The value of one that returns nothing is
    /// not used.
    fn call(
        &mut self,
        kfunc: usize,
        arguments: [u64; 5],
        memory: &mut ProgramMemory<'_>,
    ) -> Result<u64, BadArgument>;

    /// Nanoseconds of a clock that never goes back.
    fn now_ns(&self) -> u64;

    /// A random number.
    fn random(&mut self) -> u32;
}

/// A kernel without objects, kfuncs and time: for raw programs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bare;

impl Kernel for Bare {
    const KFUNCS: &'static [Kfunc] = &[];

    fn object(&self, _: u32) -> Option<&[u8]> {
        None
    }

    fn writable(&mut self, _: u32, _: usize, _: usize) -> Option<&mut [u8]> {
        None
    }

    fn name(&self, _: u32) -> Option<String> {
        None
    }

    fn socket(&self, _: u64) -> Option<Socket> {
        None
    }

    fn call(
        &mut self,
        kfunc: usize,
        _: [u64; 5],
        _: &mut ProgramMemory<'_>,
    ) -> Result<u64, BadArgument> {
        unreachable!("no program with kfunc {kfunc} passes the check against an empty table")
    }

    fn now_ns(&self) -> u64 {
        0
    }

    fn random(&mut self) -> u32 {
        0
    }
}
