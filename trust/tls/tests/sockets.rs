//! Over loopback sockets: what each end can say of a refusal, and the reload that runs by itself.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod mesh;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use diolkos_tls::{
    Expect, Identity, Roots, anonymous_client_config, client_config, explain, open_server_config,
    server_config, server_name, spawn_reload,
};
use mesh::{Ca, Leaf, bundles_of, domain, gullible_client, id, roots};
use rustls::version::TLS13;
use rustls::{ClientConfig, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

const FRONT: &str = "spiffe://ours/ns/web/sa/front";
const CART: &str = "spiffe://ours/ns/shop/sa/cart";
const DEADLINE: Duration = Duration::from_secs(20);

/// One byte each way, so that a refusal in TLS 1.3 reaches the client.
async fn exchange(
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
) -> (io::Result<()>, io::Result<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = async {
        let (socket, _) = listener.accept().await?;
        let mut stream = TlsAcceptor::from(server).accept(socket).await?;
        stream.read_u8().await?;
        stream.write_u8(2).await?;
        stream.shutdown().await
    };
    let calling = async {
        let socket = TcpStream::connect(address).await?;
        let name = server_name("outbound_.80_._.cart.shop.svc.cluster.local").unwrap();
        let mut stream = TlsConnector::from(client).connect(name, socket).await?;
        stream.write_u8(1).await?;
        stream.read_u8().await.map(drop)
    };
    tokio::time::timeout(DEADLINE, async { tokio::join!(calling, serving) }).await.unwrap()
}

struct Ends {
    front: Identity,
    cart: Identity,
    roots: Roots,
}

impl Ends {
    fn new() -> Self {
        let root = Ca::root("root");
        let identity = |uri| root.sign(&Leaf::of(&[uri])).identity();
        let roots = roots(&[("ours", &[&root])]);
        Self { front: identity(FRONT), cart: identity(CART), roots }
    }

    async fn run(&self, client: Expect, server: Expect) -> (io::Result<()>, io::Result<()>) {
        let client = client_config(&self.front, &self.roots, client, &[]);
        exchange(client, server_config(&self.cart, &self.roots, server, &[])).await
    }
}

#[tokio::test]
async fn two_workloads_that_expect_each_other_talk() {
    let ends = Ends::new();
    let (client, server) =
        ends.run(Expect::Ids(vec![id(CART)]), Expect::Ids(vec![id(FRONT)])).await;
    client.unwrap();
    server.unwrap();
}

#[tokio::test]
async fn a10_both_logs_tell_of_a_refused_server() {
    let ends = Ends::new();
    let (client, server) =
        ends.run(Expect::Ids(vec![id(FRONT)]), Expect::AnyOf(vec![domain("ours")])).await;
    assert_eq!(
        explain(&client.unwrap_err(), &id(FRONT)).to_string(),
        format!("identity {CART} is not one of [{FRONT}]")
    );
    assert_eq!(
        explain(&server.unwrap_err(), &id(CART)).to_string(),
        format!("the other end refused us (certificate unknown); we are {CART}, its log says why")
    );
}

#[tokio::test]
async fn a10_both_logs_tell_of_a_refused_client() {
    let ends = Ends::new();
    let (client, server) =
        ends.run(Expect::AnyOf(vec![domain("ours")]), Expect::AnyOf(vec![domain("theirs")])).await;
    assert_eq!(
        explain(&server.unwrap_err(), &id(CART)).to_string(),
        format!("identity {FRONT} is of trust domain ours, not of [theirs]")
    );
    assert_eq!(
        explain(&client.unwrap_err(), &id(FRONT)).to_string(),
        format!("the other end refused us (certificate unknown); we are {FRONT}, its log says why")
    );
}

#[tokio::test]
async fn a10_a_missing_certificate_is_told_apart() {
    let ends = Ends::new();
    let expect = Expect::AnyOf(vec![domain("ours")]);
    let server = server_config(&ends.cart, &ends.roots, expect, &[]);
    let (_, server) = exchange(gullible_client(None, &TLS13), server).await;
    let said = explain(&server.unwrap_err(), &id(CART)).to_string();
    assert!(said.starts_with("the other end presented no certificate"), "{said}");
}

#[tokio::test]
async fn an_open_server_admits_strangers_and_verifies_whoever_shows_a_certificate() {
    let ends = Ends::new();
    let expect = || Expect::AnyOf(vec![domain("ours")]);
    let open = || open_server_config(&ends.cart, &ends.roots, expect(), &[]);
    let anonymous = |expect| anonymous_client_config(&ends.roots, expect, &[]);

    let (client, server) = exchange(anonymous(expect()), open()).await;
    client.unwrap();
    server.unwrap();
    let (client, _) = exchange(anonymous(Expect::Ids(vec![id(FRONT)])), open()).await;
    let said = explain(&client.unwrap_err(), None).to_string();
    assert_eq!(said, format!("identity {CART} is not one of [{FRONT}]"), "it trusts as ever");

    let (client, server) =
        exchange(client_config(&ends.front, &ends.roots, expect(), &[]), open()).await;
    client.unwrap();
    server.unwrap();
    let other = Ca::root("other root").sign(&Leaf::of(&[FRONT])).identity();
    let (_, server) = exchange(client_config(&other, &ends.roots, expect(), &[]), open()).await;
    let said = explain(&server.unwrap_err(), &id(CART)).to_string();
    assert!(said.contains("signed by a root this mesh does not trust"), "{said}");
}

#[tokio::test]
async fn a10_a_stranger_at_a_closed_server_is_told_that_a_certificate_is_required() {
    let ends = Ends::new();
    let expect = || Expect::AnyOf(vec![domain("ours")]);
    let client = anonymous_client_config(&ends.roots, expect(), &[]);
    let server = server_config(&ends.cart, &ends.roots, expect(), &[]);
    let (client, _) = exchange(client, server).await;
    assert_eq!(
        explain(&client.unwrap_err(), None).to_string(),
        "the other end refused us (certificate required); we showed no certificate, its log says \
         why"
    );
}

async fn until(what: &str, mut met: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !met() {
        assert!(Instant::now() < end, "not within {DEADLINE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_folder_is_followed_by_itself() {
    let (root, next) = (Ca::root("root"), Ca::root("next root"));
    let leaf = |uri| root.sign(&Leaf::of(&[uri]));
    let kept = tempfile::tempdir().unwrap();
    let dir = kept.path();
    leaf(CART).write(dir, &[&root]);
    let identity = Identity::load(dir).unwrap();
    let roots = Roots::load(dir, &domain("ours")).unwrap();
    let following = spawn_reload(identity.clone(), roots.clone(), dir.to_path_buf());

    leaf(FRONT).write(dir, &[&root, &next]);
    until("the new leaf", || identity.spiffe_id() == id(FRONT)).await;
    let both = bundles_of(&[("ours", &[&root, &next])]);
    until("the new roots", || *roots.get() == both).await;

    std::fs::write(dir.join("key.pem"), "nonsense").unwrap();
    leaf(CART).write(dir, &[&root]);
    until("the leaf after a broken one", || identity.spiffe_id() == id(CART)).await;
    following.abort();
}
