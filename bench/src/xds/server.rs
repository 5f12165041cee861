//! The primary under test: a process of its own, pinned to a core, watched from outside.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use diolkos_ops::{LogFormat, Shutdown};
use diolkos_primary::{Primary, PrimarySettings};

use super::ground::Ground;
use crate::clock;
use crate::mesh::cluster_name;

const START_MAX: Duration = Duration::from_secs(60);

#[derive(Debug, clap::Args)]
pub(crate) struct ServeSettings {
    #[arg(long)]
    mesh: PathBuf,
    #[arg(long)]
    identity: PathBuf,
    #[arg(long)]
    core: usize,
}

/// Runs until standard input ends, so that no primary outlives its bench.
pub(crate) fn serve(settings: ServeSettings) -> anyhow::Result<()> {
    clock::pin(settings.core);
    diolkos_ops::init_logs(LogFormat::Text, "error")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let (trigger, shutdown) = Shutdown::new();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let ServeSettings { mesh, identity, .. } = settings;
        let mut primary = PrimarySettings::new(mesh, cluster_name(0), any, identity);
        primary.admin = Some(any);
        let primary = Primary::start(primary, shutdown).await?;
        let admin = primary.admin().context("an admin page was asked for")?;
        println!("{} {admin}", primary.address());
        let input = || std::io::stdin().read_to_end(&mut Vec::new());
        tokio::task::spawn_blocking(input).await??;
        trigger.fire();
        primary.ended().await;
        Ok(())
    })
}

#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    /// The child ends when this is dropped.
    _input: ChildStdin,
    pub(super) address: SocketAddr,
    admin: SocketAddr,
}

/// CPU seconds of the process since its start.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cpu {
    /// The thread that watches and reads manifests.
    pub(super) source: f64,
    pub(super) serving: f64,
    /// Seconds in which its threads could have run, but others had the core.
    pub(super) waited: f64,
}

/// The primary's own histogram of what it took from an event to a client's frame.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Convergence {
    pub(super) seconds: f64,
    pub(super) count: f64,
}

impl Server {
    pub(super) fn start(ground: &Ground, core: usize) -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["serve", "--core", &core.to_string()])
            .arg("--mesh")
            .arg(ground.mesh_file())
            .arg("--identity")
            .arg(ground.identity("primary"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the primary")?;
        let input = child.stdin.take().context("standard input is piped")?;
        let output = child.stdout.take().context("standard output is piped")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let parsed = line
            .trim()
            .split_once(' ')
            .and_then(|(address, admin)| Some((address.parse().ok()?, admin.parse().ok()?)));
        let Some((address, admin)) = parsed else {
            bail!("the primary did not start: {line:?}");
        };
        let server = Self { child, _input: input, address, admin };
        server.wait_until_ready()?;
        Ok(server)
    }

    fn wait_until_ready(&self) -> anyhow::Result<()> {
        let begin = Instant::now();
        loop {
            let answer = self.get("/ready")?;
            if answer.starts_with("HTTP/1.1 200") {
                return Ok(());
            }
            if begin.elapsed() > START_MAX {
                bail!("the primary is not ready after {START_MAX:?}: {answer}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Head and body.
    pub(super) fn get(&self, path: &str) -> anyhow::Result<String> {
        let mut stream = TcpStream::connect(self.admin)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let admin = self.admin;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    /// One problem a line; none if all manifests were taken as meant.
    pub(super) fn rejections(&self) -> anyhow::Result<Vec<String>> {
        let answer = self.get("/debug/diolkos.json")?;
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let page: serde_json::Value = serde_json::from_str(body).context("/debug/diolkos.json")?;
        let listed = page["rejections"].as_array().map_or(&[][..], Vec::as_slice);
        let refused = listed.iter().filter(|one| one["severity"] != "warning");
        Ok(refused.map(|one| one["text"].to_string()).collect())
    }

    pub(super) fn convergence(&self) -> anyhow::Result<Convergence> {
        let text = self.get("/metrics")?;
        let value = |name: &str| {
            let mut lines = text.lines().filter(|line| line.contains(name));
            lines.find_map(|line| line.rsplit_once(' ')?.1.trim().parse().ok())
        };
        Ok(Convergence {
            seconds: value("convergence_seconds_sum ").unwrap_or(f64::NAN),
            count: value("convergence_seconds_count ").unwrap_or(f64::NAN),
        })
    }

    pub(super) fn cpu(&self) -> anyhow::Result<Cpu> {
        let mut cpu = Cpu::default();
        for thread in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let thread = thread?.path();
            let (seconds, waited) = scheduled_seconds(&thread);
            cpu.waited += waited;
            match fs::read_to_string(thread.join("comm")).unwrap_or_default().trim() {
                "files-source" => cpu.source += seconds,
                name if name.starts_with("notify") => cpu.source += seconds,
                _ => cpu.serving += seconds,
            }
        }
        Ok(cpu)
    }

    pub(super) fn resident_bytes(&self) -> f64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let text = text.unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
        kib.unwrap_or(f64::NAN) * 1024.0
    }
}

/// On a core, and waiting for one.
fn scheduled_seconds(thread: &Path) -> (f64, f64) {
    let text = fs::read_to_string(thread.join("schedstat")).unwrap_or_default();
    let mut numbers = text.split(' ').map(|ns| ns.parse::<f64>().unwrap_or_default() / 1e9);
    (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default())
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing of it is worth an orderly end.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
