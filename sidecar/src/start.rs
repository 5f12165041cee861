//! Puts the parts together and takes them apart again.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use diolkos_ops::metrics::Registry;
use diolkos_ops::{AdminRoutes, Answer, Reach, Shutdown, Trigger, serve_admin};
use diolkos_trust_client::Keeper;

use crate::admin::Admin;
use crate::bootstrap;
use crate::envoy::{BOOTSTRAP, Supervisor};
use crate::health::Health;
use crate::metrics::Metrics;
use crate::probe;
use crate::sds;
use crate::settings::{SidecarError, SidecarSettings};

const SOCKET: &str = "sds.sock";

/// Runs until `shutdown` and the drain after it.
///
/// # Errors
/// When it cannot start: a port is taken, a folder cannot be written, there is no Envoy. A primary
/// that is away is waited for.
pub async fn run(settings: SidecarSettings, shutdown: Shutdown) -> Result<(), SidecarError> {
    let settings = Arc::new(settings);
    let mut registry = Registry::new();
    let metrics = Metrics::new(&mut registry);
    let keeper = Keeper::new(settings.certificate.clone(), &mut registry, "sidecar");
    let mut kept = keeper.kept();
    let health = Arc::new(Health::new(kept.clone(), Admin(settings.envoy.admin)));

    let socket = prepare(&settings.envoy.dir)?;
    let listener = sds::bind(&socket).map_err(|cause| unwritable(&socket, cause))?;
    // Its own end: probes are answered and secrets served until Envoy has ended.
    let (last, over) = Shutdown::new();
    serve_pages(&settings, &health, registry, &over).await?;
    let secrets = tokio::spawn(sds::serve(listener, kept.clone(), over));
    let renewals = tokio::spawn(keeper.run());

    let first = async { kept.wait_for(Option::is_some).await.is_ok() };
    let came = tokio::select! {
        came = first => came,
        () = shutdown.wait() => false,
    };
    let ended = if came {
        write_bootstrap(&settings, &socket)?;
        let followed = tokio::spawn(tell_of_the_end(shutdown.clone(), health.clone()));
        let supervisor = Supervisor { settings: settings.clone(), health, metrics };
        let ended = supervisor.run(&shutdown).await;
        followed.abort();
        ended
    } else {
        Ok(())
    };
    renewals.abort();
    finish(last, secrets).await;
    ended
}

async fn tell_of_the_end(shutdown: Shutdown, health: Arc<Health>) {
    shutdown.wait().await;
    health.drain();
}

async fn finish(last: Trigger, secrets: tokio::task::JoinHandle<()>) {
    last.fire();
    // A stream that Envoy left open does not hold up the end.
    let _ = tokio::time::timeout(crate::limit::END_MAX, secrets).await;
}

fn prepare(dir: &Path) -> Result<PathBuf, SidecarError> {
    std::fs::create_dir_all(dir).map_err(|cause| unwritable(dir, cause))?;
    let dir = dir.canonicalize().map_err(|cause| unwritable(dir, cause))?;
    Ok(dir.join(SOCKET))
}

fn write_bootstrap(settings: &SidecarSettings, socket: &Path) -> Result<(), SidecarError> {
    let path = settings.envoy.dir.join(BOOTSTRAP);
    let text = serde_json::to_vec_pretty(&bootstrap::of(settings, socket))
        .map_err(|error| unwritable(&path, io::Error::other(error)))?;
    std::fs::write(&path, text).map_err(|cause| unwritable(&path, cause))
}

fn unwritable(path: &Path, cause: io::Error) -> SidecarError {
    SidecarError::Dir { path: path.to_path_buf(), cause }
}

async fn serve_pages(
    settings: &Arc<SidecarSettings>,
    health: &Arc<Health>,
    registry: Registry,
    over: &Shutdown,
) -> Result<(), SidecarError> {
    let health = health.clone();
    let routes = AdminRoutes::health(registry.shared(), move || {
        let health = health.clone();
        async move { health.ready().await }
    });
    let address = settings.health;
    let listen = |what, address| move |cause| SidecarError::Listen { what, address, cause };
    serve_admin(address, routes, over.clone()).await.map_err(listen("health", address))?;

    let mut routes = AdminRoutes::new().reach(Reach::Network);
    for (path, probe) in settings.probes.0.clone() {
        let (probe, ip) = (Arc::new(probe), settings.pod_ip);
        routes = routes.asking(&path, move |_| {
            let probe = probe.clone();
            async move {
                match probe::ask(&probe, ip).await {
                    Ok(said) => Answer::text(said),
                    Err(why) => Answer::unavailable(why),
                }
            }
        });
    }
    let address = settings.probes_at;
    serve_admin(address, routes, over.clone()).await.map_err(listen("probes", address))?;
    Ok(())
}
