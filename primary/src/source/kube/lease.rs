//! Of several replicas, one writes: whoever holds the lease.
//!
//! A lease is taken from a holder that did not renew it for its whole duration by this replica's
//! own clock, so clocks need not agree.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::core::Request as Ask;
use kube::core::params::PostParams;
use tokio::sync::watch;

use super::client::ApiClient;
use super::error::ApiError;
use super::feed::get;

pub(super) const GROUP: &str = "/apis/coordination.k8s.io/v1";

#[derive(Clone, Debug)]
pub struct LeaseSettings {
    pub name: String,
    /// This replica; its pod's name will do.
    pub holder: String,
    /// Who does not renew for so long has lost it.
    pub duration: Duration,
    pub renew: Duration,
}

impl LeaseSettings {
    pub fn new(holder: String) -> Self {
        let (duration, renew) = (Duration::from_secs(15), Duration::from_secs(3));
        Self { name: "diolkos-primary".into(), holder, duration, renew }
    }
}

struct Candidate {
    client: ApiClient,
    path: String,
    settings: LeaseSettings,
    /// What the lease looked like, and since when.
    seen: Option<(LeaseSpec, Instant)>,
    renewed: Option<Instant>,
}

/// Says whether this replica holds the lease, for as long as anyone listens.
pub(super) async fn run(
    client: ApiClient,
    namespace: String,
    settings: LeaseSettings,
    held: watch::Sender<bool>,
) {
    let path = format!("{GROUP}/namespaces/{namespace}/leases");
    let mut every = tokio::time::interval(settings.renew);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut candidate = Candidate { client, path, settings, seen: None, renewed: None };
    loop {
        tokio::select! {
            _ = every.tick() => {}
            () = held.closed() => return,
        }
        let holds = candidate.turn().await;
        if held.send_replace(holds) != holds {
            let holder = &candidate.settings.holder;
            tracing::info!(holder, holds, "the lease for writing changed hands");
        }
    }
}

impl Candidate {
    async fn turn(&mut self) -> bool {
        let limit = self.settings.duration - self.settings.renew;
        match tokio::time::timeout(limit, self.renew()).await {
            Ok(Ok(true)) => {
                self.renewed = Some(Instant::now());
                true
            }
            Ok(Ok(false)) => {
                self.renewed = None;
                false
            }
            // Until the others may take it, it is still held.
            Ok(Err(_)) | Err(_) => self.renewed.is_some_and(|at| at.elapsed() < limit),
        }
    }

    async fn renew(&mut self) -> Result<bool, ApiError> {
        let one = format!("{}/{}", self.path, self.settings.name);
        let lease: Lease = match self.client.call(get(&one)).await {
            Ok(lease) => lease,
            Err(ApiError::NotFound(_)) => return self.create().await,
            Err(error) => return Err(error),
        };
        let spec = lease.spec.clone().unwrap_or_default();
        let since = match &self.seen {
            Some((seen, since)) if *seen == spec => *since,
            _ => Instant::now(),
        };
        self.seen = Some((spec.clone(), since));
        let mine = spec.holder_identity.as_ref() == Some(&self.settings.holder);
        let free = spec.holder_identity.as_deref().is_none_or(str::is_empty);
        if !mine && !free && since.elapsed() < self.settings.duration {
            return Ok(false);
        }
        let transitions = spec.lease_transitions.unwrap_or(0) + i32::from(!mine);
        let acquired = if mine { spec.acquire_time } else { None };
        let next = Lease { spec: Some(self.spec(transitions, acquired)), ..lease };
        let request = Ask::new(self.path.clone()).replace(
            &self.settings.name,
            &PostParams::default(),
            written(&next)?,
        );
        self.put(request.map_err(|error| ApiError::Malformed(error.to_string()))?).await
    }

    async fn create(&mut self) -> Result<bool, ApiError> {
        let metadata =
            ObjectMeta { name: Some(self.settings.name.clone()), ..ObjectMeta::default() };
        let lease = Lease { metadata, spec: Some(self.spec(0, None)) };
        let request = Ask::new(self.path.clone()).create(&PostParams::default(), written(&lease)?);
        self.put(request.map_err(|error| ApiError::Malformed(error.to_string()))?).await
    }

    async fn put(&mut self, request: http::Request<Vec<u8>>) -> Result<bool, ApiError> {
        match self.client.call::<Lease>(request).await {
            Ok(lease) => {
                self.seen = lease.spec.map(|spec| (spec, Instant::now()));
                Ok(true)
            }
            // Another was faster.
            Err(ApiError::Conflict(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn spec(&self, transitions: i32, acquired: Option<MicroTime>) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        LeaseSpec {
            holder_identity: Some(self.settings.holder.clone()),
            lease_duration_seconds: i32::try_from(self.settings.duration.as_secs().max(1)).ok(),
            acquire_time: Some(acquired.unwrap_or_else(|| now.clone())),
            renew_time: Some(now),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }
    }
}

fn written(lease: &Lease) -> Result<Vec<u8>, ApiError> {
    serde_json::to_vec(lease).map_err(|error| ApiError::Malformed(error.to_string()))
}
