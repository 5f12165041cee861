//! The reader of PROXY headers: whatever comes, in whatever pieces, it has one answer, soon.
#![no_main]

use std::net::{Ipv4Addr, SocketAddr};

use diolkos_route::limit::PROXY_HEADER_BYTES_MAX;
use diolkos_route::proxy::{ProxyHeader, SIGNATURE, read};
use libfuzzer_sys::fuzz_target;

const FIXED_BYTES: usize = 16;

fuzz_target!(|input: &[u8]| {
    let Some((how, rest)) = input.split_first() else { return };
    // Half of the inputs get past the signature without guessing it.
    let bytes = if how & 1 == 1 { [&SIGNATURE[..], rest].concat() } else { rest.to_vec() };
    let answer = read(&bytes);
    for cut in 0..bytes.len().min(PROXY_HEADER_BYTES_MAX + 1) {
        let earlier = read(&bytes[..cut]);
        assert!(earlier == ProxyHeader::NeedMore || earlier == answer, "an answer is final");
    }
    match answer {
        ProxyHeader::NeedMore => assert!(bytes.len() < PROXY_HEADER_BYTES_MAX, "it never ends"),
        ProxyHeader::Refused(_) => {}
        ProxyHeader::Complete { length, source } => complete(&bytes, length, source),
    }
});

fn complete(bytes: &[u8], length: usize, source: Option<SocketAddr>) {
    assert!((FIXED_BYTES..=PROXY_HEADER_BYTES_MAX).contains(&length));
    assert_eq!(&bytes[..SIGNATURE.len()], SIGNATURE);
    assert_eq!(length - FIXED_BYTES, usize::from(bytes[14]) << 8 | usize::from(bytes[15]));
    let is_local = bytes[12] == 0x20;
    assert_eq!(is_local, source.is_none(), "LOCAL says nothing, PROXY says who");
    assert_eq!(read(&bytes[..length]), read(bytes), "what follows is the client's");
    if let (Some(source), 0x11) = (source, bytes[13]) {
        let ip = Ipv4Addr::new(bytes[16], bytes[17], bytes[18], bytes[19]);
        let port = u16::from_be_bytes([bytes[24], bytes[25]]);
        assert_eq!(source, SocketAddr::from((ip, port)));
    }
}
