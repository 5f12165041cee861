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

#[derive(Debug)]
pub enum Incoming {
    /// The primary took the stream: it knows who we are.
    Connected,
    /// What is held stays held; the next attempt comes by itself.
    Disconnected {
        why: String,
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
    Stream(String),
}

struct Stream {
    _channel: Channel,
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
                        Ended::Reader(gone) => return gone,
                        Ended::Stream(why) => (why, Some(opened.elapsed())),
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

    async fn open(&mut self) -> Result<Stream, String> {
        let channel = transport::open(&self.settings).await.map_err(|error| error.to_string())?;
        let (requests, outgoing) = mpsc::channel(limit::REQUESTS_MAX);
        for request in self.protocol.connected() {
            requests.try_send(request).expect("a new channel has room for one request a kind");
        }
        let origin = http::Uri::builder()
            .scheme("https")
            .authority(self.settings.address.to_string())
            .path_and_query("/")
            .build()
            .map_err(|error| error.to_string())?;
        let mut grpc = Grpc::with_origin(channel.calls(), origin)
            .max_decoding_message_size(limit::MESSAGE_BYTES_MAX);
        let path = http::uri::PathAndQuery::from_static(
            "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources",
        );
        let call = async {
            grpc.ready().await.map_err(|error| format!("connection: {error}"))?;
            let outgoing = tonic::Request::new(ReceiverStream::new(outgoing));
            grpc.streaming(outgoing, path, ProstCodec::default())
                .await
                .map_err(|status| told(&status))
        };
        let responses = tokio::time::timeout(limit::CONNECT_MAX, call)
            .await
            .map_err(|_| format!("no answer within {} ms", limit::CONNECT_MS_MAX))??
            .into_inner();
        Ok(Stream { _channel: channel, requests, responses })
    }

    async fn stream(&mut self, mut stream: Stream) -> Ended {
        if self.incoming.send(Incoming::Connected).await.is_err() {
            return Ended::Reader(ReaderGone);
        }
        loop {
            let step = tokio::select! {
                response = stream.responses.message() => match response {
                    Ok(Some(response)) => self.offer(&mut stream, response).await,
                    Ok(None) => Err(Ended::Stream("the primary ended the stream".into())),
                    Err(status) => Err(Ended::Stream(told(&status))),
                },
                () = self.wanted.changed() => self.send_wishes(&stream).await,
            };
            if let Err(ended) = step {
                return ended;
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
    stream
        .requests
        .send(request)
        .await
        .map_err(|_| Ended::Stream("the connection to the primary is lost".into()))
}

fn told(status: &tonic::Status) -> String {
    if status.message().is_empty() {
        return status.code().to_string();
    }
    format!("{}: {}", status.code(), status.message())
}
