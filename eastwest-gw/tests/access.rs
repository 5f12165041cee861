//! One line for each connection, and nothing in it that a stranger may choose.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod world;

use std::fmt::Debug;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use diolkos_eastwest_gw::{BytePath, End, Limits};
use diolkos_route::Refusal;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;
use tracing::field::{Field, Visit};
use tracing::span;
use tracing::{Event, Metadata, Subscriber};
use world::hellos::named;
use world::*;

/// Keeps the fields of each event of the access log, as text.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>, Fails);

/// Whether writing a line of a refusal goes wrong, as a bug would.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Fails {
    #[default]
    Never,
    AtRefusals,
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0 += &format!("{}={value:?} ", field.name());
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "access"
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        assert!(self.1 == Fails::Never || !line.0.contains("unknown_name"), "as it was told to");
        self.0.lock().unwrap().push(line.0);
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

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

    let lines = lines.0.lock().unwrap().clone();
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
    let lines = Lines(Arc::default(), Fails::AtRefusals);
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
