//! Pipes to splice through: large, few, and lent only to directions that carry much.

use std::time::{Duration, Instant};

use rustix::fd::OwnedFd;
use rustix::pipe::{PipeFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with};

/// A third less work for each byte than with the system's 64 KiB.
const WANTED_BYTES: usize = 1024 * 1024;

/// Less than this is not worth the two calls; a user beyond `fs.pipe-user-pages-soft` gets less.
const ENOUGH_BYTES: usize = 64 * 1024;

/// Lent at one time by one lane.
const LENT_MAX: usize = 32;

/// Kept for the next.
const SPARE_MAX: usize = 8;

/// After the system refused one.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Pipe {
    pub(super) read: OwnedFd,
    pub(super) write: OwnedFd,
    pub(super) capacity: usize,
    /// Bytes in it now.
    pub(super) held: usize,
}

#[derive(Debug)]
pub(super) struct Pipes {
    spare: Vec<Pipe>,
    lent: usize,
    /// Until when none is asked for.
    paused: Option<Instant>,
    allowed: bool,
}

impl Pipes {
    pub(super) fn new(allowed: bool) -> Self {
        Self { spare: Vec::new(), lent: 0, paused: None, allowed }
    }

    /// `None`: go on copying.
    pub(super) fn borrow(&mut self, now: Instant) -> Option<Pipe> {
        if !self.allowed || self.lent >= LENT_MAX || self.paused.is_some_and(|until| now < until) {
            return None;
        }
        let pipe = self.spare.pop().or_else(make);
        match &pipe {
            Some(_) => self.lent += 1,
            None => self.paused = Some(now + PAUSE),
        }
        pipe
    }

    /// A pipe that still carries something is no longer good for anything.
    pub(super) fn give_back(&mut self, pipe: Pipe) {
        self.lent -= 1;
        if pipe.held == 0 && self.spare.len() < SPARE_MAX && self.allowed {
            self.spare.push(pipe);
        }
    }

    /// This system does not splice.
    pub(super) fn forbid(&mut self) {
        self.allowed = false;
        self.spare.clear();
    }
}

fn make() -> Option<Pipe> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
    // Refused beyond the user's share; then it is as large as it is.
    let _ = fcntl_setpipe_size(&write, WANTED_BYTES);
    let capacity = fcntl_getpipe_size(&write).ok()?;
    (capacity >= ENOUGH_BYTES).then_some(Pipe { read, write, capacity, held: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_the_limit_are_lent_and_not_one_more() {
        let (mut pipes, now) = (Pipes::new(true), Instant::now());
        let mut lent: Vec<Pipe> = (0..LENT_MAX).map(|_| pipes.borrow(now).unwrap()).collect();
        assert!(pipes.borrow(now).is_none());
        pipes.give_back(lent.pop().unwrap());
        assert!(pipes.borrow(now).is_some());
    }

    #[test]
    fn a_pipe_that_carries_something_is_not_lent_again() {
        let (mut pipes, now) = (Pipes::new(true), Instant::now());
        let mut pipe = pipes.borrow(now).unwrap();
        pipe.held = 1;
        pipes.give_back(pipe);
        assert!(pipes.spare.is_empty());
        let clean = pipes.borrow(now).unwrap();
        pipes.give_back(clean);
        assert_eq!(pipes.spare.len(), 1);
        assert_eq!(pipes.lent, 0);
    }

    #[test]
    fn none_is_lent_where_the_system_does_not_splice() {
        let (mut pipes, now) = (Pipes::new(true), Instant::now());
        pipes.forbid();
        assert!(pipes.borrow(now).is_none());
    }
}
