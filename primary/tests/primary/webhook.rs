//! The webhook, as an API server calls it.

use diolkos_inject::InjectSettings;
use diolkos_primary::WebhookSettings;
use diolkos_tls::{Expect, anonymous_client_config};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::world::{Running, World, start};

struct Ground {
    world: World,
    running: Running,
}

impl Ground {
    async fn new() -> Self {
        let world = World::new();
        let mut settings = world.settings();
        let inject = InjectSettings::new("image:1", "west");
        settings.webhook = Some(WebhookSettings { listen: "127.0.0.1:0".parse().unwrap(), inject });
        let running = start(settings).await;
        Self { world, running }
    }

    /// Status and body of the answer to what is sent as it is.
    async fn send(&self, bytes: &[u8]) -> (u16, String) {
        let settings = self.world.sidecar(&self.running, "west");
        let expect = Expect::Dns(settings.server.clone());
        let config = anonymous_client_config(&settings.roots, expect, &["http/1.1"]);
        let tcp = TcpStream::connect(self.running.webhook()).await.unwrap();
        let name = diolkos_tls::server_name(&settings.server).unwrap();
        let mut tls = TlsConnector::from(config).connect(name, tcp).await.unwrap();
        tls.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        // A server that refused early closes without a goodbye.
        let _ = tls.read_to_end(&mut answer).await;
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    async fn post(&self, path: &str, body: &[u8]) -> (u16, String) {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        self.send(&[head.as_bytes(), body].concat()).await
    }
}

fn review(pod: &Value) -> Vec<u8> {
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "u-1", "operation": "CREATE", "namespace": "shop",
            "kind": { "group": "", "version": "v1", "kind": "Pod" }, "object": pod,
        },
    });
    serde_json::to_vec(&review).unwrap()
}

#[tokio::test]
async fn a_review_is_answered_with_a_patch_for_the_cluster_of_the_path() {
    let ground = Ground::new().await;
    let pod = json!({ "metadata": { "name": "cart" }, "spec": { "containers": [] } });
    let (status, body) = ground.post("/inject/cluster/east/net/n2", &review(&pod)).await;
    assert_eq!(status, 200, "{body}");
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["response"]["uid"], "u-1");
    assert_eq!(body["response"]["allowed"], true);
    assert_eq!(body["response"]["patchType"], "JSONPatch");
    let answered = "diolkos_webhook_reviews_total{outcome=\"injected\"}";
    assert!((ground.running.metric(answered).await - 1.0).abs() < 0.1);
    ground.running.stop().await;
}

#[tokio::test]
async fn what_is_no_review_is_told_so_and_the_webhook_goes_on() {
    let ground = Ground::new().await;
    let good = review(&json!({ "metadata": {}, "spec": {} }));
    let exact = [&good[..], &vec![b' '; 1024 * 1024 - good.len()]].concat();
    let over = [&exact[..], b" "].concat();
    for (path, body, status, says) in [
        ("/inject", &b"hello"[..], 400, "no AdmissionReview in JSON"),
        ("/inject", b"", 400, "no AdmissionReview in JSON"),
        ("/inject", b"{\"apiVersion\":\"v1\",\"kind\":\"Pod\"}", 400, "missing field"),
        ("/other", &good, 404, "/inject/cluster/CLUSTER/net/NETWORK"),
        ("/inject/cluster", &good, 400, "gives \"cluster\" no name"),
        ("/inject", &over, 413, "length limit exceeded"),
        ("/inject", &exact, 200, "\"allowed\":true"),
    ] {
        let (got, told) = ground.post(path, body).await;
        assert_eq!(got, status, "{path}: {told}");
        assert!(told.contains(says), "{path}: {told}");
    }
    let (status, _) =
        ground.send(b"GET /inject HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert_eq!(status, 405);
    ground.running.stop().await;
}
