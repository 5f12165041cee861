//! Takes a topology down: also one whose supervisor crashed, or that never came up.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::Signal;

use crate::kind::{down_kind, is_kind};
use crate::limit::{GONE_WITHIN, LOOK_EVERY};
use crate::state::{LINK_FILE, State};

/// Nothing is left of it: the kernel takes what the killed process owned, and this its folder.
///
/// # Errors
/// When something does not go.
pub fn down(state: &State) -> anyhow::Result<()> {
    if is_kind(state) {
        down_kind(state)?;
    }
    let link = Link::of(state);
    let supervisor = state.path("supervisor.json");
    // Without that file nothing was started: `up` writes it before it gives the word.
    if supervisor.exists() {
        let supervisor = state.supervisor()?;
        // The first process, not the one that waits for it: that one ends when all is over.
        supervisor.first.signal(Signal::KILL);
        for id in [supervisor.first, supervisor.starter] {
            if !id.ends_within(GONE_WITHIN) {
                bail!("process {} did not end within {GONE_WITHIN:?}", id.pid);
            }
        }
    }
    if let Some(link) = link {
        link.goes_within(GONE_WITHIN)?;
    }
    let folder = state.folder.display();
    std::fs::remove_dir_all(&state.folder).with_context(|| format!("cannot remove {folder}"))
}

/// The kernel takes network namespaces apart in its own time; the link in this machine's network is
/// what one can see of it.
struct Link {
    path: PathBuf,
    /// The next topology may have one of the same name.
    index: String,
}

impl Link {
    fn of(state: &State) -> Option<Self> {
        let name = std::fs::read_to_string(state.path(LINK_FILE)).ok()?;
        let path = Path::new("/sys/class/net").join(name.trim());
        let index = std::fs::read_to_string(path.join("ifindex")).ok()?;
        Some(Self { path, index })
    }

    fn goes_within(&self, within: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + within;
        while std::fs::read_to_string(self.path.join("ifindex")).is_ok_and(|is| is == self.index) {
            if Instant::now() > deadline {
                bail!("{} is still there after {within:?}", self.path.display());
            }
            std::thread::sleep(LOOK_EVERY / 10);
        }
        Ok(())
    }
}
