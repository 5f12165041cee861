//! `bench xds`: a primary in its own process, and one change to every delta stream.
//!
//! ```text
//!  load process, one core                          primary, another core
//!  edits a manifest (t0) ────────────────────────> watcher ── event ── views ── resources
//!  N light clients, mTLS <──────────────────────── N delta streams
//!  + one full client that checks what is served
//! ```

mod drive;
mod ground;
mod probe;
mod server;
mod table;

use anyhow::{Context, ensure};
use diolkos_tls::{Expect, Identity, Roots};
use diolkos_trust::TrustDomain;
use diolkos_xds::ResourceType;
use serde_json::json;

use self::drive::{Case, Driver, Figures};
use self::ground::{Ground, SERVER_NAME, Subject};
use self::server::Server;
use crate::ads::{Ask, Fleet, Way};
use crate::clock;
use crate::machine::Machine;
use crate::mesh::TRUST_DOMAIN;
use crate::netns;
use crate::report::Report;

pub(crate) use server::{ServeSettings, serve};

#[derive(Debug, clap::Args)]
pub(crate) struct Settings {
    /// How many streams; each figure is a stage of its own, smallest first
    #[arg(long, value_delimiter = ',', default_value = "1,100,1000")]
    streams: Vec<usize>,
    /// How many changes of each kind
    #[arg(long, default_value_t = 20)]
    changes: usize,
    /// Clusters, each with 10 endpoints of the wide service
    #[arg(long, default_value_t = 100)]
    clusters: usize,
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// The load's, and the primary's where there are two.
const LOAD_CORE: usize = 0;
const STREAMS_TO_WEIGH: usize = 50;

pub(crate) fn run(settings: &Settings) -> anyhow::Result<Report> {
    let &Settings { changes, clusters, seed, .. } = settings;
    let mut streams = settings.streams.clone();
    streams.push(1);
    streams.sort_unstable();
    streams.dedup();
    ensure!(streams[0] > 0 && changes > 0, "at least one stream and one change");
    let machine = Machine::here();
    let congestion = netns::enter_if_root();
    let server_core = std::thread::available_parallelism().map_or(0, |cores| cores.get() - 1);
    let mut ground = Ground::lay(clusters, seed)?;
    clock::pin(LOAD_CORE);
    let server = Server::start(&ground, server_core)?;
    let rejections = server.rejections()?;
    ensure!(rejections.is_empty(), "the primary refused manifests: {}", rejections.join("; "));
    let served = probe::run(&ground, &server)?;

    let roots_dir = ground.identity("client");
    let identity = Identity::load(&roots_dir)?;
    let roots = Roots::load(&roots_dir, &TrustDomain::new(TRUST_DOMAIN)?)?;
    let expect = Expect::Dns(SERVER_NAME.into());
    let tls = diolkos_tls::client_config(&identity, &roots, expect, &["h2"]);
    let way = Way::Tls(tls, diolkos_tls::server_name(SERVER_NAME)?);
    let mut fleet = Fleet::new()?;
    let mut figures: Vec<Figures> = Vec::new();
    let mut stages = Vec::new();
    for count in streams {
        let resident = server.resident_bytes();
        let joining = count - fleet.len();
        for index in fleet.len()..count {
            let ask = ask(&ground, index);
            fleet.join(server.address, &way, &ask).with_context(|| format!("client {index}"))?;
        }
        let mut driver = Driver::new(&mut fleet, &server, &mut ground);
        driver.settle(joining)?;
        // A page or two says nothing about a handful.
        if joining >= STREAMS_TO_WEIGH {
            stages.push((count, (server.resident_bytes() - resident) / joining as f64));
        }
        for case in Case::ALL {
            figures.push(driver.run(case, changes)?);
        }
    }
    let goals = table::goals(&figures);
    Ok(Report {
        bench: "xds",
        machine,
        settings: json!({
            "clusters": clusters, "changes": changes, "seed": seed,
            "congestion_control": congestion,
            "cores": { "load": LOAD_CORE, "primary": server_core },
        }),
        tables: table::tables(&figures, &served, &stages),
        goals,
        notes: table::notes(),
    })
}

fn ask(ground: &Ground, index: usize) -> Ask {
    let names = |kind: ResourceType| {
        let names = Subject::ALL.map(|subject| resource_name(ground, subject));
        (kind.url(), names.to_vec())
    };
    Ask {
        node: probe::claims(ground, index).node(),
        names: vec![names(ResourceType::Cluster), names(ResourceType::Endpoint)],
        follows: false,
    }
}

/// Of its cluster and of its endpoints.
fn resource_name(ground: &Ground, subject: Subject) -> String {
    format!("outbound|80||{}", ground.service(subject).host("cluster.local"))
}
