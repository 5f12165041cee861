//! All of it together, for network namespaces on this machine.

use std::fmt;
use std::net::IpAddr;

use serde_json::Value;

use crate::address::{Ranges, Slot};
use crate::cluster_file::{self, File};
use crate::document;
use crate::install::{self, Phase, Step};
use crate::model::{Cluster, Topology};
use crate::name::Label;
use crate::places::Places;
use crate::process::{self, Stage};
use crate::reach::{self, Row};
use crate::space::{self, Space};

#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub topology: Topology,
    pub slot: Slot,
    pub places: Places,
    pub router: Space,
    /// In this machine's own network, for `ip -batch`: see [`space::wires`].
    pub wires: Vec<String>,
    /// The last line of that, once the router is set up.
    pub way_in: String,
    pub clusters: Vec<ClusterPlan>,
    pub roots: Vec<Root>,
    /// Without secrets, see [`crate::fill`].
    pub kubeconfig: File,
    pub install: Vec<Phase>,
    pub matrix: Vec<Row>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ClusterPlan {
    pub name: Label,
    pub folder: String,
    pub ranges: Ranges,
    pub space: Space,
    pub serving: ServingNames,
    pub files: Vec<File>,
    pub stages: Vec<Stage>,
    /// As soon as the API server is there: what later stages need.
    pub base: Vec<Value>,
}

/// Under which names an API server is asked for, inside and outside its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServingNames {
    pub dns: Vec<String>,
    pub ips: Vec<IpAddr>,
}

/// A mesh's root and the intermediates it signs, one for each control plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    pub name: Label,
    pub intermediates: Vec<Intermediate>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intermediate {
    pub mesh: Label,
    pub cluster: Label,
    /// In Istio's layout.
    pub folder: String,
}

impl Plan {
    #[must_use]
    pub fn new(topology: Topology, slot: Slot, places: Places) -> Self {
        let ranges: Vec<Ranges> =
            (0..topology.clusters.len()).map(|index| Ranges::of(slot, index)).collect();
        let clusters = topology.clusters.iter().enumerate();
        let clusters = clusters
            .map(|(index, cluster)| ClusterPlan {
                name: cluster.name.clone(),
                folder: places.cluster(cluster.name.as_str()),
                ranges: ranges[index],
                space: space::node(&topology, index, slot),
                serving: serving_names(&ranges[index]),
                files: cluster_file::files(cluster, &ranges[index], &places),
                stages: process::stages(cluster, &ranges[index], &places),
                base: document::dns(cluster, &ranges[index]),
            })
            .collect();
        let kubeconfig = File {
            path: places.kubeconfig(),
            text: cluster_file::kubeconfig_of_all(&topology, &ranges),
        };
        Self {
            slot,
            router: space::router(&topology, slot),
            wires: space::wires(&topology, slot),
            way_in: space::way_in(slot),
            clusters,
            roots: roots(&topology, &places),
            kubeconfig,
            install: install::phases(&topology, &places),
            matrix: reach::matrix(&topology),
            topology,
            places,
        }
    }

    #[must_use]
    pub fn cluster(&self, name: &str) -> Option<&ClusterPlan> {
        self.clusters.iter().find(|cluster| &cluster.name == name)
    }
}

fn serving_names(ranges: &Ranges) -> ServingNames {
    let mut dns = vec!["localhost".to_owned()];
    for name in ["", ".default", ".default.svc", ".default.svc.cluster.local"] {
        dns.push(format!("kubernetes{name}"));
    }
    let mut ips = vec![IpAddr::from([127, 0, 0, 1])];
    ips.extend(ranges.api.both());
    ips.extend(ranges.kubernetes().both());
    ServingNames { dns, ips }
}

fn roots(topology: &Topology, places: &Places) -> Vec<Root> {
    let mut roots: Vec<Root> = Vec::new();
    for mesh in &topology.meshes {
        let intermediate = |cluster: &Cluster| Intermediate {
            mesh: mesh.id.clone(),
            cluster: cluster.name.clone(),
            folder: places.cacerts(mesh.id.as_str(), cluster.name.as_str()),
        };
        let with_control_plane =
            topology.clusters_of(&mesh.id).filter(|cluster| cluster.holds_control_plane());
        let intermediates: Vec<Intermediate> = with_control_plane.map(intermediate).collect();
        match roots.iter_mut().find(|root| root.name == mesh.root) {
            Some(root) => root.intermediates.extend(intermediates),
            None => roots.push(Root { name: mesh.root.clone(), intermediates }),
        }
    }
    roots
}

/// As text to be reviewed: everything that is decided, in the order in which it happens.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Topology { name, summary, .. } = &self.topology;
        writeln!(f, "topology {name}, slot {}\n{summary}", self.slot.number())?;
        writeln!(f, "\n== reach")?;
        for row in &self.matrix {
            writeln!(f, "{row}")?;
        }
        writeln!(f, "\n== roots")?;
        for root in &self.roots {
            for intermediate in &root.intermediates {
                let Intermediate { mesh, cluster, folder } = intermediate;
                writeln!(f, "{} signs {mesh} in {cluster}: {folder}", root.name)?;
            }
        }
        writeln!(f, "\n== this machine")?;
        for line in self.wires.iter().chain([&self.way_in]) {
            writeln!(f, "ip {line}")?;
        }
        write!(f, "{}", self.router)?;
        for cluster in &self.clusters {
            write!(f, "{cluster}")?;
        }
        let File { path, text } = &self.kubeconfig;
        write!(f, "\n== file {path}\n{text}")?;
        for phase in &self.install {
            writeln!(f, "\n== install: {}", phase.name)?;
            for (cluster, steps) in &phase.steps {
                for step in steps {
                    writeln!(f, "{cluster}: {step}")?;
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n== network namespace {}", self.name)?;
        for (name, value) in &self.settings {
            writeln!(f, "{name} = {value}")?;
        }
        for line in &self.ip {
            writeln!(f, "ip {line}")?;
        }
        for line in &self.ip6 {
            writeln!(f, "ip -6 {line}")?;
        }
        f.write_str(&self.nft)
    }
}

impl fmt::Display for ClusterPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, ranges, .. } = self;
        write!(f, "{}", self.space)?;
        writeln!(f, "\n== cluster {name}")?;
        writeln!(f, "pods {}\nservices {}", ranges.pods, ranges.services)?;
        writeln!(f, "load balancers {}\nAPI {}", ranges.load_balancers, ranges.api)?;
        let ips: Vec<String> = self.serving.ips.iter().map(ToString::to_string).collect();
        writeln!(f, "certificate of {}, {}", self.serving.dns.join(", "), ips.join(", "))?;
        for File { path, text } in &self.files {
            // They differ in their user alone, and the one of all clusters is shown in full.
            match text.split_once("users:\n") {
                Some((_, users)) => writeln!(f, "\n-- file {path}, of {}", users.trim_end())?,
                None => writeln!(f, "\n-- file {path}\n{}", text.trim_end())?,
            }
        }
        for stage in &self.stages {
            writeln!(f, "\n-- start {}", stage.name)?;
            for process in &stage.start {
                writeln!(f, "{}: {}", process.name, process.argv.join("\n    "))?;
            }
            for ready in &stage.ready {
                writeln!(f, "until {ready:?}")?;
            }
        }
        writeln!(f, "\n-- base")?;
        self.base.iter().try_for_each(|document| writeln!(f, "{document}"))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Apply(documents) => {
                f.write_str("apply")?;
                documents.iter().try_for_each(|document| write!(f, "\n  {document}"))
            }
            Self::ApplyIfServed(documents) => {
                f.write_str("apply, where their kind is known")?;
                documents.iter().try_for_each(|document| write!(f, "\n  {document}"))
            }
            Self::ApplyFolder(folder) => write!(f, "apply the files of {folder}"),
            Self::Secret { namespace, name, folder } => {
                write!(f, "secret {namespace}/{name} of the files of {folder}")
            }
            Self::Part(part) => write!(f, "{part}"),
            Self::Wait(condition) => write!(f, "wait until {condition}"),
        }
    }
}
