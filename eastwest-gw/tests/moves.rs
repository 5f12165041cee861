//! The fast way of moving bytes against the plain one: whatever is said, in whatever pieces, to
//! whomever reads however slowly, arrives the same, and so does every end.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod world;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use diolkos_eastwest_gw::{BytePath, End, Limits, Moves};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, mpsc};
use tokio::time::timeout;
use world::*;

const MIB: usize = 1024 * 1024;

/// Seeded, so that a failure can be run again.
struct Dice(u64);

impl Dice {
    fn below(&mut self, max: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % max
    }
}

/// What one side does: pieces that it says, then whether it says FIN or breaks off, and how it
/// reads.
#[derive(Clone, Debug)]
struct Part {
    pieces: Vec<Vec<u8>>,
    /// Read at one time.
    reads: usize,
    breaks_off: bool,
}

impl Part {
    fn draw(dice: &mut Dice, seed: u64) -> Self {
        let all = match dice.below(4) {
            0 => 0,
            1 => dice.below(2_000),
            2 => dice.below(MIB),
            _ => MIB + dice.below(5 * MIB),
        };
        let mut rest = &pattern(seed, all)[..];
        let mut pieces = Vec::new();
        while !rest.is_empty() {
            let longest = [100, 5_000, 70_000, 3 * MIB][dice.below(4)];
            let (piece, more) = rest.split_at(rest.len().min(1 + dice.below(longest)));
            pieces.push(piece.to_vec());
            rest = more;
            // As many small ones would only take time.
            if pieces.len() > 300 {
                pieces.push(std::mem::take(&mut rest).to_vec());
            }
        }
        let reads = [1_000, 16 * 1024, 256 * 1024][dice.below(3)];
        Self { pieces, reads, breaks_off: dice.below(8) == 0 }
    }

    fn said(&self) -> Vec<u8> {
        self.pieces.concat()
    }
}

/// What one side heard, and how it ended.
type Heard = (Vec<u8>, Option<std::io::ErrorKind>);

async fn play(stream: TcpStream, part: Part) -> Heard {
    let (mut read, mut write) = stream.into_split();
    let speaks = async move {
        for piece in &part.pieces {
            if let Err(fault) = write.write_all(piece).await {
                return Some(fault.kind());
            }
            tokio::task::yield_now().await;
        }
        if part.breaks_off {
            write.forget();
            return None;
        }
        write.shutdown().await.err().map(|fault| fault.kind())
    };
    let hears = async {
        let (mut all, mut buffer) = (Vec::new(), vec![0; part.reads]);
        loop {
            match read.read(&mut buffer).await {
                Ok(0) => return (all, None),
                Ok(bytes) => all.extend_from_slice(&buffer[..bytes]),
                Err(fault) => return (all, Some(fault.kind())),
            }
        }
    };
    if part.breaks_off {
        // Half of what it could hear, and it is gone.
        let hears = timeout(Duration::from_millis(20), hears);
        let _ = tokio::join!(speaks, hears);
        socket2::SockRef::from(read.as_ref()).set_linger(Some(Duration::ZERO)).unwrap();
        return (vec![], None);
    }
    // The system tells of a reset once: to whoever asks first.
    let (unsaid, (all, fault)) = tokio::join!(speaks, hears);
    (all, fault.or(unsaid))
}

/// A gateway, and a target that plays what it is given, each time a part.
struct Stage {
    world: World,
    parts: Arc<Mutex<Vec<Part>>>,
    heard: mpsc::UnboundedReceiver<Heard>,
}

impl Stage {
    async fn new(moves: Moves) -> Self {
        let path = BytePath { moves, threads: NonZeroUsize::MIN, ..BytePath::default() };
        let world = World::moving(path, Limits::default(), Duration::from_secs(30)).await;
        let (hears, heard) = mpsc::unbounded_channel();
        let parts: Arc<Mutex<Vec<Part>>> = Arc::default();
        let next = Arc::clone(&parts);
        let target = Target::start(move |stream| {
            let (next, hears) = (Arc::clone(&next), hears.clone());
            async move {
                let part = next.lock().await.pop().unwrap();
                let heard = play(stream, part).await;
                let _ = hears.send(heard);
            }
        })
        .await;
        world.route(ISTIO_NAME, &[target.address]);
        Self { world, parts, heard }
    }

    /// What the client and what the target heard.
    async fn play(&mut self, client: &Part, target: &Part) -> (Heard, Heard) {
        self.parts.lock().await.push(target.clone());
        let mut stream = self.world.connect().await;
        stream.write_all(&hello()).await.unwrap();
        let client = timeout(PATIENCE, play(stream, client.clone())).await.expect("an end");
        let target = timeout(PATIENCE, self.heard.recv()).await.expect("an end").unwrap();
        (client, target)
    }
}

async fn plays(seeds: std::ops::Range<u64>) {
    let mut adaptive = Stage::new(Moves::Adaptive).await;
    let mut copying = Stage::new(Moves::Copy).await;
    for seed in seeds {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let client = Part::draw(&mut dice, 2 * seed + 1);
        let target = Part::draw(&mut dice, 2 * seed + 2);
        for (way, stage) in [("adaptive", &mut adaptive), ("copy", &mut copying)] {
            let (client_heard, target_heard) = stage.play(&client, &target).await;
            let said = [hello(), client.said()].concat();
            expect_heard(&client_heard, &target.said(), target.breaks_off, client.breaks_off)
                .unwrap_or_else(|why| panic!("seed {seed}, {way}: the client heard {why}"));
            expect_heard(&target_heard, &said, client.breaks_off, target.breaks_off)
                .unwrap_or_else(|why| panic!("seed {seed}, {way}: the target heard {why}"));
        }
    }
    for stage in [&adaptive, &copying] {
        let gateway = &stage.world.gateway;
        until(|| gateway.metrics().active.get() == 0, "no connection is left").await;
        assert_eq!(stage.world.ends(End::Aborted), 0);
    }
    assert!(adaptive.world.gateway.metrics().spliced.get() > 0);
    assert_eq!(copying.world.gateway.metrics().spliced.get(), 0);
}

/// All of it and an orderly end; of someone who breaks off the beginning, and no orderly end.
fn expect_heard(heard: &Heard, said: &[u8], broke: bool, deaf: bool) -> Result<(), String> {
    let (bytes, fault) = heard;
    if deaf {
        return Ok(());
    }
    if !said.starts_with(bytes) {
        return Err(format!("other bytes than were said, {} of {}", bytes.len(), said.len()));
    }
    match (broke, fault) {
        (false, None) if bytes.len() == said.len() => Ok(()),
        (true, Some(_)) => Ok(()),
        _ => Err(format!("{} of {} bytes and then {fault:?}", bytes.len(), said.len())),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a6_both_ways_of_moving_bytes_say_the_same_and_end_the_same() {
    plays(0..40).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_carries_much_is_spliced_both_ways_and_counted_while_it_lives() {
    let mut stage = Stage::new(Moves::Adaptive).await;
    const EACH: usize = 64 * MIB;
    let (client, target) = (bulky(EACH), bulky(EACH));
    let (client_heard, target_heard) = stage.play(&client, &target).await;
    assert!(client_heard == (target.said(), None));
    assert!(target_heard == ([hello(), client.said()].concat(), None));
    stage.world.ended(End::Finished, 1).await;
    let spliced = stage.world.gateway.metrics().spliced.get();
    assert!(spliced as usize > EACH, "{spliced} of {} bytes were spliced", 2 * EACH);
}

fn bulky(bytes: usize) -> Part {
    let pieces = pattern(7, MIB).repeat(bytes / MIB).chunks(MIB).map(<[u8]>::to_vec).collect();
    Part { pieces, reads: 256 * 1024, breaks_off: false }
}

#[tokio::test]
async fn bytes_of_a_connection_that_lives_on_are_counted_within_a_second() {
    use diolkos_eastwest_gw::Direction::*;
    let world = World::start().await;
    let target = Target::echo().await;
    world.route(ISTIO_NAME, &[target.address]);
    let mut client = world.connect().await;
    client.write_all(&hello()).await.unwrap();
    expect_echo(&mut client, &hello()).await;
    let (metrics, all) = (world.gateway.metrics(), hello().len() as u64);
    let counted = || (metrics.bytes(ToTarget), metrics.bytes(ToClient)) == (all, all);
    timeout(Duration::from_secs(1), until(counted, "all bytes are counted")).await.unwrap();
    assert_eq!(metrics.active.get(), 1, "it lives on");
}

/// The gateway holds up a sender whose reader is slow, instead of storing what it says.
#[tokio::test]
async fn a7_whoever_does_not_read_holds_up_the_sender_on_both_ways() {
    for moves in [Moves::Adaptive, Moves::Copy] {
        let path = BytePath { moves, ..BytePath::default() };
        let world = World::moving(path, Limits::default(), Duration::from_secs(1)).await;
        let (goes_on, held) = tokio::sync::watch::channel(false);
        let target = Target::start(move |mut stream| {
            let mut held = held.clone();
            async move {
                held.wait_for(|goes_on| *goes_on).await.unwrap();
                let mut all = Vec::new();
                stream.read_to_end(&mut all).await.unwrap();
                stream.write_all(&(all.len() as u64).to_be_bytes()).await.unwrap();
            }
        })
        .await;
        world.route(ISTIO_NAME, &[target.address]);
        let mut client = world.connect().await;
        client.write_all(&hello()).await.unwrap();
        let (piece, mut sent) = (pattern(3, MIB), 0);
        // Until for a while nothing goes any more: every buffer on the way is full.
        while timeout(Duration::from_millis(300), client.writable()).await.is_ok() {
            sent += client.try_write(&piece).unwrap_or(0);
            assert!(sent < 200 * MIB, "somebody stores it");
        }
        goes_on.send(true).unwrap();
        shut_down_write(&client);
        let said = (sent + hello().len()) as u64;
        assert_eq!(read_to_end(&mut client).await, (said.to_be_bytes().to_vec(), None));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_connections_on_many_loops_do_not_get_into_each_others_way() {
    let path = BytePath { threads: NonZeroUsize::new(8).unwrap(), ..BytePath::default() };
    let limits = Limits { pending_per_source_max: 300, ..Limits::default() };
    let world = Arc::new(World::moving(path, limits, Duration::from_secs(1)).await);
    let target = Target::echo().await;
    world.route(ISTIO_NAME, &[target.address]);
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..300 {
        let world = Arc::clone(&world);
        clients.spawn(async move {
            let mut client = world.connect().await;
            client.write_all(&hello()).await.unwrap();
            expect_echo(&mut client, &hello()).await;
            for round in 0..20 {
                let said = pattern(number * 20 + round, 1 + (number * 37 % 3_000) as usize);
                client.write_all(&said).await.unwrap();
                expect_echo(&mut client, &said).await;
            }
        });
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    world.ended(End::Finished, 300).await;
    let metrics = world.gateway.metrics();
    until(|| metrics.active.get() == 0, "nobody is left").await;
    assert_eq!((metrics.accepted.get(), metrics.pending.get()), (300, 0));
}
