//! From what operators say to the clusters that there are.

use diolkos_topology::{Event, Generation as GenerationId, Grants, Source, Stamp};

use super::super::cluster::Control;
use super::super::limit;
use super::super::sight::{ClusterSight, GenerationSight};
use super::*;
use crate::source::PodsChange;

impl Registry {
    /// Brings everything to what is wanted.
    pub(super) async fn reconcile(&mut self) {
        let Some(template) = self.state.template.clone() else { return };
        let wanted = self.wanted(&template);
        let entries: Vec<ClusterEntry> = wanted.iter().map(entry).collect();
        let (mesh, mut notes) = template.compose(entries);
        for note in &mut notes {
            note.file = self.mesh_name();
        }
        self.state.rejections[1] = notes;
        self.end_unwanted(&mesh).await;
        self.say_mesh(&mesh).await;
        for wanted in wanted {
            self.bring_up(wanted, &mesh).await;
        }
    }

    /// The own cluster first.
    fn wanted(&mut self, template: &MeshTemplate) -> Vec<Wanted> {
        let own = self.own.cluster.clone();
        let settings = ClusterSettings {
            cluster: own.clone(),
            trust_domain: template.trust_domain().clone(),
            network: template.network_of(&own),
            addresses: Vec::new(),
            grants: Grants::everything(),
        };
        let mut wanted = vec![Wanted {
            settings,
            cluster: own,
            by: String::new(),
            remote: Some(self.own.clone()),
            refused: None,
        }];
        let remarks = self.state.remotes.remarks();
        for (origin, registered) in self.state.remotes.clusters() {
            let cluster = &registered.cluster;
            let network = template.network_of(cluster);
            let place = origin.to_string();
            let key = format!("key {cluster}");
            let refused = remarks.iter().find(|remark| {
                let rejection = &remark.rejection;
                rejection.file == place && rejection.object.as_ref().is_none_or(|one| *one == key)
            });
            wanted.push(Wanted {
                settings: registered.settings(template.trust_domain(), network),
                cluster: cluster.clone(),
                by: registered_by(origin),
                remote: Some(Remote::from(registered)),
                refused: refused.map(ToString::to_string),
            });
        }
        self.state.rejections[2] = remarks.into_iter().map(|remark| remark.rejection).collect();
        if !self.state.listed {
            // Whoever registers clusters was not heard yet: those of earlier may be there still.
            let stored = self.state.stored.iter();
            let known = stored.filter(|(cluster, _)| wanted.iter().all(|w| w.cluster != **cluster));
            let known: Vec<Wanted> = known
                .map(|(cluster, stored)| Wanted {
                    cluster: cluster.clone(),
                    by: "(as stored)".into(),
                    remote: None,
                    refused: None,
                    settings: stored.settings.clone(),
                })
                .collect();
            wanted.extend(known);
            for (cluster, member) in &self.state.members {
                if wanted.iter().all(|one| one.cluster != *cluster) {
                    wanted.push(Wanted {
                        cluster: cluster.clone(),
                        by: "(as stored)".into(),
                        remote: member.remote.clone(),
                        refused: None,
                        settings: member.entry.settings.clone(),
                    });
                }
            }
        }
        wanted
    }

    /// Ends their generations before anyone is told, so that nothing of them comes late.
    async fn end_unwanted(&mut self, mesh: &MeshFile) {
        let wanted: BTreeSet<&ClusterId> =
            mesh.clusters.iter().map(|entry| &entry.settings.cluster).collect();
        let gone: Vec<ClusterId> =
            self.state.members.keys().filter(|one| !wanted.contains(one)).cloned().collect();
        for cluster in gone {
            let Some(member) = self.state.members.remove(&cluster) else { continue };
            for generation in [member.live, member.next].into_iter().flatten() {
                generation.running.end().await;
            }
            self.clients.remove(&cluster);
            self.board.lock().remove(&cluster);
            self.around.keeper.forget(&cluster);
            tracing::info!(%cluster, "not registered any more, its endpoints go");
            let event = Event::ClusterGone { cluster: cluster.clone() };
            self.say(SourceEvent::Events(vec![event])).await;
            let change = PodsChange { all: true, pods: Vec::new() };
            self.say(SourceEvent::Pods { cluster: cluster.clone(), change }).await;
            let change = RejectionsChange::All(Vec::new());
            self.say(SourceEvent::Rejections { cluster: Some(cluster), change }).await;
        }
        if self.state.listed {
            for cluster in std::mem::take(&mut self.state.stored).into_keys() {
                if wanted.contains(&cluster) {
                    continue;
                }
                self.around.keeper.forget(&cluster);
            }
        }
    }

    async fn say_mesh(&mut self, mesh: &MeshFile) {
        let listed = if self.state.listed { Listed::All } else { Listed::SoFar };
        let said = self.state.said.replace((mesh.clone(), listed));
        if said.as_ref() == Some(&(mesh.clone(), listed)) {
            return;
        }
        let file = Box::new(mesh.clone());
        self.say(SourceEvent::Mesh { file, clusters: listed }).await;
        let before = said.map(|(mesh, _)| mesh);
        let mut events = Vec::new();
        if before.as_ref().map(|before| &before.settings) != Some(&mesh.settings) {
            events.push(Event::Mesh(mesh.settings.clone()));
        }
        for entry in &mesh.clusters {
            let known = self.state.members.get(&entry.settings.cluster);
            if known.map(|known| &known.entry.settings) != Some(&entry.settings) {
                events.push(Event::Cluster(entry.settings.clone()));
            }
        }
        self.say(SourceEvent::Events(events)).await;
        let networks = before.as_ref().map(|before| &before.networks) != Some(&mesh.networks);
        for entry in &mesh.clusters {
            let Some(member) = self.state.members.get_mut(&entry.settings.cluster) else {
                continue;
            };
            if member.entry == *entry && !networks {
                continue;
            }
            member.entry = entry.clone();
            self.around.keeper.settings(&entry.settings);
            for generation in member.live.iter().chain(&member.next) {
                let told = (entry.settings.clone(), mesh.networks.clone());
                generation.running.tell(Control::Configure(Box::new(told))).await;
            }
        }
    }

    async fn bring_up(&mut self, wanted: Wanted, mesh: &MeshFile) {
        let cluster = wanted.cluster.clone();
        if !self.state.members.contains_key(&cluster) {
            let entry = entry(&wanted);
            let member = Member {
                entry,
                remote: None,
                live: None,
                next: None,
                guard: Watchman::new(self.around.accept_removal, self.pace.hold),
                restored: None,
            };
            self.state.members.insert(cluster.clone(), member);
            self.restore(&cluster).await;
        }
        let mut refused = wanted.refused;
        if let Some(remote) = wanted.remote
            && let Err(why) = self.follow(&cluster, remote, mesh).await
        {
            tracing::warn!(%cluster, "registration refused: {why}");
            refused = Some(why);
        }
        self.board.of(&cluster, |sight: &mut ClusterSight| {
            sight.registered_by.clone_from(&wanted.by);
            sight.refused = refused;
        });
    }

    /// What it said in an earlier life, until it is heard.
    async fn restore(&mut self, cluster: &ClusterId) {
        let Some(stored) = self.state.stored.get(cluster).cloned() else { return };
        let source = Source { cluster: cluster.clone(), generation: GenerationId(0) };
        let mut endpoints = 0;
        let mut seq = 0;
        let mut facts = stored.facts.into_iter().inspect(|fact| {
            if let diolkos_topology::Fact::Slice(slice) = fact {
                endpoints += slice.endpoints.len();
            }
        });
        loop {
            let batch: Vec<Event> = facts
                .by_ref()
                .take(limit::FACTS_PER_BATCH)
                .map(|fact| {
                    seq += 1;
                    Event::Upsert { source: source.clone(), stamp: Stamp::new(0, seq), fact }
                })
                .collect();
            if batch.is_empty() {
                break;
            }
            self.say(SourceEvent::Events(batch)).await;
        }
        drop(facts);
        let stale = Event::ClusterStale { cluster: cluster.clone() };
        self.say(SourceEvent::Events(vec![Event::Activate { source }, stale])).await;
        let age = SystemTime::now().duration_since(stored.fresh).unwrap_or_default();
        tracing::info!(%cluster, age_seconds = age.as_secs(), endpoints, "served as stored");
        self.board.of(cluster, |sight| sight.restored = Some(stored.fresh));
        if let Some(member) = self.state.members.get_mut(cluster) {
            member.restored = Some(endpoints);
        }
    }

    /// Starts a generation for a registration that is another than before.
    async fn follow(
        &mut self,
        cluster: &ClusterId,
        remote: Remote,
        mesh: &MeshFile,
    ) -> Result<(), String> {
        let Some(member) = self.state.members.get_mut(cluster) else { return Ok(()) };
        if member.next.as_ref().is_some_and(|next| next.remote == remote) {
            return Ok(());
        }
        if let Some(next) = member.next.take() {
            next.running.end().await;
            self.board.of(cluster, |sight| sight.next = None);
        }
        member.remote = Some(remote.clone());
        if member.live.as_ref().is_some_and(|live| live.remote == remote) {
            return Ok(());
        }
        let own = *cluster == self.own.cluster;
        let reach = if own { &Reach::Anywhere } else { &self.reach };
        let client = ApiClient::new(&remote, reach, self.pace)?;
        self.state.generation += 1;
        let (server, credential) = (remote.server.to_string(), remote.credential.kind());
        let sight = GenerationSight::new(self.state.generation, server, credential);
        let sight = Arc::new(sight);
        let settings = &member.entry.settings;
        let running =
            Running::start(&client, settings, &mesh.networks, sight.clone(), self.around.clone());
        if member.live.is_none() {
            self.clients.put(cluster, client.clone());
        }
        member.next =
            Some(Generation { remote, client, running, writes: JoinSet::new(), full: false });
        self.board.of(cluster, |shown| shown.next = Some(sight));
        Ok(())
    }
}

fn entry(wanted: &Wanted) -> ClusterEntry {
    ClusterEntry {
        settings: wanted.settings.clone(),
        origin: diolkos_facts::Origin::Kubernetes,
        ca_certificate: None,
        tokens: None,
    }
}
