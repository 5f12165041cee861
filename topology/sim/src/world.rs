//! The mesh and everything that happens to it.

mod names;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::rc::Rc;

use diolkos_route::RouteTable;
use diolkos_topology::oracle::World as Oracle;
use diolkos_topology::{
    Audience, ClusterSettings, Event, ExportMode, Fact, FactKey, FactKind, Generation, IpFamilies,
    MeshSettings, Namespace, Source, Stamp, Tick,
};

use crate::action::{Action, Verb};
use crate::advertised::Advertised;
use crate::client::{Client, Delta, Mind, Sotw};
use crate::invariant::{Checked, Invariant, Violation, holds};
use crate::liveness;
use crate::primary::Primary;
use crate::resource::Assignment;
use crate::shape::{Export, Sabotage, Shape};
use crate::source::{Link, Wire, in_words};
use crate::truth::{NAMES_ARE_VALID, Truth, cluster_id, difference, node_name};

pub struct World {
    shape: Shape,
    now: Tick,
    sites: Vec<Site>,
    primary: Primary,
    clients: Vec<Client>,
    ever: Advertised,
    /// What each client uses, since the mesh was last at rest and no cluster changed.
    calm: Option<Vec<BTreeMap<String, Addresses>>>,
    log: Vec<String>,
}

type Addresses = BTreeSet<SocketAddr>;

struct Site {
    truth: Truth,
    wire: Wire,
}

/// A client and the primary that have not come to rest by then never will.
const PUMPS_MAX: usize = 2_000;

impl World {
    pub fn new(shape: &Shape) -> Self {
        let sites: Vec<Site> = (0..shape.clusters)
            .map(|index| Site {
                truth: Truth::new(index, shape),
                wire: Wire::new(cluster_id(index)),
            })
            .collect();
        let primary = Primary::new(&mesh(shape), &settings(&sites), shape.sabotage);
        let mut world = Self {
            shape: shape.clone(),
            now: Tick(1_000),
            sites,
            primary,
            clients: clients(shape),
            ever: Advertised::new(shape.export == Export::All),
            calm: None,
            log: Vec::new(),
        };
        for site in &mut world.sites {
            let facts = site.truth.facts();
            world.ever.note(&site.wire.cluster, &facts);
            site.wire.start_over(&facts);
        }
        world
    }

    /// What happened so far: actions, and what came of them.
    pub fn log(&self) -> &[String] {
        &self.log
    }

    /// # Errors
    /// The first invariant that does not hold any more.
    pub fn act(&mut self, action: Action) -> Checked {
        self.log.push(format!("> {action}"));
        self.perform(action)?;
        self.check_taken_names()?;
        self.check_calm()
    }

    #[allow(clippy::too_many_lines, reason = "one arm a verb")]
    fn perform(&mut self, Action { verb, who, what, how }: Action) -> Checked {
        let site = usize::from(who) % self.sites.len();
        let client = usize::from(who) % self.clients.len();
        let cluster = cluster_id(site);
        match verb {
            Verb::PutEndpoint => self.change(site, |truth| truth.put_endpoint(what, how)),
            Verb::RemoveEndpoint => self.change(site, |truth| truth.remove_endpoint(what)),
            Verb::Scale => self.change(site, |truth| truth.scale(what, how)),
            Verb::PutService => self.change(site, |truth| truth.put_service(what, how)),
            Verb::RemoveService => self.change(site, |truth| truth.remove_service(what)),
            Verb::Export => self.change(site, |truth| truth.export(what, how)),
            Verb::Unexport => self.change(site, |truth| truth.unexport(what)),
            Verb::AddGateway => self.change(site, |truth| truth.add_gateway(what)),
            Verb::RemoveGateway => self.change(site, |truth| truth.remove_gateway(what)),
            Verb::MoveNode => self.change(site, |truth| truth.move_node(what, how)),
            Verb::SetNetwork => self.change(site, |truth| truth.set_network(what)),
            Verb::Deliver => self.deliver(site, 1 + usize::from(what) % 8)?,
            Verb::DeliverAll => self.deliver(site, usize::MAX)?,
            Verb::Pump => self.pump(client, 1 + usize::from(what) % 8, how)?,
            Verb::PumpAll => {
                for client in 0..self.clients.len() {
                    self.pump_to_rest(client)?;
                }
            }
            Verb::Advance => {
                self.now.0 += 1 + u64::from(what);
                self.primary.note(self.now, Event::Tick, &self.ever)?;
            }
            Verb::Deadline => {
                if let Some(at) = self.primary.federation.next_deadline() {
                    self.now = self.now.max(at);
                    self.primary.note(self.now, Event::Tick, &self.ever)?;
                }
            }
            Verb::Heal => self.heal(site),
            Verb::Fresh => {
                self.primary.note(self.now, Event::ClusterFresh { cluster }, &self.ever)?;
            }
            Verb::Stale => {
                self.primary.note(self.now, Event::ClusterStale { cluster }, &self.ever)?;
            }
            Verb::Rotate => self.with_wire(site, Wire::rotate),
            Verb::Drop if self.shape.sabotage == Sabotage::LoseMessage => {
                self.sites[site].wire.lose_one(what.into());
            }
            Verb::Drop => {
                let lost = self.sites[site].wire.lose_from(what.into());
                self.note(|| format!("{lost} messages are lost"));
                self.with_wire(site, Wire::start_over);
            }
            Verb::Duplicate => self.sites[site].wire.duplicate(what.into(), how.into()),
            Verb::Reorder => {
                if self.sites[site].wire.reorder(what.into(), how.into()) {
                    self.calm = None;
                }
            }
            Verb::Partition => self.sites[site].wire.state = Link::Partitioned,
            Verb::Relist => {
                let kind = FactKind::ALL[usize::from(what) % FactKind::ALL.len()];
                self.with_wire(site, |wire, facts| wire.relist(kind, facts));
            }
            Verb::CrashSource => self.with_wire(site, Wire::start_over),
            Verb::RestartPrimary => self.restart_primary(),
            Verb::Slow => self.clients[client].slow = true,
            Verb::Wake => self.clients[client].slow = false,
            Verb::Cut => self.cut(client),
            Verb::Nack => {
                self.calm = None;
                self.clients[client].refuse_next();
            }
            Verb::Settle => self.settle()?,
        }
        Ok(())
    }

    fn note(&mut self, what: impl FnOnce() -> String) {
        self.log.push(format!("#   {}", what().replace('\n', "\n#     ")));
    }

    fn change(&mut self, site: usize, act: impl FnOnce(&mut Truth)) {
        let Site { truth, wire } = &mut self.sites[site];
        let before = truth.facts();
        act(truth);
        let after = truth.facts();
        let changes = difference(&before, &after);
        if changes.is_empty() {
            return;
        }
        self.calm = None;
        self.ever.note(&wire.cluster, &after);
        wire.say(&changes);
        self.note(|| format!("{} of {:?} changed", changes.len(), cluster_id(site)));
    }

    fn with_wire(&mut self, site: usize, act: impl FnOnce(&mut Wire, &BTreeMap<FactKey, Fact>)) {
        let Site { truth, wire } = &mut self.sites[site];
        act(wire, &truth.facts());
    }

    fn heal(&mut self, site: usize) {
        if self.sites[site].wire.state == Link::Partitioned {
            self.sites[site].wire.state = Link::Up;
            self.with_wire(site, Wire::start_over);
        }
    }

    fn deliver(&mut self, site: usize, count: usize) -> Checked {
        for _ in 0..count {
            let wire = &mut self.sites[site].wire;
            if wire.state == Link::Partitioned {
                return Ok(());
            }
            let Some(event) = wire.queue.pop_front() else { return Ok(()) };
            let said = in_words(&event);
            let whole = self.primary.hear(self.now, event, &self.ever)?;
            let changes = self.primary.changes();
            self.note(|| format!("{said} -> {changes} changes"));
            if let Some(source) = whole {
                self.sites[site].wire.activated(source.generation);
                self.primary.activate(self.now, source, &self.ever)?;
                let changes = self.primary.changes();
                self.note(|| format!("activated -> {changes} changes"));
            }
            self.end_moved();
        }
        Ok(())
    }

    /// Where a client is, as the primary knows it, and so what it is told.
    fn audience(&self, client: &Client) -> Option<Audience> {
        let cluster = cluster_id(client.home);
        let federation = &self.primary.federation;
        let network = federation.network_of(&cluster)?;
        let locality = federation.locality_of(&cluster, &node_name(client.node));
        let locality = locality.unwrap_or_else(diolkos_topology::Locality::unknown);
        let (kind, families) = (client.kind(), client.families);
        Some(Audience { kind, cluster, network, locality, families })
    }

    /// Ends every stream whose client is no longer where it was when granted.
    fn end_moved(&mut self) {
        for client in 0..self.clients.len() {
            let Some(stream) = &self.clients[client].stream else { continue };
            if self.audience(&self.clients[client]).as_ref() != Some(&stream.grant.whose) {
                self.cut(client);
            }
        }
    }

    fn cut(&mut self, client: usize) {
        if let Some(stream) = self.clients[client].stream.take() {
            self.primary.close(self.now, &stream.grant);
            let name = self.clients[client].name.clone();
            self.note(|| format!("{name} is cut"));
        }
    }

    fn connect(&mut self, client: usize) -> Checked<bool> {
        let one = &self.clients[client];
        if one.stream.is_some() || !self.primary.is_ready() {
            return Ok(false);
        }
        let Some(whose) = self.audience(one) else { return Ok(false) };
        let grant = self.primary.open(self.now, &whose, &one.namespace, &self.ever)?;
        self.clients[client].connect(grant);
        Ok(true)
    }

    fn pump(&mut self, client: usize, count: usize, how: u8) -> Checked {
        for turn in 0..count {
            if self.clients[client].slow {
                return Ok(());
            }
            self.connect(client)?;
            if how >> (turn % 8) & 1 == 0 {
                self.clients[client].serve(&self.primary)?;
            } else {
                self.clients[client].read(&self.ever)?;
            }
        }
        Ok(())
    }

    fn pump_to_rest(&mut self, client: usize) -> Checked {
        for _ in 0..PUMPS_MAX {
            if self.clients[client].slow {
                return Ok(());
            }
            let came = self.connect(client)?;
            let served = self.clients[client].serve(&self.primary)?;
            let read = self.clients[client].read(&self.ever)?;
            if !(came || served || read) {
                return Ok(());
            }
        }
        let why = format!("{} and the primary go on for ever", self.clients[client].name);
        Err(Violation::new(Invariant::ComesToRest, why))
    }

    /// All it knew is lost. What was on its way to it is, too.
    fn restart_primary(&mut self) {
        for client in &mut self.clients {
            client.stream = None;
        }
        let settings = settings(&self.sites);
        self.primary = Primary::new(&mesh(&self.shape), &settings, self.shape.sabotage);
        for Site { truth, wire } in &mut self.sites {
            wire.queue.clear();
            wire.start_over(&truth.facts());
        }
    }

    fn settle(&mut self) -> Checked {
        for site in 0..self.sites.len() {
            self.heal(site);
            self.deliver(site, usize::MAX)?;
            let cluster = cluster_id(site);
            self.primary.note(self.now, Event::ClusterFresh { cluster }, &self.ever)?;
        }
        for client in 0..self.clients.len() {
            self.clients[client].slow = false;
            self.clients[client].refuse_no_more();
            self.pump_to_rest(client)?;
            // What it refused is offered again on a new stream.
            if self.clients[client].has_refused() {
                self.cut(client);
                self.pump_to_rest(client)?;
            }
        }
        self.check_at_rest()?;
        self.calm = Some(self.uses());
        Ok(())
    }

    fn uses(&self) -> Vec<BTreeMap<String, Addresses>> {
        let addresses = |all: Rc<Assignment>| all.keys().copied().collect();
        let of = |client: &Client| {
            client.uses().into_iter().map(|(name, all)| (name, addresses(all))).collect()
        };
        self.clients.iter().map(of).collect()
    }

    fn check_calm(&self) -> Checked {
        let Some(calm) = &self.calm else { return Ok(()) };
        for ((client, was), is) in self.clients.iter().zip(calm).zip(&self.uses()) {
            holds(was == is, Invariant::CalmMeshIsStill, || {
                format!("{} used {was:#?}, and uses {is:#?}", client.name)
            })?;
        }
        Ok(())
    }

    fn check_at_rest(&mut self) -> Checked {
        let oracle = self.truth();
        for client in &self.clients {
            let audience = Audience {
                kind: client.kind(),
                cluster: cluster_id(client.home),
                network: self.sites[client.home].truth.network(),
                locality: self.sites[client.home].truth.locality(client.node),
                families: client.families,
            };
            let whose = client.stream.as_ref().map(|stream| &stream.grant.whose);
            holds(whose == Some(&audience), Invariant::EveryoneIsServed, || {
                format!("{} is served as {whose:?}, it is {audience}", client.name)
            })?;
            liveness::equals_truth(client, &oracle.view(&audience))?;
        }
        self.check_names()
    }

    /// The truth, told to the oracle without any network between.
    fn truth(&self) -> Oracle {
        let mut oracle = Oracle::default();
        oracle.apply(self.now, &Event::Mesh(mesh(&self.shape)));
        for site in &self.sites {
            oracle.apply(self.now, &Event::Cluster(site.truth.settings()));
            let source = Source { cluster: site.wire.cluster.clone(), generation: Generation(1) };
            for (seq, fact) in site.truth.facts().into_values().enumerate() {
                let (source, stamp) = (source.clone(), Stamp::new(1, seq as u64 + 1));
                oracle.apply(self.now, &Event::Upsert { source, stamp, fact });
            }
            oracle.apply(self.now, &Event::Activate { source });
        }
        oracle
    }
}

fn mesh(shape: &Shape) -> MeshSettings {
    MeshSettings {
        export: match shape.export {
            Export::All => ExportMode::All,
            Export::Listed => ExportMode::Listed,
        },
        stale_ms_max: shape.stale_ms_max,
        ..MeshSettings::default()
    }
}

fn settings(sites: &[Site]) -> Vec<ClusterSettings> {
    sites.iter().map(|site| site.truth.settings()).collect()
}

/// Each cluster has a sidecar, a gateway and a way out; the first two have a gRPC client, and the first has
/// one more sidecar of the same audience and one that speaks IPv6 too.
fn clients(shape: &Shape) -> Vec<Client> {
    let mut all = Vec::new();
    let mut add = |name: &str, home: usize, node: usize, families: IpFamilies, mind: Mind| {
        all.push(Client {
            name: format!("{name} of {}", cluster_id(home)),
            home,
            node,
            namespace: Namespace::new("shop").expect(NAMES_ARE_VALID),
            families,
            mind,
            stream: None,
            slow: false,
            networks: BTreeSet::new(),
        });
    };
    for home in 0..shape.clusters {
        add("sidecar", home, home, IpFamilies::V4, Mind::Envoy(Delta::default()));
        let gateway = Mind::Gateway(Delta::default(), RouteTable::new());
        add("gateway", home, 0, IpFamilies::Both, gateway);
        let egress = Mind::Egress(Delta::default(), RouteTable::new());
        add("egress", home, 0, IpFamilies::Both, egress);
        if home < 2 {
            add("grpc", home, 2, IpFamilies::V4, Mind::Grpc(Sotw::new()));
        }
    }
    add("second sidecar", 0, 0, IpFamilies::V4, Mind::Envoy(Delta::default()));
    add("dual-stack sidecar", 0, 1, IpFamilies::Both, Mind::Envoy(Delta::default()));
    all
}
