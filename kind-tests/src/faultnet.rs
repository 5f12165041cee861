//! A proxy that spoils connections: what there is no kernel module for.
//!
//! ```text
//!  caller ──> router: nft turns its first packet to a port here ──> Stream ──> where it wanted to go
//! ```
//!
//! It lives on one thread of its own inside the router's network namespace, for a socket belongs to
//! the namespace of the thread that made it. Taking a fault back leaves the connections it has, and
//! no longer spoils them.

mod spoiled;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use diolkos_kind_plan::{Proxy, ROUTER, Spoil};
use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};

use crate::space::in_space;

/// Started with the first proxy.
#[derive(Debug, Default)]
pub(crate) struct FaultNet {
    orders: Option<mpsc::UnboundedSender<Order>>,
}

#[derive(Debug)]
struct Order {
    proxies: Vec<Proxy>,
    done: oneshot::Sender<anyhow::Result<()>>,
}

impl FaultNet {
    /// Exactly these from now on.
    pub(crate) async fn listen(&mut self, proxies: &[Proxy]) -> anyhow::Result<()> {
        if proxies.is_empty() && self.orders.is_none() {
            return Ok(());
        }
        let orders = match &self.orders {
            Some(orders) => orders,
            None => self.orders.insert(start()?),
        };
        let (done, answer) = oneshot::channel();
        let order = Order { proxies: proxies.to_vec(), done };
        orders.send(order).map_err(|_| anyhow!("the fault proxies are gone"))?;
        answer.await.context("the fault proxies are gone")?
    }
}

fn start() -> anyhow::Result<mpsc::UnboundedSender<Order>> {
    let (orders, wanted) = mpsc::unbounded_channel();
    // It ends when nobody can order any more.
    let _end = in_space(ROUTER, "faultnet", move || serve(wanted))?;
    Ok(orders)
}

fn serve(mut wanted: mpsc::UnboundedReceiver<Order>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else { return };
    runtime.block_on(async move {
        let mut running: Vec<Running> = Vec::new();
        while let Some(Order { proxies, done }) = wanted.recv().await {
            let outcome = change(&mut running, proxies).await;
            // Whoever asked may be gone.
            let _ = done.send(outcome);
        }
    });
}

/// A proxy's port, and how it spoils.
struct Running {
    port: u16,
    spoil: watch::Sender<Spoil>,
    listening: Vec<tokio::task::JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.listening.iter().for_each(tokio::task::JoinHandle::abort);
        self.spoil.send_replace(Spoil::default());
    }
}

async fn change(running: &mut Vec<Running>, proxies: Vec<Proxy>) -> anyhow::Result<()> {
    let mut before = std::mem::take(running);
    for Proxy { port, spoil } in proxies {
        if let Some(at) = before.iter().position(|old| old.port == port) {
            let old = before.swap_remove(at);
            old.spoil.send_replace(spoil);
            running.push(old);
            continue;
        }
        let spoil = Arc::new(watch::Sender::new(spoil));
        let mut listening = Vec::new();
        for ip in [IpAddr::from(Ipv4Addr::UNSPECIFIED), IpAddr::from(Ipv6Addr::UNSPECIFIED)] {
            let address = SocketAddr::new(ip, port);
            let listener =
                listen_on(address).with_context(|| format!("cannot listen on {address}"))?;
            listening.push(tokio::spawn(accept(listener, spoil.subscribe())));
        }
        let spoil = Arc::into_inner(spoil).context("nobody else has it")?;
        running.push(Running { port, spoil, listening });
    }
    Ok(())
}

/// One family each, so that both can have the port.
fn listen_on(address: SocketAddr) -> std::io::Result<TcpListener> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with};
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    bind(&socket, &address)?;
    listen(&socket, 1024)?;
    TcpListener::from_std(std::net::TcpListener::from(socket))
}

async fn accept(listener: TcpListener, spoil: watch::Receiver<Spoil>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            continue;
        };
        tokio::spawn(spoiled::carry(stream, spoil.clone(), wanted_by));
    }
}

/// Where a connection would have gone.
fn wanted_by(stream: &TcpStream) -> std::io::Result<SocketAddr> {
    let found = if stream.local_addr()?.is_ipv4() {
        SocketAddr::V4(sockopt::ip_original_dst(stream)?)
    } else {
        SocketAddr::V6(sockopt::ipv6_original_dst(stream)?)
    };
    Ok(found)
}
