//! The Envoy of this pod, as a child: started, started again when it dies, and ended.

use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Instant;

use diolkos_ops::Shutdown;
use rustix::process::{Signal, set_parent_process_death_signal};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::admin::Admin;
use crate::drain::drain;
use crate::health::Health;
use crate::limit::{END_MAX, RESTART_BASE, RESTART_CAP, STABLE};
use crate::metrics::Metrics;
use crate::settings::{SidecarError, SidecarSettings};

pub(crate) const BOOTSTRAP: &str = "bootstrap.json";

pub(crate) struct Supervisor {
    pub(crate) settings: Arc<SidecarSettings>,
    pub(crate) health: Arc<Health>,
    pub(crate) metrics: Arc<Metrics>,
}

impl Supervisor {
    /// Until shutdown and the drain after it.
    ///
    /// # Errors
    /// When there is no Envoy to start; one that starts and ends is started again.
    pub(crate) async fn run(&self, shutdown: &Shutdown) -> Result<(), SidecarError> {
        let mut failures = 0;
        loop {
            let mut child = self.start()?;
            let began = Instant::now();
            let status = tokio::select! {
                status = child.wait() => status,
                () = shutdown.wait() => {
                    self.end(child).await;
                    return Ok(());
                }
            };
            let lived = began.elapsed();
            failures = if lived >= STABLE { 0 } else { failures + 1 };
            let wait = RESTART_BASE.saturating_mul(2_u32.saturating_pow(failures)).min(RESTART_CAP);
            let how = status
                .map_or_else(|error| error.to_string(), |status: ExitStatus| status.to_string());
            tracing::error!(
                how,
                lived_s = lived.as_secs(),
                restart_ms = wait.as_millis(),
                "Envoy ended by itself"
            );
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = shutdown.wait() => return Ok(()),
            }
        }
    }

    fn start(&self) -> Result<Child, SidecarError> {
        let envoy = &self.settings.envoy;
        let mut command = Command::new(&envoy.program);
        command
            .current_dir(&envoy.dir)
            .args(["-c", BOOTSTRAP])
            // Another Envoy may live in the same network namespace.
            .arg("--disable-hot-restart")
            .args(["--log-level", &envoy.log_level])
            // A drain closes what is idle at once, and the rest has until the end of it.
            .args(["--drain-strategy", "immediate"])
            .args(["--drain-time-s", &self.settings.drain.as_secs().max(1).to_string()]);
        if envoy.concurrency > 0 {
            command.args(["--concurrency", &envoy.concurrency.to_string()]);
        }
        command.stdin(Stdio::null()).kill_on_drop(true);
        // Not of our process group: a terminal's interrupt is for us, and Envoy drains first.
        command.process_group(0);
        die_with_parent(&mut command);
        let child = command
            .spawn()
            .map_err(|cause| SidecarError::Envoy { program: envoy.program.clone(), cause })?;
        self.metrics.started();
        self.health.envoy_started();
        tracing::info!(program = %envoy.program.display(), pid = child.id(), "Envoy started");
        Ok(child)
    }

    async fn end(&self, mut child: Child) {
        let admin = Admin(self.settings.envoy.admin);
        drain(admin, self.settings.drain).await;
        if admin.post("/quitquitquit").await.is_ok() && timeout(END_MAX, child.wait()).await.is_ok()
        {
            return;
        }
        tracing::warn!("Envoy did not end when told to: killed");
        if let Err(error) = child.kill().await {
            tracing::warn!(%error, "Envoy cannot be killed");
        }
    }
}

/// Whatever becomes of us, no Envoy is left behind with a key.
#[allow(unsafe_code, reason = "only a child itself can ask for its parent's death signal")]
fn die_with_parent(command: &mut Command) {
    let ask = || Ok(set_parent_process_death_signal(Some(Signal::KILL))?);
    // SAFETY: between fork and exec only what is async-signal-safe may run; this is one prctl, and
    // an error is one number.
    unsafe {
        command.pre_exec(ask);
    }
}
