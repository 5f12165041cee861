//! Threads inside a network namespace: a socket belongs to the namespace of the thread that made it.

use std::os::fd::AsFd as _;
use std::thread;

use anyhow::Context as _;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::sync::oneshot;

/// Runs `work` on a new thread in one of the topology's namespaces; its end can be waited for.
///
/// # Errors
/// When there is no such namespace.
pub(crate) fn in_space<T: Send + 'static>(
    space: &str,
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> anyhow::Result<oneshot::Receiver<T>> {
    let path = format!("/run/netns/{space}");
    let file = std::fs::File::open(&path).with_context(|| format!("cannot open {path}"))?;
    let (entered, has_entered) = std::sync::mpsc::channel();
    let (done, is_done) = oneshot::channel();
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        let enter = move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network));
        let is_inside = enter.is_ok();
        // Whoever started this waits for the first, and may have gone before the second.
        let _ = entered.send(enter);
        if is_inside {
            let _ = done.send(work());
        }
    })?;
    has_entered.recv()?.with_context(|| format!("cannot enter {path}"))?;
    Ok(is_done)
}
