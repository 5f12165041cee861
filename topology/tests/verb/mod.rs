//! The verbs of the scenario files.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use diolkos_topology::*;
use diolkos_trust::{SpiffeId, TrustDomain};

use crate::common::{Bench, cluster, key, names, network, port};

#[derive(Default)]
pub struct Stage {
    bench: Bench,
    seq: u64,
    /// Per cluster and kind, where the open reset began.
    begun: BTreeMap<(String, String), Stamp>,
}

struct Words<'l> {
    plain: Vec<&'l str>,
    named: BTreeMap<&'l str, &'l str>,
}

impl<'l> Words<'l> {
    fn of(line: &'l str) -> Self {
        let line = line.split(" #").next().unwrap_or(line);
        let (mut plain, mut named) = (Vec::new(), BTreeMap::new());
        for word in line.split_whitespace() {
            match word.split_once('=') {
                Some((name, value)) if !word.contains(',') || !name.contains(['.', ':', ',']) => {
                    named.insert(name, value);
                }
                _ => plain.push(word),
            }
        }
        Self { plain, named }
    }

    fn at(&self, place: usize) -> Result<&'l str, String> {
        self.plain.get(place).copied().ok_or(format!("word {place} is missing"))
    }

    fn list(&self, name: &str) -> Vec<&'l str> {
        let text = self.named.get(name).copied().unwrap_or_default();
        text.split(',').filter(|one| !one.is_empty()).collect()
    }
}

impl Stage {
    pub fn run(&mut self, line: &str) -> Result<String, String> {
        let words = Words::of(line);
        let verb = words.at(0)?;
        if let Some(fact) = self.fact(verb, &words)? {
            let event = Event::Upsert { source: self.source(&words)?, stamp: self.stamp(), fact };
            return Ok(self.apply(event));
        }
        let name = || words.at(1).map(cluster);
        let event = match verb {
            "activate" => {
                let generation = Generation(number(words.at(2)?)?);
                Event::Activate { source: Source { cluster: name()?, generation } }
            }
            "audience" => audience(&words)?,
            "begin" => {
                let stamp = self.stamp();
                let (cluster, kind) = (words.at(1)?, words.at(2)?);
                self.begun.insert((cluster.into(), kind.into()), stamp);
                Event::ResetBegin { source: self.source(&words)?, kind: fact_kind(kind)?, stamp }
            }
            "cluster" => return self.cluster(&words),
            "clusters" => {
                let clusters = self.bench.federation.clusters();
                return Ok(clusters.iter().map(|one| format!("{one}\n")).collect());
            }
            "end" => {
                let (cluster, kind) = (words.at(1)?, words.at(2)?);
                let begun = self.begun.remove(&(cluster.into(), kind.into()));
                let begin = begun.ok_or("no reset was begun")?;
                Event::ResetEnd { source: self.source(&words)?, kind: fact_kind(kind)?, begin }
            }
            "explain" => return self.explain(&words),
            "fresh" => Event::ClusterFresh { cluster: name()? },
            "gone" => Event::ClusterGone { cluster: name()? },
            "mesh" => mesh(&words)?,
            "remove" => Event::Remove {
                source: Source {
                    cluster: cluster(words.at(2)?),
                    generation: self.source(&words)?.generation,
                },
                stamp: self.stamp(),
                key: fact_key(&words)?,
            },
            "stale" => Event::ClusterStale { cluster: name()? },
            "tick" => {
                self.bench.now = number(words.at(1)?)?;
                Event::Tick
            }
            other => return Err(format!("{other} is no verb")),
        };
        Ok(self.apply(event))
    }

    /// Every scenario is checked against the oracle, too.
    fn apply(&mut self, event: Event) -> String {
        let text = self.bench.apply(event).to_string();
        self.bench.check();
        text
    }

    fn stamp(&mut self) -> Stamp {
        self.seq += 1;
        Stamp::new(1, self.seq)
    }

    fn source(&self, words: &Words<'_>) -> Result<Source, String> {
        let generation = words.named.get("generation").map_or(Ok(1), |text| number(text))?;
        Ok(Source { cluster: cluster(words.at(1)?), generation: Generation(generation) })
    }

    fn cluster(&mut self, words: &Words<'_>) -> Result<String, String> {
        let name = cluster(words.at(1)?);
        let domain = words.named.get("trust-domain").copied().unwrap_or("td");
        let on = words.named.get("network").copied().unwrap_or_default();
        let ranges = words.list("addresses").into_iter();
        let settings = ClusterSettings {
            cluster: name.clone(),
            trust_domain: TrustDomain::new(domain).map_err(|error| error.to_string())?,
            network: network(on),
            addresses: ranges.map(|range| range.parse().unwrap()).collect(),
            grants: grants(words),
        };
        let mut out = self.apply(Event::Cluster(settings));
        let source = Source { cluster: name, generation: Generation(1) };
        out += &self.apply(Event::Activate { source });
        Ok(out)
    }

    fn explain(&self, words: &Words<'_>) -> Result<String, String> {
        let id = AudienceId(number(words.at(1)?)? as u32);
        let (audience, _) = self.bench.views.get(&id).ok_or("no such audience")?;
        let lines = self.bench.federation.explain(audience, &service(words.at(2)?)?);
        let mut out = String::new();
        for line in lines {
            writeln!(out, "{line}").unwrap();
        }
        Ok(out)
    }

    fn fact(&self, verb: &str, words: &Words<'_>) -> Result<Option<Fact>, String> {
        let on = words.named.get("network").map(|text| network(text));
        let created = words.named.get("created").map(|text| number(text)).transpose()?;
        Ok(Some(match verb {
            "export" => Fact::Export(ExportFact {
                service: service(words.at(2)?)?,
                created: created.unwrap_or_default(),
                consumers: match words.named.get("consumers") {
                    None => Consumers::Everyone,
                    Some(_) => {
                        let listed = words.list("consumers");
                        Consumers::Listed(listed.into_iter().map(cluster).collect())
                    }
                },
            }),
            "gateway" => Fact::Gateway(GatewayFact {
                key: gateway_key(words.at(2)?, words.at(3)?),
                network: on.ok_or("a gateway needs network=")?,
                sni_port: (words.named.get("sni") != Some(&"none")).then(|| port(15443)),
                hbone_port: (words.named.get("hbone") == Some(&"yes")).then(|| port(15008)),
                egress_port: (words.named.get("egress") == Some(&"yes")).then(|| port(15444)),
            }),
            "namespace" => Fact::Namespace(NamespaceFact {
                name: Namespace::new(words.at(2)?).unwrap(),
                network: on,
            }),
            "node" => Fact::Node(NodeFact {
                name: NodeName::new(words.at(2)?).unwrap(),
                locality: locality(words.at(3)?),
            }),
            "service" => Fact::Service(ServiceFact {
                key: service(words.at(2)?)?,
                vips: words.list("vip").iter().map(|vip| vip.parse().unwrap()).collect(),
                ports: words.plain[3..]
                    .iter()
                    .map(|text| service_port(text))
                    .collect::<Result<_, _>>()?,
                created,
            }),
            "slice" => Fact::Slice(slice(words)?),
            "summary" => Fact::Summary(SummaryFact {
                service: service(words.at(2)?)?,
                groups: vec![SummaryGroup {
                    port: port(number(words.at(3)?)? as u16),
                    network: on,
                    locality: locality(words.at(6)?),
                    mtls: Mtls::Istio,
                    identity: words.named.get("sa").map(|sa| identity("td", sa)),
                    count: number(words.at(4)?)? as u32,
                }],
            }),
            _ => return Ok(None),
        }))
    }
}

/// Everything, where a word says nothing else.
fn grants(words: &Words<'_>) -> Grants {
    if words.plain.contains(&"plain") {
        return Grants::plain();
    }
    let all = Grants::everything();
    let said = |name: &str| words.named.contains_key(name).then(|| words.list(name));
    Grants {
        services: said("services").map_or(all.services, |listed| names(&listed)),
        identities: said("identities").map_or(all.identities, |listed| names(&listed)),
        networks: match said("networks") {
            None => all.networks,
            Some(own) if own == ["own"] => Networks::Own,
            Some(listed) => Networks::Listed(listed.into_iter().map(network).collect()),
        },
        ..all
    }
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{text} is no number"))
}

fn service(text: &str) -> Result<ServiceKey, String> {
    let (namespace, name) = text.split_once('/').ok_or(format!("{text} is no service"))?;
    Ok(key(namespace, name))
}

fn locality(text: &str) -> Locality {
    text.split_once('/').map_or(Locality::unknown(), |(region, zone)| Locality::new(region, zone))
}

fn identity(domain: &str, account: &str) -> SpiffeId {
    SpiffeId::parse(&format!("spiffe://{domain}/ns/shop/sa/{account}")).unwrap()
}

fn gateway_key(name: &str, address: &str) -> GatewayKey {
    GatewayKey {
        namespace: Namespace::new("istio-system").unwrap(),
        name: GatewayName::new(name).unwrap(),
        address: address.parse().unwrap(),
    }
}

fn fact_kind(text: &str) -> Result<FactKind, String> {
    let named = FactKind::ALL.into_iter().find(|kind| format!("{kind:?}").to_lowercase() == text);
    named.ok_or(format!("{text} is no kind"))
}

fn fact_key(words: &Words<'_>) -> Result<FactKey, String> {
    let text = words.at(3)?;
    Ok(match words.at(1)? {
        "export" => FactKey::Export(service(text)?),
        "gateway" => FactKey::Gateway(gateway_key(text, words.at(4)?)),
        "node" => FactKey::Node(NodeName::new(text).unwrap()),
        "service" => FactKey::Service(service(text)?),
        "slice" => {
            let (namespace, name) = text.split_once('/').ok_or("a slice is NS/NAME")?;
            FactKey::Slice(Namespace::new(namespace).unwrap(), SliceName::new(name).unwrap())
        }
        "summary" => FactKey::Summary(service(text)?),
        other => return Err(format!("{other} is no kind")),
    })
}

fn service_port(text: &str) -> Result<ServicePortFact, String> {
    let (named, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let (name, number) = port_pair(named)?;
    let protocol = match protocol {
        "grpc" => AppProtocol::Grpc,
        "http" => AppProtocol::Http,
        "tcp" => AppProtocol::Tcp,
        other => return Err(format!("{other} is no protocol")),
    };
    Ok(ServicePortFact { name, port: number, protocol })
}

fn port_pair(text: &str) -> Result<(PortName, Port), String> {
    let (name, digits) = text.split_once(':').ok_or(format!("{text} is no NAME:PORT"))?;
    Ok((PortName::new(name).unwrap(), port(number(digits)? as u16)))
}

fn slice(words: &Words<'_>) -> Result<SliceFact, String> {
    let is_address = |text: &&&str| {
        text.split(',').next().is_some_and(|first| first.parse::<std::net::IpAddr>().is_ok())
    };
    let rest = &words.plain[4..];
    let ports = rest.iter().filter(|text| !is_address(text)).map(|text| port_pair(text));
    Ok(SliceFact {
        service: service(words.at(2)?)?,
        name: SliceName::new(words.at(3)?).unwrap(),
        ports: ports.collect::<Result<_, _>>()?,
        endpoints: rest.iter().filter(is_address).map(|text| endpoint(text)).collect(),
    })
}

fn endpoint(text: &str) -> EndpointFact {
    let mut parts = text.split(',');
    let address = parts.next().unwrap().parse().unwrap();
    let mut one = EndpointFact {
        address,
        health: Health::Ready,
        pod: None,
        node: None,
        zone: None,
        network: None,
        mtls: Mtls::Istio,
        identity: Some(identity("td", "default")),
        workload: Arc::default(),
    };
    let (mut account, mut domain) = ("default", "td");
    for part in parts {
        match part.split_once('=').unwrap_or((part, "")) {
            ("noid", _) => one.identity = None,
            ("node", name) => one.node = Some(NodeName::new(name).unwrap()),
            ("notready", _) => one.health = Health::NotReady,
            ("network", name) => one.network = Some(network(name)),
            ("plain", _) => one.mtls = Mtls::Plaintext,
            ("pod", name) => one.pod = Some(PodName::new(name).unwrap()),
            ("sa", name) => account = name,
            ("td", name) => domain = name,
            ("terminating", _) => one.health = Health::Terminating,
            ("zone", name) => one.zone = Some(name.into()),
            (other, _) => panic!("an endpoint has no {other}"),
        }
    }
    one.identity = one.identity.map(|_| identity(domain, account));
    one
}

fn audience(words: &Words<'_>) -> Result<Event, String> {
    let id = AudienceId(number(words.at(1)?)? as u32);
    let kind = match words.at(2)? {
        "down" => return Ok(Event::AudienceDown { id }),
        "egress" => ClientKind::Egress,
        "gateway" => ClientKind::Gateway,
        "grpc" => ClientKind::Grpc,
        "sidecar" => ClientKind::Sidecar,
        other => return Err(format!("{other} is no kind of client")),
    };
    let families = match words.named.get("families") {
        Some(&"both") => IpFamilies::Both,
        Some(&"v6") => IpFamilies::V6,
        _ => IpFamilies::V4,
    };
    let audience = Audience {
        kind,
        cluster: cluster(words.at(4)?),
        network: network(words.at(6)?),
        locality: words.at(8).map_or(Locality::unknown(), locality),
        families,
    };
    Ok(Event::AudienceUp { id, audience })
}

fn mesh(words: &Words<'_>) -> Result<Event, String> {
    let rules = words.list("local").into_iter().map(|host| ClusterLocalRule {
        host: host.trim_start_matches('!').into(),
        local: !host.starts_with('!'),
    });
    Ok(Event::Mesh(MeshSettings {
        export: match words.named.get("export") {
            Some(&"all") => ExportMode::All,
            _ => ExportMode::Listed,
        },
        cluster_local: rules.collect(),
        stale_ms_max: words.named.get("stale").map(|text| number(text)).transpose()?,
        ..MeshSettings::default()
    }))
}
