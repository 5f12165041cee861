//! The header of the PROXY protocol, version 2, by which a load balancer says for whom it connects.
//!
//! Of what it says the source address is taken, to log and to count by, never to permit. Other
//! extensions are left alone, but for the checksum: where there is one, it must be right.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::limit::PROXY_HEADER_BYTES_MAX;

/// What every header begins with. No ClientHello does: its first byte is 22.
pub const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

const FIXED_BYTES: usize = 16;
const TYPE_CRC32C: u8 = 3;
const CRC_BYTES: usize = 4;

/// What the bytes so far are. Final once it is not `NeedMore`, whatever follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyHeader {
    NeedMore,
    /// Never going to be one.
    Refused(ProxyRefusal),
    /// So many bytes; what follows is the client's.
    Complete {
        length: usize,
        /// `None`: the load balancer speaks for itself, as it does to see whether somebody is there.
        source: Option<SocketAddr>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProxyRefusal {
    NoSignature,
    Version,
    Command,
    /// Not TCP over IPv4 or IPv6.
    Family,
    TooLong,
    /// The addresses do not fit, or an extension does not.
    Lengths,
    Checksum,
}

impl fmt::Display for ProxyRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSignature => "no PROXY header of version 2 comes first",
            Self::Version => "its version is not 2",
            Self::Command => "its command is neither LOCAL nor PROXY",
            Self::Family => "it is not of TCP over IPv4 or IPv6",
            Self::TooLong => "it is longer than 536 bytes",
            Self::Lengths => "its lengths contradict each other",
            Self::Checksum => "its checksum is wrong",
        })
    }
}

impl std::error::Error for ProxyRefusal {}

/// Reads the header at the beginning of `bytes`.
pub fn read(bytes: &[u8]) -> ProxyHeader {
    match complete(bytes) {
        Ok(Some((length, source))) => ProxyHeader::Complete { length, source },
        Ok(None) => ProxyHeader::NeedMore,
        Err(refusal) => ProxyHeader::Refused(refusal),
    }
}

type Complete = (usize, Option<SocketAddr>);

fn complete(bytes: &[u8]) -> Result<Option<Complete>, ProxyRefusal> {
    let begun = bytes.len().min(SIGNATURE.len());
    if bytes[..begun] != SIGNATURE[..begun] {
        return Err(ProxyRefusal::NoSignature);
    }
    if let Some(version_command) = bytes.get(12) {
        match version_command {
            0x20 | 0x21 => {}
            other if other >> 4 != 2 => return Err(ProxyRefusal::Version),
            _ => return Err(ProxyRefusal::Command),
        }
    }
    let Some(fixed) = bytes.get(..FIXED_BYTES) else { return Ok(None) };
    let length = FIXED_BYTES + usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if length > PROXY_HEADER_BYTES_MAX {
        return Err(ProxyRefusal::TooLong);
    }
    let Some(header) = bytes.get(..length) else { return Ok(None) };
    let is_local = fixed[12] == 0x20;
    let (source, addresses) = source(fixed[13], &header[FIXED_BYTES..], is_local)?;
    extensions(header, FIXED_BYTES + addresses, is_local)?;
    Ok(Some((length, source.filter(|_| !is_local))))
}

/// Who it is, and how many bytes say so. What a LOCAL header has in their place does not count.
fn source(
    family: u8,
    body: &[u8],
    is_local: bool,
) -> Result<(Option<SocketAddr>, usize), ProxyRefusal> {
    let port = |at: usize| body.get(at..at + 2).map(|two| u16::from_be_bytes([two[0], two[1]]));
    let address = |bytes: usize, ip: Option<IpAddr>| {
        let source = ip.zip(port(2 * bytes)).map(|(ip, port)| SocketAddr::new(ip, port));
        let all = 2 * bytes + 4;
        match source.filter(|_| body.len() >= all) {
            Some(source) => Ok((Some(source), all)),
            None => Err(ProxyRefusal::Lengths),
        }
    };
    match family {
        _ if is_local => Ok((None, 0)),
        0x11 => address(4, body.first_chunk::<4>().map(|ip| Ipv4Addr::from(*ip).into())),
        0x21 => {
            let ip = body.first_chunk::<16>().map(|ip| Ipv6Addr::from(*ip));
            address(16, ip.map(|ip| IpAddr::from(ip).to_canonical()))
        }
        _ => Err(ProxyRefusal::Family),
    }
}

fn extensions(header: &[u8], mut at: usize, is_local: bool) -> Result<(), ProxyRefusal> {
    // What stands there is anybody's guess, and is skipped.
    if is_local {
        return Ok(());
    }
    while at < header.len() {
        let Some(&[kind, high, low]) = header[at..].first_chunk::<3>() else {
            return Err(ProxyRefusal::Lengths);
        };
        let value = at + 3;
        let end = value + usize::from(u16::from_be_bytes([high, low]));
        let Some(bytes) = header.get(value..end) else {
            return Err(ProxyRefusal::Lengths);
        };
        if kind == TYPE_CRC32C {
            let said: [u8; CRC_BYTES] = bytes.try_into().map_err(|_| ProxyRefusal::Lengths)?;
            if u32::from_be_bytes(said) != checksum(header, value) {
                return Err(ProxyRefusal::Checksum);
            }
        }
        at = end;
    }
    Ok(())
}

/// CRC-32C of the header, with zeros where the checksum itself stands.
fn checksum(header: &[u8], at: usize) -> u32 {
    let byte = |(index, byte): (usize, &u8)| {
        if (at..at + CRC_BYTES).contains(&index) { 0 } else { *byte }
    };
    let step = |crc: u32, byte: u8| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg())
        })
    };
    !header.iter().enumerate().map(byte).fold(!0, step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ProxyRefusal::*;

    fn header(version_command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = (body.len() as u16).to_be_bytes();
        [&SIGNATURE[..], &[version_command, family], &length, body].concat()
    }

    fn v4(extensions: &[u8]) -> Vec<u8> {
        let addresses = [192, 0, 2, 7, 198, 51, 100, 1, 0x9c, 0x40, 0x3c, 0x53];
        [&addresses[..], extensions].concat()
    }

    fn v6() -> Vec<u8> {
        let ip: Ipv6Addr = "2001:db8::7".parse().unwrap();
        [&ip.octets()[..], &[0; 16], &[0x9c, 0x40, 0x3c, 0x53]].concat()
    }

    fn extension(kind: u8, value: &[u8]) -> Vec<u8> {
        [&[kind][..], &(value.len() as u16).to_be_bytes(), value].concat()
    }

    /// The checksum is the last extension.
    fn with_checksum(mut header: Vec<u8>) -> Vec<u8> {
        let at = header.len() - CRC_BYTES;
        let sum = checksum(&header, at).to_be_bytes();
        header[at..].copy_from_slice(&sum);
        header
    }

    #[test]
    fn a8_a_header_says_who_connects_and_how_long_it_is() {
        let said = |text: &str| Some(text.parse::<SocketAddr>().unwrap());
        let mapped: Ipv6Addr = "::ffff:192.0.2.7".parse().unwrap();
        let mapped = [&mapped.octets()[..], &[0; 16], &[0x9c, 0x40, 0, 1]].concat();
        let crc = extension(TYPE_CRC32C, &[0; 4]);
        for (case, bytes, source) in [
            ("IPv4", header(0x21, 0x11, &v4(&[])), said("192.0.2.7:40000")),
            ("IPv6", header(0x21, 0x21, &v6()), said("[2001:db8::7]:40000")),
            ("IPv4 in IPv6", header(0x21, 0x21, &mapped), said("192.0.2.7:40000")),
            (
                "unknown extensions",
                header(0x21, 0x11, &v4(&[extension(0xea, b"vpce-1"), extension(4, &[])].concat())),
                said("192.0.2.7:40000"),
            ),
            ("a checksum", with_checksum(header(0x21, 0x11, &v4(&crc))), said("192.0.2.7:40000")),
            (
                "the longest",
                header(0x21, 0x11, &v4(&extension(4, &[0; 505]))),
                said("192.0.2.7:40000"),
            ),
            ("LOCAL without an address", header(0x20, 0, &[]), None),
            ("LOCAL with an address", header(0x20, 0x11, &v4(&[])), None),
            ("LOCAL with anything", header(0x20, 0x31, &[0xff; 7]), None),
        ] {
            let followed = [&bytes[..], b"\x16\x03\x01"].concat();
            let wanted = ProxyHeader::Complete { length: bytes.len(), source };
            assert_eq!(read(&followed), wanted, "{case}");
            for cut in 0..bytes.len() {
                assert_eq!(read(&bytes[..cut]), ProxyHeader::NeedMore, "{case}, {cut} bytes");
            }
        }
    }

    #[test]
    fn a8_whatever_is_no_such_header_is_refused() {
        let overflow = [&[4, 0, 9][..], &[0; 8]].concat();
        let mut bad_sum = with_checksum(header(0x21, 0x11, &v4(&extension(TYPE_CRC32C, &[0; 4]))));
        bad_sum[17] ^= 1;
        for (case, bytes, refusal) in [
            ("a ClientHello", vec![0x16, 3, 1], NoSignature),
            ("version 1", b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2\r\n".to_vec(), NoSignature),
            ("a long line of version 1", [&b"PROXY "[..], &[b'x'; 600]].concat(), NoSignature),
            ("another last byte", b"\r\n\r\n\0\r\nQUIT\r".to_vec(), NoSignature),
            ("version 1 in binary", header(0x11, 0x11, &v4(&[])), Version),
            ("version 3", header(0x31, 0x11, &v4(&[])), Version),
            ("an unknown command", header(0x22, 0x11, &v4(&[])), Command),
            ("no family", header(0x21, 0, &[]), Family),
            ("UDP over IPv4", header(0x21, 0x12, &v4(&[])), Family),
            ("UDP over IPv6", header(0x21, 0x22, &v6()), Family),
            ("a Unix socket", header(0x21, 0x31, &[0; 216]), Family),
            ("a family of no one", header(0x21, 0xf1, &v4(&[])), Family),
            ("IPv4 cut short", header(0x21, 0x11, &v4(&[])[..11]), Lengths),
            ("IPv6 cut short", header(0x21, 0x21, &v6()[..35]), Lengths),
            ("IPv6 in IPv4's length", header(0x21, 0x21, &v4(&[])), Lengths),
            ("no address at all", header(0x21, 0x11, &[]), Lengths),
            ("half an extension", header(0x21, 0x11, &v4(&[4, 0])), Lengths),
            ("an extension beyond the end", header(0x21, 0x11, &v4(&overflow)), Lengths),
            ("an extension of 65535", header(0x21, 0x11, &v4(&[4, 0xff, 0xff])), Lengths),
            ("a checksum of 3 bytes", header(0x21, 0x11, &v4(&extension(3, &[0; 3]))), Lengths),
            ("a wrong checksum", bad_sum, Checksum),
            ("one byte too long", header(0x21, 0x11, &v4(&extension(4, &[0; 506]))), TooLong),
            ("65535 bytes", header(0x20, 0, &[0; 65_535])[..16].to_vec(), TooLong),
        ] {
            assert_eq!(read(&bytes), ProxyHeader::Refused(refusal), "{case}");
        }
        let longest = header(0x21, 0x11, &v4(&extension(4, &[0; 505])));
        assert_eq!(longest.len(), PROXY_HEADER_BYTES_MAX);
    }

    #[test]
    fn the_checksum_is_crc_32c() {
        assert_eq!(checksum(b"123456789", usize::MAX - CRC_BYTES), 0xe306_9283);
    }
}
