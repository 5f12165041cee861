//! Processes that end with the bench, however it ends.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, bail, ensure};

/// Seconds are counted in these by the kernel, on every machine that Linux runs on today.
const TICKS_PER_SECOND: f64 = 100.0;
const LOG_LINES: usize = 12;

/// As the manifest starts a gateway. The peers do not know it.
pub(crate) const AS_IN_A_POD: [(&str, &str); 1] = [("MIMALLOC_ALLOW_THP", "0")];

/// The folder of built programs, and the one that this program is in.
#[derive(Clone, Debug)]
pub(crate) struct Tools {
    pub(crate) folder: PathBuf,
}

impl Tools {
    /// # Errors
    /// Whatever is missing, all at once, with the way to have it.
    pub(crate) fn find(folder: &Path) -> anyhow::Result<Self> {
        let tools = Self { folder: std::path::absolute(folder)? };
        let mut missing = String::new();
        for (name, way) in [
            ("etcd", "cargo xtask tools etcd"),
            ("kube-apiserver", "cargo xtask tools kubernetes"),
            ("pilot-discovery", "cargo xtask tools istio"),
        ] {
            if !tools.folder.join(name).is_file() {
                let _ = write!(missing, "\n- {name} is not in {}: `{way}`", folder.display());
            }
        }
        if !diolkos()?.is_file() {
            let way = "cargo build --release --package diolkos";
            let _ = write!(missing, "\n- diolkos is not beside this program: `{way}`");
        }
        ensure!(missing.is_empty(), "a comparison with istiod needs more:{missing}");
        Ok(tools)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// Built in the same profile as this program.
pub(crate) fn diolkos() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe()?;
    Ok(own.parent().context("a program is in a folder")?.join("diolkos"))
}

#[derive(Debug)]
pub(crate) struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Only from the main thread: the kernel ends it with the thread that started it.
    pub(crate) fn start(
        name: &'static str,
        program: &Path,
        arguments: &[String],
        environment: &[(&str, &str)],
        folder: &Path,
    ) -> anyhow::Result<Self> {
        Self::start_on(None, name, program, arguments, environment, folder)
    }

    /// On one core, if one is named.
    pub(crate) fn start_on(
        core: Option<usize>,
        name: &'static str,
        program: &Path,
        arguments: &[String],
        environment: &[(&str, &str)],
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let output =
            File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .args(
                core.map(|core| ["taskset".into(), "-c".into(), core.to_string()]).iter().flatten(),
            )
            .arg(program)
            .args(arguments)
            .envs(environment.iter().copied())
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .context("cannot start setpriv (Debian's util-linux)")?;
        Ok(Self { name, child, log })
    }

    /// # Errors
    /// That it ended, and what it said last.
    pub(crate) fn expect_alive(&mut self) -> anyhow::Result<()> {
        let Some(status) = self.child.try_wait()? else { return Ok(()) };
        bail!("{} ended with {status}: {}", self.name, self.last_words())
    }

    pub(crate) fn last_words(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let last = &lines[lines.len().saturating_sub(LOG_LINES)..];
        last.iter().map(|line| format!("\n  {}", diolkos_ops::printable(line))).collect()
    }

    pub(crate) fn cpu_seconds(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        cpu_ticks(&stat.unwrap_or_default()).map_or(f64::NAN, |ticks| ticks / TICKS_PER_SECOND)
    }

    /// Nanoseconds on a core, of all its threads, by the scheduler's own count.
    pub(crate) fn scheduled_ns(&self) -> u64 {
        let threads = fs::read_dir(format!("/proc/{}/task", self.child.id()));
        let ran = |thread: fs::DirEntry| {
            let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<u64>().ok()
        };
        threads.into_iter().flatten().flatten().filter_map(ran).sum()
    }

    /// What is its own, and its part of what it shares.
    pub(crate) fn proportional_bytes(&self) -> f64 {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.child.id()));
        let text = text.unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
        let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
        kib.unwrap_or(f64::NAN) * 1024.0
    }

    pub(crate) fn resident_bytes(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
        kib.unwrap_or(f64::NAN) * 1024.0
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nothing of it is worth an orderly end.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// User and system time. The name in parentheses may hold anything.
fn cpu_ticks(stat: &str) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<f64>().ok();
    Some(next()? + next()?)
}

/// A port that nobody had a moment ago.
pub(crate) fn free(ip: impl Into<IpAddr>) -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((ip.into(), 0))?.local_addr()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_behind_any_name() {
        let stat = "7 (a) b) (c) S 3 7 7 0 -1 4194560 1 2 3 4 250 60 7 8 20 0 1 0 12345 9 9";
        assert_eq!(cpu_ticks(stat), Some(310.0));
        assert_eq!(cpu_ticks("nonsense"), None);
    }

    #[test]
    fn all_that_is_missing_is_told_at_once_with_the_way_to_have_it() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("etcd"), "").unwrap();
        let error = Tools::find(folder.path()).unwrap_err().to_string();
        assert!(error.contains("pilot-discovery is not in"), "{error}");
        assert!(error.contains("`cargo xtask tools istio`"), "{error}");
        assert!(error.contains("kube-apiserver") && !error.contains("- etcd"), "{error}");
    }

    #[test]
    fn one_that_ended_says_its_last_words() {
        let folder = tempfile::tempdir().unwrap();
        let arguments = ["-c", "echo no port; exit 3"].map(String::from);
        let shell = Path::new("/bin/sh");
        let mut process = Process::start("shell", shell, &arguments, &[], folder.path()).unwrap();
        process.child.wait().unwrap();
        let error = process.expect_alive().unwrap_err().to_string();
        assert_eq!(error, "shell ended with exit status: 3: \n  no port");
    }
}
