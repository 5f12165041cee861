//! What seeds found, as short as it gets, and named after what was wrong. `Action` says what the
//! words mean; numbers are indices: clusters are east, north, south, west; services web, db, ledger,
//! dns.
#![allow(clippy::unwrap_used, reason = "a test stops where its ground does not hold")]

use diolkos_sim::Run;

/// Ends at rest, with every invariant held on the way.
fn hold(name: &str, shape: &str, actions: &str) {
    let run = Run::of_text(name, &shape.parse().unwrap(), actions).unwrap();
    if let Err(failure) = run.execute() {
        panic!("{name}: {failure}\n{}", failure.log.join("\n"));
    }
}

/// The gateway of north was told of no IPv6 endpoint because of one it could not use.
#[test]
fn an_unready_ipv4_endpoint_hides_no_ipv6_endpoint_from_a_gateway() {
    let actions = "
        scale 1 0 0
        put-endpoint 1 0 11     # IPv4, not ready
        put-endpoint 1 20 0     # IPv6, ready
        settle
        put-endpoint 1 0 13     # IPv4, ready, in plaintext
        settle
        put-endpoint 1 0 0
        settle
    ";
    hold("hidden by IPv4", "clusters=2 networks=2 export=all", actions);
}

/// Pods with both addresses lose and regain one of them after the other.
#[test]
fn a_pods_second_address_stands_in_for_the_first() {
    let actions = "
        scale 1 0 0
        put-endpoint 1 0 128
        put-endpoint 1 8 128
        settle
        put-endpoint 1 0 139    # neither address of the first is ready
        deliver 1 0
        pump-all
        deliver-all 1
        settle
        remove-endpoint 1 0
        settle
    ";
    hold("second address", "clusters=2 networks=2 export=all", actions);
}

/// The gateway of east had only the ports that east gives the service. South, on its network,
/// gives others, and has no gateway of its own.
#[test]
fn clusters_that_share_a_gateway_may_disagree_on_ports() {
    let actions = "
        remove-gateway 2 0
        put-service 0 1 2       # db on 81 instead of 80 and 90
        settle
        put-service 0 1 0
        settle
    ";
    hold("ports", "clusters=3 networks=2 export=all", actions);
}

/// A gateway would refuse it: it cannot tell that a client is of the endpoint's own cluster.
#[test]
fn own_endpoints_on_another_network_have_no_gateway_unless_exported() {
    let actions = "
        put-endpoint 0 1 96     # of db, on the network of north
        settle
        export 0 1 0
        settle
        unexport 0 1
        settle
    ";
    hold("stays home", "clusters=2 networks=2 export=listed", actions);
}

/// Sidecars were told of its address on the new network, and then that it left the old one.
#[test]
fn a_gateway_that_changes_networks_keeps_its_place_in_views() {
    let actions = "
        remove-gateway 1 0
        settle
        set-network 2 1
        deliver 2 0             # the gateway goes first, its cluster follows
        settle
    ";
    hold("changes networks", "clusters=4 networks=3 export=listed", actions);
}

/// Its cluster went while the listener that leads to it was still being answered.
#[test]
fn a_grpc_client_that_comes_back_learns_of_routes_before_clusters_go() {
    let actions = "
        settle
        cut 5
        pump 5 0 0              # it asks for listeners
        put-service 1 0 2       # web on 81 instead of 80
        settle
    ";
    hold("comes back", "clusters=3 networks=2 export=listed", actions);
}

/// The simulator's own: it forgot what a client had refused once that accepted another name.
#[test]
fn a_refused_endpoint_is_offered_again_though_others_were_accepted() {
    let actions = "
        settle
        put-service 0 3 0       # a new one, dns
        move-node 0 0 2
        deliver-all 0
        nack 2                  # of what changed about the others
        pump-all
        settle
    ";
    hold("refused", "clusters=3 networks=2 export=listed", actions);
}
