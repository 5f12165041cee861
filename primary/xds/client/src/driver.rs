//! Keeps a stream to the primary, for as long as someone holds the handle.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use diolkos_xds::ResourceType;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse,
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::client::Grpc;
use tonic_prost::ProstCodec;

use crate::ClientSettings;
use crate::limit;
use crate::protocol::{Answered, Protocol, Subscription, Verdict};
use crate::transport::{self, Channel};
use crate::wanted::Wanted;
use crate::why::Why;

#[derive(Debug)]
pub enum Incoming {
    /// The primary took the stream: it knows who we are.
    Connected,
    /// What is held stays held; the next attempt comes by itself.
    Disconnected {
        why: Why,
    },
    Update(Update),
}

/// What changed of one kind. Dropping it accepts it.
#[derive(Debug)]
pub struct Update {
    pub kind: ResourceType,
    /// Name and body (the protobuf message of the kind).
    pub upserts: Vec<(String, Bytes)>,
    pub removes: Vec<String>,
    verdict: Option<oneshot::Sender<Verdict>>,
}

/// Changes what is asked for. Dropping it ends the stream.
#[derive(Debug)]
pub struct XdsHandle {
    wanted: Arc<Wanted>,
    _alive: watch::Sender<()>,
}

/// Returns at once; the stream is opened, and reopened for ever, behind it.
pub fn connect(
    settings: ClientSettings,
    subscribe: Vec<(ResourceType, Subscription)>,
) -> (XdsHandle, mpsc::Receiver<Incoming>) {
    let (alive, mut ended) = watch::channel(());
    let (sender, receiver) = mpsc::channel(limit::INCOMING_MAX);
    let wanted = Arc::new(Wanted::default());
    let driver = Driver {
        protocol: Protocol::new(settings.node.to_node(), subscribe),
        settings,
        wanted: wanted.clone(),
        incoming: sender,
    };
    tokio::spawn(async move {
        tokio::select! {
            biased;
            _ = ended.changed() => {}
            ReaderGone = driver.run() => {}
        }
    });
    (XdsHandle { wanted, _alive: alive }, receiver)
}

impl XdsHandle {
    pub fn subscribe(&self, kind: ResourceType, names: Vec<String>) {
        self.wanted.subscribe(kind, names);
    }

    pub fn unsubscribe(&self, kind: ResourceType, names: Vec<String>) {
        self.wanted.unsubscribe(kind, names);
    }
}

impl Update {
    pub fn accept(self) {}

    /// `reason` names the resource first: `name: what is wrong with it`.
    pub fn reject(mut self, reason: impl Into<String>) {
        if let Some(verdict) = self.verdict.take() {
            // A stream that ended meanwhile has no use for it.
            let _ = verdict.send(Verdict::Reject(reason.into()));
        }
    }
}

struct Driver {
    settings: ClientSettings,
    protocol: Protocol,
    wanted: Arc<Wanted>,
    incoming: mpsc::Sender<Incoming>,
}

/// Nobody reads any more.
struct ReaderGone;

enum Ended {
    Reader(ReaderGone),
    Stream(Why),
    /// A request could not be sent any more. Why, the other direction knows.
    Unsent,
}

struct Stream {
    channel: Channel,
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
}

impl Driver {
    async fn run(mut self) -> ReaderGone {
        let mut failures = 0;
        loop {
            while self.protocol.is_idle() {
                self.wanted.changed().await;
                self.note_wishes();
            }
            let (why, lived) = match self.open().await {
                Err(why) => (why, None),
                Ok(stream) => {
                    let opened = Instant::now();
                    match self.stream(stream).await {
                        Err(gone) => return gone,
                        Ok(why) => (why, Some(opened.elapsed())),
                    }
                }
            };
            if self.incoming.send(Incoming::Disconnected { why }).await.is_err() {
                return ReaderGone;
            }
            failures = self.settings.backoff.counted(failures, lived);
            self.pause(self.settings.backoff.wait(failures, rand::random())).await;
            failures = failures.saturating_add(1);
        }
    }

    async fn open(&mut self) -> Result<Stream, Why> {
        let metadata = self.settings.credential.metadata(&self.settings.node.cluster)?;
        let channel = transport::open(&self.settings).await?;
        let address = channel.address;
        let (requests, outgoing) = mpsc::channel(limit::REQUESTS_MAX);
        for request in self.protocol.connected() {
            requests.try_send(request).expect("a new channel has room for one request a kind");
        }
        let origin = http::Uri::builder()
            .scheme("https")
            .authority(address.to_string())
            .path_and_query("/")
            .build()
            .expect("an address is an authority");
        let mut grpc = Grpc::with_origin(channel.calls(), origin)
            .max_decoding_message_size(limit::MESSAGE_BYTES_MAX);
        let path = http::uri::PathAndQuery::from_static(
            "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources",
        );
        let lost = |cause: Why| channel.fault.get().unwrap_or(cause);
        let call = async {
            let ready = grpc.ready().await;
            ready.map_err(|error| lost(Why::ended(address, &error.to_string())))?;
            let mut outgoing = tonic::Request::new(ReceiverStream::new(outgoing));
            *outgoing.metadata_mut() = metadata;
            let answer = grpc.streaming(outgoing, path, ProstCodec::default()).await;
            answer.map_err(|status| channel.told(&status))
        };
        let responses = tokio::time::timeout(limit::CONNECT_MAX, call)
            .await
            .map_err(|_| Why::silent(address, "gRPC"))??
            .into_inner();
        Ok(Stream { channel, requests, responses })
    }

    /// Until it ends, and why it did.
    async fn stream(&mut self, mut stream: Stream) -> Result<Why, ReaderGone> {
        if self.incoming.send(Incoming::Connected).await.is_err() {
            return Err(ReaderGone);
        }
        let address = stream.channel.address;
        loop {
            let step = tokio::select! {
                response = stream.responses.message() => match response {
                    Ok(Some(response)) => self.offer(&mut stream, response).await,
                    Ok(None) => Err(Ended::Stream(Why::ended(address, "it said no more"))),
                    Err(status) => Err(Ended::Stream(stream.channel.told(&status))),
                },
                () = self.wanted.changed() => self.send_wishes(&stream).await,
            };
            match step {
                Ok(()) => {}
                Err(Ended::Reader(gone)) => return Err(gone),
                Err(Ended::Stream(why)) => return Ok(why),
                Err(Ended::Unsent) => return Ok(last_word(stream).await),
            }
        }
    }

    /// Puts a response before the reader and sends the answer. Wishes go out meanwhile.
    async fn offer(
        &mut self,
        stream: &mut Stream,
        response: DeltaDiscoveryResponse,
    ) -> Result<(), Ended> {
        let offer = match self.protocol.received(response) {
            Ok(offer) => offer,
            Err(refusal) => return send(stream, *refusal).await,
        };
        let kind = offer.kind;
        let removes = offer.removes.clone();
        let (upserts, answered) = offer.split();
        let (verdict, decided) = oneshot::channel();
        let update = Update { kind, upserts, removes, verdict: Some(verdict) };
        if self.incoming.send(Incoming::Update(update)).await.is_err() {
            return Err(Ended::Reader(ReaderGone));
        }
        let verdict = self.verdict(stream, decided).await?;
        self.answer(stream, answered, verdict).await
    }

    async fn verdict(
        &mut self,
        stream: &Stream,
        mut decided: oneshot::Receiver<Verdict>,
    ) -> Result<Verdict, Ended> {
        loop {
            tokio::select! {
                biased;
                verdict = &mut decided => return Ok(verdict.unwrap_or(Verdict::Accept)),
                () = self.wanted.changed() => self.send_wishes(stream).await?,
            }
        }
    }

    async fn answer(
        &mut self,
        stream: &Stream,
        answered: Answered,
        verdict: Verdict,
    ) -> Result<(), Ended> {
        if let Verdict::Reject(reason) = &verdict {
            tracing::warn!(reason, "update rejected, what was held stays");
        }
        let request = self.protocol.answer(answered, verdict);
        send(stream, request).await
    }

    async fn send_wishes(&mut self, stream: &Stream) -> Result<(), Ended> {
        for request in self.note_wishes() {
            send(stream, request).await?;
        }
        Ok(())
    }

    fn note_wishes(&mut self) -> Vec<DeltaDiscoveryRequest> {
        let mut requests = Vec::new();
        for pending in self.wanted.take() {
            let kind = pending.kind;
            let (subscribe, unsubscribe) = pending.split();
            requests.extend(self.protocol.unsubscribe(kind, unsubscribe));
            requests.extend(self.protocol.subscribe(kind, subscribe));
        }
        requests
    }

    async fn pause(&mut self, wait: Duration) {
        let until = tokio::time::sleep(wait);
        tokio::pin!(until);
        loop {
            tokio::select! {
                () = &mut until => return,
                // No stream: the next one begins with all of it.
                () = self.wanted.changed() => drop(self.note_wishes()),
            }
        }
    }
}

async fn send(stream: &Stream, request: DeltaDiscoveryRequest) -> Result<(), Ended> {
    stream.requests.send(request).await.map_err(|_| Ended::Unsent)
}

/// What the primary said, or the connection failed of, when it stopped listening.
async fn last_word(mut stream: Stream) -> Why {
    let address = stream.channel.address;
    let said = async {
        loop {
            match stream.responses.message().await {
                Ok(Some(_)) => {}
                Ok(None) => return Why::ended(address, "it said no more"),
                Err(status) => return stream.channel.told(&status),
            }
        }
    };
    let silent = |_| Why::ended(address, "it takes no more requests");
    tokio::time::timeout(limit::LAST_WORD_MAX, said).await.unwrap_or_else(silent)
}
