//! The demo's processes: real children, each with a log of its own, none left behind.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdin, Command};

use super::ground::{Ground, tail};

/// One running process. Dropping it ends it; so does the demo's own end, however it comes: the
/// process's standard input is a pipe from here, and its end is the leash's.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) name: String,
    child: Child,
    leash: Option<ChildStdin>,
    log: PathBuf,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Own,
    /// A program that knows no leash, held by `diolkos leash`.
    Held,
}

impl Process {
    /// A role of this same binary.
    pub(crate) fn own(ground: &Ground, name: &str, args: &[String]) -> anyhow::Result<Self> {
        let mut command = Command::new(own_binary()?);
        command.arg("--leash").args(["--log-format", "json"]).args(args);
        Self::start(ground, name, command, Kind::Own)
    }

    pub(crate) fn held(
        ground: &Ground,
        name: &str,
        program: &Path,
        dir: &Path,
        args: &[String],
    ) -> anyhow::Result<Self> {
        let mut command = Command::new(own_binary()?);
        command.current_dir(dir).arg("leash").arg("--").arg(program).args(args);
        Self::start(ground, name, command, Kind::Held)
    }

    fn start(
        ground: &Ground,
        name: &str,
        mut command: Command,
        kind: Kind,
    ) -> anyhow::Result<Self> {
        let path = ground.log(name);
        let log = File::options().create(true).append(true).open(&path);
        let log = log.with_context(|| format!("cannot write {}", path.display()))?;
        command.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log);
        // A holder must live long enough to end what it holds: its leash tells it.
        command.kill_on_drop(kind == Kind::Own);
        let mut child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let leash = child.stdin.take();
        Ok(Self { name: name.into(), child, leash, log: path, kind })
    }

    /// Ends it and waits for its end, so that nothing is left when the demo is over.
    pub(crate) async fn end(mut self) {
        self.leash = None;
        if tokio::time::timeout(ENDING, self.child.wait()).await.is_err() {
            // Nothing of the demo needs an orderly end.
            let _ = self.child.kill().await;
        }
    }

    /// As the kernel or a power cut would: without a goodbye.
    pub(crate) async fn kill(mut self) -> anyhow::Result<()> {
        match self.kind {
            Kind::Own => self.child.kill().await?,
            Kind::Held => {
                self.leash = None;
                self.child.wait().await?;
            }
        }
        Ok(())
    }

    /// Waits until something listens there, or the process ends, or time is up.
    pub(crate) async fn listening(&mut self, address: SocketAddr) -> anyhow::Result<()> {
        let deadline = Instant::now() + STARTUP;
        while TcpStream::connect(address).await.is_err() {
            self.alive()?;
            if Instant::now() > deadline {
                bail!(
                    "{} does not listen on {address} after {STARTUP:?}; its log ends:\n{}",
                    self.name,
                    tail(&self.log, 8)
                );
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    pub(crate) fn alive(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} ended with {status}; its log ends:\n{}", self.name, tail(&self.log, 8));
        }
        Ok(())
    }
}

pub(crate) fn own_binary() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("cannot find this program's own file")
}

const ENDING: Duration = Duration::from_secs(2);
const STARTUP: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);
