//! A stream: what is on its way in either direction, and the session at its end.

use std::collections::VecDeque;

use diolkos_xds::{Protocol, Request, Response, Session};

use crate::support::World;

#[derive(Debug)]
pub(crate) struct Wire {
    session: Session,
    up: VecDeque<Request>,
    down: VecDeque<Vec<u8>>,
}

impl Wire {
    pub(crate) fn delta(requests: Vec<Request>) -> Self {
        Self::new(Protocol::Delta, requests)
    }

    pub(crate) fn sotw(requests: Vec<Request>) -> Self {
        Self::new(Protocol::StateOfTheWorld, requests)
    }

    fn new(protocol: Protocol, requests: Vec<Request>) -> Self {
        Self { session: Session::new(protocol), up: requests.into(), down: VecDeque::new() }
    }

    pub(crate) fn queue(&mut self, requests: Vec<Request>) {
        self.up.extend(requests);
    }

    pub(crate) fn advance(&mut self, world: &World) {
        let responses = self.session.advance(world.catalogs());
        self.send(responses);
    }

    pub(crate) fn change_scope(&mut self, world: &World) {
        let responses = self.session.change_scope(world.catalogs());
        self.send(responses);
    }

    pub(crate) fn carry_up(&mut self, world: &World) {
        let Some(request) = self.up.pop_front() else { return };
        let responses = self.session.request(request, world.catalogs()).unwrap();
        self.send(responses);
    }

    pub(crate) fn carry_down(&mut self, receive: impl FnOnce(Vec<u8>) -> Vec<Request>) {
        let Some(bytes) = self.down.pop_front() else { return };
        self.up.extend(receive(bytes));
    }

    /// Until nobody has anything more to say.
    pub(crate) fn settle(
        &mut self,
        world: &World,
        mut receive: impl FnMut(Vec<u8>) -> Vec<Request>,
    ) {
        for _ in 0..10_000 {
            self.advance(world);
            if self.up.is_empty() && self.down.is_empty() {
                return;
            }
            self.carry_up(world);
            self.carry_down(&mut receive);
        }
        panic!("client and server never came to rest");
    }

    fn send(&mut self, responses: Vec<Response>) {
        let bytes = |response: Response| response.encode().concat();
        self.down.extend(responses.into_iter().map(bytes));
    }
}
