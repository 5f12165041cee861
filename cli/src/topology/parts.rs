//! The parts of a mesh that are installed into a topology's clusters, by the manifests that a person
//! would apply.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::Context as _;
use diolkos_deploy::{
    GatewayValues, Grants, RemoteSecret, RemoteValues, RoleValues, Settings, Values, manifest,
    names, reader, to_yaml,
};
use diolkos_kind_plan::{API_PORT, Cluster, Export, IMAGE, Label, Mesh, Part, Plan, Role};
use diolkos_kind_tests::limit::READY_WITHIN;
use diolkos_kind_tests::{Documents, Live, Parts};
use diolkos_topology::{ClusterId, Namespace};
use serde_json::Value;

/// No topology is up for that long.
const TOKEN_LIFE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

pub(super) struct Installed;

impl Parts for Installed {
    fn documents<'a>(&'a self, live: Live<'a>, cluster: &'a str, part: &'a Part) -> Documents<'a> {
        Box::pin(async move {
            let place = Place::of(live.plan, cluster, part)?;
            let objects = match part {
                Part::Primary { .. } => place.primary()?,
                Part::Gateway { replicas, egress, .. } => place.gateway(*replicas, *egress)?,
                Part::Remote { primary, .. } => {
                    place.remote(primary, &gateway_of(live, &place, primary).await?)?
                }
                Part::RemoteSecret { of, .. } => vec![remote_secret(live, &place, of).await?],
            };
            Ok(Some(to_yaml(&objects)))
        })
    }
}

/// Where a part goes: a mesh in a cluster.
struct Place<'p> {
    plan: &'p Plan,
    cluster: &'p Cluster,
    mesh: &'p Mesh,
}

impl<'p> Place<'p> {
    fn of(plan: &'p Plan, cluster: &str, part: &Part) -> anyhow::Result<Self> {
        let (Part::Primary { mesh }
        | Part::Gateway { mesh, .. }
        | Part::RemoteSecret { mesh, .. }
        | Part::Remote { mesh, .. }) = part;
        let mesh = mesh.as_str();
        Ok(Self {
            plan,
            cluster: plan.topology.cluster(cluster).with_context(|| format!("no {cluster}"))?,
            mesh: plan.topology.mesh(mesh).with_context(|| format!("no mesh {mesh}"))?,
        })
    }

    fn namespace(&self) -> &'p str {
        self.mesh.system_namespace.as_str()
    }

    fn primary(&self) -> anyhow::Result<Vec<Value>> {
        let values = Values { primary: one(1), ..self.values() };
        self.with_kinds("primary", values)
    }

    fn gateway(&self, replicas: u32, egress: bool) -> anyhow::Result<Vec<Value>> {
        let expose_primary = self.has_remotes().then_some(true);
        let (replicas, egress) = (Some(replicas), Some(egress));
        let gateway =
            GatewayValues { replicas, expose_primary, egress, ..GatewayValues::default() };
        self.objects("gateway", Values { gateway, ..self.values() })
    }

    fn remote(&self, primary: &Label, addresses: &[IpAddr]) -> anyhow::Result<Vec<Value>> {
        let remote = RemoteValues {
            primary_cluster: Some(primary.to_string()),
            primary_addresses: addresses.iter().map(IpAddr::to_string).collect(),
        };
        self.with_kinds("remote", Values { remote, ..self.values() })
    }

    /// With the custom resources that are read: no Istio brings them here.
    fn with_kinds(&self, profile: &str, values: Values) -> anyhow::Result<Vec<Value>> {
        let mut objects = self.objects("crds", self.values())?;
        objects.extend(self.objects(profile, values)?);
        Ok(objects)
    }

    fn objects(&self, profile: &str, values: Values) -> anyhow::Result<Vec<Value>> {
        let Self { cluster, mesh, .. } = self;
        let settings = Settings::of(profile, IMAGE, values);
        let settings = settings.with_context(|| format!("{} in {}", mesh.id, cluster.name))?;
        Ok(manifest(&settings))
    }

    fn values(&self) -> Values {
        let Self { cluster, mesh, .. } = self;
        let export = match mesh.export {
            Export::All => "all",
            Export::Listed => "listed",
        };
        let is_shared = cluster.meshes.len() > 1;
        Values {
            cluster: Some(cluster.name.to_string()),
            network: Some(cluster.network.to_string()),
            mesh_id: Some(mesh.id.to_string()),
            trust_domain: Some(mesh.trust_domain.to_string()),
            export: Some(export.to_owned()),
            revision: is_shared.then(|| mesh.id.to_string()),
            namespace: Some(self.namespace().to_owned()),
            ..Values::default()
        }
    }

    fn has_remotes(&self) -> bool {
        let is_ours = |role: &Role| *role == Role::RemoteOf(self.cluster.name.clone());
        self.plan.topology.clusters_of(&self.mesh.id).any(|other| is_ours(&other.role))
    }
}

fn one(replicas: u32) -> RoleValues {
    RoleValues { replicas: Some(replicas), ..RoleValues::default() }
}

/// Where a primary's ports are for clusters without one, once there is an address.
async fn gateway_of(
    live: Live<'_>,
    place: &Place<'_>,
    primary: &Label,
) -> anyhow::Result<Vec<IpAddr>> {
    let there = cluster(live, primary)?;
    there.balancer(place.namespace(), names::GATEWAY, READY_WITHIN).await
}

/// Lets the control plane of `place` read the cluster `of`, by an account that is made there.
async fn remote_secret(live: Live<'_>, place: &Place<'_>, of: &Label) -> anyhow::Result<Value> {
    let there = cluster(live, of)?;
    let plan = live.plan.cluster(of.as_str()).with_context(|| format!("no {of}"))?;
    let namespace = Namespace::new(place.namespace())?;
    there.apply(&reader(&namespace, names::READER)).await?;
    let token = there.token(namespace.as_str(), names::READER, TOKEN_LIFE).await?;
    let cluster = ClusterId::new(of.as_str())?;
    let secret = RemoteSecret {
        name: RemoteSecret::usual_name(&cluster),
        cluster,
        namespace,
        server: format!("https://{}:{API_PORT}", plan.ranges.api.v4),
        roots: there.roots().to_owned(),
        tls_server_name: None,
        token,
        grants: grants(live.plan, place, of),
    };
    Ok(secret.object())
}

/// All but the reserved names, as a secret that says nothing; and of those the gateway's, where it
/// has its certificate from the control plane that reads the secret.
fn grants(plan: &Plan, place: &Place<'_>, of: &Label) -> Grants {
    let has_no_primary =
        plan.topology.cluster(of.as_str()).is_some_and(|of| !of.holds_control_plane());
    let identities = format!("*/*, {}/{}", place.namespace(), names::GATEWAY);
    Grants { identities: has_no_primary.then_some(identities), ..Grants::default() }
}

fn cluster<'a>(
    live: Live<'a>,
    name: &Label,
) -> anyhow::Result<&'a std::sync::Arc<diolkos_kind_tests::Cluster>> {
    live.clusters.get(name.as_str()).with_context(|| format!("cluster {name} is not there yet"))
}

#[cfg(test)]
mod tests {
    use diolkos_kind_plan::{Places, Slot, Step};

    use super::*;

    fn plan(topology: &str) -> Plan {
        let source = diolkos_kind_tests::load(topology).unwrap();
        let places = Places {
            state: "STATE".into(),
            tools: "TOOLS".into(),
            crds: None,
            diolkos: "diolkos".into(),
            envoy: None,
            nft: "nft".into(),
        };
        Plan::new(source.topology, Slot::new(0).unwrap(), places)
    }

    /// Of each part that needs no running cluster, with a primary's address made up.
    fn parts(plan: &Plan) -> Vec<(String, Part, Vec<Value>)> {
        let steps = plan.install.iter().flat_map(|phase| &phase.steps);
        let of_cluster = steps.flat_map(|(cluster, steps)| steps.iter().map(move |s| (cluster, s)));
        let objects = |(cluster, step): (&Label, &Step)| {
            let Step::Part(part) = step else { return None };
            let place = Place::of(plan, cluster.as_str(), part).unwrap();
            let objects = match part {
                Part::Primary { .. } => place.primary(),
                Part::Gateway { replicas, egress, .. } => place.gateway(*replicas, *egress),
                Part::Remote { primary, .. } => {
                    place.remote(primary, &["198.18.0.128".parse().unwrap()])
                }
                Part::RemoteSecret { .. } => return None,
            };
            Some((cluster.to_string(), part.clone(), objects.unwrap()))
        };
        of_cluster.filter_map(objects).collect()
    }

    fn find<'o>(objects: &'o [Value], kind: &str, name: &str) -> &'o Value {
        let is_it = |one: &&Value| one["kind"] == kind && one["metadata"]["name"] == name;
        objects.iter().find(is_it).unwrap_or_else(|| panic!("no {kind} {name}"))
    }

    #[test]
    fn every_topology_has_manifests_for_all_its_parts() {
        for topology in diolkos_kind_tests::embedded() {
            let name = topology.name.as_str();
            let plan = plan(name);
            let parts = parts(&plan);
            let primaries =
                parts.iter().filter(|(_, part, _)| matches!(part, Part::Primary { .. })).count();
            let expected: usize = topology
                .clusters
                .iter()
                .filter(|cluster| cluster.holds_control_plane())
                .map(|cluster| cluster.meshes.len())
                .sum();
            assert_eq!(primaries, expected, "{name}");
            for (cluster, part, objects) in parts {
                let text = to_yaml(&objects);
                assert!(text.contains("diolkos"), "{name} {cluster} {part}");
            }
        }
    }

    #[test]
    fn only_the_gateway_of_a_primary_with_remotes_passes_its_ports_on() {
        let exposing = |topology: &str| -> Vec<String> {
            let exposes = |objects: &[Value]| {
                let service = find(objects, "Service", names::GATEWAY);
                let ports = service["spec"]["ports"].as_array().unwrap();
                ports.iter().any(|port| port["port"] == names::XDS_PORT)
            };
            let parts = parts(&plan(topology)).into_iter();
            let gateways = parts.filter(|(_, part, _)| matches!(part, Part::Gateway { .. }));
            gateways.filter(|(.., objects)| exposes(objects)).map(|(name, ..)| name).collect()
        };
        assert_eq!(exposing("primary-remote-two-networks"), ["east"]);
        assert_eq!(exposing("external-control-plane"), ["control"]);
        assert!(exposing("two-networks").is_empty());
    }

    #[test]
    fn meshes_that_share_a_cluster_inject_by_revision() {
        let parts = parts(&plan("isolated-meshes"));
        let (_, _, objects) = parts.first().unwrap();
        let injector = names::of_cluster(names::INJECTOR, "diolkos-red");
        let injector = find(objects, "MutatingWebhookConfiguration", &injector);
        let selector = injector["webhooks"][0]["namespaceSelector"].to_string();
        assert!(selector.contains(names::REVISION_LABEL) && selector.contains("red"), "{selector}");
    }
}
