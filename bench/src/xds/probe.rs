//! One complete client, so that what is measured is known to be right, and a refusal has words.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use diolkos_tls::{Identity, Roots};
use diolkos_trust::TrustDomain;
use diolkos_xds::ResourceType;
use diolkos_xds_client::{Backoff, ClientSettings, Credential, Incoming, NodeClaims, Subscription};
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use prost::Message;

use super::ground::{ACCOUNT, Ground, NAMESPACE, SERVER_NAME, Subject};
use super::resource_name;
use super::server::Server;
use crate::ads::Claims;
use crate::mesh::{TRUST_DOMAIN, cluster_name};

const ANSWER_MAX: Duration = Duration::from_secs(10);

/// What the primary serves of each subject.
#[derive(Clone, Copy, Debug)]
pub(super) struct Served {
    pub(super) entries: usize,
    pub(super) bytes: usize,
}

pub(super) fn claims(ground: &Ground, index: usize) -> Claims {
    let (pod, address) = ground.client(index);
    Claims(NodeClaims {
        kind: "sidecar".into(),
        ip: address.into(),
        pod,
        namespace: NAMESPACE.into(),
        domain: "cluster.local".into(),
        cluster: cluster_name(0),
        network: None,
        service_account: Some(ACCOUNT.into()),
        labels: BTreeMap::new(),
        extra: BTreeMap::new(),
    })
}

pub(super) fn run(ground: &Ground, server: &Server) -> anyhow::Result<BTreeMap<Subject, Served>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let answer = tokio::time::timeout(ANSWER_MAX, served(ground, server));
        answer.await.context("the primary did not serve all services in time")?
    })
}

async fn served(ground: &Ground, server: &Server) -> anyhow::Result<BTreeMap<Subject, Served>> {
    let folder = ground.identity("client");
    let settings = ClientSettings {
        place: server.address.into(),
        server: SERVER_NAME.into(),
        credential: Credential::Certificate(Identity::load(&folder)?),
        roots: Roots::load(&folder, &TrustDomain::new(TRUST_DOMAIN)?)?,
        node: claims(ground, 0).0,
        source: None,
        backoff: Backoff::default(),
        pings: Default::default(),
    };
    let names = Subject::ALL.map(|subject| resource_name(ground, subject)).to_vec();
    let subscribe = [ResourceType::Cluster, ResourceType::Endpoint]
        .map(|kind| (kind, Subscription::Names(names.clone())));
    let (_handle, mut incoming) = diolkos_xds_client::connect(settings, subscribe.to_vec());
    let mut served = BTreeMap::new();
    while served.len() < Subject::ALL.len() {
        let update = match incoming.recv().await.context("the client ended")? {
            Incoming::Connected => continue,
            Incoming::Disconnected { why } => bail!("the primary refused a client: {why}"),
            Incoming::Update(update) => update,
        };
        if update.kind != ResourceType::Endpoint {
            continue;
        }
        for (name, body) in &update.upserts {
            let subject = Subject::ALL.into_iter().find(|one| resource_name(ground, *one) == *name);
            served.extend(subject.map(|subject| (subject, read(body))));
        }
    }
    for (subject, expected) in [(Subject::Local10, 10), (Subject::Local1000, 1_000)] {
        let entries = served[&subject].entries;
        ensure!(entries == expected, "{subject:?}: {entries} endpoints, expected {expected}");
    }
    let entries = served[&Subject::Wide].entries;
    ensure!(entries > 10, "the wide service has {entries} entries: no gateway is among them");
    Ok(served)
}

fn read(body: &Bytes) -> Served {
    let entries = ClusterLoadAssignment::decode(body.clone()).map_or(0, |assignment| {
        assignment.endpoints.iter().map(|locality| locality.lb_endpoints.len()).sum()
    });
    Served { entries, bytes: body.len() }
}
