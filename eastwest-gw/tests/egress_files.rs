//! What the way out leaves behind: no socket, whichever way its connections ended. Alone in its
//! program, for it counts the open files of the whole process.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod world;

use std::time::Duration;

use diolkos_eastwest_gw::EgressLimits;
use socket2::SockRef;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use world::mesh::Mesh;
use world::tunnels::{Far, Near, Wording};
use world::*;

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[tokio::test]
async fn no_file_is_left_of_a_connection_out_however_it_ended() {
    let mesh = Mesh::new();
    let egress =
        EgressLimits { idle_connection: Duration::from_millis(200), ..EgressLimits::default() };
    let near = Near::with(&mesh, Wording { egress, ..Wording::default() }).await;
    let far = Far::start(&mesh).await;
    let target = Target::echo().await;
    far.route(target.address);
    near.route(&[dead_address().await, far.address]);
    let before = open_files();
    let mut live: Vec<TcpStream> = Vec::new();
    for number in 0..150 {
        let mut client = near.connect().await;
        // Some end at a name that is not there.
        let name = if number % 5 == 0 { "outbound_.1_._.nobody.shop.local" } else { ISTIO_NAME };
        let hello = hellos::named(name.as_bytes());
        client.write_all(&hello).await.unwrap();
        match number % 5 {
            0 => drop(read_to_end(&mut client).await),
            // In order, broken off, or only later.
            1 => shut_down_write(&client),
            2 => SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap(),
            _ => {
                expect_echo(&mut client, &hello).await;
                live.push(client);
            }
        }
    }
    assert!(open_files() > before + live.len());
    drop(live);
    near.tunnels(0).await;
    near.connections(0).await;
    let what = format!("as few files as before, {before}");
    until(|| open_files() <= before, &what).await;
}
