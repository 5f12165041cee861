//! What half a hello costs. Alone in its process, for it weighs the process.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod world;

use std::io::Write;
use std::net::TcpStream;

use diolkos_eastwest_gw::End;
use diolkos_eastwest_gw::limit::LONG_HELLO_SHARE;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use world::hellos::post_quantum;
use world::*;

const PENDING: usize = 2_000;

fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

#[tokio::test]
async fn a7_2000_hellos_that_never_end_hold_less_than_8_kib_each() {
    let files = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files }).unwrap();
    let usual = hellos::records(&post_quantum(ISTIO_NAME.as_bytes()), 16384);
    // By no client, but by whoever means it: of these an eighth is waited for.
    let longest = hellos::of_size(16 * 1024);
    let long_max = 4096 / LONG_HELLO_SHARE;
    for (hello, waited_for, reset) in [(usual, PENDING, 0), (longest, long_max, PENDING - long_max)]
    {
        let world = World::start().await;
        let half = &hello[..hello.len() - 10];
        // What the first connection costs once is not what each one costs.
        drop(say(&world, 0, half));
        world.ended(End::HelloClosed, 1).await;
        let before = resident_bytes();
        let all: Vec<TcpStream> = (0..PENDING).map(|number| say(&world, number, half)).collect();
        world.ended(End::PendingFull, reset as u64).await;
        until(|| world.gateway.pending() == waited_for, "all are pending").await;
        let grown = resident_bytes().saturating_sub(before);
        let (each, least) = (grown / PENDING, waited_for * half.len() / 2);
        // Some of it is what the round before gave back.
        assert!(grown > least && each < 8 * 1024, "{each} bytes each, {grown} in all");
        world.ended(End::HelloTimeout, waited_for as u64).await;
        assert_eq!(world.gateway.pending(), 0);
        drop(all);
    }
}

fn say(world: &World, number: usize, bytes: &[u8]) -> TcpStream {
    // Not so many of one source that its own limits come first.
    let source = format!("127.0.{}.{}:0", 6 + number / 8 / 250, 1 + number / 8 % 250);
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&source.parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    socket.connect(&world.address.into()).unwrap();
    let mut client = TcpStream::from(socket);
    client.write_all(bytes).unwrap();
    client
}
