//! One connection, spoiled: each direction is a stream of its own, piece by piece.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use diolkos_kind_plan::Spoil;
use rustix::net::sockopt;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// Of one read; also how much waits for its time, in pieces of [`PIECES_MAX`].
const PIECE_BYTES: usize = 16 * 1024;
/// Delayed pieces on their way: 4 MiB, a second of 32 Mbit/s.
const PIECES_MAX: usize = 256;
/// Of a dial to where the connection wanted to go.
const DIAL_WITHIN: Duration = Duration::from_secs(30);

#[derive(Clone, Copy)]
enum Direction {
    Out,
    Back,
}

/// Carries `stream` to where `wanted_by` says it wants to go.
pub(super) async fn carry(
    stream: TcpStream,
    spoil: watch::Receiver<Spoil>,
    wanted_by: fn(&TcpStream) -> io::Result<SocketAddr>,
) {
    let mut stream = stream;
    let Ok(to) = wanted_by(&stream) else { return };
    if spoil.borrow().half_open {
        // Until someone gives up, or the fault is over.
        let mut healed = spoil.clone();
        tokio::select! {
            () = swallow(&mut stream) => {}
            _ = healed.wait_for(|spoil| !spoil.half_open) => {}
        }
        return reset(&stream);
    }
    let Ok(Ok(mut far)) = timeout(DIAL_WITHIN, TcpStream::connect(to)).await else {
        return reset(&stream);
    };
    let _ = (stream.set_nodelay(true), far.set_nodelay(true));
    let ((near_read, near_write), (far_read, far_write)) = (stream.split(), far.split());
    let out = pass(near_read, far_write, spoil.clone(), Direction::Out);
    let back = pass(far_read, near_write, spoil, Direction::Back);
    // An end in one direction is passed on and leaves the other; a reset ends both, at both ends.
    if tokio::try_join!(out, back).is_err() {
        reset(&stream);
        reset(&far);
    }
}

async fn swallow(stream: &mut TcpStream) {
    let mut buffer = vec![0; PIECE_BYTES];
    while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
}

/// So that the end of the socket is an RST and no FIN.
fn reset(stream: &TcpStream) {
    let _ = sockopt::set_socket_linger(stream, Some(Duration::ZERO));
}

/// Reading and writing apart: a delay must not make a stream slower, only later.
async fn pass(
    from: ReadHalf<'_>,
    to: WriteHalf<'_>,
    spoil: watch::Receiver<Spoil>,
    direction: Direction,
) -> io::Result<()> {
    let (send, pieces) = mpsc::channel(PIECES_MAX);
    let read = read(from, send, spoil.clone());
    let write = write(to, pieces, spoil, direction);
    tokio::try_join!(read, write).map(drop)
}

struct Piece {
    bytes: Vec<u8>,
    not_before: Instant,
}

async fn read(
    mut from: ReadHalf<'_>,
    pieces: mpsc::Sender<Piece>,
    spoil: watch::Receiver<Spoil>,
) -> io::Result<()> {
    let mut last = Instant::now();
    loop {
        let mut bytes = vec![0; PIECE_BYTES];
        let count = from.read(&mut bytes).await?;
        bytes.truncate(count);
        let (delay, jitter) = {
            let spoil = spoil.borrow();
            (Duration::from_millis(spoil.delay_ms), spoil.jitter_ms)
        };
        let jitter =
            Duration::from_millis(if jitter > 0 { rand::random_range(0..=jitter) } else { 0 });
        // A stream stays in order, whatever the dice say.
        last = last.max(Instant::now() + delay + jitter);
        let ended = bytes.is_empty();
        if pieces.send(Piece { bytes, not_before: last }).await.is_err() || ended {
            return Ok(());
        }
    }
}

async fn write(
    mut to: WriteHalf<'_>,
    mut pieces: mpsc::Receiver<Piece>,
    mut spoil: watch::Receiver<Spoil>,
    direction: Direction,
) -> io::Result<()> {
    let mut passed = 0_u64;
    while let Some(Piece { bytes, not_before }) = pieces.recv().await {
        sleep_until(not_before).await;
        let flows = |spoil: &Spoil| match direction {
            Direction::Out => !spoil.stall_out,
            Direction::Back => !spoil.stall_in,
        };
        // Nobody left who could end the stall: it is over.
        let _ = spoil.wait_for(flows).await;
        if bytes.is_empty() {
            return to.shutdown().await;
        }
        let now = spoil.borrow().clone();
        for slice in bytes.chunks(piece_of(&now, bytes.len())) {
            if let Some(after) = now.reset_after_bytes {
                let left = usize::try_from(after.saturating_sub(passed)).unwrap_or(usize::MAX);
                if left < slice.len() {
                    to.write_all(&slice[..left]).await?;
                    return Err(io::ErrorKind::ConnectionReset.into());
                }
            }
            to.write_all(slice).await?;
            passed += slice.len() as u64;
            if now.bytes_per_second > 0 {
                let seconds = slice.len() as f64 / now.bytes_per_second as f64;
                sleep(Duration::from_secs_f64(seconds)).await;
            }
        }
    }
    Ok(())
}

/// As asked for; and small enough that a slow stream trickles and does not come in bursts.
fn piece_of(spoil: &Spoil, all: usize) -> usize {
    let wanted = if spoil.slice_bytes == 0 { all } else { spoil.slice_bytes };
    let per_moment = usize::try_from(spoil.bytes_per_second / 20).unwrap_or(usize::MAX);
    let trickle = if spoil.bytes_per_second == 0 { all } else { per_moment };
    wanted.min(trickle).max(1)
}

#[cfg(test)]
mod tests;
