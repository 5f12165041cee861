//! The admin endpoint over real sockets.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use diolkos_ops::metrics::{Counter, Registry};
use diolkos_ops::{AdminRoutes, Answer, Reach, Shutdown, Trigger, limit, serve_admin};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::test]
async fn pages_answer_with_their_status_type_and_body() {
    let (addr, _trigger) = start(routes()).await;
    let ready = ask(addr, "GET /ready HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").await;
    assert!(ready.starts_with("HTTP/1.1 503 "), "{ready}");
    assert!(ready.ends_with("\r\n\r\nno cluster has synced\n"), "{ready}");

    let explain =
        ask(addr, "GET /explain?service=a%2Fb HTTP/1.1\r\nHost: localhost:1\r\n\r\n").await;
    assert!(explain.starts_with("HTTP/1.1 200 "), "{explain}");
    assert!(explain.contains("content-type: application/json\r\n"), "{explain}");
    assert!(explain.ends_with("{\"service\":\"a/b\"}"), "{explain}");
}

#[tokio::test]
async fn head_answers_the_length_and_no_body() {
    let (addr, _trigger) = start(routes()).await;
    let answer = ask(addr, "HEAD /ready HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").await;
    assert!(answer.contains("content-length: 22\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn metrics_are_open_metrics_text() {
    let mut registry = Registry::new();
    let spliced = Counter::<u64>::default();
    registry.register("spliced", "Connections joined", spliced.clone());
    spliced.inc_by(3);
    let (addr, _trigger) = start(AdminRoutes::new().metrics(registry.shared())).await;
    let answer = ask(addr, "GET /metrics HTTP/1.1\r\nHost: [::1]:9\r\n\r\n").await;
    assert!(answer.contains("content-type: application/openmetrics-text; version=1.0.0"));
    assert!(answer.contains("# HELP diolkos_spliced Connections joined.\n"), "{answer}");
    assert!(answer.ends_with("diolkos_spliced_total 3\n# EOF\n"), "{answer}");
}

#[tokio::test]
async fn an_unknown_path_is_told_which_paths_there_are() {
    let (addr, _trigger) = start(routes()).await;
    let answer = ask(addr, "GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    assert!(answer.ends_with("/explain\n/ready\n"), "{answer}");
}

#[tokio::test]
async fn a15_nothing_can_be_changed() {
    let (addr, _trigger) = start(routes()).await;
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "FROB"] {
        let target = if method == "CONNECT" { "127.0.0.1:1" } else { "/ready" };
        let request =
            format!("{method} {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n");
        let answer = ask(addr, &request).await;
        assert!(answer.starts_with("HTTP/1.1 405 "), "{method}: {answer}");
        assert!(answer.contains("allow: GET, HEAD\r\n"), "{method}: {answer}");
    }
}

#[tokio::test]
async fn a15_a_name_that_was_made_to_point_here_is_refused() {
    let (addr, _trigger) = start(routes()).await;
    let requests = [
        "GET /ready HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        "GET /ready HTTP/1.1\r\n\r\n",
        "GET /ready HTTP/1.0\r\n\r\n",
        "GET /ready HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\n\r\n",
        "GET http://evil.example/ready HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    ];
    for request in requests {
        let answer = ask(addr, request).await;
        assert!(
            answer.starts_with("HTTP/1.1 421 ") || answer.starts_with("HTTP/1.0 421 "),
            "{request:?}: {answer}"
        );
    }
}

#[tokio::test]
async fn a15_other_machines_are_let_in_only_on_request() {
    let any: SocketAddr = "0.0.0.0:0".parse().unwrap();
    let (_trigger, shutdown) = Shutdown::new();
    let refused = serve_admin(any, routes(), shutdown.clone()).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::PermissionDenied);
    assert!(refused.to_string().contains("0.0.0.0:0 can be reached from other machines"));
    let bound = serve_admin(any, routes().reach(Reach::Network), shutdown).await.unwrap();
    let addr = SocketAddr::new([127, 0, 0, 1].into(), bound.port());
    let answer = ask(addr, "GET /ready HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
}

#[tokio::test]
async fn health_says_whether_a_role_lives_and_is_ready_and_no_more() {
    let (ready, asked) = tokio::sync::watch::channel(Err("waiting for its routes".to_owned()));
    let health = AdminRoutes::health(Registry::new().shared(), move || {
        std::future::ready(asked.borrow().clone())
    });
    let (_trigger, shutdown) = Shutdown::new();
    let port = serve_admin("[::]:0".parse().unwrap(), health, shutdown).await.unwrap().port();
    let said = async |path: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
        let answer = ask(SocketAddr::from(([127, 0, 0, 1], port)), &request).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().to_owned(), body.to_owned())
    };
    let answer = |status: &str, body: &str| (status.to_owned(), body.to_owned());
    assert_eq!(said("/healthz").await, answer("200", "alive\n"));
    assert_eq!(said("/healthz/ready").await, answer("503", "waiting for its routes\n"));
    let _before = ready.send_replace(Ok(()));
    assert_eq!(said("/healthz/ready").await, answer("200", "ready\n"));
    let (status, told) = said("/debug").await;
    assert_eq!(status, "404");
    assert_eq!(told, "no such page; there are\n/healthz\n/healthz/ready\n/metrics\n");
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let (addr, _trigger) = start(routes()).await;
    let (_other, shutdown) = Shutdown::new();
    let error = serve_admin(addr, routes(), shutdown).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    assert!(error.to_string().contains(&addr.to_string()), "{error}");
}

#[tokio::test]
async fn a7_one_who_says_nothing_is_let_go_within_the_header_deadline() {
    let (addr, _trigger) = start(routes()).await;
    let asked = Instant::now();
    ask(addr, "GET /ready HTTP/1.1\r\nHost: 127.0.").await;
    let waited = asked.elapsed();
    assert!(waited < limit::ADMIN_HEADER_MAX + Duration::from_secs(3), "{waited:?}");
    assert!(waited > limit::ADMIN_HEADER_MAX / 2, "{waited:?}");
}

#[tokio::test]
async fn a7_headers_beyond_the_limit_are_refused() {
    let (addr, _trigger) = start(routes()).await;
    let request = |filler: usize| {
        let filler = "x".repeat(filler);
        format!("GET /ready HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Filler: {filler}\r\n\r\n")
    };
    let around = request(0).len();
    let answer = ask(addr, &request(limit::ADMIN_HEADER_BYTES_MAX - around - 1)).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    let answer = ask(addr, &request(limit::ADMIN_HEADER_BYTES_MAX - around + 1)).await;
    assert!(answer.starts_with("HTTP/1.1 431 ") || answer.is_empty(), "{answer}");
}

#[tokio::test]
async fn a7_a_flood_of_connections_is_cut_and_passes() {
    flood(routes(), limit::ADMIN_CONNECTIONS_MAX).await;
    flood(routes().reach(Reach::Network), limit::HEALTH_CONNECTIONS_MAX).await;
}

/// As many as the limit, and one more.
async fn flood(routes: AdminRoutes, connections_max: usize) {
    let (addr, _trigger) = start(routes).await;
    let mut silent = Vec::new();
    for _ in 0..connections_max {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.write_all(b"GET").await.unwrap();
        silent.push(stream);
    }
    let request = "GET /ready HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
    assert_eq!(ask(addr, request).await, "", "one more than the limit");
    drop(silent);
    let until = Instant::now() + PATIENCE;
    while ask(addr, request).await.is_empty() {
        assert!(Instant::now() < until, "places were not given back");
    }
}

#[tokio::test]
async fn the_end_closes_the_door() {
    let (addr, trigger) = start(routes()).await;
    trigger.fire();
    let until = Instant::now() + PATIENCE;
    while TcpStream::connect(addr).await.is_ok() {
        assert!(Instant::now() < until, "still listening");
        tokio::task::yield_now().await;
    }
}

fn routes() -> AdminRoutes {
    AdminRoutes::new().page("/ready", |_| Answer::unavailable("no cluster has synced")).asking(
        "/explain",
        |query| async move {
            tokio::task::yield_now().await;
            match query.get("service") {
                Some(service) => Answer::json(&serde_json::json!({ "service": service })),
                None => Answer::bad_request("name a service"),
            }
        },
    )
}

async fn start(routes: AdminRoutes) -> (SocketAddr, Trigger) {
    let (trigger, shutdown) = Shutdown::new();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    (serve_admin(any, routes, shutdown).await.unwrap(), trigger)
}

/// All the other side says before it closes, nothing when it resets.
async fn ask(addr: SocketAddr, request: &str) -> String {
    let exchange = async {
        let mut stream = TcpStream::connect(addr).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    tokio::time::timeout(PATIENCE, exchange)
        .await
        .expect("an answer or an end in time")
        .unwrap_or_default()
}
