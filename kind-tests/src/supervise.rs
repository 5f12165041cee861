//! Owns a topology while it runs. Its end, however it comes, is the end of everything it owns.
//!
//! ```text
//!  up ──> unshare: new process and mount namespaces ──> init (process 1) ──> supervisor ──> programs
//! ```
//!
//! Process 1 of a process namespace takes all others with it, whatever kills it; the mounts and
//! network namespaces go with the last process that sees them. So nothing has to be remembered to be
//! cleaned up, and `down` is one kill of a process that is known by number and start.

mod balancer;
mod board;
mod bring_up;
mod children;
pub(crate) mod control;
mod counters;
mod etcd;
mod faults;
mod gateway;
mod ground;
mod install;
mod pods;
mod world;

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{SocketAddr, UnixListener as StdUnixListener};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use diolkos_kind_plan::{Places, Plan, Slot};
use diolkos_ops::Shutdown;
use tokio::net::UnixListener;

pub use board::Standing;
pub(crate) use children::tail;
pub use children::{ChildStatus, Life};
pub use control::{ClusterStatus, Fault, Status, Stopped};

use crate::part::Givers;
use crate::state::{LINK_FILE, Settings, State};
use board::Board;
use faults::Faults;
use world::World;

/// Runs a topology until told to end. To be called by [`crate::init`], in the namespaces it made.
///
/// # Errors
/// When the topology cannot be planned at all; what goes wrong later, `up` is told.
pub async fn supervise(state: State, givers: Givers, shutdown: Shutdown) -> anyhow::Result<()> {
    let source = state.source()?;
    let (slot, _claim) = claim_slot()?;
    let plan = Plan::new(source.topology, slot, places(&state, &state.settings()?)?);
    state.write(LINK_FILE, slot.host_link().as_bytes())?;
    state.write("plan.txt", plan.to_string().as_bytes())?;
    let board = Arc::new(Board::new());
    let world = Arc::new(World::new(plan, state, board.clone(), givers));
    let faults = Faults::new(world.clone());
    let socket = world.state.control();
    let listener = UnixListener::bind(&socket)
        .with_context(|| format!("cannot listen at {}", socket.display()))?;
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o600))?;
    tokio::spawn(control::serve(listener, world.clone(), faults));
    tokio::select! {
        came = bring_up::bring_up(&world) => match came {
            Ok(()) => {
                board.tell(None, "up");
                board.settle(Standing::Up);
            }
            Err(error) => {
                board.tell(None, format!("failed: {error:#}"));
                board.settle(Standing::Failed(format!("{error:#}")));
            }
        },
        () = shutdown.wait() => return Ok(()),
    }
    shutdown.wait().await;
    Ok(())
}

/// A name in the kernel that only one process can have, and that goes with it.
fn claim_slot() -> anyhow::Result<(Slot, StdUnixListener)> {
    for slot in Slot::all() {
        let name = format!("diolkos-topology-slot-{}", slot.number());
        let address = SocketAddr::from_abstract_name(name)?;
        if let Ok(claim) = StdUnixListener::bind_addr(&address) {
            // A link of one that is just being taken apart.
            let link = std::path::Path::new("/sys/class/net").join(slot.host_link());
            if !link.exists() {
                return Ok((slot, claim));
            }
        }
    }
    bail!("as many topologies are up as have addresses; take one down: diolkos topology down NAME")
}

fn places(state: &State, settings: &Settings) -> anyhow::Result<Places> {
    let text = |path: &std::path::Path| {
        path.to_str().map(str::to_owned).with_context(|| format!("{} is no text", path.display()))
    };
    Ok(Places {
        state: text(&state.folder)?,
        tools: text(&settings.tools)?,
        crds: settings.crds.as_deref().map(text).transpose()?,
        diolkos: text(&settings.diolkos)?,
        envoy: settings.envoy.as_deref().map(text).transpose()?,
        nft: text(&settings.nft)?,
    })
}
