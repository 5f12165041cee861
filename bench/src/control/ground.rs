//! What stands on the API servers, and what of it changes.

use std::collections::HashMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Context;
use diolkos_topology::{Fact, Health, ServiceFact, SliceFact};
use diolkos_trust_service::{Authority, Validity};
use serde_json::{Value, json};

use super::api::{Access, Api};
use super::cluster::Cluster;
use super::view::Seen;
use crate::mesh::{Mesh, Shape, ZONES, cluster_name, manifest, network_name};
use crate::process::Tools;

pub(super) const NAMESPACE: &str = "clients";
pub(super) const ACCOUNT: &str = "client";
pub(super) const SYSTEM: &str = "istio-system";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Connections that write to one API server.
const WRITERS: usize = 4;

pub(super) struct Ground {
    folder: tempfile::TempDir,
    pub(super) mesh: Mesh,
    clusters: Vec<Standing>,
    validity: Validity,
    /// Of clusters by their gateways' addresses.
    pub(super) gateways: HashMap<IpAddr, usize>,
}

struct Standing {
    cluster: Cluster,
    api: Api,
    /// One for each service.
    slices: Vec<SliceFact>,
    /// How often each has changed.
    changes: Vec<usize>,
}

/// One endpoint that goes, or comes back.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) cluster: usize,
    pub(super) service: usize,
    path: String,
    patch: Value,
}

/// One service of one cluster: its own object, its pods, its endpoints.
struct Delivery {
    objects: Vec<Value>,
}

impl Ground {
    /// Starts clusters and fills them.
    pub(super) fn lay(tools: &Tools, shape: Shape) -> anyhow::Result<Self> {
        let mesh = Mesh::new(shape)?;
        let folder = tempfile::Builder::new().prefix("diolkos-bench-").tempdir()?;
        let now = SystemTime::now();
        let validity = Validity { not_before: now, not_after: now + DAY };
        let authority = Authority::new_root("bench API servers", validity)?;
        let start = |index| Cluster::start(tools, folder.path(), index, &authority, validity);
        let started: Vec<Cluster> =
            (0..shape.clusters).map(start).collect::<anyhow::Result<_>>()?;
        let mut ground =
            Self { folder, mesh, clusters: Vec::new(), validity, gateways: HashMap::new() };
        for (index, cluster) in started.into_iter().enumerate() {
            ground.fill(index, cluster).with_context(|| cluster_name(index))?;
        }
        Ok(ground)
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn validity(&self) -> Validity {
        self.validity
    }

    pub(super) fn kubeconfig(&self) -> anyhow::Result<PathBuf> {
        self.clusters[0].cluster.write_kubeconfig(&cluster_name(0))
    }

    /// Lets the first `clusters` be a mesh: the first has remote secrets for the others.
    pub(super) fn join(&mut self, clusters: usize) -> anyhow::Result<()> {
        let secrets: Vec<Value> = (1..self.clusters.len()).map(|one| self.secret(one)).collect();
        let api = &mut self.clusters[0].api;
        for (index, secret) in (1..).zip(&secrets) {
            let path = path_of(secret)?;
            match index < clusters {
                true => api.create(&path, secret)?,
                false => api.delete(&format!("{path}/{}", name_of(secret)?))?,
            }
        }
        Ok(())
    }

    /// Turns one endpoint of a service over, in the books; whoever asks for it must send it too.
    pub(super) fn change(&mut self, cluster: usize, service: usize) -> anyhow::Result<Change> {
        let standing = &mut self.clusters[cluster];
        let slice = &mut standing.slices[service];
        // Half of them stay: a service that is gone would be another measurement.
        let at = standing.changes[service] % (slice.endpoints.len() / 2).max(1);
        standing.changes[service] += 1;
        let endpoint = &mut slice.endpoints[at];
        let ready = endpoint.health != Health::Ready;
        endpoint.health = if ready { Health::Ready } else { Health::NotReady };
        let mut object = manifest::slice_object(slice);
        let path = format!("{}/{}", path_of(&object)?, name_of(&object)?);
        // One that is not ready is taken out, as when its pod went: an istiod was seen to count what
        // is listed and not ready for other networks, diolkos does not.
        let listed = object["endpoints"].as_array_mut().context("a slice lists endpoints")?;
        listed.retain(|one| one["conditions"]["ready"] == true);
        let patch = json!([{ "op": "replace", "path": "/endpoints", "value": listed }]);
        Ok(Change { cluster, service, path, patch })
    }

    pub(super) fn send(&mut self, change: &Change) -> anyhow::Result<()> {
        change.send(&mut self.clusters[change.cluster].api)
    }

    /// Ways to all API servers, for another thread.
    pub(super) fn access(&self) -> Vec<Access> {
        self.clusters.iter().map(|one| one.cluster.access.clone()).collect()
    }

    /// What clients in the first cluster must hold of a service in a mesh of so many.
    pub(super) fn expected(&self, service: usize, clusters: usize) -> Seen {
        let ready = |cluster: usize| {
            let endpoints = self.clusters[cluster].slices[service].endpoints.iter();
            endpoints.filter(|one| one.health == Health::Ready).map(|one| one.address)
        };
        Seen {
            local: ready(0).collect(),
            remote: (1..clusters).map(|one| (one, ready(one).count() as u64)).collect(),
        }
    }

    /// Of the pods that clients say they are, one in each zone.
    pub(super) fn client(&self, index: usize) -> (String, Ipv4Addr) {
        let zone = index % ZONES.len();
        (format!("client-{zone}"), Ipv4Addr::new(10, 200, 0, 1 + zone as u8))
    }

    fn fill(&mut self, index: usize, mut cluster: Cluster) -> anyhow::Result<()> {
        let mut api = cluster.wait()?;
        let mut said = self.mesh.cluster(index);
        let mut first = manifest::ground_objects(&said, &network_name(index));
        for fact in said.ground() {
            if let Fact::Gateway(gateway) = fact {
                self.gateways.insert(gateway.key.address, index);
            }
        }
        let (mut slices, mut deliveries) = (Vec::new(), Vec::new());
        for number in 0..self.mesh.shape.services {
            let key = self.mesh.service(number);
            let [Fact::Service(service), _] = said.service(number, &key) else { continue };
            first.push(namespace(key.namespace.as_str()));
            let mut made = said.slices(&key, self.mesh.shape.endpoints);
            let slice = made.pop().context("every service has a slice")?;
            deliveries.push(Delivery::of(&service, &slice));
            slices.push(slice);
        }
        if index == 0 {
            first.push(namespace(NAMESPACE));
            for zone in 0..ZONES.len() {
                let (name, address) = self.client(zone);
                let node = said.node(zone);
                first.push(manifest::client_object(&name, NAMESPACE, node.as_str(), address));
            }
        }
        // Namespaces before what is in them; there are few.
        first.sort_by_key(|object| object["kind"] != "Namespace");
        first.iter().try_for_each(|object| deliver(&mut api, object))?;
        write_all(&cluster.access, &deliveries)?;
        let changes = vec![0; slices.len()];
        self.clusters.push(Standing { cluster, api, slices, changes });
        Ok(())
    }

    fn secret(&self, index: usize) -> Value {
        let name = cluster_name(index);
        let kubeconfig = self.clusters[index].cluster.kubeconfig(&name).to_string();
        json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {
                "name": format!("istio-remote-secret-{name}"), "namespace": SYSTEM,
                "labels": { "istio/multiCluster": "true" },
                "annotations": { "networking.istio.io/cluster": name },
            },
            "stringData": { name: kubeconfig },
        })
    }
}

impl Change {
    pub(super) fn send(&self, api: &mut Api) -> anyhow::Result<()> {
        api.patch(&self.path, &self.patch)
    }
}

impl Delivery {
    fn of(service: &ServiceFact, slice: &SliceFact) -> Self {
        let mut objects = manifest::service_objects(service, std::slice::from_ref(slice));
        // All is exported, as istiod has it.
        objects.retain(|object| object["kind"] != "ServiceExport");
        objects.push(manifest::slice_object(slice));
        Self { objects }
    }
}

/// Each service by one of several connections.
fn write_all(access: &Access, deliveries: &[Delivery]) -> anyhow::Result<()> {
    let writer = |number: usize| {
        let mut api = access.connect()?;
        let mine = deliveries.iter().skip(number).step_by(WRITERS);
        mine.flat_map(|one| &one.objects).try_for_each(|object| deliver(&mut api, object))
    };
    std::thread::scope(|scope| {
        let writers: Vec<_> =
            (0..WRITERS).map(|number| scope.spawn(move || writer(number))).collect();
        let mut ends = writers.into_iter().map(|one| one.join());
        ends.try_for_each(|end| end.unwrap_or_else(|_| anyhow::bail!("a writer panicked")))
    })
}

/// A pod's status is not taken with the pod.
fn deliver(api: &mut Api, object: &Value) -> anyhow::Result<()> {
    let path = path_of(object)?;
    api.create(&path, object)?;
    if object["kind"] != "Pod" {
        return Ok(());
    }
    let address = &object["status"]["podIP"];
    let ready = json!([{ "type": "Ready", "status": "True" }]);
    let status = json!({ "status": {
        "phase": "Running", "podIP": address, "podIPs": [{ "ip": address }], "conditions": ready,
    }});
    api.patch(&format!("{path}/{}/status", name_of(object)?), &status)
}

fn namespace(name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } })
}

/// Of the collection that an object belongs to.
fn path_of(object: &Value) -> anyhow::Result<String> {
    let kind = object["kind"].as_str().context("an object has a kind")?;
    let namespace = || object["metadata"]["namespace"].as_str().context("it is in a namespace");
    Ok(match kind {
        "Namespace" => "/api/v1/namespaces".into(),
        "Node" => "/api/v1/nodes".into(),
        "EndpointSlice" => {
            let namespace = namespace()?;
            format!("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices")
        }
        core => format!("/api/v1/namespaces/{}/{}s", namespace()?, core.to_lowercase()),
    })
}

fn name_of(object: &Value) -> anyhow::Result<&str> {
    object["metadata"]["name"].as_str().context("an object has a name")
}

/// Removed with the bench.
pub(super) fn write(folder: &Path, name: &str, text: &str) -> anyhow::Result<PathBuf> {
    let path = folder.join(name);
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}
