//! `::6/128` on `lo`: the source of what Envoy's inbound side hands on. `127.0.0.6` is there by
//! itself, its IPv6 sister is not.
//!
//! One message to the kernel's routing socket, spelt out: the image holds no `ip`.

use std::io;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HandedOn {
    Added,
    Removed,
}

/// Of each network namespace the first interface.
const LO_INDEX: u32 = 1;
const ADDRESS: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 6];

/// A pod whose IPv6 is off has no address of it anywhere.
pub(super) fn family_is_on() -> bool {
    let off = "/proc/sys/net/ipv6/conf/lo/disable_ipv6";
    std::fs::read_to_string(off).is_ok_and(|text| text.trim() == "0")
}

pub(super) fn is_there() -> bool {
    std::fs::read_to_string("/proc/net/if_inet6").is_ok_and(|text| lists(&text))
}

fn lists(if_inet6: &str) -> bool {
    if_inet6
        .lines()
        .any(|line| line.starts_with("00000000000000000000000000000006 ") && line.ends_with(" lo"))
}

pub(super) fn put(change: HandedOn) -> io::Result<()> {
    let flags = SocketFlags::CLOEXEC;
    // Protocol 0 of netlink is routing.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    let kernel = SocketAddrNetlink::new(0, 0);
    sendto(&socket, &message(change), SendFlags::empty(), &kernel)?;
    let mut answer = [0; 4096];
    let (_, read) = recv(&socket, &mut answer[..], RecvFlags::empty())?;
    acknowledged(&answer[..read.min(answer.len())])
}

// linux/netlink.h, linux/rtnetlink.h, linux/if_addr.h
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_REPLACE: u16 = 0x100;
const NLM_F_CREATE: u16 = 0x400;
const NLMSG_ERROR: u16 = 2;
const AF_INET6: u8 = 10;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
/// Nobody else can have it: it need not be asked around.
const IFA_F_NODAD: u8 = 0x02;
const RT_SCOPE_HOST: u8 = 254;
const PREFIX: u8 = 128;
const HEADER_BYTES: usize = 16;

fn message(change: HandedOn) -> Vec<u8> {
    let (kind, flags) = match change {
        // One that is there already is replaced by itself.
        HandedOn::Added => (RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE),
        HandedOn::Removed => (RTM_DELADDR, 0),
    };
    let mut body = vec![AF_INET6, PREFIX, IFA_F_NODAD, RT_SCOPE_HOST];
    body.extend(LO_INDEX.to_ne_bytes());
    for attribute in [IFA_LOCAL, IFA_ADDRESS] {
        body.extend((4 + ADDRESS.len() as u16).to_ne_bytes());
        body.extend(attribute.to_ne_bytes());
        body.extend(ADDRESS);
    }
    let mut message = Vec::with_capacity(HEADER_BYTES + body.len());
    message.extend(((HEADER_BYTES + body.len()) as u32).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend((NLM_F_REQUEST | NLM_F_ACK | flags).to_ne_bytes());
    // Sequence and sender: one question, one answer, of a socket of its own.
    message.extend([0; 8]);
    message.extend(body);
    message
}

fn acknowledged(answer: &[u8]) -> io::Result<()> {
    let malformed = || io::Error::other("the kernel's answer cannot be read");
    let kind = answer.get(4..6).ok_or_else(malformed)?;
    let code = answer.get(HEADER_BYTES..HEADER_BYTES + 4).ok_or_else(malformed)?;
    if kind != NLMSG_ERROR.to_ne_bytes() {
        return Err(malformed());
    }
    match i32::from_ne_bytes([code[0], code[1], code[2], code[3]]) {
        0 => Ok(()),
        negative => Err(io::Error::from_raw_os_error(negative.saturating_neg())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_answer_is_read() {
        let answer = |code: i32| {
            let mut bytes = vec![36, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            bytes.extend(code.to_ne_bytes());
            bytes
        };
        assert!(acknowledged(&answer(0)).is_ok());
        let denied = acknowledged(&answer(-1)).unwrap_err();
        assert_eq!(denied.kind(), io::ErrorKind::PermissionDenied);
        assert!(acknowledged(&answer(i32::MIN)).is_err());
        assert!(acknowledged(&[0; 8]).is_err());
        assert!(acknowledged(&[]).is_err());
    }

    #[test]
    fn an_address_is_found_on_lo_and_nowhere_else() {
        let line = |address: &str, on: &str| format!("{address} 01 80 10 80 {on}\n");
        let [one, six] = [1, 6].map(|last| format!("{last:032x}"));
        assert!(lists(&(line(&one, "      lo") + &line(&six, "      lo"))));
        assert!(!lists(&line(&one, "      lo")));
        assert!(!lists(&line(&six, "    eth0")));
        assert!(!lists(""));
    }
}
