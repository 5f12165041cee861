//! Two sockets, joined: both directions, until both are done, one side breaks off, or time is up.
//!
//! A side that says it is done closes its direction and leaves the other open; that both directions
//! ended is the only regular end. A side that breaks off breaks off the other: a reset must not
//! arrive as an orderly end.

use std::time::{Duration, Instant};

use diolkos_ops::metrics::Gauge;
use rustix::net::{Shutdown, shutdown};

use super::dial::keep_alive;
use super::side::Side;
use super::tools::Tools;
use super::way::{Fault, Turn, Way};
use crate::{End, Limits};

/// What a connection gets only once it is this old: most are over by then.
const SETTLES: Duration = Duration::from_secs(1);

/// A pipe is taken from a direction that carried nothing for so long.
const PIPE_RESTS: Duration = Duration::from_secs(1);

/// How long a peer has to answer our FIN before its connection is dropped.
const LINGER: Duration = Duration::from_secs(1);

/// Reads of a peer that goes on after our FIN, before others have their turn.
const CLOSING_READS_MAX: usize = 16;

#[derive(Debug)]
pub(super) struct Relay {
    to_target: Way,
    to_client: Way,
    spoke: Instant,
    /// `None`: it has.
    settles: Option<Instant>,
    drained: Option<Instant>,
    gauge: Gauge,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Relayed {
    Waiting,
    More,
    Ended(End),
}

impl Relay {
    pub(super) fn new(
        to_target: Way,
        to_client: Way,
        drained: Option<Instant>,
        gauge: Gauge,
        now: Instant,
    ) -> Self {
        gauge.inc();
        Self { to_target, to_client, spoke: now, settles: Some(now + SETTLES), drained, gauge }
    }

    pub(super) fn turn(
        &mut self,
        client: &mut Side,
        target: &mut Side,
        tools: &mut Tools,
    ) -> Relayed {
        let before = self.passed();
        let both = self.both(client, target, tools);
        if self.passed() != before {
            self.spoke = tools.now;
        }
        match both {
            Err(end) => Relayed::Ended(end),
            Ok(_) if self.to_target.has_ended() && self.to_client.has_ended() => {
                Relayed::Ended(End::Finished)
            }
            // It has said all it had to say: no read will tell.
            Ok(_) if client.broke && self.to_target.has_ended() => Relayed::Ended(End::ClientFault),
            Ok(_) if target.broke && self.to_client.has_ended() => Relayed::Ended(End::TargetFault),
            Ok((Turn::More, _) | (_, Turn::More)) => Relayed::More,
            Ok(_) => Relayed::Waiting,
        }
    }

    fn both(
        &mut self,
        client: &mut Side,
        target: &mut Side,
        tools: &mut Tools,
    ) -> Result<(Turn, Turn), End> {
        let first = pass(&mut self.to_target, client, target, &self.to_client, tools);
        let first = first.map_err(|fault| match fault {
            Fault::From => End::ClientFault,
            Fault::To => End::TargetFault,
        })?;
        let second = pass(&mut self.to_client, target, client, &self.to_target, tools);
        let second = second.map_err(|fault| match fault {
            Fault::From => End::TargetFault,
            Fault::To => End::ClientFault,
        })?;
        Ok((first, second))
    }

    /// When there is something to do though nobody speaks.
    pub(super) fn deadline(&self, limits: &Limits) -> Instant {
        let has_idle_pipe = self.to_target.has_idle_pipe() || self.to_client.has_idle_pipe();
        let rests = has_idle_pipe.then(|| self.spoke + PIPE_RESTS);
        let others = [self.settles, self.drained, rests].into_iter().flatten();
        others.fold(self.spoke + limits.idle, Instant::min)
    }

    /// What time asks for; an end where it is up.
    pub(super) fn at_deadline(
        &mut self,
        target: &Side,
        limits: &Limits,
        tools: &mut Tools,
    ) -> Option<End> {
        let now = tools.now;
        let has_come = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if has_come(self.drained) {
            return Some(End::Drained);
        }
        if self.spoke + limits.idle <= now {
            return Some(End::Idle);
        }
        if has_come(self.settles) {
            self.settles = None;
            if let Err(cause) = keep_alive(&target.fd, limits.keepalive) {
                tracing::debug!(%cause, "socket options refused");
            }
        }
        if self.spoke + PIPE_RESTS <= now {
            self.to_target.rest(tools);
            self.to_client.rest(tools);
        }
        None
    }

    pub(super) fn drain(&mut self, at: Instant) {
        self.drained.get_or_insert(at);
    }

    /// To the target and to the client.
    pub(super) fn passed(&self) -> (u64, u64) {
        (self.to_target.passed, self.to_client.passed)
    }

    pub(super) fn give_up_pipes(&mut self, tools: &mut Tools) {
        self.to_target.give_up_pipe(tools);
        self.to_client.give_up_pipe(tools);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

/// One turn of one direction, and its FIN. The last FIN is that of the close.
fn pass(
    way: &mut Way,
    from: &mut Side,
    to: &mut Side,
    other: &Way,
    tools: &mut Tools,
) -> Result<Turn, Fault> {
    if way.has_ended() {
        return Ok(Turn::Ended);
    }
    let turn = way.turn(from, to, tools)?;
    if turn == Turn::Ended && !other.has_ended() {
        shutdown(&to.fd, Shutdown::Write).map_err(|_| Fault::To)?;
    }
    Ok(turn)
}

/// We said FIN to both and read what still comes: a socket closed over unread bytes would say RST.
#[derive(Debug)]
pub(super) struct Closing {
    pub(super) end: End,
    /// Whoever does not answer until then is cut off.
    pub(super) until: Instant,
    client: bool,
    target: bool,
    _relay: Relay,
}

impl Closing {
    pub(super) fn begin(
        end: End,
        client: &Side,
        target: &Side,
        relay: Relay,
        now: Instant,
    ) -> Self {
        let said = |side: &Side| shutdown(&side.fd, Shutdown::Write).is_ok();
        let (client, target) = (said(client), said(target));
        Self { end, until: now + LINGER, client, target, _relay: relay }
    }

    pub(super) fn turn(
        &mut self,
        client: &mut Side,
        target: &mut Side,
        tools: &mut Tools,
    ) -> Relayed {
        let mut more = false;
        for (open, side) in [(&mut self.client, client), (&mut self.target, target)] {
            let mut reads = 0;
            while *open && side.readable && reads < CLOSING_READS_MAX {
                *open = !matches!(side.recv(&mut tools.scratch), Ok(Some(0)) | Err(_));
                reads += 1;
            }
            more |= *open && side.readable;
        }
        match (self.client || self.target, more) {
            (false, _) => Relayed::Ended(self.end),
            (true, true) => Relayed::More,
            (true, false) => Relayed::Waiting,
        }
    }
}
