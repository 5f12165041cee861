//! Names of gateways, resolved for as long as they are wanted.
//!
//! A and AAAA are asked together, without search domains or a hosts file. What was last good of a
//! family stays while the family cannot be resolved; a name without any address is a failure too.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use diolkos_facts::limit::REMOTE_CLUSTERS_MAX;
use diolkos_facts::{HostName, Resolved};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, ResolveHosts};
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::{RData, RecordType};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::limit;

/// How soon an address is asked for again.
#[derive(Clone, Copy, Debug)]
pub struct NamesPace {
    pub ttl_min: Duration,
    pub ttl_max: Duration,
}

impl Default for NamesPace {
    fn default() -> Self {
        Self { ttl_min: Duration::from_secs(5), ttl_max: Duration::from_secs(60) }
    }
}

/// Asks whoever the system asks.
///
/// # Errors
/// When the system's configuration cannot be read.
pub fn system_resolver() -> Result<TokioResolver, String> {
    let builder = TokioResolver::builder_tokio().map_err(|error| error.to_string())?;
    build(builder)
}

/// Turns off whatever could make an answer another than the name server's.
pub fn build(
    mut builder: hickory_resolver::ResolverBuilder<
        hickory_resolver::net::runtime::TokioRuntimeProvider,
    >,
) -> Result<TokioResolver, String> {
    let options = builder.options_mut();
    options.use_hosts_file = ResolveHosts::Never;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.cache_size = 0;
    options.timeout = Duration::from_secs(2);
    options.attempts = 2;
    builder.build().map_err(|error| error.to_string())
}

/// A name, its last good addresses, and what is wrong with them.
pub(crate) type Answer = (HostName, Resolved);

/// By which clusters say what names they want. One resolver serves all, and outlives each of
/// them: a cluster whose credential changes finds what is known already.
#[derive(Clone, Debug)]
pub(crate) struct Names(mpsc::Sender<Want>);

#[derive(Debug)]
struct Want {
    who: u64,
    names: BTreeSet<HostName>,
    answers: mpsc::Sender<Answer>,
}

#[derive(Debug, Default)]
struct Known {
    v4: Vec<IpAddr>,
    v6: Vec<IpAddr>,
    failures: u32,
    /// `None` while it is being asked.
    due: Option<Instant>,
    /// Once there is one.
    answer: Option<Resolved>,
}

type Found = Result<(Vec<IpAddr>, Duration), String>;

impl Names {
    /// `last_good`: what an earlier life of this primary knew.
    pub(crate) fn desk(
        resolver: Option<TokioResolver>,
        pace: NamesPace,
        last_good: BTreeMap<HostName, Vec<IpAddr>>,
        news: mpsc::Sender<Answer>,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (sender, wants) = mpsc::channel(limit::WORDS_MAX);
        let desk = Desk {
            resolver,
            pace,
            last_good,
            known: BTreeMap::new(),
            wants: BTreeMap::new(),
            asked: JoinSet::new(),
            news,
        };
        (Self(sender), desk.run(wants))
    }

    /// From now on `who` is told of these names, and of no others.
    pub(crate) async fn want(
        &self,
        who: u64,
        names: BTreeSet<HostName>,
        answers: mpsc::Sender<Answer>,
    ) {
        // Without a resolver nothing is ever answered, which the gateway's state says.
        let _ = self.0.send(Want { who, names, answers }).await;
    }
}

struct Desk {
    resolver: Option<TokioResolver>,
    pace: NamesPace,
    last_good: BTreeMap<HostName, Vec<IpAddr>>,
    known: BTreeMap<HostName, Known>,
    wants: BTreeMap<u64, Want>,
    asked: JoinSet<(HostName, Found, Found)>,
    /// Whoever keeps what was last good.
    news: mpsc::Sender<Answer>,
}

impl Desk {
    async fn run(mut self, mut wants: mpsc::Receiver<Want>) {
        loop {
            let next = self.ask_due();
            tokio::select! {
                want = wants.recv() => match want {
                    Some(want) => self.take(want),
                    None => return,
                },
                Some(done) = self.asked.join_next() => {
                    if let Ok((name, v4, v6)) = done {
                        self.answered(name, v4, v6).await;
                    }
                }
                () = until(next) => {}
            }
        }
    }

    fn take(&mut self, mut want: Want) {
        while want.names.len() > limit::HOSTS_PER_CLUSTER_MAX {
            want.names.pop_last();
        }
        for name in &want.names {
            let known = self.known.get(name).and_then(|known| known.answer.clone());
            if let Some(answer) = known {
                // Who went away again needs no answer.
                let _ = want.answers.try_send((name.clone(), answer));
            }
        }
        self.wants.insert(want.who, want);
        self.wants.retain(|_, want| !want.names.is_empty() && !want.answers.is_closed());
        let wanted: BTreeSet<HostName> =
            self.wants.values().flat_map(|want| want.names.iter().cloned()).collect();
        self.known.retain(|name, _| wanted.contains(name));
        for name in wanted {
            if self.known.contains_key(&name) {
                continue;
            }
            let last = self.last_good.get(&name).cloned().unwrap_or_default();
            let (v4, v6) = last.into_iter().partition(IpAddr::is_ipv4);
            let due = Some(Instant::now());
            self.known.insert(name, Known { v4, v6, due, ..Known::default() });
        }
    }

    /// Asks what is due, and says when something is due next.
    fn ask_due(&mut self) -> Option<Instant> {
        let now = Instant::now();
        for (name, known) in &mut self.known {
            if known.due.is_some_and(|due| due <= now) {
                known.due = None;
                let (resolver, name, pace) = (self.resolver.clone(), name.clone(), self.pace);
                self.asked.spawn(async move { ask(resolver, name, pace).await });
            }
        }
        self.known.values().filter_map(|known| known.due).min()
    }

    async fn answered(&mut self, name: HostName, v4: Found, v6: Found) {
        let Some(known) = self.known.get_mut(&name) else { return };
        let answer = known.take(v4, v6, self.pace, Instant::now());
        if known.answer.as_ref() == Some(&answer) {
            return;
        }
        known.answer = Some(answer.clone());
        self.last_good.insert(name.clone(), answer.addresses.clone());
        if self.last_good.len() > limit::HOSTS_PER_CLUSTER_MAX * REMOTE_CLUSTERS_MAX {
            let known = &self.known;
            self.last_good.retain(|name, _| known.contains_key(name));
        }
        let _ = self.news.send((name.clone(), answer.clone())).await;
        for want in self.wants.values().filter(|want| want.names.contains(&name)) {
            // Never waits for a cluster that may wait for this; it is told the next time.
            if let Err(TrySendError::Full(_)) =
                want.answers.try_send((name.clone(), answer.clone()))
                && let Some(known) = self.known.get_mut(&name)
            {
                known.answer = None;
            }
        }
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

impl Known {
    fn take(&mut self, v4: Found, v6: Found, pace: NamesPace, now: Instant) -> Resolved {
        let mut ttl = pace.ttl_max;
        let mut faults = Vec::new();
        let nothing = |found: &Found| matches!(found, Ok((list, _)) if list.is_empty());
        if nothing(&v4) && nothing(&v6) {
            faults.push("it has no address".to_owned());
        } else {
            for (known, found) in [(&mut self.v4, v4), (&mut self.v6, v6)] {
                match found {
                    Ok((list, life)) => {
                        if !list.is_empty() {
                            ttl = ttl.min(life);
                        }
                        *known = list;
                    }
                    Err(fault) => faults.push(fault),
                }
            }
        }
        if faults.is_empty() {
            self.failures = 0;
            self.due = Some(now + ttl.clamp(pace.ttl_min, pace.ttl_max));
        } else {
            self.failures += 1;
            let wait = pace.ttl_min * 2_u32.saturating_pow(self.failures.min(8) - 1);
            self.due = Some(now + wait.min(pace.ttl_max));
        }
        let addresses = self.v4.iter().chain(&self.v6).copied().collect();
        Resolved { addresses, trouble: faults.into_iter().next() }
    }
}

async fn ask(
    resolver: Option<TokioResolver>,
    name: HostName,
    pace: NamesPace,
) -> (HostName, Found, Found) {
    let Some(resolver) = resolver else {
        let why = || Err("no name server is configured".to_owned());
        return (name, why(), why());
    };
    // With its last dot it is the whole name, to which no search domain is added.
    let whole = format!("{name}.");
    let (v4, v6) = tokio::join!(
        family(&resolver, &whole, RecordType::A, pace),
        family(&resolver, &whole, RecordType::AAAA, pace),
    );
    (name, v4, v6)
}

async fn family(resolver: &TokioResolver, name: &str, kind: RecordType, pace: NamesPace) -> Found {
    match resolver.lookup(name, kind).await {
        Ok(found) => {
            let answers = found.answers().iter();
            let mut ttl = pace.ttl_max;
            let mut addresses: Vec<IpAddr> = answers
                .filter_map(|record| {
                    let address = match &record.data {
                        RData::A(a) => IpAddr::V4(a.0),
                        RData::AAAA(aaaa) => IpAddr::V6(aaaa.0),
                        _ => return None,
                    };
                    ttl = ttl.min(Duration::from_secs(u64::from(record.ttl)));
                    Some(address)
                })
                .collect();
            addresses.sort_unstable();
            addresses.dedup();
            addresses.truncate(limit::ADDRESSES_PER_HOST_MAX);
            Ok((addresses, ttl))
        }
        Err(NetError::Dns(DnsError::NoRecordsFound(none))) => {
            match none.response_code {
                // The name is there, only not in this family.
                hickory_resolver::proto::op::ResponseCode::NoError => {
                    Ok((Vec::new(), pace.ttl_max))
                }
                code => Err(format!("the name server answers {code}")),
            }
        }
        Err(error) => Err(super::error::short(&error.to_string())),
    }
}
