//! One line for each connection, and nothing in it that a stranger may choose.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod world;

use std::num::NonZeroUsize;
use std::time::Duration;

use diolkos_eastwest_gw::{BytePath, End, Limits};
use diolkos_route::Refusal;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;
use world::hellos::named;
use world::lines::{Fails, Lines};
use world::*;

#[tokio::test]
async fn each_connection_ends_in_one_line() {
    let lines = Lines::default();
    let _guard = tracing::subscriber::set_default(lines.clone());
    let world = World::start().await;
    let target = Target::echo().await;
    world.route(ISTIO_NAME, &[target.address]);

    let mut client = world.connect().await;
    client.write_all(&hello()).await.unwrap();
    shut_down_write(&client);
    read_to_end(&mut client).await;
    world.ended(End::Finished, 1).await;
    let unknown = format!("outbound_.80_._.{}.scan.local", "x".repeat(63));
    let mut client = world.connect().await;
    client.write_all(&named(unknown.as_bytes())).await.unwrap();
    read_to_end(&mut client).await;
    let mut client = world.connect().await;
    client.write_all(b"\x1b[31mfake=\"line\"\r\n").await.unwrap();
    read_to_end(&mut client).await;
    world.ended(End::Refused(Refusal::NotHandshake), 1).await;

    let lines = lines.all();
    let [spliced, unknown_name, noise] = lines.as_slice() else { panic!("{lines:#?}") };
    let bytes = hello().len();
    for part in [
        &format!("sni={ISTIO_NAME:?} "),
        &format!("dialed={} ", target.address),
        &format!("to_target={bytes} to_client={bytes} "),
        "end=\"finished\"",
    ] {
        assert!(spliced.contains(part), "{part} in {spliced}");
    }
    assert!(!unknown_name.contains("sni="), "{unknown_name}");
    assert!(unknown_name.contains(&format!("claimed={:?} ", &unknown[..64])), "{unknown_name}");
    assert!(unknown_name.contains("end=\"unknown_name\""), "{unknown_name}");
    assert!(noise.contains("end=\"not_handshake\"") && !noise.contains("fake"), "{noise}");
}

#[tokio::test]
async fn a_failure_at_one_connection_ends_that_one_alone() {
    let lines = Lines::failing(Fails::AtRefusals);
    let _guard = tracing::subscriber::set_default(lines);
    let path = BytePath { threads: NonZeroUsize::MIN, ..BytePath::default() };
    let world = World::moving(path, Limits::default(), Duration::from_secs(1)).await;
    let target = Target::echo().await;
    world.route(ISTIO_NAME, &[target.address]);
    let mut live = world.connect().await;
    live.write_all(&hello()).await.unwrap();
    expect_echo(&mut live, &hello()).await;
    for _ in 0..3 {
        let mut failing = world.connect().await;
        failing.write_all(&named(b"outbound_.80_._.nobody.shop.local")).await.unwrap();
        assert_eq!(read_to_end(&mut failing).await.0, b"");
    }
    live.write_all(b"still here").await.unwrap();
    expect_echo(&mut live, b"still here").await;
    let mut later = world.connect().await;
    later.write_all(&hello()).await.unwrap();
    expect_echo(&mut later, &hello()).await;
    drop((live, later));
    world.ended(End::Finished, 2).await;
    world.trigger.fire();
    // None of those that failed is waited for.
    timeout(Duration::from_millis(500), world.gateway.drained()).await.unwrap();
}
