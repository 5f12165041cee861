//! A13: a client without a certificate is served by its token as the token says, and not otherwise.

use std::time::Duration;

use diolkos_trust::TOKEN_BYTES_MAX;
use diolkos_xds::ResourceType::Cluster;
use diolkos_xds_client::{ClientSettings, Credential, Incoming, Subscription, Why, connect};
use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use serde_json::{Value, json};
use tokio::time::timeout;
use tonic::{Code, Status};

use crate::issuer::{Issuer, coded};
use crate::raw::{self, WINDOW};
use crate::world::{PATIENCE, Running, World, until, update};

const HOUR: Duration = Duration::from_secs(3600);

struct Ground {
    world: World,
    west: Issuer,
    east: Issuer,
}

impl Ground {
    /// Both clusters know their clients by certificates and by tokens.
    fn new() -> Self {
        let world = World::new();
        let (west, east) = (Issuer::new("west", 1), Issuer::new("east", 2));
        world.write("jwks/west.json", &west.jwks());
        world.write("jwks/east.json", &east.jwks());
        let ground = Self { world, west, east };
        ground.mesh("https://east.test");
        ground
    }

    fn mesh(&self, issuer_of_east: &str) {
        self.world.mesh(&format!(
            "  - name: west
    addresses: [127.1.0.0/16]
    caCertificate: ca/west/ca-cert.pem
    tokens: {{issuer: 'https://west.test', jwks: jwks/west.json}}
  - name: east
    addresses: [127.2.0.0/16]
    tokens: {{issuer: '{issuer_of_east}', jwks: jwks/east.json}}
"
        ));
    }

    async fn start(&self) -> Running {
        let running = self.world.start().await;
        running.until_ready().await;
        running
    }

    /// `shop/web-1` of that cluster, which has this token in a file and no certificate.
    fn bearer(&self, running: &Running, cluster: &str, token: &str) -> ClientSettings {
        self.world.write("token", token);
        let credential = Credential::Token(self.world.path("token"));
        ClientSettings { credential, ..self.world.sidecar(running, cluster) }
    }
}

fn first(settings: &ClientSettings) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        node: Some(raw::node(settings)),
        type_url: Cluster.url().into(),
        ..DeltaDiscoveryRequest::default()
    }
}

fn authorization(token: &str) -> (&'static str, String) {
    ("authorization", format!("Bearer {token}"))
}

async fn refusal(settings: &ClientSettings, headers: &[(&'static str, String)]) -> Status {
    let mut client = raw::connection(settings, WINDOW).await.unwrap();
    match raw::with_headers(&mut client, headers, first(settings)).await {
        Err(status) => status,
        Ok(mut stream) => stream.next().await.expect_err("was served"),
    }
}

#[tokio::test]
async fn a13_a_client_with_a_token_is_served_as_its_account_in_its_issuers_cluster() {
    let ground = Ground::new();
    let running = ground.start().await;
    for (cluster, issuer) in [("west", &ground.west), ("east", &ground.east)] {
        let settings = ground.bearer(&running, cluster, &issuer.token(HOUR));
        let (handle, mut incoming) = connect(settings, vec![(Cluster, Subscription::Wildcard)]);
        update(&mut incoming, Cluster).await.accept();
        let stream = running.debug().await["streams"][0].clone();
        assert_eq!(stream["identity"], "spiffe://mesh.test/ns/shop/sa/web");
        assert_eq!(stream["credential"], "token");
        assert_eq!(stream["cluster"], cluster);
        let audience = format!("sidecar in {cluster} on {cluster} at r/{cluster}-a");
        assert_eq!(stream["audience"], audience);
        drop(handle);
        until("it is gone", async || {
            running.debug().await["streams"].as_array().unwrap().is_empty()
        })
        .await;
    }
    assert_eq!(running.debug().await["denials"].as_array().unwrap().len(), 0);
    running.stop().await;
}

/// Who differs from the honest bearer in one thing, and what it is told.
struct Forgery {
    what: &'static str,
    forge: fn(&mut Attempt),
    code: Code,
    told: &'static str,
}

struct Attempt {
    claims: Value,
    sign: fn(&Ground, &Value) -> String,
    headers: fn(String) -> Vec<(&'static str, String)>,
    settings: ClientSettings,
}

fn by_west(ground: &Ground, claims: &Value) -> String {
    ground.west.sign(claims)
}

const FORGERIES: &[Forgery] = &[
    Forgery {
        what: "no token",
        forge: |attempt| attempt.headers = |_| Vec::new(),
        code: Code::Unauthenticated,
        told: "neither a certificate nor a token; present a certificate of this mesh, or send \
               authorization: Bearer <service-account token>",
    },
    Forgery {
        what: "a password",
        forge: |attempt| attempt.headers = |_| vec![("authorization", "Basic eDp5".into())],
        code: Code::Unauthenticated,
        told: "authorization: it is no bearer token; send Bearer <service-account token>",
    },
    Forgery {
        what: "two tokens",
        forge: |attempt| attempt.headers = |one| vec![authorization(&one), authorization("a.b.c")],
        code: Code::Unauthenticated,
        told: "authorization: it is there twice",
    },
    Forgery {
        what: "no JWT",
        forge: |attempt| attempt.headers = |_| vec![authorization("token")],
        code: Code::Unauthenticated,
        told: "the token is no signed JWT: it has no dot; send three parts of base64url joined by \
               dots",
    },
    Forgery {
        what: "one longer than is read",
        forge: |attempt| attempt.headers = |_| vec![authorization(&"a".repeat(16_385))],
        code: Code::Unauthenticated,
        told: "the token has 16385 bytes, at most 16384 are read",
    },
    Forgery {
        what: "an unsigned one",
        forge: |attempt| {
            attempt.sign = |_, claims| {
                let header = json!({"alg": "none", "kid": "one"}).to_string();
                format!("{}.{}.", coded(header), coded(claims.to_string()))
            };
        },
        code: Code::Unauthenticated,
        told: "the token's algorithm \"none\" is not accepted; RS256, ES256 and EdDSA are",
    },
    Forgery {
        what: "an issuer nobody has",
        forge: |attempt| attempt.claims["iss"] = json!("https://elsewhere.test"),
        code: Code::Unauthenticated,
        told: "no cluster of this mesh has this token's issuer \"https://elsewhere.test\", or its \
               key; set tokens of its cluster in the mesh file",
    },
    Forgery {
        what: "another cluster's issuer, by the own key",
        forge: |attempt| attempt.claims["iss"] = json!("https://east.test"),
        code: Code::Unauthenticated,
        told: "the token's signature is not its issuer's",
    },
    Forgery {
        what: "for the API server",
        forge: |attempt| attempt.claims["aud"] = json!(["https://kubernetes.default.svc"]),
        code: Code::Unauthenticated,
        told: "the token is for \"https://kubernetes.default.svc\", not for \"diolkos-xds\", \
               \"istio-ca\"; ask for one with such an audience",
    },
    Forgery {
        what: "for ever",
        forge: |attempt| drop(attempt.claims.as_object_mut().unwrap().remove("exp")),
        code: Code::Unauthenticated,
        told: "the token has no exp, which it must have",
    },
    Forgery {
        what: "another account than its subject",
        forge: |attempt| {
            attempt.claims["kubernetes.io"]["serviceaccount"]["name"] = json!("admin");
        },
        code: Code::Unauthenticated,
        told: "the token's kubernetes.io.serviceaccount.name says \"admin\", its subject \"web\"",
    },
    Forgery {
        what: "another cluster, in its metadata",
        forge: |attempt| attempt.settings.node.cluster = "east".into(),
        code: Code::PermissionDenied,
        told: "CLUSTER_ID claims \"east\", but the token was issued by cluster \"west\"",
    },
    Forgery {
        what: "another cluster, in its headers",
        forge: |attempt| {
            attempt.headers = |one| vec![authorization(&one), ("clusterid", "east".into())];
        },
        code: Code::PermissionDenied,
        told: "clusterid claims \"east\", but the token was issued by cluster \"west\"",
    },
    Forgery {
        what: "another namespace",
        forge: |attempt| attempt.settings.node.namespace = "bank".into(),
        code: Code::PermissionDenied,
        told: "the node id's pod claims \"bank\", but the token says \"shop\"",
    },
    Forgery {
        what: "another service account",
        forge: |attempt| attempt.settings.node.service_account = Some("admin".into()),
        code: Code::PermissionDenied,
        told: "SERVICE_ACCOUNT claims \"admin\", but the token says \"web\"",
    },
    Forgery {
        what: "another network",
        forge: |attempt| attempt.settings.node.network = Some("east".into()),
        code: Code::PermissionDenied,
        told: "NETWORK claims \"east\", but the facts of its cluster say \"west\"",
    },
    Forgery {
        what: "another pod than the token's",
        forge: |attempt| attempt.settings.node.pod = "web-2".into(),
        code: Code::PermissionDenied,
        told: "the node id's pod name claims \"web-2\", but the token says \"web-1\"",
    },
    Forgery {
        what: "a pod of another account, by a token for no pod",
        forge: |attempt| {
            drop(attempt.claims["kubernetes.io"].as_object_mut().unwrap().remove("pod"));
            attempt.settings.node.pod = "west-shop-1".into();
        },
        code: Code::PermissionDenied,
        told: "the token's service account claims \"web\", but the facts know this pod with \
               \"west-shop\"",
    },
];

#[tokio::test]
async fn a13_each_forged_token_and_claim_is_refused_and_named() {
    let ground = Ground::new();
    let running = ground.start().await;
    for Forgery { what, forge, code, told } in FORGERIES {
        let mut attempt = Attempt {
            claims: ground.west.claims(HOUR),
            sign: by_west,
            headers: |token| vec![authorization(&token)],
            settings: ground.bearer(&running, "west", ""),
        };
        forge(&mut attempt);
        let token = (attempt.sign)(&ground, &attempt.claims);
        let status = refusal(&attempt.settings, &(attempt.headers)(token)).await;
        assert_eq!((status.code(), status.message()), (*code, *told), "{what}");
    }
    let debug = running.debug().await;
    assert_eq!(debug["denials"].as_array().unwrap().len(), FORGERIES.len(), "{debug:#}");
    assert_eq!(debug["streams"].as_array().unwrap().len(), 0);
    running.stop().await;
}

#[tokio::test]
async fn a13_the_longest_token_fits_the_headers_and_longer_headers_do_not() {
    let ground = Ground::new();
    let running = ground.start().await;
    let of_bytes = |filler: usize| {
        let mut claims = ground.west.claims(HOUR);
        claims["filler"] = json!("x".repeat(filler));
        ground.west.sign(&claims)
    };
    // Four letters of base64 for each three bytes.
    let longest = of_bytes((TOKEN_BYTES_MAX - of_bytes(0).len()) / 4 * 3);
    assert!((TOKEN_BYTES_MAX - 4..=TOKEN_BYTES_MAX).contains(&longest.len()));
    let settings = ground.bearer(&running, "west", &longest);
    let (_handle, mut incoming) =
        connect(settings.clone(), vec![(Cluster, Subscription::Wildcard)]);
    update(&mut incoming, Cluster).await.accept();

    let status = refusal(&settings, &[authorization(&"a".repeat(24 * 1024))]).await;
    assert!(!status.message().contains("the token has"), "HTTP/2 refuses it: {status}");
    running.stop().await;
}

#[tokio::test]
async fn a13_one_who_was_refused_is_heard_no_more_on_its_connection_and_is_cut() {
    let ground = Ground::new();
    let running = ground.start().await;
    let settings = ground.bearer(&running, "west", "");
    let mut client = raw::connection(&settings, WINDOW).await.unwrap();
    let bad = [authorization("a.b.c")];
    let status = raw::with_headers(&mut client, &bad, first(&settings)).await.err().unwrap();
    assert_eq!(status.code(), Code::Unauthenticated);
    let good = [authorization(&ground.west.token(HOUR))];
    let status = raw::with_headers(&mut client, &good, first(&settings)).await.err().unwrap();
    assert_eq!(
        (status.code(), status.message()),
        (Code::Unauthenticated, "refused before; open another connection")
    );
    until("it is cut", async || running.metric("diolkos_xds_connections").await == 0.0).await;
    let mut client = raw::connection(&settings, WINDOW).await.unwrap();
    let mut stream = raw::with_headers(&mut client, &good, first(&settings)).await.unwrap();
    stream.next().await.unwrap();
    running.stop().await;
}

#[tokio::test]
async fn a13_a_certificate_that_is_presented_counts_alone() {
    let ground = Ground::new();
    let running = ground.start().await;
    let good = [authorization(&ground.west.token(HOUR))];
    let stranger = ground.world.stranger(&running);
    let mut client = raw::connection(&stranger, WINDOW).await.unwrap();
    let status = raw::with_headers(&mut client, &good, first(&stranger)).await.err();
    assert_ne!(status.expect("a good token does not heal it").code(), Code::Unauthenticated);
    until("it was refused by TLS", async || {
        running.debug().await["denials"].to_string().contains("signed by a root this mesh does not")
    })
    .await;

    let sidecar = ground.world.sidecar(&running, "west");
    let mut client = raw::connection(&sidecar, WINDOW).await.unwrap();
    let bad = [authorization("a.b.c")];
    let mut stream = raw::with_headers(&mut client, &bad, first(&sidecar)).await.unwrap();
    stream.next().await.unwrap();
    assert_eq!(running.debug().await["streams"][0]["credential"], "certificate");
    let east = [("clusterid", "east".to_owned())];
    assert_eq!(
        refusal(&sidecar, &east).await.message(),
        "clusterid claims \"east\", but the certificate was issued by cluster \"west\""
    );
    running.stop().await;
}

/// Why the stream that was served ended.
async fn end(incoming: &mut tokio::sync::mpsc::Receiver<Incoming>) -> Why {
    loop {
        match timeout(PATIENCE, incoming.recv()).await.expect("it goes on").unwrap() {
            Incoming::Disconnected { why } => return why,
            Incoming::Connected | Incoming::Update(_) => {}
        }
    }
}

#[tokio::test]
async fn a13_a_stream_ends_when_its_token_does() {
    let ground = Ground::new();
    let running = ground.start().await;
    let token = ground.west.token(Duration::from_secs(3));
    let settings = ground.bearer(&running, "west", &token);
    let (_handle, mut incoming) = connect(settings, vec![(Cluster, Subscription::Wildcard)]);
    update(&mut incoming, Cluster).await.accept();
    let why = end(&mut incoming).await.to_string();
    assert!(why.ends_with("the client's token has expired; come again with a fresh one"), "{why}");
    // As the kubelet replaces it.
    ground.world.write("token", &ground.west.token(HOUR));
    until("it is back by the new one", async || {
        running.debug().await["streams"].as_array().unwrap().len() == 1
    })
    .await;
    running.stop().await;
}

#[tokio::test]
async fn a13_a_stream_ends_with_the_key_that_signed_its_token_and_not_with_a_broken_file() {
    let ground = Ground::new();
    let running = ground.start().await;
    let settings = ground.bearer(&running, "west", &ground.west.token(HOUR));
    let (_handle, mut incoming) = connect(settings, vec![(Cluster, Subscription::Wildcard)]);
    update(&mut incoming, Cluster).await.accept();
    ground.world.write("jwks/west.json", "{\"keys\": [");
    until("the broken file is complained about", async || {
        let complaints = running.debug().await["authorities"].to_string();
        complaints.contains("cluster west: tokens.jwks: ") && complaints.contains("counts on")
    })
    .await;
    assert_eq!(running.debug().await["streams"].as_array().unwrap().len(), 1);

    let renewed = Issuer::new("west", 3);
    ground.world.write("jwks/west.json", &renewed.jwks());
    let why = end(&mut incoming).await.to_string();
    assert!(why.contains("cluster west has another token issuer or other keys now"), "{why}");
    let why = end(&mut incoming).await.to_string();
    assert!(why.contains("the token's signature is not its issuer's"), "{why}");
    ground.world.write("token", &renewed.token(HOUR));
    until("it is back by the new key", async || {
        running.debug().await["streams"].as_array().unwrap().len() == 1
    })
    .await;
    running.stop().await;
}

#[tokio::test]
async fn a13_two_clusters_with_one_issuer_have_no_clients_by_token() {
    let ground = Ground::new();
    ground.mesh("https://west.test");
    let running = ground.start().await;
    let complaints = running.debug().await["authorities"].to_string();
    assert!(
        complaints.contains("clusters west, east: the same token issuer https://west.test"),
        "{complaints}"
    );
    let settings = ground.bearer(&running, "west", "");
    let status = refusal(&settings, &[authorization(&ground.west.token(HOUR))]).await;
    assert_eq!(status.code(), Code::Unauthenticated);
    assert!(status.message().starts_with("no cluster of this mesh has this token's issuer"));
    // By its certificate west has.
    let sidecar = ground.world.sidecar(&running, "west");
    let mut stream = raw::delta(&sidecar, WINDOW, first(&sidecar)).await.unwrap();
    stream.next().await.unwrap();
    running.stop().await;
}

#[tokio::test]
async fn a_token_that_comes_before_there_is_a_mesh_file_is_not_refused_for_good() {
    let ground = Ground::new();
    let mesh = std::fs::read_to_string(ground.world.path("mesh.yaml")).unwrap();
    std::fs::remove_file(ground.world.path("mesh.yaml")).unwrap();
    let running = ground.world.start().await;
    let settings = ground.bearer(&running, "west", &ground.west.token(HOUR));
    let (_handle, mut incoming) = connect(settings, vec![(Cluster, Subscription::Wildcard)]);
    let why = end(&mut incoming).await;
    assert!(matches!(&why, Why::Ended(text) if text.contains("not ready")), "{why:?}");
    ground.world.write("mesh.yaml", &mesh);
    update(&mut incoming, Cluster).await.accept();
    running.stop().await;
}
