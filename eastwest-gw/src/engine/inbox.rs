//! What a lane is told from outside, and the bell that wakes it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::OwnedFd;
use rustix::io::{Errno, read, write};
use tokio::sync::mpsc;

use crate::shared::Door;

#[derive(Debug)]
pub(super) enum Command {
    Open(Arc<Listening>),
    /// The socket of this number, after all who wait in its queue.
    Close(u32),
    /// The drain time ends then.
    Drain(Instant),
    Stop,
}

/// A socket that every lane accepts from. The last of them closes it, and then says so.
#[derive(Debug)]
pub(super) struct Listening {
    pub(super) number: u32,
    pub(super) socket: OwnedFd,
    pub(super) door: Arc<Door>,
    /// Only dropped: whoever holds the other end sees that.
    pub(super) _open: mpsc::Sender<()>,
}

#[derive(Debug)]
pub(super) struct Inbox {
    commands: Mutex<Vec<Command>>,
    bell: OwnedFd,
}

impl Inbox {
    pub(super) fn new() -> Result<Self, Errno> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { commands: Mutex::default(), bell })
    }

    pub(super) fn bell(&self) -> &OwnedFd {
        &self.bell
    }

    pub(super) fn put(&self, command: Command) {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner).push(command);
        // Fails only where it rings already.
        let _ = write(&self.bell, &1u64.to_ne_bytes());
    }

    pub(super) fn take(&self) -> Vec<Command> {
        let mut rung = [0; 8];
        let _ = read(&self.bell, &mut rung);
        std::mem::take(&mut self.commands.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
