//! The ClientHello of every connection: 517 bytes, as OpenSSL pads it.

/// Of the record, header included.
pub(super) const HELLO_BYTES: usize = 517;
/// Where the byte stands that tells the backend what to do: the first of the random.
const MODE_AT: usize = 5 + 4 + 2;
const PROTOCOL: &[u8] = b"istio";

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// The backend answers once and closes.
    Connect,
    /// 100 bytes ask, 200 answer.
    Request,
    /// The backend sends for as long as it may.
    Down,
    /// The client does.
    Up,
    /// A byte asks for a burst.
    Idle,
}

impl Mode {
    const ALL: [Self; 5] = [Self::Connect, Self::Request, Self::Down, Self::Up, Self::Idle];

    pub(super) fn of(hello: &[u8]) -> Option<Self> {
        Self::ALL.get(usize::from(*hello.get(MODE_AT)?)).copied()
    }
}

pub(super) fn hello(name: &str, mode: Mode) -> Vec<u8> {
    let entry = [&[0][..], &prefixed(name.as_bytes())].concat();
    let protocol = [&[PROTOCOL.len() as u8][..], PROTOCOL].concat();
    let mut extensions = [
        extension(0, &prefixed(&entry)),
        extension(16, &prefixed(&protocol)),
        extension(43, &[2, 3, 4]),
    ]
    .concat();
    let mut random = [0x5a; 32];
    random[0] = mode as u8;
    let head = [&[3, 3][..], &random, &[32], &[0xcc; 32], &[0, 2, 0x13, 1], &[1, 0]].concat();
    // Behind it: the padding's header and the length of all extensions.
    let used = 5 + 4 + head.len() + 2 + extensions.len() + 4;
    extensions.extend(extension(21, &vec![0; HELLO_BYTES - used]));
    let body = [head, prefixed(&extensions)].concat();
    let length = (body.len() as u32).to_be_bytes();
    let message = [&[1][..], &length[1..], &body].concat();
    [&[22, 3, 1][..], &prefixed(&message)].concat()
}

fn extension(kind: u16, body: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &prefixed(body)].concat()
}

fn prefixed(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
}

#[cfg(test)]
mod tests {
    use diolkos_route::{HelloReader, Progress};

    use super::*;

    #[test]
    fn a_hello_is_what_a_gateway_reads_and_tells_the_backend_its_mode() {
        for mode in Mode::ALL {
            let bytes = hello("outbound_.80_._.s-1.bench.svc.cluster.local", mode);
            assert_eq!(bytes.len(), HELLO_BYTES);
            assert_eq!(Mode::of(&bytes), Some(mode));
            let mut reader = HelloReader::new();
            let Progress::Hello(read) = reader.feed(&bytes) else { panic!("{mode:?}") };
            assert!(read.sni.is_some());
        }
    }
}
