//! The byte path: two sockets, joined. It knows nothing of names or routes.
//!
//! A buffer is held only while bytes flow. A side that says it is done closes its direction and
//! leaves the other open; that both directions ended is the only regular end. A side that breaks
//! off breaks off the other: a reset must not arrive as an orderly end.

use std::io;
use std::net::Shutdown;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};

use crate::End;
use crate::access::Access;
use crate::metrics::Direction;

const BUFFER_BYTES: usize = 16 * 1024;

/// How long a peer has to answer our FIN before its connection is dropped.
const LINGER: Duration = Duration::from_secs(1);

/// Joins them until both are done, one fails, neither speaks for `idle`, or `closing` comes true.
/// `held` goes to the target first, unmodified.
pub(crate) async fn relay(
    client: &TcpStream,
    target: &TcpStream,
    held: Vec<u8>,
    idle: Duration,
    access: &Access,
    closing: impl Future<Output = ()>,
) -> End {
    let pair = Pair { client, target, access, began: Instant::now(), spoke_ms: AtomicU64::new(0) };
    let both = async {
        let to_target = pair.pass(Direction::ToTarget, held);
        match tokio::try_join!(to_target, pair.pass(Direction::ToClient, Vec::new())) {
            Ok(_) => End::Finished,
            Err(end) => end,
        }
    };
    let end = tokio::select! {
        end = both => {
            if end != End::Finished {
                reset(client);
                reset(target);
            }
            return end;
        }
        () = pair.silence(idle) => End::Idle,
        () = closing => End::Drained,
    };
    tokio::join!(close(client), close(target));
    end
}

struct Pair<'a> {
    client: &'a TcpStream,
    target: &'a TcpStream,
    access: &'a Access,
    began: Instant,
    /// When bytes last went either way, since `began`.
    spoke_ms: AtomicU64,
}

impl Pair<'_> {
    async fn pass(&self, direction: Direction, held: Vec<u8>) -> Result<(), End> {
        let (from, to, from_fault, to_fault) = match direction {
            Direction::ToTarget => (self.client, self.target, End::ClientFault, End::TargetFault),
            Direction::ToClient => (self.target, self.client, End::TargetFault, End::ClientFault),
        };
        self.write(direction, to, &held).await.map_err(|_| to_fault)?;
        drop(held);
        loop {
            from.readable().await.map_err(|_| from_fault)?;
            let mut buffer = vec![0; BUFFER_BYTES];
            loop {
                match from.try_read(&mut buffer) {
                    Ok(0) => {
                        return SockRef::from(to).shutdown(Shutdown::Write).map_err(|_| to_fault);
                    }
                    Ok(read) => {
                        self.write(direction, to, &buffer[..read]).await.map_err(|_| to_fault)?;
                    }
                    Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => break,
                    Err(_) => return Err(from_fault),
                }
                // One connection that never runs dry must not keep a thread to itself.
                tokio::task::consume_budget().await;
            }
        }
    }

    async fn write(&self, way: Direction, to: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match to.try_write(bytes) {
                Ok(written) => {
                    self.access.passed(way, written as u64);
                    self.spoke_ms.store(self.now_ms(), Ordering::Relaxed);
                    bytes = &bytes[written..];
                }
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => to.writable().await?,
                Err(cause) => return Err(cause),
            }
        }
        Ok(())
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    async fn silence(&self, idle: Duration) {
        loop {
            let spoke = Duration::from_millis(self.spoke_ms.load(Ordering::Relaxed));
            let until = self.began + spoke + idle;
            if Instant::now() >= until {
                return;
            }
            sleep_until(until).await;
        }
    }
}

/// The next close says RST.
pub(crate) fn reset(stream: &TcpStream) {
    // Fails on a socket that is gone already.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

/// Says FIN and reads what still comes: a socket closed over unread bytes would say RST.
async fn close(stream: &TcpStream) {
    if SockRef::from(stream).shutdown(Shutdown::Write).is_err() {
        return;
    }
    let rest = async {
        let mut buffer = vec![0; BUFFER_BYTES];
        while stream.readable().await.is_ok() {
            match stream.try_read(&mut buffer) {
                Ok(0) => return,
                Ok(_) => tokio::task::consume_budget().await,
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    };
    // Whoever does not answer in time is cut off.
    let _ = timeout(LINGER, rest).await;
}
