//! Network namespaces of a test's own, which are gone when it is, also when it fails.
#![allow(clippy::unwrap_used, dead_code, reason = "each test file uses its part of it")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

static MADE: AtomicU32 = AtomicU32::new(0);

/// What the test needs, or why it cannot run.
pub(crate) fn needs() -> Option<(PathBuf, PathBuf)> {
    let tool = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let (Some(envoy), Some(nft)) = (tool("DIOLKOS_TEST_ENVOY"), tool("DIOLKOS_TEST_NFT")) else {
        eprintln!(
            "skipped: DIOLKOS_TEST_ENVOY and DIOLKOS_TEST_NFT name no Envoy and no nft; \
             `cargo xtask test envoy` brings both"
        );
        return None;
    };
    if let Err(cause) = ip(&["netns", "list"]).and_then(|_| Netns::try_new().map(drop)) {
        eprintln!("skipped: network namespaces cannot be made here ({cause}); run it as root");
        return None;
    }
    Some((envoy, nft))
}

fn ip(args: &[&str]) -> Result<String, String> {
    let output = Command::new("ip").args(args).output().map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(format!("ip {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr))),
    }
}

/// A namespace that goes when dropped, and with it its links.
pub(crate) struct Netns {
    pub(crate) name: String,
}

impl Netns {
    pub(crate) fn new() -> Self {
        let made = Self::try_new().unwrap();
        made.ip("link set lo up");
        made
    }

    pub(crate) fn try_new() -> Result<Self, String> {
        let number = MADE.fetch_add(1, Ordering::SeqCst);
        let name = format!("dk{}x{number}", std::process::id());
        ip(&["netns", "add", &name])?;
        Ok(Self { name })
    }

    /// Ends whatever runs in it, as a machine that loses power does.
    pub(crate) fn kill_all(&self) {
        for pid in ip(&["netns", "pids", &self.name]).unwrap().lines() {
            let _ = Command::new("kill").args(["-9", pid.trim()]).status();
        }
    }

    pub(crate) fn ip(&self, args: &str) {
        let args: Vec<&str> = ["-n", &self.name].into_iter().chain(args.split(' ')).collect();
        ip(&args).unwrap();
    }

    /// A program in it.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = ip(&["netns", "del", &self.name]);
    }
}
