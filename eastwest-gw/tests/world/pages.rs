//! A gateway's own pages, asked as an operator does.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::PATIENCE;

/// A port that was free a moment ago, on an address that only this test uses.
pub(crate) fn free(ip: &str) -> SocketAddr {
    std::net::TcpListener::bind((ip, 0)).unwrap().local_addr().unwrap()
}

pub(crate) async fn get(admin: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(admin).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.ok()?.ok()?;
    Some(answer)
}

pub(crate) async fn until_answered(
    admin: SocketAddr,
    path: &str,
    want: impl Fn(&str) -> bool,
) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = get(admin, path).await.unwrap_or_default();
        if want(&answer) {
            return answer;
        }
        assert!(Instant::now() < deadline, "{path} still says {answer}");
        sleep(Duration::from_millis(10)).await;
    }
}
