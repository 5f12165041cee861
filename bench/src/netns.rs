//! A network namespace of the bench's own: nobody else's packets, and reno for all.

use std::fs;
use std::process::Command;

use anyhow::{Context, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::UnshareFlags;

const SETTINGS: [(&str, &str); 4] = [
    // BBR paces with timers, which on loopback costs more than all else.
    ("ipv4/tcp_congestion_control", "reno"),
    ("ipv4/ip_local_port_range", "1024 65535"),
    ("core/somaxconn", "65535"),
    ("ipv4/tcp_max_syn_backlog", "65535"),
];

/// To be called before any other thread is started.
///
/// # Errors
/// Without root, as a namespace takes root.
pub(crate) fn enter() -> anyhow::Result<()> {
    #[allow(unsafe_code, reason = "file descriptors are not unshared")]
    // SAFETY: only the network is unshared, which no file descriptor hangs on.
    let entered = unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) };
    entered.context("a network namespace of its own takes root: run the bench as root")?;
    let up = Command::new("ip").args(["link", "set", "lo", "up"]).status();
    ensure!(up.context("cannot run ip (iproute2)")?.success(), "ip link set lo up failed");
    for (name, value) in SETTINGS {
        let path = format!("/proc/sys/net/{name}");
        fs::write(&path, value).with_context(|| format!("cannot write {value} to {path}"))?;
    }
    raise_file_limit()
}

/// Where there is no root, the machine's own namespace and congestion control; which one, either way.
pub(crate) fn enter_if_root() -> String {
    if let Err(why) = enter() {
        eprintln!("measuring in the machine's own network namespace: {why:#}");
    }
    let known = fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control");
    known.map_or_else(|_| "unknown".into(), |name| name.trim().to_owned())
}

fn raise_file_limit() -> anyhow::Result<()> {
    let most = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most })?;
    Ok(())
}
