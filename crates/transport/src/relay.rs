//! Joins a local TCP connection and a flow, each direction for itself.
//!
//! The local socket carries SO_LINGER{1,0} from accept or connect on, so that whatever breaks is seen as a reset,
//! never as an end; it is taken off only when both directions are complete at both ends.

use std::io::{self, IoSlice};
use std::time::Duration;

use bytes::Bytes;
use guywire_flow::record::MAX_CHUNK;
use guywire_flow::{FlowReason, Gone};
use guywire_net::tcp;
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

use crate::flow::{FlowHandle, Outcome};
use crate::inflow::CRUMB;
use crate::pool::Pool;
use crate::subflow;

/// Room for what may arrive just when nothing seems to be there, in bytes.
const READ_LEAST: usize = 4 * 1024;
/// So much is read or written at once, in bytes: as many whole chunks as a subflow takes at once. It bounds what a
/// connection holds outside the session's budget: nothing while it waits.
const BATCH: usize = (subflow::BATCH / MAX_CHUNK + 1) * MAX_CHUNK;

/// When the session sends too many small pieces, more is gathered for so long before the next is read.
const GATHERING: Duration = Duration::from_millis(10);

/// Runs until both directions are complete or the flow is reset, and leaves the local connection
/// accordingly. Tells how the flow ended.
pub async fn relay(mut local: TcpStream, flow: FlowHandle) -> Outcome {
    let moved = {
        let (read, write) = local.split();
        let both =
            async { tokio::try_join!(upload(&read, &flow), download(write, &flow)).map(|_| ()) };
        tokio::select! {
            moved = both => moved,
            () = broken(&read) => Err(Ended::Local),
        }
    };
    if let Err(Ended::Local) = moved {
        flow.reset(FlowReason::ResetByPeer);
    }
    let outcome = flow.ended().await;
    if outcome == Outcome::Complete {
        // Failure leaves the reset in place, which is safe.
        let _ = tcp::set_reset_on_close(&local, false);
    }
    outcome
}

/// Why a direction stopped early.
enum Ended {
    /// The local connection broke.
    Local,
    /// The flow ended.
    Flow,
}

impl From<io::Error> for Ended {
    fn from(_: io::Error) -> Ended {
        Ended::Local
    }
}

impl From<Gone> for Ended {
    fn from(_: Gone) -> Ended {
        Ended::Flow
    }
}

async fn upload(local: &ReadHalf<'_>, flow: &FlowHandle) -> Result<(), Ended> {
    loop {
        let room = flow.writable().await?;
        let bytes = read_some(local, room).await?;
        if bytes.is_empty() {
            return Ok(flow.finish()?);
        }
        let crumb = bytes.len() < CRUMB;
        flow.write(bytes)?;
        if crumb && !flow.may_write_crumb() {
            tokio::time::sleep(GATHERING).await;
        }
    }
}

/// Memory for large reads; 1 MB is kept.
static PIECES: Pool = Pool::new(BATCH, 4);

/// Reads what is there, at most `room` bytes, into memory of that size: what is kept must not hold much more
/// memory than it counts for.
async fn read_some(local: &ReadHalf<'_>, room: usize) -> io::Result<Bytes> {
    loop {
        local.readable().await?;
        // With room for one byte more than is there, the read tells that nothing is left.
        let there = tcp::unread_bytes(local.as_ref())?.saturating_add(1);
        if room >= PIECES.size() && PIECES.fits(there.min(BATCH)) {
            let mut piece = PIECES.take();
            if try_read(local, &mut piece)? {
                return Ok(piece.into());
            }
            continue;
        }
        let mut piece = Vec::with_capacity(room.min(there.clamp(READ_LEAST, BATCH)));
        if try_read(local, &mut piece)? {
            return Ok(match piece.len() < piece.capacity() / 2 {
                true => Bytes::copy_from_slice(&piece),
                false => piece.into(),
            });
        }
    }
}

/// Reads into the room of `into`; false if nothing has arrived.
fn try_read(local: &ReadHalf<'_>, into: &mut Vec<u8>) -> io::Result<bool> {
    let socket = local.as_ref();
    let read = socket.try_io(Interest::READABLE, || {
        let count = tcp::read(socket, into)?;
        // When all is taken, the kernel tells of the next. To ask it would cost two calls for each read.
        match count == 0 || into.len() == into.capacity() {
            true => Ok(()),
            false => Err(io::ErrorKind::WouldBlock.into()),
        }
    });
    match read {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(!into.is_empty()),
        Err(error) => Err(error),
    }
}

async fn download(mut local: WriteHalf<'_>, flow: &FlowHandle) -> Result<(), Ended> {
    let mut pieces = Vec::new();
    while flow.read(&mut pieces, BATCH).await? {
        write_all(&mut local, &mut pieces, flow).await?;
    }
    Ok(local.shutdown().await?)
}

/// Writes all pieces, and gives back their room as they leave.
async fn write_all(
    local: &mut WriteHalf<'_>,
    pieces: &mut Vec<Bytes>,
    flow: &FlowHandle,
) -> io::Result<()> {
    let mut first = 0;
    while first < pieces.len() {
        let slices: Vec<IoSlice<'_>> = pieces[first..]
            .iter()
            .take(64)
            .map(|piece| IoSlice::new(piece))
            .collect();
        let mut count = local.write_vectored(&slices).await?;
        flow.consume(count);
        while let Some(piece) = pieces.get_mut(first) {
            let part = count.min(piece.len());
            bytes::Buf::advance(piece, part);
            count -= part;
            if !piece.is_empty() {
                break;
            }
            first += 1;
        }
    }
    pieces.clear();
    Ok(())
}

/// Waits until the kernel reports an error on the connection: a reset, seen at once even while nothing
/// is read or written.
async fn broken(local: &ReadHalf<'_>) {
    loop {
        match local.ready(Interest::ERROR).await {
            Ok(ready) if ready.is_error() => return,
            Ok(_) => tokio::task::yield_now().await,
            Err(_) => return,
        }
    }
}
