//! One connection to an API server: as much of HTTP/1.1 as it needs. A call ends with the answer's
//! last byte, and that is the moment from which changes are timed.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;

const ANSWER_MAX: Duration = Duration::from_secs(30);
/// A server closes connections that nobody speaks on; after this long a new one is made.
const SILENCE_MAX: Duration = Duration::from_secs(20);
const ANSWER_BYTES_MAX: u64 = 8 << 20;

#[derive(Clone, Debug)]
pub(super) struct Access {
    pub(super) address: SocketAddr,
    pub(super) token: String,
    tls: Arc<ClientConfig>,
}

pub(super) struct Api {
    stream: BufReader<StreamOwned<ClientConnection, TcpStream>>,
    access: Access,
    spoke: Instant,
}

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    body: Vec<u8>,
}

impl Access {
    pub(super) fn new(address: SocketAddr, token: &str, root_pem: &str) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(root_pem.as_bytes()) {
            roots.add(root.map_err(|error| anyhow::anyhow!("root certificate: {error}"))?)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { address, token: token.to_owned(), tls: Arc::new(tls) })
    }

    pub(super) fn connect(&self) -> anyhow::Result<Api> {
        let tcp = TcpStream::connect_timeout(&self.address, ANSWER_MAX)?;
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(ANSWER_MAX))?;
        let tls = ClientConnection::new(self.tls.clone(), self.address.ip().into())?;
        let stream = BufReader::new(StreamOwned::new(tls, tcp));
        Ok(Api { stream, access: self.clone(), spoke: Instant::now() })
    }
}

impl Api {
    pub(super) fn create(&mut self, path: &str, object: &Value) -> anyhow::Result<()> {
        let answer = self.call("POST", path, "application/json", object)?;
        // It is there already: two of a kind in one list, as namespaces are.
        if answer.status == 409 {
            return Ok(());
        }
        answer.expect_done("POST", path)
    }

    pub(super) fn patch(&mut self, path: &str, patch: &Value) -> anyhow::Result<()> {
        let kind = match patch {
            Value::Array(_) => "application/json-patch+json",
            _ => "application/merge-patch+json",
        };
        self.call("PATCH", path, kind, patch)?.expect_done("PATCH", path)
    }

    pub(super) fn delete(&mut self, path: &str) -> anyhow::Result<()> {
        let answer = self.call("DELETE", path, "application/json", &Value::Null)?;
        if answer.status == 404 {
            return Ok(());
        }
        answer.expect_done("DELETE", path)
    }

    pub(super) fn get(&mut self, path: &str) -> anyhow::Result<Answer> {
        self.call("GET", path, "application/json", &Value::Null)
    }

    fn call(
        &mut self,
        method: &str,
        path: &str,
        kind: &str,
        body: &Value,
    ) -> anyhow::Result<Answer> {
        if self.spoke.elapsed() > SILENCE_MAX {
            *self = self.access.connect()?;
        }
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let Access { address, token, .. } = &self.access;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let stream = self.stream.get_mut();
        stream.write_all(request.as_bytes())?;
        stream.flush()?;
        let answer = read_answer(&mut self.stream);
        self.spoke = Instant::now();
        answer.with_context(|| format!("{method} {path}"))
    }
}

impl Answer {
    fn expect_done(&self, method: &str, path: &str) -> anyhow::Result<()> {
        let Self { status, body } = self;
        ensure!(
            (200..300).contains(status),
            "{method} {path} is answered {status}: {}",
            String::from_utf8_lossy(body)
        );
        Ok(())
    }
}

fn read_answer(stream: &mut impl BufRead) -> anyhow::Result<Answer> {
    let status = line(stream)?;
    let status = status.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.context("an answer without a status")?;
    let (mut length, mut chunked) = (0, false);
    loop {
        let header = line(stream)?.to_ascii_lowercase();
        match header.split_once(':') {
            Some(("content-length", value)) => length = value.trim().parse()?,
            Some(("transfer-encoding", value)) => chunked = value.trim() == "chunked",
            Some(_) => {}
            None => break,
        }
    }
    let mut body = Vec::new();
    if !chunked {
        take(stream, length, &mut body)?;
        return Ok(Answer { status, body });
    }
    loop {
        let size = u64::from_str_radix(line(stream)?.trim(), 16)?;
        take(stream, size, &mut body)?;
        line(stream)?;
        if size == 0 {
            return Ok(Answer { status, body });
        }
    }
}

fn line(stream: &mut impl BufRead) -> anyhow::Result<String> {
    let mut line = String::new();
    if stream.take(64 * 1024).read_line(&mut line)? == 0 {
        bail!("the server closed the connection");
    }
    Ok(line.trim_end().to_owned())
}

fn take(stream: &mut impl BufRead, bytes: u64, into: &mut Vec<u8>) -> anyhow::Result<()> {
    let whole = into.len() as u64 + bytes;
    ensure!(whole <= ANSWER_BYTES_MAX, "an answer of more than {ANSWER_BYTES_MAX} bytes");
    stream.take(bytes).read_to_end(into)?;
    ensure!(into.len() as u64 == whole, "the server closed the connection");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_to_their_end_and_no_further() {
        let text = "HTTP/1.1 201 Created\r\nContent-Length: 3\r\n\r\nabc\
                    HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                    2\r\nde\r\n1\r\nf\r\n0\r\n\r\n\
                    HTTP/1.1 404 Not Found\r\ncontent-length: 9\r\n\r\ncut";
        let mut stream = text.as_bytes();
        for (status, body) in [(201, "abc"), (200, "def")] {
            let answer = read_answer(&mut stream).unwrap();
            assert_eq!((answer.status, &*answer.body), (status, body.as_bytes()));
        }
        let error = read_answer(&mut stream).unwrap_err().to_string();
        assert_eq!(error, "the server closed the connection");
    }

    #[test]
    fn an_answer_that_is_too_large_is_refused_before_it_is_read() {
        let text = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", ANSWER_BYTES_MAX + 1);
        let error = read_answer(&mut text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("more than 8388608 bytes"), "{error}");
    }
}
