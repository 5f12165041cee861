//! What half a hello costs. Alone in its process, for it weighs the process.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod world;

use std::io::Write;
use std::net::TcpStream;

use diolkos_eastwest_gw::End;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use world::hellos::post_quantum;
use world::*;

const PENDING: usize = 2_000;
const BYTES_EACH_MAX: usize = 8 * 1024;

fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

#[tokio::test]
async fn a7_2000_hellos_that_never_end_hold_less_than_8_kib_each() {
    let files = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files }).unwrap();
    let world = World::start().await;
    // Whatever the first connections cost once is not what each one costs.
    drop(half(&world, 0));
    world.ended(End::HelloClosed, 1).await;
    let before = resident_bytes();
    let all: Vec<TcpStream> = (0..PENDING).map(|number| half(&world, number)).collect();
    until(|| world.gateway.pending() == PENDING, "all are pending").await;
    let each = resident_bytes().saturating_sub(before) / PENDING;
    assert!(each < BYTES_EACH_MAX, "{each} bytes each");
    world.ended(End::HelloTimeout, PENDING as u64).await;
    assert_eq!(world.gateway.pending(), 0);
    drop(all);
}

/// All but the end of a post-quantum hello, which is a large one.
fn half(world: &World, number: usize) -> TcpStream {
    let bytes = hellos::records(&post_quantum(ISTIO_NAME.as_bytes()), 16384);
    let source = format!("127.0.6.{}:0", 1 + number / 60);
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&source.parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    socket.connect(&world.address.into()).unwrap();
    let mut client = TcpStream::from(socket);
    client.write_all(&bytes[..bytes.len() - 10]).unwrap();
    client
}
