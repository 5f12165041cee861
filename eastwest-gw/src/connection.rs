//! One connection from accept to end: read the hello, decide, dial, relay.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use diolkos_route::limit::HELLO_BYTES_MAX;
use diolkos_route::{ClientHello, Decision, HelloReader, Progress};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::access::Access;
use crate::control::Control;
use crate::dial::{dial, tune};
use crate::drain::Drain;
use crate::pending::Place;
use crate::relay::relay;
use crate::{Config, End, Limits, Metrics};

/// What every connection of a gateway shares.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Arc<Config>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) limits: Limits,
    pub(crate) source: Option<std::net::IpAddr>,
    pub(crate) drain: Drain,
}

/// By which routes those are served who come through one listener.
#[derive(Clone, Debug)]
pub(crate) enum Door {
    /// Those of the primary.
    Data,
    /// To the primary.
    Control(Arc<Control>),
}

impl Shared {
    fn decide(&self, door: &Door, hello: &ClientHello) -> Decision {
        match door {
            Door::Data => self.config.decide(hello),
            Door::Control(control) => control.decide(hello),
        }
    }
}

pub(crate) async fn serve(
    shared: Arc<Shared>,
    door: Door,
    client: TcpStream,
    peer: SocketAddr,
    place: Place,
) {
    let mut access = Access::begin(&shared.metrics, peer);
    let pending = Gauged::new(&shared.metrics.pending);
    let hello = match timeout(shared.limits.hello, read_hello(&client)).await {
        Ok(hello) => hello,
        Err(_) => Err(End::HelloTimeout),
    };
    drop((pending, place));
    let decided = hello.and_then(|(hello, held)| {
        let decision = shared.decide(&door, &hello);
        access.claimed(hello.sni);
        match decision {
            Decision::Refuse(refusal) => Err(End::Refused(refusal)),
            Decision::Splice(route) => Ok((route, held)),
        }
    });
    let (route, held) = match decided {
        Ok(decided) => decided,
        Err(end) => return access.end(end),
    };
    access.routed(&route);
    let Some((target, address)) =
        dial(&route, shared.source, &shared.limits, &shared.metrics).await
    else {
        return access.end(End::NoTarget);
    };
    drop(route);
    access.dialed(address);
    for stream in [&client, &target] {
        if let Err(cause) = tune(stream, shared.limits.keepalive) {
            tracing::debug!(%peer, %cause, "socket options refused");
        }
    }
    let _active = Gauged::new(&shared.metrics.active);
    let closing = shared.drain.deadline();
    let end = relay(&client, &target, held, shared.limits.idle, &access, closing).await;
    access.end(end);
}

async fn read_hello(client: &TcpStream) -> Result<(ClientHello, Vec<u8>), End> {
    let mut reader = HelloReader::new();
    loop {
        client.readable().await.map_err(|_| End::HelloClosed)?;
        match read_some(client, &mut reader)? {
            Progress::NeedMore => {}
            Progress::NotTls(refusal) => return Err(End::Refused(refusal)),
            Progress::Hello(hello) => return Ok((hello, reader.into_bytes())),
        }
    }
}

/// A function of its own, so that a connection that waits holds no buffer.
fn read_some(client: &TcpStream, reader: &mut HelloReader) -> Result<Progress, End> {
    let mut buffer = [0; HELLO_BYTES_MAX];
    match client.try_read(&mut buffer[..reader.room()]) {
        Ok(0) => Err(End::HelloClosed),
        Ok(read) => Ok(reader.feed(&buffer[..read])),
        Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => Ok(Progress::NeedMore),
        Err(_) => Err(End::HelloClosed),
    }
}

/// Counts in a gauge while it lives.
struct Gauged(diolkos_ops::metrics::Gauge);

impl Gauged {
    fn new(gauge: &diolkos_ops::metrics::Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Gauged {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use diolkos_ops::Shutdown;

    use super::*;
    use crate::pending::Pending;

    /// What a connection costs while its hello is awaited, beside its socket.
    const PENDING_BYTES_MAX: usize = 4096;

    #[tokio::test]
    async fn a7_a_pending_connection_holds_no_buffer() {
        let (_trigger, shutdown) = Shutdown::new();
        let shared = Arc::new(Shared {
            config: Arc::default(),
            metrics: Arc::default(),
            limits: Limits::default(),
            source: None,
            drain: Drain::new(shutdown, Duration::ZERO),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let peer = client.local_addr().unwrap();
        let place = Pending::new(1, 1).admit(peer.ip()).unwrap();
        let connection = serve(shared, Door::Data, client, peer, place);
        let bytes = std::mem::size_of_val(&connection);
        assert!(bytes <= PENDING_BYTES_MAX, "{bytes} bytes");
    }
}
