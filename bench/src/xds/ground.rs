//! The primary's folder: a mesh file, a folder of manifests per cluster, certificates.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use diolkos_topology::{Fact, Health, ServiceKey, SliceFact};
use diolkos_trust::{SpiffeId, TrustDomain};
use diolkos_trust_service::{Authority, LeafRequest, Validity};

use crate::mesh::{Mesh, Shape, TRUST_DOMAIN, ZONES, cluster_name, manifest, network_name};

pub(super) const NAMESPACE: &str = "clients";
pub(super) const ACCOUNT: &str = "client";
/// In the primary's certificate.
pub(super) const SERVER_NAME: &str = "primary.bench.example";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What is served, and where one endpoint of it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    /// 10 endpoints in the clients' cluster.
    Local10,
    /// 10 in each of the clusters; one changes elsewhere.
    Wide,
    /// 1,000 in the clients' cluster.
    Local1000,
}

impl Subject {
    pub(super) const ALL: [Self; 3] = [Self::Local10, Self::Wide, Self::Local1000];

    fn number(self) -> usize {
        match self {
            Self::Local10 => 0,
            Self::Wide => 1,
            Self::Local1000 => 2,
        }
    }

    fn endpoints_in(self, cluster: usize) -> usize {
        match (self, cluster) {
            (Self::Wide, _) | (Self::Local10, 0) => 10,
            (Self::Local1000, 0) => 1_000,
            _ => 0,
        }
    }

    fn changes_in(self) -> usize {
        usize::from(self == Self::Wide)
    }
}

#[derive(Debug)]
pub(super) struct Ground {
    folder: tempfile::TempDir,
    mesh: Mesh,
    /// The slices that change.
    slices: BTreeMap<Subject, SliceFact>,
}

impl Ground {
    pub(super) fn lay(clusters: usize, seed: u64) -> anyhow::Result<Self> {
        let mesh = Mesh::new(Shape { clusters, services: 3, endpoints: 1_000, seed })?;
        let folder = tempfile::Builder::new().prefix("diolkos-bench-").tempdir()?;
        let mut ground = Self { folder, mesh, slices: BTreeMap::new() };
        ground.write_mesh_file()?;
        for index in 0..clusters {
            ground.write_cluster(index)?;
        }
        ground.write_certificates()?;
        Ok(ground)
    }

    pub(super) fn mesh_file(&self) -> PathBuf {
        self.folder.path().join("mesh.yaml")
    }

    pub(super) fn identity(&self, name: &str) -> PathBuf {
        self.folder.path().join("identities").join(name)
    }

    pub(super) fn service(&self, subject: Subject) -> ServiceKey {
        self.mesh.service(subject.number())
    }

    /// Of the pods that clients say they are, one in each zone.
    pub(super) fn client(&self, index: usize) -> (String, Ipv4Addr) {
        let zone = index % ZONES.len();
        (format!("client-{zone}"), Ipv4Addr::new(10, 200, 0, 1 + zone as u8))
    }

    /// One endpoint ceases to be ready, or becomes so again. The moment is that of the rename.
    pub(super) fn toggle(&mut self, subject: Subject) -> anyhow::Result<Instant> {
        self.edit(subject, |slice| {
            let first = &mut slice.endpoints[0];
            first.health = opposite(first.health);
        })
    }

    /// Two endpoints of one group swap readiness.
    pub(super) fn swap(&mut self, subject: Subject) -> anyhow::Result<Instant> {
        self.edit(subject, |slice| {
            let health = slice.endpoints[0].health;
            slice.endpoints[1].health = health;
            slice.endpoints[0].health = opposite(health);
        })
    }

    /// Makes both ready again.
    pub(super) fn unswap(&mut self, subject: Subject) -> anyhow::Result<Instant> {
        self.edit(subject, |slice| {
            slice.endpoints[..2].iter_mut().for_each(|one| one.health = Health::Ready);
        })
    }

    fn edit(
        &mut self,
        subject: Subject,
        change: impl FnOnce(&mut SliceFact),
    ) -> anyhow::Result<Instant> {
        let slice = self.slices.get_mut(&subject).context("every subject has a slice")?;
        change(slice);
        let text = manifest::slice(slice);
        let folder = self.folder.path();
        // Beside the watched folders, so that an edit is one event and no more.
        let fresh = folder.join("fresh.yaml");
        let path = folder.join(slice_path(subject.changes_in(), slice));
        fs::write(&fresh, text).with_context(|| format!("cannot write {}", fresh.display()))?;
        fs::rename(&fresh, &path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Instant::now())
    }

    fn write(&self, path: &str, text: &str) -> anyhow::Result<()> {
        let path = self.folder.path().join(path);
        fs::create_dir_all(path.parent().context("every file is in a folder")?)?;
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    fn write_mesh_file(&self) -> anyhow::Result<()> {
        let mut text = format!(
            "apiVersion: diolkos.dev/v1alpha1\nkind: Mesh\nmetadata:\n  name: bench\nspec:\n  \
             trustDomain: {TRUST_DOMAIN}\n  export: listed\n  clusters:\n"
        );
        for index in 0..self.mesh.shape.clusters {
            let name = cluster_name(index);
            let _ = writeln!(text, "  - name: {name}\n    network: {}", network_name(index));
            if index == 0 {
                text.push_str("    caCertificate: ca/ca-cert.pem\n");
            }
        }
        self.write("mesh.yaml", &text)
    }

    fn write_cluster(&mut self, index: usize) -> anyhow::Result<()> {
        let mut cluster = self.mesh.cluster(index);
        let folder = format!("clusters/{}", cluster_name(index));
        let network = network_name(index);
        self.write(&format!("{folder}/ground.yaml"), &manifest::ground(&cluster, &network))?;
        for subject in Subject::ALL {
            let endpoints = subject.endpoints_in(index);
            if endpoints == 0 {
                continue;
            }
            let key = self.service(subject);
            let [Fact::Service(service), _] = cluster.service(subject.number(), &key) else {
                continue;
            };
            let slices = cluster.slices(&key, endpoints);
            let text = manifest::service(&service, &slices);
            self.write(&format!("{folder}/{}.yaml", key.name), &text)?;
            for slice in &slices {
                self.write(&slice_path(index, slice), &manifest::slice(slice))?;
            }
            if index == subject.changes_in() {
                self.slices.extend(slices.into_iter().next().map(|slice| (subject, slice)));
            }
        }
        if index == 0 {
            for zone in 0..ZONES.len() {
                let (name, address) = self.client(zone);
                let node = cluster.node(zone);
                let text = manifest::client(&name, NAMESPACE, node.as_str(), address);
                self.write(&format!("{folder}/{name}.yaml"), &text)?;
            }
        }
        Ok(())
    }

    fn write_certificates(&self) -> anyhow::Result<()> {
        let now = SystemTime::now();
        let validity = Validity { not_before: now, not_after: now + DAY };
        let root = Authority::new_root("diolkos bench", validity)?;
        let authority = root.intermediate(&cluster_name(0), validity)?;
        authority.write(&self.folder.path().join("ca"))?;
        let domain = TrustDomain::new(TRUST_DOMAIN)?;
        for (name, namespace, account, dns) in [
            ("primary", "istio-system", "primary", vec![SERVER_NAME.to_owned()]),
            ("client", NAMESPACE, ACCOUNT, Vec::new()),
        ] {
            let id = SpiffeId::workload(&domain, namespace, account)?;
            let issued = authority.issue(&LeafRequest { id, dns, ips: Vec::new(), validity })?;
            issued.write(&self.identity(name))?;
        }
        Ok(())
    }
}

fn slice_path(cluster: usize, slice: &SliceFact) -> String {
    format!("clusters/{}/slices/{}.yaml", cluster_name(cluster), slice.name)
}

fn opposite(health: Health) -> Health {
    if health == Health::Ready { Health::NotReady } else { Health::Ready }
}
