//! The measured matrix of fragmented, post-quantum and malformed hellos: every vector in four
//! cuttings through our reader, and once through rustls, so that the differences are on record.

mod hellos;

use diolkos_route::{HelloReader, Progress, Refusal};
use hellos::*;

/// What a reader made of the bytes.
#[derive(Debug, PartialEq, Eq)]
enum Saw {
    Name(String),
    NoName,
    Refused(Refusal),
    /// rustls says no; its reason is its own.
    Error,
    More,
}

fn name(text: &str) -> Saw {
    Saw::Name(text.into())
}

fn ours(pieces: &[&[u8]]) -> Saw {
    let mut reader = HelloReader::new();
    let mut answer = Progress::NeedMore;
    for piece in pieces {
        answer = reader.feed(piece);
    }
    match answer {
        Progress::NeedMore => Saw::More,
        Progress::NotTls(refusal) => Saw::Refused(refusal),
        Progress::Hello(hello) => {
            assert_eq!(reader.bytes(), pieces.concat(), "the replay is what was read");
            hello.sni.map_or(Saw::NoName, |sni| Saw::Name(sni.as_str().into()))
        }
    }
}

fn rustls(mut bytes: &[u8]) -> Saw {
    let mut acceptor = rustls::server::Acceptor::default();
    while !bytes.is_empty() {
        acceptor.read_tls(&mut bytes).expect("the acceptor has room");
        match acceptor.accept() {
            Ok(None) => {}
            Ok(Some(accepted)) => {
                let name = accepted.client_hello().server_name().map(str::to_owned);
                return name.map_or(Saw::NoName, Saw::Name);
            }
            Err(_) => return Saw::Error,
        }
    }
    Saw::More
}

struct Vector {
    name: &'static str,
    bytes: Vec<u8>,
    ours: Saw,
    rustls: Saw,
}

fn vector(name: &'static str, bytes: Vec<u8>, ours: Saw, rustls: Saw) -> Vector {
    Vector { name, bytes, ours, rustls }
}

fn well_formed() -> Vec<Vector> {
    let post_quantum = post_quantum(b"a.mesh.local");
    let a = || name("a.mesh.local");
    let istio = || name(ISTIO_NAME);
    let v1 = "outbound_.80_.v1_.x.ns.svc.cluster.local";
    let with = |extra: Extension| {
        let rest = [signature_algorithms(), sni(&[b"a.mesh.local"]), alpn(&["istio"])];
        records(&message(&[&[extra][..], &rest].concat()), 16384)
    };
    vec![
        vector("a post-quantum hello in one record", records(&post_quantum, 16384), a(), a()),
        vector("a post-quantum hello in 300 B records", records(&post_quantum, 300), a(), a()),
        vector("a post-quantum hello in 64 B records", records(&post_quantum, 64), a(), a()),
        vector("a post-quantum hello in 1 B records", records(&post_quantum, 1), a(), a()),
        vector("an upper-case name", named(b"A.MESH.LOCAL"), a(), a()),
        vector("Istio's form with underscores", named(v1.as_bytes()), name(v1), name(v1)),
        vector("only TLS 1.3 offered", with(only_tls13()), a(), a()),
        vector("ECH, well-formed: the outer name counts", with(ech(0)), a(), a()),
        vector("ECH with an invalid type byte is not ours to judge", with(ech(9)), a(), Saw::Error),
        vector("8.4 KB", of_size(8_400), istio(), istio()),
        vector("15.4 KB", of_size(15_400), istio(), istio()),
        vector(
            "no server name",
            records(&message(&[signature_algorithms()]), 16384),
            Saw::NoName,
            Saw::NoName,
        ),
        vector("an IPv4 address as name", named(b"10.0.0.1"), Saw::NoName, Saw::NoName),
        vector("an IPv6 address as name", named(b"2001:db8::1"), Saw::NoName, Saw::NoName),
    ]
}

fn malformed() -> Vec<Vector> {
    use Refusal::*;
    let refused = Saw::Refused;
    let mesh = |extensions: &[Extension]| {
        let all = [&[signature_algorithms()][..], extensions].concat();
        records(&message(&all), 16384)
    };
    let two_names = mesh(&[sni(&[b"a.mesh.local", b"b.mesh.local"])]);
    let twice = mesh(&[sni(&[b"a.mesh.local"]), sni(&[b"a.mesh.local"])]);
    let post_quantum = post_quantum(b"a.mesh.local");
    let (head, tail) = post_quantum.split_at(700);
    let alert_between = [record(22, head), record(21, &[1, 0]), record(22, tail)].concat();
    let http = b"GET / HTTP/1.1\r\nHost: a.mesh.local\r\n\r\n".to_vec();
    let noise = (0..600u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    vec![
        vector(
            "a trailing dot",
            named(b"a.mesh.local."),
            refused(TrailingDot),
            name("a.mesh.local"),
        ),
        vector(
            "a NUL in the name",
            named(b"a.mesh.local\0.evil"),
            refused(NameCharacter),
            Saw::Error,
        ),
        vector("two names in the list", two_names, refused(SniShape), Saw::Error),
        vector("server_name twice", twice, refused(DuplicateExtension), Saw::Error),
        vector("a name of 300 bytes", named(&[b'a'; 300]), refused(NameTooLong), Saw::Error),
        vector("an empty name", named(b""), refused(NameEmpty), Saw::Error),
        vector("an alert between two fragments", alert_between, refused(Interleaved), Saw::Error),
        vector("21 KB", of_size(21_000), refused(HelloTooLarge), name(ISTIO_NAME)),
        vector("61 KB", of_size(61_000), refused(HelloTooLarge), name(ISTIO_NAME)),
        vector("plaintext HTTP", http, refused(NotHandshake), Saw::Error),
        vector("random bytes", noise, refused(NotHandshake), Saw::Error),
    ]
}

#[test]
fn a6_every_vector_in_every_cutting_comes_to_the_expected_answer() {
    let vectors: Vec<Vector> = well_formed().into_iter().chain(malformed()).collect();
    assert!(vectors.len() >= 24);
    for Vector { name, bytes, ours: want, rustls: want_rustls } in &vectors {
        let (head, tail) = bytes.split_at(5.min(bytes.len()));
        let cuttings: [(&str, Vec<&[u8]>); 4] = [
            ("1 write", vec![bytes]),
            ("700 B segments", bytes.chunks(700).collect()),
            ("1 B writes", bytes.chunks(1).collect()),
            ("the 5-byte header apart", vec![head, tail]),
        ];
        for (cutting, pieces) in &cuttings {
            assert_eq!(ours(pieces), *want, "{name}, {cutting}");
        }
        assert_eq!(rustls(bytes), *want_rustls, "{name}, rustls");
    }
}
