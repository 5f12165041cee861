//! The reader against rustls's `Acceptor` on the same bytes.
//!
//! - The answer does not depend on the pieces, no more than the cap is held, the replay is exact.
//! - Where we say hello, rustls sees the same name and the same protocols. Extensions we do not
//!   look into may fail there; then the hello without them must be seen in the same way.
//! - Where rustls accepts and we refuse, the reason is one of [`STRICTER`].
//!
//! Input: a byte that says how to cut, a byte that says how to wrap (0: the rest is raw bytes;
//! n: the rest is a handshake message, sent in records of n * n bytes), the rest.

#![no_main]

#[path = "../../tests/hellos/mod.rs"]
mod hellos;

use diolkos_route::limit::HELLO_BYTES_MAX;
use diolkos_route::{ClientHello, HelloReader, Progress, Refusal};
use libfuzzer_sys::fuzz_target;

/// Where we are stricter than rustls, on purpose; `docs/gateway.md` has the reasons.
const STRICTER: &[Refusal] =
    &[Refusal::HelloTooLarge, Refusal::TrailingDot, Refusal::HelloVersion, Refusal::SniShape];

fuzz_target!(|input: &[u8]| {
    let [cut, wrap, rest @ ..] = input else { return };
    let bytes = match usize::from(*wrap) {
        0 => rest.to_vec(),
        n => hellos::records(rest, n * n),
    };
    let whole = ours(&bytes, HELLO_BYTES_MAX);
    let pieces = ours(&bytes, usize::from(*cut) + 1);
    assert_eq!(whole, pieces, "the answer depends on the pieces");
    compare(&bytes, whole, rustls(&bytes));
});

fn compare(bytes: &[u8], ours: Progress, theirs: Seen) {
    match (ours, theirs) {
        (Progress::Hello(hello), Seen::Hello(seen)) => assert_eq!(facts(&hello), seen),
        (Progress::Hello(hello), Seen::Error(_)) => {
            let bare = rustls(&without_the_rest(bytes));
            assert_eq!(bare, Seen::Hello(facts(&hello)), "without what we do not look into");
        }
        (Progress::NotTls(refusal), Seen::Hello(_)) => {
            assert!(STRICTER.contains(&refusal), "refused for {refusal:?}, accepted by rustls");
        }
        (Progress::NotTls(_), Seen::Error(_) | Seen::More) => {}
        (Progress::NeedMore, Seen::More | Seen::Error(_)) => {}
        (ours, theirs) => panic!("we say {ours:?}, rustls says {theirs:?}"),
    }
}

type Facts = (Option<String>, Vec<Vec<u8>>);

#[derive(Debug, PartialEq)]
enum Seen {
    More,
    Error(String),
    Hello(Facts),
}

fn facts(hello: &ClientHello) -> Facts {
    let sni = hello.sni.as_ref().map(|name| name.as_str().to_owned());
    (sni, hello.alpn.iter().map(<[u8]>::to_vec).collect())
}

fn ours(bytes: &[u8], piece: usize) -> Progress {
    let mut reader = HelloReader::new();
    let mut rest = bytes;
    loop {
        let (now, later) = rest.split_at(piece.min(rest.len()).min(reader.room()));
        rest = later;
        let answer = reader.feed(now);
        assert!(reader.bytes().len() <= HELLO_BYTES_MAX, "more than the cap is held");
        if let Progress::Hello(_) | Progress::NeedMore = answer {
            let fed = bytes.len() - rest.len();
            assert_eq!(reader.bytes(), &bytes[..fed], "the replay is not what was read");
        }
        if answer != Progress::NeedMore || rest.is_empty() {
            return answer;
        }
    }
}

fn rustls(mut bytes: &[u8]) -> Seen {
    let mut acceptor = rustls::server::Acceptor::default();
    while !bytes.is_empty() {
        if acceptor.read_tls(&mut bytes).is_err() {
            return Seen::Error("buffer full".into());
        }
        match acceptor.accept() {
            Ok(None) => {}
            Ok(Some(accepted)) => {
                let hello = accepted.client_hello();
                let sni = hello.server_name().map(str::to_owned);
                let alpn = hello.alpn().into_iter().flatten().map(<[u8]>::to_vec).collect();
                return Seen::Hello((sni, alpn));
            }
            Err((error, _)) => return Seen::Error(error.to_string()),
        }
    }
    Seen::More
}

/// The hello with only its server_name and ALPN. The reader has said that it is one.
fn without_the_rest(bytes: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    let mut rest = bytes;
    while let [_, _, _, high, low, tail @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(tail.len());
        message.extend_from_slice(&tail[..length]);
        rest = &tail[length..];
    }
    let u16_at = |at: usize| usize::from(u16::from_be_bytes([message[at], message[at + 1]]));
    let end = 4 + (usize::from(message[1]) << 16) + u16_at(2);
    let mut at = 38;
    at += 1 + usize::from(message[at]);
    at += 2 + u16_at(at);
    at += 1 + usize::from(message[at]);
    let mut kept = vec![hellos::signature_algorithms()];
    at += 2;
    while at < end {
        let (kind, length) = (u16_at(at), u16_at(at + 2));
        if let 0 | 16 = kind {
            kept.push((kind as u16, message[at + 4..at + 4 + length].to_vec()));
        }
        at += 4 + length;
    }
    hellos::records(&hellos::message(&kept), 16384)
}
