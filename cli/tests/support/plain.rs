//! Applications that know of no mesh: this test binary, started again inside a pod.
//!
//! `DIOLKOS_TEST_ROLE` holds what it is to be there, as JSON; each word it says is a line of JSON.
#![allow(
    clippy::unwrap_used,
    missing_debug_implementations,
    unreachable_pub,
    reason = "as beside it: a test stops where its ground does not hold"
)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use diolkos_tls::{CERT_CHAIN_FILE, KEY_FILE, read_certificates, read_key};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};
use serde_json::{Value, json};

const ROLE: &str = "DIOLKOS_TEST_ROLE";
const PATIENCE: Duration = Duration::from_secs(5);

/// What is run in some namespace.
pub fn program() -> PathBuf {
    std::env::current_exe().unwrap()
}

pub fn role(command: &mut Command, role: &Value) {
    command.args(["--exact", "plays_its_role_in_a_pod", "--nocapture", "--test-threads", "1"]);
    command.env(ROLE, role.to_string());
}

/// What the test of that name does.
pub fn play() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let role: Value = serde_json::from_str(&role).unwrap();
    if matches!(role["role"].as_str(), Some("app" | "load")) {
        // Whoever started it holds its standard input.
        std::thread::spawn(|| {
            let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
            std::process::exit(0);
        });
    }
    match role["role"].as_str().unwrap() {
        "app" => app(role["pod"].as_str().unwrap()),
        "call" => say(&call(&role)),
        "load" => load(&role),
        "bytes" => say(&bytes(&role)),
        "listen" => say(&listen(&role)),
        "tls" => say(&tls(&role)),
        "knock" => say(&knock(&role)),
        other => panic!("no role {other}"),
    }
}

fn say(line: &Value) {
    println!("\n{line}");
}

/// HTTP on 8080, lines of bytes on 9000, and on 9100 the server has the first word; on every
/// address, until it is killed.
fn app(pod: &str) {
    let [accepted, died] = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
    let greetings = TcpListener::bind("[::]:9100").unwrap();
    std::thread::spawn(move || {
        for mut stream in greetings.incoming().map_while(Result::ok) {
            let _ = stream.write_all(b"welcome\n");
        }
    });
    let lines = TcpListener::bind("[::]:9000").unwrap();
    let requests = TcpListener::bind("[::]:8080").unwrap();
    let (name, counter) = (pod.to_owned(), accepted.clone());
    std::thread::spawn(move || {
        for stream in lines.incoming().map_while(Result::ok) {
            counter.fetch_add(1, Ordering::SeqCst);
            let name = name.clone();
            std::thread::spawn(move || echo(stream, &name));
        }
    });
    for stream in requests.incoming().map_while(Result::ok) {
        let (name, accepted, died) = (pod.to_owned(), accepted.clone(), died.clone());
        std::thread::spawn(move || serve(stream, &name, &accepted, &died));
    }
}

fn echo(stream: TcpStream, pod: &str) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream;
    let mut line = String::new();
    while reader.read_line(&mut line).is_ok_and(|read| read > 0) {
        if writer.write_all(format!("{pod} {line}").as_bytes()).is_err() {
            return;
        }
        line.clear();
    }
}

/// What is asked of `/die` is not answered.
fn serve(stream: TcpStream, pod: &str, accepted: &AtomicUsize, died: &AtomicUsize) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream;
    while let Some((first, headers)) = head(&mut reader) {
        if first.contains(" /die ") {
            died.fetch_add(1, Ordering::SeqCst);
            return;
        }
        let find = |name: &str| headers.get(name).cloned().unwrap_or(Value::Null);
        let body = json!({
            "pod": pod,
            "request": first,
            "host": find("host"),
            "xfcc": find("x-forwarded-client-cert"),
            "accepted": accepted.load(Ordering::SeqCst),
            "died": died.load(Ordering::SeqCst),
        })
        .to_string();
        let length = body.len();
        let answer =
            format!("HTTP/1.1 200 OK\r\nServer: plain\r\nContent-Length: {length}\r\n\r\n{body}");
        if writer.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// First line and headers, names in lower case.
fn head(reader: &mut impl std::io::BufRead) -> Option<(String, Value)> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let first = line.trim().to_owned();
    let mut headers = json!({});
    loop {
        line.clear();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let Some((name, value)) = line.trim().split_once(':') else {
            return Some((first, headers));
        };
        headers[name.to_ascii_lowercase()] = json!(value.trim());
    }
}

/// One request on a connection of its own: `status` and `body`, or `failure`.
fn call(role: &Value) -> Value {
    let answer = connect(role).and_then(|mut stream| ask(&mut stream, role));
    answer.unwrap_or_else(|failure| json!({ "failure": failure }))
}

fn connect(role: &Value) -> Result<TcpStream, String> {
    let at: SocketAddr = role["at"].as_str().unwrap().parse().unwrap();
    let stream =
        TcpStream::connect_timeout(&at, PATIENCE).map_err(|error| format!("connect: {error}"))?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    Ok(stream)
}

fn ask(stream: &mut (impl std::io::Read + std::io::Write), role: &Value) -> Result<Value, String> {
    let host = role["host"].as_str().unwrap_or("nobody");
    let method = role["method"].as_str().unwrap_or("GET");
    let more = role["headers"].as_str().unwrap_or("");
    let length = if method == "GET" { "" } else { "Content-Length: 0\r\n" };
    let path = role["path"].as_str().unwrap_or("/");
    let request = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{length}{more}\r\n");
    let failed = |what: &'static str| move |error| format!("{what}: {error}");
    stream.write_all(request.as_bytes()).map_err(failed("write"))?;
    let mut reader = BufReader::new(stream);
    let (first, headers) = head(&mut reader).ok_or("no answer")?;
    let length = headers["content-length"].as_str().unwrap_or("0").parse().unwrap();
    let mut body = vec![0; length];
    reader.read_exact(&mut body).map_err(failed("read"))?;
    let status: u16 = first.split(' ').nth(1).unwrap_or_default().parse().unwrap_or_default();
    let text = String::from_utf8_lossy(&body).into_owned();
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    Ok(json!({ "status": status, "headers": headers, "body": body }))
}

/// Requests one after the other on a kept connection, until it is killed.
fn load(role: &Value) {
    let pause = Duration::from_millis(role["pause_ms"].as_u64().unwrap_or(5));
    let mut stream = None;
    loop {
        let started = Instant::now();
        let kept = match stream.take() {
            Some(kept) => Ok(kept),
            None => connect(role),
        };
        let answer = kept.and_then(|mut kept| {
            let answer = ask(&mut kept, role);
            if answer.is_ok() {
                stream = Some(kept);
            }
            answer
        });
        let line = answer.unwrap_or_else(|failure| json!({ "failure": failure }));
        let took = started.elapsed().as_millis();
        say(&json!({ "took_ms": u64::try_from(took).unwrap(), "answer": line }));
        std::thread::sleep(pause);
    }
}

/// One line there and back.
fn bytes(role: &Value) -> Value {
    let answer = connect(role).and_then(|stream| line(stream, "hello"));
    answer.map_or_else(|failure| json!({ "failure": failure }), |line| json!({ "line": line }))
}

/// Says nothing, and hears the first line.
fn listen(role: &Value) -> Value {
    let answer = connect(role).and_then(|stream| {
        stream.set_read_timeout(Some(2 * PATIENCE)).unwrap();
        let mut line = String::new();
        let read = BufReader::new(stream).read_line(&mut line);
        read.map(|_| line).map_err(|error| format!("read: {error}"))
    });
    match answer.as_deref().map(str::trim) {
        Ok("") => json!({ "failure": "no word" }),
        Ok(line) => json!({ "line": line }),
        Err(failure) => json!({ "failure": failure }),
    }
}

fn line(mut stream: impl std::io::Read + std::io::Write, text: &str) -> Result<String, String> {
    stream.write_all(format!("{text}\n").as_bytes()).map_err(|error| format!("write: {error}"))?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).map_err(|error| format!("read: {error}"))?;
    match answer.trim() {
        "" => Err("no answer".into()),
        answer => Ok(answer.to_owned()),
    }
}

/// TLS to whoever answers, it is the server that is tested: as the identity in a folder, if any.
fn tls(role: &Value) -> Value {
    let name = ServerName::try_from("server.test").unwrap();
    let answer = connect(role).and_then(|stream| {
        let client = ClientConnection::new(Arc::new(tls_config(role)), name).unwrap();
        ask_or_line(StreamOwned::new(client, stream), role)
    });
    answer.unwrap_or_else(|failure| json!({ "failure": failure }))
}

fn tls_config(role: &Value) -> rustls::ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody));
    let mut config = match role["identity"].as_str().map(Path::new) {
        None => config.with_no_client_auth(),
        Some(identity) => {
            let chain = read_certificates(&identity.join(CERT_CHAIN_FILE)).unwrap();
            let key = read_key(&identity.join(KEY_FILE)).unwrap();
            config.with_client_auth_cert(chain, key).unwrap()
        }
    };
    config.alpn_protocols = role["alpn"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|alpn| alpn.as_str().unwrap().as_bytes().to_vec())
        .collect();
    config
}

fn ask_or_line(
    mut stream: impl std::io::Read + std::io::Write,
    role: &Value,
) -> Result<Value, String> {
    match role["host"].is_null() {
        true => line(stream, "hello").map(|line| json!({ "line": line })),
        false => ask(&mut stream, role),
    }
}

/// The `tls` roles of `tries`, one after the other, each by the server name `sni`: what came of it,
/// and whether a byte came back at all.
fn knock(role: &Value) -> Value {
    let tries = role["tries"].as_array().unwrap();
    json!({ "seen": tries.iter().map(knock_once).collect::<Vec<_>>() })
}

fn knock_once(role: &Value) -> Value {
    let sni = role["sni"].as_str().unwrap();
    // Pipes are in no name that rustls knows; they go out in place of what is as long.
    let name = ServerName::try_from(sni.replace('|', "_")).unwrap();
    let client = ClientConnection::new(Arc::new(tls_config(role)), name).unwrap();
    let mut heard = false;
    let answer = connect(role).and_then(|stream| {
        let named = Named { stream, sni: sni.as_bytes().to_vec(), heard: &mut heard };
        ask_or_line(StreamOwned::new(client, named), role)
    });
    let answer = answer.unwrap_or_else(|failure| json!({ "failure": failure }));
    json!({ "heard": heard, "answer": answer })
}

/// Asks for a name that its TLS does not know.
struct Named<'h> {
    stream: TcpStream,
    sni: Vec<u8>,
    heard: &'h mut bool,
}

impl std::io::Read for Named<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        let read = self.stream.read(bytes)?;
        *self.heard |= read > 0;
        Ok(read)
    }
}

impl std::io::Write for Named<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut bytes = bytes.to_vec();
        let told: Vec<u8> =
            self.sni.iter().map(|byte| if *byte == b'|' { b'_' } else { *byte }).collect();
        if let Some(at) = bytes.windows(told.len()).position(|window| window == told) {
            bytes[at..at + told.len()].copy_from_slice(&self.sni);
        }
        self.stream.write_all(&bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.stream.flush()
    }
}

#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let provider = rustls::crypto::ring::default_provider();
        provider.signature_verification_algorithms.supported_schemes()
    }
}
