//! What can be seen of one stream from outside.

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use diolkos_topology::Audience;
use diolkos_xds::{Nack, Protocol, ResourceType, Response, Session};
use serde::Serialize;

use crate::caller::Caller;
use crate::core::seconds;
use crate::metrics::index;

#[derive(Debug)]
pub(crate) struct StreamStatus {
    pub(crate) id: u64,
    client: Client,
    types: Mutex<[TypeStatus; 4]>,
    unknown_types: Mutex<Vec<String>>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Client {
    id: u64,
    identity: String,
    /// By what it is known: certificate or token.
    credential: &'static str,
    cluster: String,
    namespace: String,
    service_account: String,
    pod: String,
    audience: String,
    protocol: &'static str,
    address: SocketAddr,
    /// Seconds since 1970.
    opened: u64,
}

#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct TypeStatus {
    /// Asked for by name, and whether all others are asked for too.
    named: usize,
    wildcard: bool,
    /// What the client has, as far as it was sent any.
    held: usize,
    pushes: u64,
    resources: u64,
    removals: u64,
    bytes: u64,
    sent_nonce: String,
    acked_nonce: String,
    acks: u64,
    nacks: u64,
    last_nack: Option<NackShown>,
}

#[derive(Clone, Debug, Serialize)]
struct NackShown {
    nonce: String,
    reason: String,
    names: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct StreamShown {
    #[serde(flatten)]
    client: Client,
    types: Vec<TypeShown>,
    /// Asked for, served by nobody here, left unanswered.
    #[serde(rename = "unknownTypes")]
    unknown_types: Vec<String>,
}

#[derive(Debug, Serialize)]
struct TypeShown {
    r#type: String,
    #[serde(flatten)]
    status: TypeStatus,
}

impl StreamStatus {
    pub(crate) fn new(
        id: u64,
        caller: &Caller,
        audience: &Audience,
        protocol: Protocol,
        address: SocketAddr,
        opened: SystemTime,
    ) -> Self {
        let client = Client {
            id,
            identity: caller.id.to_string(),
            credential: caller.credential.kind(),
            cluster: caller.cluster.to_string(),
            namespace: caller.namespace.to_string(),
            service_account: caller.service_account.clone(),
            pod: caller.node.pod.clone(),
            audience: audience.to_string(),
            protocol: match protocol {
                Protocol::Delta => "delta",
                Protocol::StateOfTheWorld => "sotw",
            },
            address,
            opened: seconds(opened),
        };
        Self { id, client, types: Mutex::default(), unknown_types: Mutex::default() }
    }

    /// Where a session has come to.
    pub(crate) fn progressed(&self, session: &Session) {
        let mut types = self.lock();
        for progress in session.progress() {
            let status = &mut types[index(progress.kind)];
            status.named = progress.named;
            status.wildcard = progress.wildcard;
            status.held = progress.held;
        }
        drop(types);
        let mut unknown = self.unknown_types.lock().unwrap_or_else(PoisonError::into_inner);
        if unknown.len() != session.unknown_types().len() {
            *unknown = session.unknown_types().to_vec();
        }
    }

    pub(crate) fn pushed(&self, response: &Response, bytes: usize) {
        let mut types = self.lock();
        let status = &mut types[index(response.kind())];
        status.pushes += 1;
        status.resources += response.upserts().len() as u64;
        status.removals += response.removes().len() as u64;
        status.bytes += bytes as u64;
        response.nonce().clone_into(&mut status.sent_nonce);
    }

    /// Whether this is the nonce of what was sent last.
    pub(crate) fn is_latest(&self, kind: ResourceType, nonce: &str) -> bool {
        self.lock()[index(kind)].sent_nonce == nonce
    }

    pub(crate) fn acked(&self, kind: ResourceType, nonce: &str) {
        let mut types = self.lock();
        let status = &mut types[index(kind)];
        status.acks += 1;
        nonce.clone_into(&mut status.acked_nonce);
    }

    /// True if the reason is another than the last time.
    pub(crate) fn nacked(&self, nack: &Nack) -> bool {
        let mut types = self.lock();
        let status = &mut types[index(nack.kind)];
        status.nacks += 1;
        let news = status.last_nack.as_ref().is_none_or(|last| last.reason != nack.reason);
        status.last_nack = Some(NackShown {
            nonce: nack.nonce.clone(),
            reason: nack.reason.clone(),
            names: nack.names.iter().map(ToString::to_string).collect(),
        });
        news
    }

    pub(crate) fn shown(&self) -> StreamShown {
        let types = self.lock().clone();
        let unknown = self.unknown_types.lock().unwrap_or_else(PoisonError::into_inner);
        StreamShown {
            unknown_types: unknown.clone(),
            client: self.client.clone(),
            types: ResourceType::ORDER
                .into_iter()
                .map(|kind| TypeShown {
                    r#type: kind.to_string(),
                    status: types[index(kind)].clone(),
                })
                .collect(),
        }
    }

    pub(crate) fn opened_line(&self) {
        let Client { identity, credential, cluster, pod, audience, protocol, address, .. } =
            &self.client;
        let pod = diolkos_ops::printable(pod);
        tracing::info!(
            stream = self.id, identity, credential, cluster, %pod, audience, protocol, %address,
            "stream open"
        );
    }

    pub(crate) fn closed_line(&self, why: &str) {
        let why = diolkos_ops::printable(why);
        tracing::info!(stream = self.id, identity = self.client.identity, %why, "stream closed");
    }

    fn lock(&self) -> MutexGuard<'_, [TypeStatus; 4]> {
        // Counting does not panic half-way.
        self.types.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
