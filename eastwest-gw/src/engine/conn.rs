//! One connection from accept to end: hello, dial, relay, close. Every step does what can be done
//! at once, and says what to wait for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use diolkos_ops::spread;
use diolkos_route::{ClientHello, Decision, Refusal, Route};
use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use rustix::net::sockopt;

use super::dial::{Dialed, Dialing};
use super::hello::{Awaited, Heard};
use super::relay::{Closing, Relay, Relayed};
use super::side::Side;
use super::slab::{Key, Token};
use super::tools::Tools;
use super::way::Way;
use crate::End;
use crate::access::Access;
use crate::egress::{Egress, Outbound};
use crate::metrics::Direction;
use crate::shared::{Leads, Shared};

/// Dropped in this order: whoever sees the close finds it counted.
#[derive(Debug)]
pub(super) struct Conn {
    stage: Stage,
    access: Access,
    pub(super) client: Side,
    pub(super) target: Option<Side>,
}

#[derive(Debug)]
enum Stage {
    Hello(Box<Awaited>),
    Dialing(Box<Dialing>),
    Relaying(Relay),
    Closing(Box<Closing>),
    /// Only while it goes from one to the next, and at the end.
    Over,
}

#[derive(Debug)]
pub(super) enum Step {
    /// For its sockets or its deadline.
    Waiting,
    More,
    Over,
    /// It goes on elsewhere: to be taken apart.
    Out(Box<Out>),
}

/// What its tunnel needs, beside what the connection has.
#[derive(Debug)]
pub(super) struct Out {
    egress: Arc<Egress>,
    route: Arc<Route>,
    held: Vec<u8>,
}

impl Conn {
    pub(super) fn new(client: Side, access: Access, awaited: Awaited) -> Self {
        Self { stage: Stage::Hello(Box::new(awaited)), access, client, target: None }
    }

    /// Goes on as far as it can.
    pub(super) fn step(
        &mut self,
        shared: &Shared,
        drain: Option<Instant>,
        tools: &mut Tools,
    ) -> Step {
        match &mut self.stage {
            Stage::Hello(awaited) => {
                let scratch = &mut tools.scratch;
                match awaited.read(&mut self.client, &mut self.access, shared, scratch) {
                    Heard::More => Step::Waiting,
                    Heard::Ended(end) => self.over(end, tools),
                    Heard::Shed(end) => self.shed(end),
                    Heard::Hello(hello, held) => self.heard(hello, held, shared, drain, tools),
                }
            }
            Stage::Dialing(dialing) => {
                let Some(target) = self.target.as_mut().filter(|target| target.writable) else {
                    return Step::Waiting;
                };
                let dialed = dialing.greet(target).unwrap_or_else(|cause| {
                    dialing.failed(shared, &cause.to_string());
                    dialing.next(&mut self.target, shared, tools.now)
                });
                self.dialed(dialed, shared, drain, tools)
            }
            Stage::Relaying(relay) => {
                let Some(target) = &mut self.target else { return self.over(End::Aborted, tools) };
                let relayed = relay.turn(&mut self.client, target, tools);
                self.relayed(relayed, tools)
            }
            Stage::Closing(closing) => {
                let Some(target) = &mut self.target else { return self.over(End::Aborted, tools) };
                let relayed = closing.turn(&mut self.client, target, tools);
                self.relayed(relayed, tools)
            }
            Stage::Over => Step::Over,
        }
    }

    pub(super) fn deadline(&self, shared: &Shared) -> Option<Instant> {
        match &self.stage {
            Stage::Hello(awaited) => Some(awaited.until),
            Stage::Dialing(dialing) => Some(dialing.until),
            Stage::Relaying(relay) => Some(relay.deadline(&shared.limits)),
            Stage::Closing(closing) => Some(closing.until),
            Stage::Over => None,
        }
    }

    /// The deadline may have come, or moved away since somebody was told of it.
    pub(super) fn at_deadline(
        &mut self,
        shared: &Shared,
        drain: Option<Instant>,
        tools: &mut Tools,
    ) -> Step {
        if self.deadline(shared).is_some_and(|deadline| tools.now < deadline) {
            return Step::Waiting;
        }
        match &mut self.stage {
            Stage::Hello(_) => self.over(End::HelloTimeout, tools),
            Stage::Dialing(dialing) => {
                dialing.failed(shared, "no answer in time");
                let dialed = dialing.next(&mut self.target, shared, tools.now);
                self.dialed(dialed, shared, drain, tools)
            }
            Stage::Relaying(relay) => {
                let Some(target) = &self.target else { return self.over(End::Aborted, tools) };
                match relay.at_deadline(target, &shared.limits, tools) {
                    None => Step::Waiting,
                    Some(end) => self.close(end, tools),
                }
            }
            Stage::Closing(closing) => {
                let end = closing.end;
                self.over(end, tools)
            }
            Stage::Over => Step::Over,
        }
    }

    pub(super) fn drain(&mut self, end: Instant, time: Duration) {
        if let Stage::Relaying(relay) = &mut self.stage {
            relay.drain(end + spread(time, rand::random()));
        }
    }

    pub(super) fn watch(&mut self, epoll: BorrowedFd<'_>, key: Key) -> Result<(), Errno> {
        // Nothing that a client does while its target is dialed changes anything.
        if !matches!(self.stage, Stage::Dialing(_)) {
            self.client.watch(epoll, Token::Client(key))?;
        }
        match &mut self.target {
            Some(target) => target.watch(epoll, Token::Target(key)),
            None => Ok(()),
        }
    }

    /// Leaves its lane, with its seat and its line of the log.
    pub(super) fn hand_over(self, out: Out, epoll: BorrowedFd<'_>) {
        let Self { access, client, .. } = self;
        let Out { egress, route, held } = out;
        let client = client.unwatched(epoll);
        egress.carry(Outbound { client, held, route, access });
    }

    pub(super) fn over(&mut self, end: End, tools: &mut Tools) -> Step {
        if let Stage::Relaying(relay) = &mut self.stage {
            let (to_target, to_client) = relay.passed();
            self.access.passed(to_target, to_client);
            relay.give_up_pipes(tools);
            if matches!(end, End::ClientFault | End::TargetFault) {
                reset(&self.client);
                self.target.as_ref().inspect(|target| reset(target));
            }
        }
        self.access.ends(end);
        Step::Over
    }

    /// RST: a flood must leave nothing behind, not even TIME_WAIT.
    pub(super) fn shed(&mut self, end: End) -> Step {
        reset(&self.client);
        self.access.shed(end);
        Step::Over
    }

    fn heard(
        &mut self,
        hello: ClientHello,
        held: Vec<u8>,
        shared: &Shared,
        drain: Option<Instant>,
        tools: &mut Tools,
    ) -> Step {
        let Stage::Hello(awaited) = std::mem::replace(&mut self.stage, Stage::Over) else {
            return self.over(End::Aborted, tools);
        };
        let decision = shared.decide(&awaited.door, &hello);
        let out = match &awaited.door.leads {
            Leads::Out(egress) => Some(Arc::clone(egress)),
            Leads::ToServices | Leads::ToPrimary(_) => None,
        };
        drop(awaited);
        let route = match decision {
            Decision::Splice(route) => route,
            Decision::Refuse(refusal) => {
                self.access.claimed(hello.sni);
                if refusal == Refusal::UnknownName {
                    shared.unknown.refused(self.access.peer().ip());
                }
                return self.over(End::Refused(refusal), tools);
            }
        };
        let Some(carried) = route.carry(shared.limits.connections_per_route_max) else {
            self.access.claimed(hello.sni);
            return self.over(End::RouteFull, tools);
        };
        self.access.routed(carried);
        if let Some(egress) = out {
            return Step::Out(Box::new(Out { egress, route, held }));
        }
        let mut dialing = Box::new(Dialing::new(&route, held, tools.now));
        let dialed = dialing.next(&mut self.target, shared, tools.now);
        self.stage = Stage::Dialing(dialing);
        self.dialed(dialed, shared, drain, tools)
    }

    fn dialed(
        &mut self,
        dialed: Dialed,
        shared: &Shared,
        drain: Option<Instant>,
        tools: &mut Tools,
    ) -> Step {
        let sent = match dialed {
            Dialed::Waiting => return Step::Waiting,
            Dialed::Nobody => return self.over(End::NoTarget, tools),
            Dialed::Connected(sent) => sent,
        };
        let Stage::Dialing(dialing) = std::mem::replace(&mut self.stage, Stage::Over) else {
            return self.over(End::Aborted, tools);
        };
        self.access.dialed(dialing.address);
        let to_target = Way::beginning(Direction::ToTarget, dialing.into_held(), sent, tools);
        let to_client = Way::new(Direction::ToClient);
        let drained = drain.map(|end| end + spread(shared.drain.time(), rand::random()));
        let gauge = shared.metrics.active.clone();
        self.stage = Stage::Relaying(Relay::new(to_target, to_client, drained, gauge, tools.now));
        self.step(shared, drain, tools)
    }

    fn relayed(&mut self, relayed: Relayed, tools: &mut Tools) -> Step {
        match relayed {
            Relayed::Waiting => Step::Waiting,
            Relayed::More => Step::More,
            Relayed::Ended(end) => self.over(end, tools),
        }
    }

    /// With FIN, though there may be more to say.
    fn close(&mut self, end: End, tools: &mut Tools) -> Step {
        match (std::mem::replace(&mut self.stage, Stage::Over), &self.target) {
            (Stage::Relaying(mut relay), Some(target)) => {
                let (to_target, to_client) = relay.passed();
                self.access.passed(to_target, to_client);
                relay.give_up_pipes(tools);
                let closing = Closing::begin(end, &self.client, target, relay, tools.now);
                self.stage = Stage::Closing(Box::new(closing));
                Step::More
            }
            _ => self.over(end, tools),
        }
    }
}

/// The next close says RST.
fn reset(side: &Side) {
    // Fails on a socket that is gone already.
    let _ = sockopt::set_socket_linger(&side.fd, Some(Duration::ZERO));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of one that relays, beside its two sockets and its place in the lane.
    const CONNECTION_BYTES_MAX: usize = 512;

    #[test]
    fn a_connection_holds_no_buffer() {
        let bytes = size_of::<Conn>();
        assert!(bytes <= CONNECTION_BYTES_MAX, "{bytes} bytes");
    }
}
