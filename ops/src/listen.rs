//! Where a role listens: one address, or all of both IP families.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

/// Listens on `address`. `[::]` is every address of both families, whatever the system's default
/// is, and every IPv4 address where there is no IPv6.
///
/// # Errors
/// As the system says.
pub fn listen(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = on_any_family(address, |address| bound(address, backlog))?;
    TcpListener::from_std(socket.into())
}

fn on_any_family<T>(
    address: SocketAddr,
    bind: impl Fn(SocketAddr) -> io::Result<T>,
) -> io::Result<T> {
    let everywhere = address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    match bind(address) {
        Err(cause) if everywhere && cause.kind() != io::ErrorKind::AddrInUse => {
            bind((Ipv4Addr::UNSPECIFIED, address.port()).into()).map_err(|_| cause)
        }
        bound => bound,
    }
}

fn bound(address: SocketAddr, backlog: u32) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpStream;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn every_address_is_one_of_either_family() {
        let listener = listen(at("[::]:0"), 16).unwrap();
        let port = listener.local_addr().unwrap().port();
        for ip in ["127.0.0.1", "127.0.0.9"] {
            TcpStream::connect((ip, port)).await.unwrap();
            let (_, peer) = listener.accept().await.unwrap();
            assert!(peer.ip().to_canonical().is_ipv4(), "{peer}");
        }
        if TcpStream::connect(("::1", port)).await.is_ok() {
            assert!(listener.accept().await.unwrap().1.is_ipv6());
        }
    }

    #[tokio::test]
    async fn one_address_is_that_one_alone() {
        let listener = listen(at("127.0.0.2:0"), 16).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(TcpStream::connect(("127.0.0.3", port)).await.is_err());
    }

    /// What `[::]:1` is bound to where IPv6 fails in this way; IPv4 is there.
    fn without_ipv6(fault: io::ErrorKind, wanted: &str) -> Result<SocketAddr, io::ErrorKind> {
        let bind = |address: SocketAddr| match address.is_ipv4() {
            true => Ok(address),
            false => Err(fault.into()),
        };
        on_any_family(at(wanted), bind).map_err(|cause| cause.kind())
    }

    #[test]
    fn where_ipv6_is_not_there_every_address_is_every_ipv4_address() {
        use io::ErrorKind::{AddrInUse, AddrNotAvailable};
        assert_eq!(without_ipv6(AddrNotAvailable, "[::]:1"), Ok(at("0.0.0.0:1")));
        assert_eq!(without_ipv6(AddrNotAvailable, "[::1]:1"), Err(AddrNotAvailable));
        assert_eq!(without_ipv6(AddrInUse, "[::]:1"), Err(AddrInUse), "half is not enough");
    }
}
