//! The reader at its limits, and whatever the pieces.

#![allow(clippy::disallowed_methods, reason = "the corpus is a folder")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod hellos;

use diolkos_route::limit::HELLO_BYTES_MAX;
use diolkos_route::{HelloReader, HostName, Progress, Refusal};
use hellos::*;
use proptest::prelude::*;

fn read(bytes: &[u8]) -> Progress {
    HelloReader::new().feed(bytes)
}

fn refusal(bytes: &[u8]) -> Option<Refusal> {
    match read(bytes) {
        Progress::NotTls(refusal) => Some(refusal),
        _ => None,
    }
}

#[test]
fn a_hello_of_the_cap_is_read_and_one_byte_more_is_refused() {
    assert!(matches!(read(&of_size(HELLO_BYTES_MAX)), Progress::Hello(_)));
    assert_eq!(refusal(&of_size(HELLO_BYTES_MAX + 1)), Some(Refusal::HelloTooLarge));
}

#[test]
fn the_cap_counts_record_headers_too() {
    // 2731 one-byte records are 16386 bytes, of which 2731 are the message.
    let message = message(&[padding(3000)]);
    for (bytes, fits) in [(2730, true), (2731, false)] {
        let cut = &message[..bytes];
        let mut reader = HelloReader::new();
        let answer = reader.feed(&records(cut, 1));
        assert_eq!(answer == Progress::NeedMore, fits, "{bytes} records");
        assert!(reader.bytes().len() <= HELLO_BYTES_MAX);
    }
}

#[test]
fn a_hello_that_says_it_is_too_large_is_refused_before_it_is_sent() {
    let start = [&[22, 3, 1, 0x40, 0][..], &[1, 0, 0x3f, 0xf8]].concat();
    assert_eq!(refusal(&start), Some(Refusal::HelloTooLarge));
    let start = [&[22, 3, 1, 0x40, 0][..], &[1, 0, 0x3f, 0xf7]].concat();
    assert_eq!(read(&start), Progress::NeedMore);
}

#[test]
fn what_follows_the_hello_is_kept_for_the_replay() {
    let hello = named(b"a.mesh.local");
    let early = record(23, &[9; 9000]);
    let all = [hello, early.clone(), early].concat();
    let mut reader = HelloReader::new();
    assert!(matches!(reader.feed(&all), Progress::Hello(_)));
    assert!(matches!(reader.feed(b"more"), Progress::Hello(_)));
    assert_eq!(reader.into_bytes(), [&all[..], b"more"].concat());
}

#[test]
fn malformed_bytes_are_refused_each_with_its_reason() {
    use Refusal::*;
    let good = message(&[signature_algorithms(), sni(&[b"a.b"]), alpn(&["istio"])]);
    let body = &good[4..];
    let hello = |extensions: &[Extension]| records(&message(extensions), 16384);
    let edited = |at: usize, byte: u8| {
        let mut edited = good.clone();
        edited[at] = byte;
        records(&edited, 16384)
    };
    let cases: &[(&str, Vec<u8>, Refusal)] = &[
        ("SSL 2", vec![0x80, 0x2e, 1, 3, 1], NotHandshake),
        ("application bytes first", record(23, b"hello"), NotHandshake),
        ("record version 2", vec![22, 2, 0, 0, 5], RecordVersion),
        ("an empty record", vec![22, 3, 1, 0, 0], RecordEmpty),
        ("a record of 16385", vec![22, 3, 1, 0x40, 1], RecordTooLong),
        ("a ServerHello", records(&with_header(2, body), 16384), NotClientHello),
        ("a hello of no bytes", records(&with_header(1, &[]), 16384), Lengths),
        ("two messages in a record", records(&[good.clone(), vec![1]].concat(), 16384), Trailing),
        ("hello version 2", edited(4, 2), HelloVersion),
        ("a session id of 33", edited(38, 33), Lengths),
        ("cipher suites of odd length", edited(72, 5), Lengths),
        ("no cipher suites", edited(72, 0), Lengths),
        ("no compression methods", edited(79, 0), Lengths),
        ("extensions shorter than the hello", edited(82, good[82] - 1), Lengths),
        ("extensions longer than the hello", edited(82, good[82] + 1), Lengths),
        ("an extension beyond the list", edited(86, 200), Lengths),
        ("an unknown extension twice", hello(&[padding(1), padding(2)]), DuplicateExtension),
        ("server_name without content", hello(&[(0, vec![])]), SniShape),
        ("server_name with an empty list", hello(&[(0, vec![0, 0])]), SniShape),
        ("server_name of another type", hello(&[(0, vec![0, 4, 1, 0, 1, b'a'])]), SniShape),
        ("server_name list too short", hello(&[(0, vec![0, 3, 0, 0, 1, b'a'])]), SniShape),
        ("host_name too long for its list", hello(&[(0, vec![0, 4, 0, 0, 2, b'a'])]), SniShape),
        ("a name, then an unknown type", hello(&[(0, vec![0, 5, 0, 0, 1, b'a', 9])]), SniShape),
        ("bytes behind the name", hello(&[(0, vec![0, 5, 0, 0, 1, b'a', 0])]), SniShape),
        ("ALPN without content", hello(&[(16, vec![])]), AlpnShape),
        ("ALPN with an empty list", hello(&[(16, vec![0, 0])]), AlpnShape),
        ("ALPN with an empty protocol", hello(&[(16, vec![0, 1, 0])]), AlpnShape),
        ("an ALPN protocol beyond the list", hello(&[(16, vec![0, 2, 2, b'h'])]), AlpnShape),
        ("ALPN list too short", hello(&[(16, vec![0, 2, 1, b'h', 0])]), AlpnShape),
    ];
    for (name, bytes, want) in cases {
        assert_eq!(refusal(bytes), Some(*want), "{name}");
    }
}

#[test]
fn alpn_is_read_in_the_clients_order() {
    let extensions = [sni(&[b"a.b"]), alpn(&["istio-peer-exchange", "istio", "h2"])];
    let Progress::Hello(hello) = read(&records(&message(&extensions), 7)) else {
        panic!("a well-formed hello");
    };
    let offered: Vec<&[u8]> = hello.alpn.iter().collect();
    assert_eq!(offered, [&b"istio-peer-exchange"[..], b"istio", b"h2"]);
}

/// A seed of the fuzz target, as the target reads it.
fn seed(name: &str) -> Vec<u8> {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/client_hello/");
    let bytes = std::fs::read(format!("{corpus}{name}")).unwrap();
    match bytes[1] {
        0 => bytes[2..].to_vec(),
        n => records(&bytes[2..], usize::from(n) * usize::from(n)),
    }
}

#[test]
fn what_real_clients_send_is_read_in_any_cutting() {
    for name in [
        "go_1.26_post_quantum",
        "openssl_3.0",
        "post_quantum",
        "post_quantum_256_byte_records",
        "rustls_tls12",
        "rustls_tls12_64_byte_records",
        "rustls_tls13",
        "rustls_tls13_1_byte_records",
    ] {
        let bytes = seed(name);
        let whole = read(&bytes);
        assert_eq!(answer_of(&bytes, &[1]), whole, "{name}");
        let Progress::Hello(hello) = whole else { panic!("{name}: {whole:?}") };
        assert_eq!(hello.sni.as_ref().map(HostName::as_str), Some(ISTIO_NAME), "{name}");
        assert!(hello.alpn.iter().any(|protocol| protocol == b"istio"), "{name}");
    }
    assert!(seed("go_1.26_post_quantum").len() > 1400, "more than a segment");
}

/// Hellos, and hellos with some bytes changed, in records of some size.
fn nearly_hellos() -> impl Strategy<Value = Vec<u8>> {
    let edits = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    let sizes = prop::sample::select(vec![1, 2, 5, 64, 300, 16384]);
    let kinds = prop::sample::select(vec![
        post_quantum(ISTIO_NAME.as_bytes()),
        message(&[signature_algorithms(), sni(&[b"A.b"]), alpn(&["istio"])]),
        message(&[padding(3000)]),
    ]);
    (kinds, sizes, edits, any::<bool>()).prop_map(|(mut message, size, edits, inside)| {
        let edit = |bytes: &mut Vec<u8>| {
            for (index, byte) in &edits {
                let at = index.index(bytes.len());
                bytes[at] = *byte;
            }
        };
        if inside {
            edit(&mut message);
            return records(&message, size);
        }
        let mut bytes = records(&message, size);
        edit(&mut bytes);
        bytes
    })
}

/// The answer, and after how many bytes it was known.
fn answer_of(bytes: &[u8], cuts: &[usize]) -> Progress {
    let mut reader = HelloReader::new();
    let mut rest = bytes;
    let mut answer = Progress::NeedMore;
    for cut in cuts.iter().cycle().take(bytes.len() + 1) {
        let (piece, tail) = rest.split_at((*cut).min(rest.len()).min(reader.room()));
        rest = tail;
        answer = reader.feed(piece);
        assert!(reader.bytes().len() <= HELLO_BYTES_MAX, "never more than the cap is held");
        if answer != Progress::NeedMore || rest.is_empty() {
            break;
        }
    }
    answer
}

proptest! {
    #[test]
    fn property_11_the_answer_does_not_depend_on_the_pieces(
        bytes in nearly_hellos(),
        cuts in prop::collection::vec(1..2000usize, 1..20),
    ) {
        let whole = read(&bytes);
        prop_assert_eq!(&answer_of(&bytes, &cuts), &whole);
        prop_assert_eq!(&answer_of(&bytes, &[1]), &whole);
    }

    #[test]
    fn property_11_any_bytes_get_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut bytes = bytes;
        let _ = read(&bytes);
        bytes.splice(0..0, [22, 3, 1, 2, 0, 1, 0, 0, 200, 3, 3]);
        let _ = read(&bytes);
    }
}
