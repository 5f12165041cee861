//! One line for each connection, and nothing in it that a stranger may choose.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod world;

use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use diolkos_eastwest_gw::End;
use diolkos_route::Refusal;
use tokio::io::AsyncWriteExt;
use tracing::field::{Field, Visit};
use tracing::span;
use tracing::{Event, Metadata, Subscriber};
use world::hellos::named;
use world::*;

/// Keeps the fields of each event of the access log, as text.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

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
