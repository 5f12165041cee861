//! ClientHellos, field by field: what no client library would send can be written as well.
#![allow(dead_code, reason = "each test file uses its own part")]

pub(crate) const ISTIO_NAME: &str = "outbound_.8080_._.catalog.shop.svc.cluster.local";

pub(crate) type Extension = (u16, Vec<u8>);

pub(crate) fn u16_prefixed(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("a test's field fits");
    [&length.to_be_bytes(), bytes].concat()
}

pub(crate) fn sni(names: &[&[u8]]) -> Extension {
    let entry = |name: &&[u8]| [vec![0], u16_prefixed(name)].concat();
    (0, u16_prefixed(&names.iter().map(entry).collect::<Vec<_>>().concat()))
}

pub(crate) fn alpn(protocols: &[&str]) -> Extension {
    let mut list = Vec::new();
    for protocol in protocols {
        list.push(u8::try_from(protocol.len()).expect("a test's protocol fits"));
        list.extend_from_slice(protocol.as_bytes());
    }
    (16, u16_prefixed(&list))
}

/// What rustls wants to see before it looks at anything else.
pub(crate) fn signature_algorithms() -> Extension {
    (13, u16_prefixed(&[0x04, 0x03, 0x08, 0x04]))
}

pub(crate) fn only_tls13() -> Extension {
    (43, vec![2, 0x03, 0x04])
}

/// X25519MLKEM768, 1216 bytes of key.
pub(crate) fn post_quantum_share() -> Extension {
    (51, u16_prefixed(&[&[0x11, 0xec][..], &u16_prefixed(&[7; 1216])].concat()))
}

/// A grease extension of `length` bytes.
pub(crate) fn padding(length: usize) -> Extension {
    (0x1a1a, vec![0; length])
}

/// The outer form of encrypted ClientHello; `kind` 0 is the only valid one here.
pub(crate) fn ech(kind: u8) -> Extension {
    let cipher_suite_and_config = [0, 1, 0, 1, 9];
    let body =
        [&[kind][..], &cipher_suite_and_config, &u16_prefixed(&[1; 32]), &u16_prefixed(&[2; 64])];
    (0xfe0d, body.concat())
}

/// The handshake message.
pub(crate) fn message(extensions: &[Extension]) -> Vec<u8> {
    let mut list = Vec::new();
    for (kind, body) in extensions {
        list.extend_from_slice(&kind.to_be_bytes());
        list.extend_from_slice(&u16_prefixed(body));
    }
    let random = [0x5a; 32];
    let body = [
        &[3, 3][..],
        &random,
        &[32],
        &[0xcc; 32],
        &u16_prefixed(&[0x13, 0x01, 0x13, 0x02, 0xc0, 0x2f]),
        &[1, 0],
        &u16_prefixed(&list),
    ]
    .concat();
    with_header(1, &body)
}

pub(crate) fn with_header(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("a test's message fits").to_be_bytes();
    [&[kind][..], &length[1..], body].concat()
}

/// The message in handshake records of at most `size` bytes.
pub(crate) fn records(message: &[u8], size: usize) -> Vec<u8> {
    message.chunks(size).map(|part| record(22, part)).collect::<Vec<_>>().concat()
}

pub(crate) fn record(kind: u8, content: &[u8]) -> Vec<u8> {
    [&[kind, 3, 1][..], &u16_prefixed(content)].concat()
}

/// A hello as a mesh client sends it, of post-quantum size, the key before the name.
pub(crate) fn post_quantum(name: &[u8]) -> Vec<u8> {
    message(&[
        post_quantum_share(),
        only_tls13(),
        signature_algorithms(),
        sni(&[name]),
        alpn(&["istio", "h2"]),
    ])
}

/// A small hello with this name.
pub(crate) fn named(name: &[u8]) -> Vec<u8> {
    records(&message(&[signature_algorithms(), sni(&[name]), alpn(&["istio"])]), 16384)
}

/// A well-formed hello of exactly `bytes` raw bytes in one record.
pub(crate) fn of_size(bytes: usize) -> Vec<u8> {
    let parts = |padding_bytes| {
        let extensions = [
            signature_algorithms(),
            padding(padding_bytes),
            sni(&[ISTIO_NAME.as_bytes()]),
            alpn(&["istio"]),
        ];
        records(&message(&extensions), 16384)
    };
    let headers = |size: usize| size.div_ceil(16384) * 5;
    let fixed = parts(0).len() - 5;
    let content = (0..=bytes).rev().find(|size| size + headers(*size) <= bytes).unwrap_or(fixed);
    let hello = parts(content - fixed);
    assert_eq!(hello.len(), bytes, "a size that no cutting into records can have");
    hello
}
