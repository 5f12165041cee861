//! The demo's processes by role, and how each is started.

use std::net::SocketAddr;
use std::path::PathBuf;

use diolkos_xds_client::NodeClaims;

use super::children::Process;
use super::ground::{Ground, gateway_name};
use super::plan::{
    ENVOY_ADMIN_PORT, GATEWAY_PORT, NAMESPACE, PODS, PROXY_PORT, Pod, SYSTEM, Side, TRUST_DOMAIN,
};
use crate::PRIMARY_NAME;
use crate::envoy::Envoy;

/// Everything that runs. Dropping it ends all of it.
#[derive(Debug)]
pub(crate) struct Cast {
    pub(crate) west_primary: Option<Process>,
    pub(crate) east_primary: Process,
    pub(crate) gateways: Vec<(SocketAddr, Option<Process>)>,
    pub(crate) west_catalog: Vec<Process>,
    others: Vec<Process>,
}

/// The Envoys to use in place of our own parts, if any.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stock {
    pub(crate) gateway: Option<PathBuf>,
    pub(crate) proxy: Option<PathBuf>,
}

impl Cast {
    pub(crate) async fn start(ground: &Ground, stock: &Stock) -> anyhow::Result<Self> {
        let mut west_primary = primary(ground, Side::West)?;
        let mut east_primary = primary(ground, Side::East)?;
        west_primary.listening(ground.plan.primary(Side::West)).await?;
        east_primary.listening(ground.plan.primary(Side::East)).await?;

        let (mut west_catalog, mut others) = (Vec::new(), Vec::new());
        for it in &PODS {
            let process = echo(ground, it)?;
            let local = it.side == Side::West && it.service == "catalog";
            if local { &mut west_catalog } else { &mut others }.push(process);
        }
        let mut gateways = Vec::new();
        for (number, address) in (1..).zip(ground.plan.gateways(Side::East)) {
            let process = gateway(ground, stock, Side::East, number, address)?;
            gateways.push((address, Some(process)));
        }
        for (number, address) in (1..).zip(ground.plan.gateways(Side::West)) {
            others.push(gateway(ground, stock, Side::West, number, address)?);
        }
        if let Some(envoy) = &stock.proxy {
            let mut sidecar = sidecar(ground, envoy)?;
            sidecar.listening(ground.plan.sidecar()).await?;
            others.push(sidecar);
        }
        let mut cast =
            Self { west_primary: Some(west_primary), east_primary, gateways, west_catalog, others };
        cast.all_listening(ground).await?;
        Ok(cast)
    }

    async fn all_listening(&mut self, ground: &Ground) -> anyhow::Result<()> {
        for (address, process) in &mut self.gateways {
            if let Some(process) = process {
                process.listening(*address).await?;
            }
        }
        for process in self.west_catalog.iter_mut().chain(&mut self.others) {
            if let Some(it) = PODS.iter().find(|it| it.name() == process.name) {
                process.listening(ground.plan.pod(it)).await?;
            }
        }
        Ok(())
    }

    pub(crate) async fn end(self) {
        let gateways = self.gateways.into_iter().filter_map(|(_, process)| process);
        let all = gateways.chain(self.others).chain(self.west_catalog).chain(self.west_primary);
        // All at once: each is given a moment.
        let ending: Vec<_> =
            all.chain([self.east_primary]).map(|process| tokio::spawn(process.end())).collect();
        for end in ending {
            let _ = end.await;
        }
    }

    /// A process that died by itself is a fault whatever else went well.
    pub(crate) fn alive(&mut self) -> anyhow::Result<()> {
        self.east_primary.alive()?;
        let gateways = self.gateways.iter_mut().filter_map(|(_, process)| process.as_mut());
        let all = gateways.chain(&mut self.others).chain(&mut self.west_catalog);
        for process in all.chain(&mut self.west_primary) {
            process.alive()?;
        }
        Ok(())
    }
}

pub(crate) fn primary(ground: &Ground, side: Side) -> anyhow::Result<Process> {
    let name = format!("primary-{}", side.name());
    let listen = ground.plan.primary(side);
    let args = [
        text("primary"),
        text("--mesh"),
        ground.mesh_file().display().to_string(),
        text("--cluster"),
        text(side.name()),
        text("--listen"),
        listen.to_string(),
        text("--identity"),
        ground.identity(&name).display().to_string(),
        text("--admin"),
        ground.plan.admin(listen.ip()).to_string(),
    ];
    Process::own(ground, &name, &args)
}

pub(crate) fn echo(ground: &Ground, it: &Pod) -> anyhow::Result<Process> {
    let args = [
        text("echo"),
        text("--listen"),
        ground.plan.pod(it).to_string(),
        text("--identity"),
        ground.identity(&it.name()).display().to_string(),
        text("--trust-domain"),
        text(TRUST_DOMAIN),
        text("--cluster"),
        text(it.side.name()),
        text("--pod"),
        it.name(),
        text("--allow-source"),
        ground.plan.range(it.side),
    ];
    Process::own(ground, &it.name(), &args)
}

fn gateway(
    ground: &Ground,
    stock: &Stock,
    side: Side,
    number: usize,
    address: SocketAddr,
) -> anyhow::Result<Process> {
    let name = gateway_name(side, number);
    let pod = format!("eastwest-{number}");
    if let Some(envoy) = &stock.gateway {
        let mut node = claims(side, "router", address.ip(), &pod, SYSTEM, "eastwest");
        node.extra.insert("BIND_TO_INSTANCE_IP".into(), "true".into());
        node.extra.insert("GATEWAY_PORT".into(), GATEWAY_PORT.to_string());
        return stock_envoy(ground, envoy, &name, &node, side);
    }
    let args = [
        text("gateway"),
        text("--primary"),
        ground.plan.primary(side).to_string(),
        text("--identity"),
        ground.identity(&name).display().to_string(),
        text("--cluster"),
        text(side.name()),
        text("--pod"),
        pod,
        text("--ip"),
        address.ip().to_string(),
        text("--source"),
        address.ip().to_string(),
        text("--admin"),
        ground.plan.admin(address.ip()).to_string(),
    ];
    Process::own(ground, &name, &args)
}

fn sidecar(ground: &Ground, envoy: &std::path::Path) -> anyhow::Result<Process> {
    let ip = ground.plan.client();
    let mut node = claims(Side::West, "sidecar", ip, "client", NAMESPACE, "client");
    node.extra.insert("HTTP_PROXY_PORT".into(), PROXY_PORT.to_string());
    stock_envoy(ground, envoy, "client", &node, Side::West)
}

fn stock_envoy(
    ground: &Ground,
    envoy: &std::path::Path,
    name: &str,
    node: &NodeClaims,
    side: Side,
) -> anyhow::Result<Process> {
    let dir = ground.dir.join("envoy").join(name);
    let args = Envoy {
        dir: &dir,
        node,
        identity: &ground.identity(name),
        primary: ground.plan.primary(side),
        primary_name: PRIMARY_NAME,
        source: Some(node.ip),
        admin: SocketAddr::new(node.ip, ENVOY_ADMIN_PORT),
    }
    .prepare()?;
    Process::held(ground, name, envoy, &dir, &args)
}

fn claims(
    side: Side,
    kind: &str,
    ip: std::net::IpAddr,
    pod: &str,
    namespace: &str,
    account: &str,
) -> NodeClaims {
    NodeClaims {
        kind: kind.into(),
        ip,
        pod: pod.into(),
        namespace: namespace.into(),
        domain: "cluster.local".into(),
        cluster: side.name().into(),
        network: None,
        service_account: Some(account.into()),
        labels: Default::default(),
        extra: Default::default(),
    }
}

fn text(text: &str) -> String {
    text.to_owned()
}
