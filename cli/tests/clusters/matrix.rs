//! A topology's matrix, held call by call: who answers, by which way, and who each end says it is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use diolkos_kind_plan::{
    Callee, Caller, Expect, Group, Label, Row, Sidecar, Topology, Transport, Way, Workload, matrix,
};
use serde_json::Value;

use super::{Ground, told};

/// Until what was just installed is known everywhere.
const SETTLES_WITHIN: Duration = Duration::from_secs(60);
/// To each port, so that every one of the nearest has its turn.
const CALLS: &str = "12";
/// What is never reached may be dropped in silence.
const PATIENCE_MS: &str = "1500";
const GATEWAY_PORT: u64 = 15443;
const EGRESS_PORT: u64 = 15444;

/// A topology that is up under its own name.
pub struct Matrix<'g> {
    ground: &'g Ground,
    topology: Topology,
}

/// Where the endpoints of a topology are: addresses, and what each leads to.
type Ends = BTreeMap<String, End>;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Pod { cluster: String, namespace: String, workload: String },
    Gateway { network: String },
    WayOut { cluster: String },
}

impl<'g> Matrix<'g> {
    pub fn of(ground: &'g Ground, topology: &str) -> Self {
        let topology = diolkos_kind_tests::load(topology).unwrap().topology;
        Self { ground, topology }
    }

    fn name(&self) -> &str {
        self.topology.name.as_str()
    }

    /// Soon, and from then on.
    pub fn holds(&self) {
        let ends = self.ends();
        let mut callers: BTreeMap<(Label, Label, Label), Vec<Row>> = BTreeMap::new();
        for row in matrix(&self.topology) {
            let Caller { cluster, namespace, workload } = row.from.clone();
            callers.entry((cluster, namespace, workload)).or_default().push(row);
        }
        assert!(!callers.is_empty(), "{} has no callers", self.name());
        let deadline = Instant::now() + SETTLES_WITHIN;
        for rows in callers.values() {
            let wrong = loop {
                let wrong = self.wrong(rows, &ends);
                if wrong.is_empty() || Instant::now() > deadline {
                    break wrong;
                }
            };
            assert_eq!(wrong, [""; 0], "{}", self.name());
        }
        for rows in callers.values() {
            assert_eq!(self.wrong(rows, &ends), [""; 0], "{}, later", self.name());
        }
        let forbidden = self.ground.forbidden(self.name());
        assert!(forbidden.iter().all(|count| *count == 0), "{}: {forbidden:?}", self.name());
        self.gateways_agree(&callers.into_values().flatten().collect::<Vec<_>>());
    }

    /// What of one caller's rows is not as it must be.
    fn wrong(&self, rows: &[Row], ends: &Ends) -> Vec<String> {
        let caller = &rows[0].from;
        let urls: Vec<String> = rows.iter().map(|row| url(&row.to)).collect();
        let before = self.used(caller, ends);
        let answers = self.call(caller, &urls);
        let after = self.used(caller, ends);
        let mut wrong = Vec::new();
        for (row, url) in rows.iter().zip(&urls) {
            let answers = answers.get(url).map(Vec::as_slice).unwrap_or_default();
            let mut found = self.judge(row, answers);
            let service = service(&row.to);
            let now = after.get(&service).cloned().unwrap_or_default();
            let then = before.get(&service).cloned().unwrap_or_default();
            found.extend(self.judge_ways(row, &used_since(&then, &now)));
            wrong.extend(found.into_iter().map(|why| format!("{row}: {why}")));
        }
        wrong
    }

    fn judge(&self, row: &Row, answers: &[Value]) -> Vec<String> {
        if answers.len().to_string() != CALLS {
            return vec![format!("{} answers to {CALLS} calls", answers.len())];
        }
        let by = |line: &Value| line["answer"]["cluster"].as_str().map(str::to_owned);
        let Expect::Answers(groups) = &row.expect else {
            let reached = answers.iter().filter(|line| by(line).is_some());
            return reached.map(|line| format!("reached: {line}")).collect();
        };
        let nearest = nearest(groups);
        let mut wrong = Vec::new();
        let mut seen = BTreeSet::new();
        for line in answers {
            let group = by(line).and_then(|by| nearest.iter().find(|group| group.cluster == *by));
            let Some(group) = group else {
                wrong.push(format!("not answered by the nearest: {line}"));
                continue;
            };
            seen.insert(group.cluster.as_str());
            if row.to.protocol == "http" {
                wrong.extend(self.judge_identities(row, group, line));
            }
        }
        let expected: BTreeSet<&str> = nearest.iter().map(|group| group.cluster.as_str()).collect();
        if seen != expected {
            wrong.push(format!("answered by {seen:?}, not {expected:?}"));
        }
        wrong
    }

    /// Both ends', as the server's sidecar wrote them for the server.
    fn judge_identities(&self, row: &Row, group: &Group, line: &Value) -> Option<String> {
        let said = line["answer"]["request"]["client_cert"].as_str();
        let expected = match group.transport {
            Transport::Plaintext => None,
            Transport::MutualTls => {
                let by = self.identity(&row.to.namespace, &row.to.service);
                let uri = self.identity(&row.from.namespace, &row.from.workload);
                Some((format!("By={by}"), format!("URI={uri}")))
            }
        };
        let holds = match (&expected, said) {
            (None, None) => true,
            (Some((by, uri)), Some(said)) => {
                let parts: Vec<&str> = said.split(';').collect();
                parts.contains(&by.as_str()) && parts.contains(&uri.as_str())
            }
            _ => false,
        };
        (!holds).then(|| format!("the server saw {said:?}, not {expected:?}"))
    }

    /// By the caller's own Envoy: which addresses it made requests or connections to.
    fn judge_ways(&self, row: &Row, used: &BTreeSet<End>) -> Option<String> {
        let Expect::Answers(groups) = &row.expect else {
            return (!used.is_empty()).then(|| format!("went to {used:?}"));
        };
        let caller = self.workload(&row.from.namespace, &row.from.workload);
        if caller.sidecar == Sidecar::None {
            return None;
        }
        if caller.mesh != self.workload(&row.to.namespace, &row.to.service).mesh {
            // It goes by, as to whatever is in no mesh: its Envoy knows nothing of the service.
            return (!used.is_empty()).then(|| format!("its mesh knows {used:?}"));
        }
        let home = self.topology.cluster(row.from.cluster.as_str()).unwrap();
        let end = |group: &&Group| match &group.way {
            Way::Gateway(_) if home.egress => End::WayOut { cluster: home.name.to_string() },
            Way::Gateway(network) => End::Gateway { network: network.to_string() },
            Way::Direct => End::Pod {
                cluster: group.cluster.to_string(),
                namespace: row.to.namespace.to_string(),
                workload: row.to.service.to_string(),
            },
        };
        let expected: BTreeSet<End> = nearest(groups).iter().map(end).collect();
        (*used != expected).then(|| format!("went to {used:?}, not {expected:?}"))
    }

    fn workload(&self, namespace: &Label, name: &Label) -> &Workload {
        let is_it = |of: &&Workload| of.namespace == *namespace && of.name == *name;
        self.topology.workloads.iter().find(is_it).unwrap()
    }

    fn identity(&self, namespace: &Label, name: &Label) -> String {
        let workload = self.workload(namespace, name);
        let domain = &self.topology.mesh(workload.mesh.as_str()).unwrap().trust_domain;
        format!("spiffe://{domain}/ns/{namespace}/sa/{}", workload.service_account)
    }

    /// Lines of the client in a pod, by URL.
    fn call(&self, caller: &Caller, urls: &[String]) -> BTreeMap<String, Vec<Value>> {
        let pod = format!("{}/{}", caller.namespace, caller.workload);
        let mut words = vec!["exec", "--name", self.name(), caller.cluster.as_str(), &pod, "--"];
        words.extend(["diolkos", "call", "--plain", "--count", CALLS]);
        words.extend(["--rate", "100", "--patience", PATIENCE_MS]);
        words.extend(urls.iter().map(String::as_str));
        let output = self.ground.run(&words);
        let mut lines: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let line: Value =
                serde_json::from_str(line).unwrap_or_else(|_| panic!("{}", told(&output)));
            let url = line["url"].as_str().unwrap().to_owned();
            lines.entry(url).or_default().push(line);
        }
        lines
    }

    /// What a caller's Envoy has done so far: by service and port, how often to which end.
    fn used(&self, caller: &Caller, ends: &Ends) -> BTreeMap<String, BTreeMap<End, u64>> {
        let mut used: BTreeMap<String, BTreeMap<End, u64>> = BTreeMap::new();
        if self.workload(&caller.namespace, &caller.workload).sidecar == Sidecar::None {
            return used;
        }
        let from = format!("{}/{}/{}", caller.cluster, caller.namespace, caller.workload);
        let url = "http://127.0.0.1:15000/clusters?format=json";
        let line = self.ground.call(self.name(), &from, url);
        for cluster in line["answer"]["cluster_statuses"].as_array().unwrap() {
            let name = cluster["name"].as_str().unwrap();
            if !name.starts_with("outbound|") {
                continue;
            }
            for host in cluster["host_statuses"].as_array().into_iter().flatten() {
                let count = count(host);
                if count > 0 {
                    let end = end_of(host, ends).unwrap_or_else(|| panic!("whose is {host}?"));
                    *used.entry(name.to_owned()).or_default().entry(end).or_default() += count;
                }
            }
        }
        used
    }

    fn ends(&self) -> Ends {
        let mut ends = Ends::new();
        for cluster in &self.topology.clusters {
            let context = cluster.name.as_str();
            for pod in self.get(context, &["pods", "-l", "app"]) {
                let text = |pointer: &str| pod.pointer(pointer).unwrap().as_str().unwrap();
                let end = End::Pod {
                    cluster: context.to_owned(),
                    namespace: text("/metadata/namespace").to_owned(),
                    workload: text("/metadata/labels/app").to_owned(),
                };
                for ip in pod["status"]["podIPs"].as_array().into_iter().flatten() {
                    ends.insert(ip["ip"].as_str().unwrap().to_owned(), end.clone());
                }
            }
            for service in self.get(context, &["services", "-l", "istio=eastwestgateway"]) {
                let ingress = &service["status"]["loadBalancer"]["ingress"];
                for ip in ingress.as_array().into_iter().flatten() {
                    let network = cluster.network.to_string();
                    ends.insert(ip["ip"].as_str().unwrap().to_owned(), End::Gateway { network });
                }
            }
            let label = "app.kubernetes.io/name=diolkos-egressgateway";
            for service in self.get(context, &["services", "-l", label]) {
                for ip in service["spec"]["clusterIPs"].as_array().into_iter().flatten() {
                    let end = End::WayOut { cluster: context.to_owned() };
                    ends.insert(ip.as_str().unwrap().to_owned(), end);
                }
            }
        }
        ends
    }

    /// Objects of all namespaces of a cluster.
    fn get(&self, context: &str, what: &[&str]) -> Vec<Value> {
        let words = [&["get", "-A", "-o", "json"], what].concat();
        let list = self.ground.kubectl(self.name(), context, &words);
        let list: Value = serde_json::from_str(&list).unwrap();
        list["items"].as_array().unwrap().clone()
    }

    /// By the gateways' own counts: they carried something where something must go by them, nothing
    /// where nothing must, and nobody asked them for what is not there.
    fn gateways_agree(&self, rows: &[Row]) {
        let ways = rows.iter().filter_map(|row| match &row.expect {
            Expect::Answers(groups) => Some(nearest(groups)),
            Expect::Never(_) => None,
        });
        let by_gateway = |group: &Group| match &group.way {
            Way::Gateway(network) => Some(network.clone()),
            Way::Direct => None,
        };
        let expected: BTreeSet<Label> = ways.flatten().filter_map(by_gateway).collect();
        let (mut carried, mut tunnelled) = (BTreeSet::new(), BTreeSet::new());
        for cluster in self.topology.clusters.iter().filter(|cluster| cluster.gateways > 0) {
            let context = cluster.name.as_str();
            let label = ["-l", "istio=eastwestgateway"];
            for pod in self.get(context, &[&["pods"], &label[..]].concat()) {
                let text = |key: &str| pod["metadata"][key].as_str().unwrap().to_owned();
                let from = format!("{context}/{}/{}", text("namespace"), text("name"));
                let url = "http://127.0.0.1:15014/debug/diolkos.json";
                let state = self.ground.call(self.name(), &from, url)["answer"].clone();
                let tunnels = &state["hbone"];
                for of in [&state, tunnels] {
                    assert_eq!(of["refused"], serde_json::json!({}), "{from}: {state:#}");
                }
                let sum = |counts: &Value| -> u64 {
                    counts.as_object().unwrap().values().filter_map(Value::as_u64).sum()
                };
                let ended = sum(&state["ended"]);
                let by_tunnel = sum(&tunnels["ended"]) + tunnels["tunnels"].as_u64().unwrap();
                if by_tunnel > 0 {
                    tunnelled.insert(cluster.network.clone());
                }
                // What a primary's ports carry is counted with the rest.
                let may_not_tell = state["control"] != serde_json::json!([]);
                let is_due = expected.contains(&cluster.network);
                let carries = ended + by_tunnel + state["active"].as_u64().unwrap() > 0;
                if carries && (is_due || !may_not_tell) {
                    carried.insert(cluster.network.clone());
                }
            }
        }
        assert_eq!(carried, expected, "{}: networks whose gateways carried", self.name());
        let leaves = |row: &&Row| self.topology.cluster(row.from.cluster.as_str()).unwrap().egress;
        let left = rows.iter().filter(leaves).filter_map(|row| match &row.expect {
            Expect::Answers(groups) => Some(nearest(groups)),
            Expect::Never(_) => None,
        });
        let expected: BTreeSet<Label> = left.flatten().filter_map(by_gateway).collect();
        assert_eq!(tunnelled, expected, "{}: networks where tunnels ended", self.name());
    }
}

fn url(to: &Callee) -> String {
    let Callee { namespace, service, port, protocol } = to;
    let path = if protocol == "http" { "/" } else { "" };
    format!("{protocol}://{service}.{namespace}:{port}{path}")
}

/// As Envoy calls it.
fn service(to: &Callee) -> String {
    let Callee { namespace, service, port, .. } = to;
    format!("outbound|{port}||{service}.{namespace}.svc.cluster.local")
}

fn nearest(groups: &[Group]) -> Vec<&Group> {
    let near = groups.iter().map(|group| group.near).min();
    groups.iter().filter(|group| Some(group.near) == near).collect()
}

fn used_since(then: &BTreeMap<End, u64>, now: &BTreeMap<End, u64>) -> BTreeSet<End> {
    let grew = |(end, count): &(&End, &u64)| **count > then.get(*end).copied().unwrap_or_default();
    now.iter().filter(grew).map(|(end, _)| end.clone()).collect()
}

/// Requests; connections, where bytes are passed on as they are, count as such.
fn count(host: &Value) -> u64 {
    let stats = host["stats"].as_array().unwrap();
    let total = stats.iter().find(|stat| stat["name"] == "rq_total");
    let value = total.and_then(|stat| stat["value"].as_str()).unwrap_or("0");
    value.parse().unwrap()
}

fn end_of(host: &Value, ends: &Ends) -> Option<End> {
    let address = &host["address"]["socket_address"];
    let end = ends.get(address["address"].as_str()?)?.clone();
    // Nothing but a gateway's port of names leads to workloads.
    let holds = match end {
        End::Gateway { .. } => address["port_value"] == GATEWAY_PORT,
        End::WayOut { .. } => address["port_value"] == EGRESS_PORT,
        End::Pod { .. } => true,
    };
    holds.then_some(end)
}
