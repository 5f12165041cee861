//! The end of listening, without a loss.
//!
//! Between the last accept and the close the system goes on to say yes, and the close resets whoever
//! it said it to. So before the last accept it is told to hear of no new handshakes. Whoever began
//! one in vain tries again (TCP does, after a second) and is refused.

use std::io;
use std::time::Duration;

use rustix::fd::AsFd;
use socket2::{SockFilter, SockRef};

/// How long a handshake that has begun may take: a round trip to anywhere.
pub(super) const LAST_ONES: Duration = Duration::from_millis(200);

const LOAD_BYTE: u16 = 0x30;
const JUMP_IF_SET: u16 = 0x45;
const RETURN: u16 = 0x06;

/// Where TCP's flags are in its header, to which a filter of a TCP socket is applied.
const FLAGS_AT: u32 = 13;
const SYN: u32 = 2;

/// Drops what begins a handshake, and nothing else.
pub(super) fn begin_none(listening: impl AsFd) -> io::Result<()> {
    SockRef::from(&listening.as_fd()).attach_filter(&[
        SockFilter::new(LOAD_BYTE, 0, 0, FLAGS_AT),
        SockFilter::new(JUMP_IF_SET, 0, 1, SYN),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ])
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn r16_no_handshake_begins_any_more_and_whoever_is_there_is_served() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut queued = TcpStream::connect(address).unwrap();
        begin_none(&listener).unwrap();
        let late = TcpStream::connect_timeout(&address, Duration::from_millis(100));
        assert_eq!(late.unwrap_err().kind(), ErrorKind::TimedOut, "neither yes nor no");
        let (mut accepted, _) = listener.accept().unwrap();
        drop(listener);
        queued.write_all(b"asks").unwrap();
        accepted.read_exact(&mut [0; 4]).unwrap();
        accepted.write_all(b"tells").unwrap();
        drop(accepted);
        let mut heard = Vec::new();
        queued.read_to_end(&mut heard).unwrap();
        assert_eq!(heard, b"tells");
        let refused = TcpStream::connect(address).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    }
}
