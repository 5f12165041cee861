//! Gateways that are called by names.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use diolkos_primary::source::kube::build_resolver;
use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA};
use hickory_proto::rr::{RData, Record, RecordType};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use serde_json::json;
use tokio::net::UdpSocket;

use crate::fake::{FakeApi, SERVICES};
use crate::world::{World, fill};

/// A name server that says what it is told to say.
#[derive(Clone)]
struct Dns {
    address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
}

#[derive(Default)]
struct Zone {
    code: Option<ResponseCode>,
    addresses: BTreeMap<String, Vec<IpAddr>>,
    ttl: u32,
    asked: Vec<String>,
}

impl Dns {
    async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let dns = Self { address: socket.local_addr().unwrap(), zone: Arc::default() };
        let zone = dns.zone.clone();
        tokio::spawn(async move {
            let mut buffer = [0; 2048];
            loop {
                let Ok((length, from)) = socket.recv_from(&mut buffer).await else { return };
                let query = Message::from_vec(&buffer[..length]).unwrap();
                let answer = zone.lock().unwrap().answer(&query);
                let _ = socket.send_to(&answer.to_vec().unwrap(), from).await;
            }
        });
        dns
    }

    fn resolver(&self) -> TokioResolver {
        let mut server = NameServerConfig::udp(self.address.ip());
        server.connections[0].port = self.address.port();
        let config = ResolverConfig::from_parts(None, vec![], vec![server]);
        let builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        build_resolver(builder).unwrap()
    }

    fn say(&self, name: &str, addresses: &[&str]) {
        let mut zone = self.zone.lock().unwrap();
        zone.code = None;
        let parsed = addresses.iter().map(|text| text.parse().unwrap()).collect();
        zone.addresses.insert(format!("{name}."), parsed);
    }

    fn fail(&self, code: ResponseCode) {
        self.zone.lock().unwrap().code = Some(code);
    }
}

impl Zone {
    fn answer(&mut self, query: &Message) -> Message {
        let asked = query.queries[0].clone();
        let name = asked.name().to_string();
        self.asked.push(format!("{name} {}", asked.query_type()));
        let mut answer = Message::response(query.metadata.id, query.metadata.op_code);
        answer.metadata.message_type = MessageType::Response;
        answer.metadata.recursion_desired = true;
        answer.metadata.recursion_available = true;
        let known = self.addresses.get(&name);
        let code = self.code.or(known.is_none().then_some(ResponseCode::NXDomain));
        answer.metadata.response_code = code.unwrap_or(ResponseCode::NoError);
        if code.is_none() {
            for address in known.into_iter().flatten() {
                let data = match (asked.query_type(), address) {
                    (RecordType::A, IpAddr::V4(v4)) => RData::A(A(*v4)),
                    (RecordType::AAAA, IpAddr::V6(v6)) => RData::AAAA(AAAA(*v6)),
                    _ => continue,
                };
                answer.add_answer(Record::from_rdata(asked.name().clone(), self.ttl, data));
            }
        }
        answer.add_query(asked);
        answer
    }
}

const NAME: &str = "gw.example.com";

/// West is on a network of its own, behind a load balancer with a name.
async fn behind_a_name(world: &World) -> FakeApi {
    world.mesh("  meshNetworks:\n    n2: {endpoints: [{fromRegistry: west}]}\n");
    let west = world.remote("west").await;
    fill(&west, "web", 2, &[1, 2]);
    west.put(
        SERVICES,
        json!({"metadata": {"namespace": "istio-system", "name": "ew",
        "labels": {"topology.istio.io/network": "n2"}},
        "spec": {"type": "LoadBalancer", "ports": [{"name": "tls", "port": 15443}]},
        "status": {"loadBalancer": {"ingress": [{"hostname": NAME}]}}}),
    );
    west
}

#[tokio::test]
async fn r18_regress_linkerd_10635_a_name_is_followed_where_it_leads() {
    let mut world = World::new().await;
    let dns = Dns::start().await;
    dns.say(NAME, &["192.0.2.1", "2001:db8::1"]);
    world.resolver = Some(dns.resolver());
    let west = behind_a_name(&world).await;
    let mut heard = world.start();
    heard.until("resolved, both families", |heard| heard.gateways("west") == 2).await;
    heard
        .until("served", |heard| heard.endpoints("web").iter().any(|one| one.contains("192.0.2.1")))
        .await;
    dns.say(NAME, &["192.0.2.2"]);
    heard.until("moved", |heard| heard.endpoints("web") == ["192.0.2.2:15443"]).await;
    let asked = dns.zone.lock().unwrap().asked.clone();
    assert!(asked.iter().all(|one| one.starts_with("gw.example.com. ")), "no search: {asked:?}");
    assert!(asked.iter().any(|one| one.ends_with(" AAAA")));
    // Another name takes its place.
    west.put(
        SERVICES,
        json!({"metadata": {"namespace": "istio-system", "name": "ew",
        "labels": {"topology.istio.io/network": "n2"}},
        "spec": {"type": "LoadBalancer", "ports": [{"name": "tls", "port": 15443}]},
        "status": {"loadBalancer": {"ingress": [{"hostname": "other.example.com"}]}}}),
    );
    dns.say("other.example.com", &["192.0.2.9"]);
    heard.until("the other name", |heard| heard.endpoints("web") == ["192.0.2.9:15443"]).await;
}

#[tokio::test]
async fn r18_regress_istio_44155_gateway_kept_when_its_name_fails() {
    for code in [
        Some(ResponseCode::NXDomain),
        Some(ResponseCode::ServFail),
        Some(ResponseCode::Refused),
        None,
    ] {
        let mut world = World::new().await;
        let dns = Dns::start().await;
        dns.say(NAME, &["192.0.2.1"]);
        world.resolver = Some(dns.resolver());
        let west = behind_a_name(&world).await;
        let mut heard = world.start();
        heard.until("resolved", |heard| heard.endpoints("web") == ["192.0.2.1:15443"]).await;
        heard.forget();
        match code {
            Some(code) => dns.fail(code),
            None => dns.say(NAME, &[]),
        }
        heard
            .until("it is said", |heard| {
                heard.rejected.values().flatten().any(|line| {
                    line.contains("gateway istio-system/ew has the hostname gw.example.com")
                        && line.contains("the addresses it had last count")
                })
            })
            .await;
        assert_eq!(heard.left.len(), 0, "{code:?}");
        // Also a new credential starts from what is known.
        west.change(|state| state.tokens.extend(["second".to_owned()]));
        world.register("west", &west, "second");
        heard.until("swapped", |heard| heard.activated.len() == 3).await;
        assert_eq!((heard.changes, heard.left.len()), (0, 0), "{code:?}");
        dns.say(NAME, &["192.0.2.3"]);
        heard.until("found again", |heard| heard.endpoints("web") == ["192.0.2.3:15443"]).await;
        heard
            .until("and nothing is wrong", |heard| {
                heard.rejected.values().flatten().all(|line| !line.contains(NAME))
            })
            .await;
    }
}

#[tokio::test]
async fn r18_a_name_that_flaps_without_a_ttl_is_not_asked_more_often_than_it_may() {
    let mut world = World::new().await;
    world.names.ttl_min = std::time::Duration::from_millis(100);
    let dns = Dns::start().await;
    dns.say(NAME, &["192.0.2.1"]);
    world.resolver = Some(dns.resolver());
    let _west = behind_a_name(&world).await;
    let mut heard = world.start();
    heard.until("resolved", |heard| heard.count("web") == 1).await;
    let asked = || dns.zone.lock().unwrap().asked.len();
    let (begin, before) = (std::time::Instant::now(), asked());
    heard.while_not("asked five times", || asked() >= before + 10).await;
    assert!(begin.elapsed() >= std::time::Duration::from_millis(400), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn r18_a_name_that_turns_to_loopback_leads_nowhere() {
    let mut world = World::new().await;
    let dns = Dns::start().await;
    dns.say(NAME, &["192.0.2.1", "192.0.2.2"]);
    world.resolver = Some(dns.resolver());
    let _west = behind_a_name(&world).await;
    let mut heard = world.start();
    heard.until("resolved", |heard| heard.count("web") == 2).await;
    dns.say(NAME, &["192.0.2.1", "127.0.0.1", "169.254.169.254"]);
    heard.until("only where it may", |heard| heard.endpoints("web") == ["192.0.2.1:15443"]).await;
    let told = |words: &str| heard.notices.iter().any(|one| one.contains(words));
    assert!(told("gateway 127.0.0.1 of network n2"), "{:?}", heard.notices);
    assert!(told("gateway 169.254.169.254 of network n2"), "{:?}", heard.notices);
}
