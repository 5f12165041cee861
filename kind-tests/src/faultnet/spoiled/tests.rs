use super::*;
use tokio::net::TcpListener;
use tokio::sync::watch::Sender;

/// A caller, the server it reaches, and how the way between is spoiled.
async fn way(spoil: Spoil) -> (TcpStream, TcpStream, Sender<Spoil>) {
    let (server, proxy) = (listener().await, listener().await);
    let to = server.local_addr().unwrap();
    SERVER.with(|address| address.set(Some(to)));
    let caller = TcpStream::connect(proxy.local_addr().unwrap()).await.unwrap();
    let (near, _) = proxy.accept().await.unwrap();
    let half_open = spoil.half_open;
    let spoil = Sender::new(spoil);
    tokio::spawn(carry(near, spoil.subscribe(), |_| {
        SERVER.with(|address| address.get().ok_or(io::ErrorKind::NotFound.into()))
    }));
    if half_open {
        // Nobody dials it, which is what the test sees by being the first to.
        let own = TcpStream::connect(to).await.unwrap().local_addr().unwrap();
        let (server, first) = server.accept().await.unwrap();
        assert_eq!(first, own);
        return (caller, server, spoil);
    }
    let (server, _) = server.accept().await.unwrap();
    (caller, server, spoil)
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

thread_local! {
    static SERVER: std::cell::Cell<Option<SocketAddr>> = const { std::cell::Cell::new(None) };
}

const MOMENT: Duration = Duration::from_millis(100);

async fn reads(stream: &mut TcpStream) -> String {
    let mut buffer = [0; 64];
    match timeout(MOMENT, stream.read(&mut buffer)).await {
        Ok(Ok(0)) => "end".to_owned(),
        Ok(Ok(count)) => String::from_utf8_lossy(&buffer[..count]).into_owned(),
        Ok(Err(error)) => error.kind().to_string(),
        Err(_) => "nothing".to_owned(),
    }
}

#[tokio::test]
async fn without_a_fault_both_ways_and_both_ends_pass() {
    let (mut caller, mut server, _spoil) = way(Spoil::default()).await;
    caller.write_all(b"ask").await.unwrap();
    assert_eq!(reads(&mut server).await, "ask");
    caller.shutdown().await.unwrap();
    assert_eq!(reads(&mut server).await, "end");
    server.write_all(b"answer").await.unwrap();
    assert_eq!(reads(&mut caller).await, "answer");
    drop(server);
    assert_eq!(reads(&mut caller).await, "end");
}

#[tokio::test]
async fn a_delay_is_later_and_not_slower() {
    let (mut caller, mut server, _spoil) = way(Spoil { delay_ms: 300, ..Spoil::default() }).await;
    let started = Instant::now();
    for _ in 0..5 {
        caller.write_all(b"x").await.unwrap();
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(reads(&mut server).await, "nothing");
    let mut all = [0; 5];
    server.read_exact(&mut all).await.unwrap();
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(300), "{took:?}");
    assert!(took < Duration::from_millis(1200), "five pieces one after the other: {took:?}");
}

#[tokio::test]
async fn a_stall_holds_one_way_and_lets_go_when_healed() {
    let (mut caller, mut server, spoil) = way(Spoil { stall_in: true, ..Spoil::default() }).await;
    caller.write_all(b"ask").await.unwrap();
    assert_eq!(reads(&mut server).await, "ask");
    server.write_all(b"answer").await.unwrap();
    assert_eq!(reads(&mut caller).await, "nothing");
    spoil.send_replace(Spoil::default());
    assert_eq!(reads(&mut caller).await, "answer");
}

#[tokio::test]
async fn slices_come_one_by_one() {
    let (mut caller, mut server, _spoil) =
        way(Spoil { slice_bytes: 1, bytes_per_second: 20, ..Spoil::default() }).await;
    caller.write_all(b"abc").await.unwrap();
    for expected in ["a", "b", "c"] {
        let mut one = [0; 64];
        let count = server.read(&mut one).await.unwrap();
        assert_eq!(&one[..count], expected.as_bytes());
    }
}

#[tokio::test]
async fn a_reset_comes_after_so_many_bytes_and_not_before() {
    let (mut caller, mut server, _spoil) =
        way(Spoil { reset_after_bytes: Some(4), ..Spoil::default() }).await;
    caller.write_all(b"1234").await.unwrap();
    assert_eq!(reads(&mut server).await, "1234");
    caller.write_all(b"5").await.unwrap();
    assert_eq!(reads(&mut server).await, "connection reset");
    assert_eq!(reads(&mut caller).await, "connection reset");
}

#[tokio::test]
async fn half_open_is_accepted_and_leads_nowhere() {
    let (mut caller, _server, spoil) = way(Spoil { half_open: true, ..Spoil::default() }).await;
    caller.write_all(b"ask").await.unwrap();
    assert_eq!(reads(&mut caller).await, "nothing");
    spoil.send_replace(Spoil::default());
    assert_eq!(reads(&mut caller).await, "connection reset");
}

#[test]
fn a_slow_stream_trickles() {
    let spoil =
        |bytes_per_second, slice_bytes| Spoil { bytes_per_second, slice_bytes, ..Spoil::default() };
    for (spoil, all, piece) in [
        (spoil(0, 0), 500, 500),
        (spoil(1000, 0), 500, 50),
        (spoil(1000, 7), 500, 7),
        (spoil(1, 0), 500, 1),
        (spoil(0, 3), 500, 3),
    ] {
        assert_eq!(piece_of(&spoil, all), piece, "{spoil:?}");
    }
}
