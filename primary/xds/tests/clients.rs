//! Property 9: whatever happens to the view and to the stream, a client ends with exactly what its
//! catalogs hold, on the way never sees a name that leads nowhere, is never sent what it has, and
//! is never left waiting.
#![allow(clippy::unwrap_used, reason = "a test stops where its ground does not hold")]

mod fake;
mod support;

use diolkos_topology::{AppProtocol, ClientKind};
use proptest::prelude::*;
use support::{Op, World, cases, op};

use fake::envoy::Envoy;
use fake::grpc::Grpc;
use fake::wire::Wire;

#[derive(Clone, Debug)]
enum Step {
    Change(Op),
    /// The hub's changes reach the catalogs.
    Publish,
    /// The session is asked what changed.
    Advance,
    ToServer,
    ToClient,
    /// The next response is refused, whatever it says.
    Refuse,
    /// A redirected pod comes to take in something else.
    Reclass,
    /// The stream breaks: what is on its way is lost.
    Cut {
        remember: bool,
    },
    /// gRPC: an application dials, or hangs up.
    Dial {
        service: u8,
        port: u8,
        up: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => op().prop_map(Step::Change),
        4 => Just(Step::Publish),
        4 => Just(Step::Advance),
        8 => Just(Step::ToServer),
        8 => Just(Step::ToClient),
        1 => Just(Step::Refuse),
        1 => Just(Step::Reclass),
        1 => any::<bool>().prop_map(|remember| Step::Cut { remember }),
        2 => (0..4u8, 0..3u8, prop::bool::weighted(0.7))
            .prop_map(|(service, port, up)| Step::Dial { service, port, up }),
    ]
}

/// What an Envoy may be.
#[derive(Clone, Copy, Debug)]
enum Role {
    Egress,
    Gateway,
    Proxy,
    Redirected,
}

impl Role {
    const ALL: [Self; 4] = [Self::Egress, Self::Gateway, Self::Proxy, Self::Redirected];

    fn world(self) -> World {
        match self {
            Self::Egress => World::new(ClientKind::Egress),
            Self::Gateway => World::new(ClientKind::Gateway),
            Self::Proxy => World::new(ClientKind::Sidecar),
            Self::Redirected => World::redirected(),
        }
    }
}

/// Changes alone, so that there is something to begin with.
fn beginning() -> impl Strategy<Value = Vec<Op>> {
    prop::collection::vec(op(), 0..30)
}

proptest! {
    #![proptest_config(cases(5000))]

    #[test]
    fn an_envoy_converges_without_a_dangling_name_or_a_word_twice(
        role in prop::sample::select(Role::ALL.to_vec()),
        beginning in beginning(),
        steps in prop::collection::vec(step(), 0..150),
    ) {
        let mut world = role.world();
        beginning.iter().for_each(|op| world.change(op));
        world.publish();
        let mut envoy = Envoy::default();
        let mut wire = Wire::delta(envoy.connect());
        for step in &steps {
            match step {
                Step::Change(op) => world.change(op),
                Step::Publish => {
                    world.publish();
                }
                Step::Advance => wire.advance(&world),
                Step::ToServer => wire.carry_up(&world),
                Step::ToClient => wire.carry_down(|bytes| envoy.receive(&bytes)),
                Step::Refuse => envoy.refuse_next = true,
                Step::Reclass => {
                    world.reclass();
                    wire.change_scope(&world);
                }
                Step::Cut { remember } => {
                    if !remember {
                        envoy = Envoy::default();
                    }
                    wire = Wire::delta(envoy.connect());
                }
                Step::Dial { .. } => {}
            }
        }
        envoy.refuse_next = false;
        world.publish();
        wire.settle(&world, |bytes| envoy.receive(&bytes));
        envoy.assert_has(&world);
    }

    #[test]
    fn a_grpc_client_converges_and_is_never_sent_what_it_would_refuse(
        beginning in beginning(),
        steps in prop::collection::vec(step(), 0..150),
    ) {
        let mut world = World::new(ClientKind::Grpc);
        beginning.iter().for_each(|op| world.change(op));
        world.publish();
        let mut grpc = Grpc::default();
        let mut wire = Wire::sotw(grpc.connect());
        for step in &steps {
            match step {
                Step::Change(op) => world.change(op),
                Step::Publish => {
                    world.publish();
                }
                Step::Advance => wire.advance(&world),
                Step::ToServer => wire.carry_up(&world),
                Step::ToClient => wire.carry_down(|bytes| grpc.receive(&bytes)),
                Step::Refuse => grpc.refuse_next = true,
                Step::Reclass => {}
                Step::Cut { .. } => wire = Wire::sotw(grpc.connect()),
                Step::Dial { service, port, up } => {
                    let requests = grpc.dial(&support::target(*service, *port), *up);
                    wire.queue(requests);
                }
            }
        }
        grpc.refuse_next = false;
        world.publish();
        wire.settle(&world, |bytes| grpc.receive(&bytes));
        grpc.assert_has(&world);
    }
}

/// Found by the property above: Envoy withholds its answer for clusters until each has endpoints,
/// or was told that it has none since it came.
#[test]
fn a_cluster_that_came_back_and_went_while_its_endpoints_were_taken_back_holds_up_nobody() {
    let service = |service| {
        let ports = vec![(0, AppProtocol::Http)];
        Op::Service { service, ports, clusters: 1, vip: None }
    };
    let mut world = World::new(ClientKind::Sidecar);
    world.change(&service(0));
    world.publish();
    let mut envoy = Envoy::default();
    let mut wire = Wire::delta(envoy.connect());
    wire.settle(&world, |bytes| envoy.receive(&bytes));

    // Another cluster is on its way and has its endpoints; the answer for it is, too.
    world.change(&service(1));
    world.publish();
    wire.advance(&world);
    wire.carry_down(|bytes| envoy.receive(&bytes));
    wire.carry_up(&world);
    world.change(&Op::Gone { service: 0 });
    world.publish();
    wire.carry_down(|bytes| envoy.receive(&bytes));
    // The endpoints are taken back; the cluster comes back as another one, and goes again.
    wire.carry_up(&world);
    world.change(&service(0));
    world.change(&Op::Identities { service: 0, port: 0, ids: [1].into() });
    world.publish();
    wire.carry_up(&world);
    world.change(&Op::Gone { service: 0 });
    world.publish();

    wire.settle(&world, |bytes| envoy.receive(&bytes));
    envoy.assert_has(&world);
}

/// Found by the property for gRPC.
#[test]
fn a_target_that_is_dialled_again_before_the_first_answer_is_answered_for_both() {
    let mut world = World::new(ClientKind::Grpc);
    let ports = vec![(1, AppProtocol::Grpc)];
    world.change(&Op::Service { service: 3, ports, clusters: 1, vip: None });
    world.publish();
    let mut grpc = Grpc::default();
    let mut wire = Wire::sotw(grpc.connect());
    for up in [true, false, true] {
        wire.queue(grpc.dial(&support::target(3, 1), up));
    }
    wire.settle(&world, |bytes| grpc.receive(&bytes));
    grpc.assert_has(&world);
}

/// Found by the property for gRPC: what is gone stays listed while something may still name it, so
/// the client never saw it go, and has its routes.
#[test]
fn routes_that_went_and_came_back_before_the_client_heard_of_it_are_not_sent_again() {
    let service = |port| {
        let ports = vec![(port, AppProtocol::Grpc)];
        Op::Service { service: 1, ports, clusters: 1, vip: None }
    };
    let mut world = World::new(ClientKind::Grpc);
    world.change(&service(0));
    world.publish();
    let mut grpc = Grpc::default();
    let mut wire = Wire::sotw(grpc.connect());
    wire.queue(grpc.dial(&support::target(1, 1), true));
    wire.carry_up(&world);
    wire.queue(grpc.dial(&support::target(1, 0), true));
    for _ in 0..2 {
        wire.carry_up(&world);
        wire.carry_down(|bytes| grpc.receive(&bytes));
    }
    world.change(&service(1));
    wire.carry_up(&world);
    wire.carry_up(&world);
    wire.carry_down(|bytes| grpc.receive(&bytes));
    world.publish();
    world.change(&service(0));
    wire.carry_up(&world);
    world.publish();
    wire.settle(&world, |bytes| grpc.receive(&bytes));
    grpc.assert_has(&world);
}

/// Found by the property for gRPC: the client gets the first answer after it gave up and dialled
/// again, so it has what it had given up.
#[test]
fn a_target_dialled_again_before_the_first_answer_is_let_go_when_it_is_gone() {
    let mut world = World::new(ClientKind::Grpc);
    let ports = vec![(2, AppProtocol::Grpc)];
    world.change(&Op::Service { service: 3, ports, clusters: 0, vip: None });
    world.publish();
    let mut grpc = Grpc::default();
    let mut wire = Wire::sotw(grpc.connect());
    for up in [true, false, true] {
        wire.queue(grpc.dial(&support::target(3, 2), up));
    }
    wire.carry_up(&world);
    world.change(&Op::Gone { service: 3 });
    world.publish();
    wire.settle(&world, |bytes| grpc.receive(&bytes));
    grpc.assert_has(&world);
}

/// Found by the property for gRPC: the request that gave them up crosses a response with other
/// routes, and by the answer to that one they are wanted again.
#[test]
fn routes_given_up_and_wanted_again_while_others_are_on_their_way_are_sent_again() {
    let mut world = World::new(ClientKind::Grpc);
    for service in 0..3 {
        let ports = vec![(0, AppProtocol::Grpc)];
        world.change(&Op::Service { service, ports, clusters: 1, vip: None });
    }
    world.publish();
    let mut grpc = Grpc::default();
    let mut wire = Wire::sotw(grpc.connect());
    wire.queue(grpc.dial(&support::target(0, 0), true));
    wire.settle(&world, |bytes| grpc.receive(&bytes));

    for other in [1, 2] {
        wire.queue(grpc.dial(&support::target(other, 0), true));
    }
    wire.carry_up(&world);
    wire.carry_up(&world);
    wire.carry_down(|bytes| grpc.receive(&bytes));
    for up in [false, true] {
        wire.queue(grpc.dial(&support::target(0, 0), up));
    }
    // The answer and the request for routes: all listeners and the routes of one are on their way.
    wire.carry_up(&world);
    wire.carry_up(&world);
    wire.settle(&world, |bytes| grpc.receive(&bytes));
    grpc.assert_has(&world);
}
