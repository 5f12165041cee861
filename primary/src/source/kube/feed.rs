//! One kind of one server: listed, then watched for as long as anyone listens.
//!
//! ```text
//!  find (custom resources) ─> list, page by page ─> Listed ─> watch ─> Put, Removed ...
//!        ^                          ^                            │
//!        └── not installed ────────┴── forgotten, asked, audit ─┘
//! ```
//!
//! It never gives up: whatever fails is tried again, and meanwhile what was said stays said.

use std::sync::Arc;
use std::time::{Duration, Instant};

use diolkos_watch::{Failure, Reason, Said, Verdict};
use http::Request;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{APIResourceList, ListMeta};
use kube::core::Request as Ask;
use kube::core::params::{ListParams, WatchParams};
use rand::Rng as _;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::{Notify, mpsc};

use super::backoff::Backoff;
use super::client::ApiClient;
use super::error::ApiError;
use super::limit;
use super::lines::Lines;
use super::plan::{Head, Name, Need, Place, Plan, Read};
use super::sight::FeedSight;

/// What a feed says of its kind.
#[derive(Debug)]
pub(super) enum Word<T> {
    /// All there is.
    Listed(Listed, Vec<(Name, T)>),
    /// `None`: there is nothing to keep of it any more.
    Put(Name, Option<T>),
    Removed(Name),
    /// There is nothing to be had of it for now, which holds nobody up.
    Missing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    /// Why it was asked for.
    pub(super) why: Relist,
    /// The server's versions went back.
    pub(super) rewound: bool,
}

/// Why everything is listed again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Relist {
    /// The first time.
    Start,
    /// The server has forgotten where the watch was.
    Gone,
    /// The server is behind what it said before, as after a restored backup.
    Rewound,
    /// Someone wants a second look.
    Asked,
    Audit,
    /// The kind was not there for a while.
    Found,
}

impl Relist {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Gone => "gone",
            Self::Rewound => "rewound",
            Self::Asked => "asked",
            Self::Audit => "audit",
            Self::Found => "found",
        }
    }
}

/// By which others speak to a feed.
#[derive(Debug, Default)]
pub(super) struct Bell {
    /// List again.
    pub(super) relist: Notify,
    /// List again, for its versions went back.
    pub(super) rewound: Notify,
    /// Whatever it waits for, try now.
    pub(super) wake: Notify,
}

pub(super) struct Feed<G, T> {
    pub(super) client: ApiClient,
    pub(super) plan: Plan<T>,
    pub(super) tag: G,
    pub(super) words: mpsc::Sender<(G, Word<T>)>,
    pub(super) sight: Arc<FeedSight>,
    pub(super) bell: Arc<Bell>,
}

/// Nobody listens any more.
struct Over;

#[derive(Deserialize)]
struct Page {
    /// Whatever has none is no list, and says nothing of what is there.
    kind: String,
    #[serde(default)]
    metadata: ListMeta,
    items: Option<Vec<Box<RawValue>>>,
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: String,
    object: Box<RawValue>,
}

#[derive(Deserialize)]
struct Fault {
    #[serde(default)]
    code: Option<u16>,
    #[serde(default)]
    message: Option<String>,
}

impl<G: Copy + Send + 'static, T: Send + 'static> Feed<G, T> {
    pub(super) async fn run(self) {
        let mut backoff = Backoff::new(self.client.pace());
        let mut why = Relist::Start;
        loop {
            match self.round(why, &mut backoff).await {
                Ok(next) => why = next,
                Err(Over) => return,
            }
        }
    }

    /// From finding to the next list.
    async fn round(&self, why: Relist, backoff: &mut Backoff) -> Result<Relist, Over> {
        let place = match self.find().await {
            Ok(Some(place)) => place,
            Ok(None) => return self.missing("it is not installed".into()).await,
            Err(error) => return self.failed(why, error, backoff).await,
        };
        let path = place.path();
        let (items, version) = match self.list(&path).await {
            Ok(listed) => listed,
            Err(error) => return self.failed(why, error, backoff).await,
        };
        let rewound = self.sight.listed(why, version.as_deref());
        self.say(Word::Listed(Listed { why, rewound }, items)).await?;
        self.watch(&path, version.unwrap_or_default(), backoff).await
    }

    async fn failed(
        &self,
        why: Relist,
        error: ApiError,
        backoff: &mut Backoff,
    ) -> Result<Relist, Over> {
        match (self.plan.need, &error) {
            (Need::IfAllowed | Need::IfInstalled, ApiError::Forbidden(_)) => {
                return self.missing(error.to_string()).await;
            }
            (Need::IfInstalled, ApiError::NotFound(_)) => {
                return self.missing("it is not installed".into()).await;
            }
            _ => {}
        }
        self.sight.failed(&error);
        self.wait(backoff.after_failure(Instant::now())).await?;
        Ok(why)
    }

    async fn missing(&self, why: String) -> Result<Relist, Over> {
        self.sight.missing(&why);
        self.say(Word::Missing).await?;
        self.wait(self.client.pace().look).await?;
        Ok(Relist::Found)
    }

    async fn say(&self, word: Word<T>) -> Result<(), Over> {
        self.words.send((self.tag, word)).await.map_err(|_| Over)
    }

    async fn wait(&self, time: Duration) -> Result<(), Over> {
        tokio::select! {
            () = tokio::time::sleep(time) => Ok(()),
            () = self.bell.wake.notified() => Ok(()),
            () = self.words.closed() => Err(Over),
        }
    }

    /// The first place where the kind is served.
    async fn find(&self) -> Result<Option<Place>, ApiError> {
        if self.plan.need != Need::IfInstalled {
            return Ok(self.plan.places.first().cloned());
        }
        for place in &self.plan.places {
            match self.client.call::<APIResourceList>(get(place.group)).await {
                Ok(list) if list.resources.iter().any(|one| one.name == place.plural) => {
                    return Ok(Some(place.clone()));
                }
                Ok(_) | Err(ApiError::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Every object, as of one version.
    async fn list(&self, path: &str) -> Result<(Vec<(Name, T)>, Option<String>), ApiError> {
        let mut params = ListParams {
            label_selector: self.plan.labels.map(Into::into),
            field_selector: self.plan.fields.as_deref().map(Into::into),
            limit: Some(limit::PAGE_OBJECTS),
            ..ListParams::default()
        };
        let mut items = Vec::new();
        let mut bytes = 0;
        for _ in 0..limit::PAGES_MAX {
            let request = Ask::new(path).list(&params).map_err(|error| unaskable(&error))?;
            let body = self.client.bytes(request, limit::PAGE_BYTES_MAX).await?;
            let page: Page =
                serde_json::from_slice(&body).map_err(|error| ApiError::unreadable(&error))?;
            bytes += body.len();
            drop(body);
            if bytes > limit::LIST_BYTES_MAX {
                let cause = format!("a list of more than {} bytes", limit::LIST_BYTES_MAX);
                return Err(ApiError::Malformed(cause));
            }
            if !page.kind.ends_with("List") {
                let cause =
                    format!("answers with {:?}, not a list", super::error::short(&page.kind));
                return Err(ApiError::Malformed(cause));
            }
            for raw in page.items.into_iter().flatten() {
                let Read { id, item, .. } = (self.plan.read)(&raw);
                let Some(item) = item else { continue };
                if items.len() >= self.plan.objects_max {
                    let cause = format!("more than {} objects", self.plan.objects_max);
                    return Err(ApiError::Malformed(cause));
                }
                items.push((id, item));
            }
            self.sight.heard();
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params.continue_token = Some(token),
                None => return Ok((items, page.metadata.resource_version)),
            }
        }
        Err(ApiError::Malformed(format!("more than {} pages", limit::PAGES_MAX)))
    }

    /// Until there is a reason to list again.
    async fn watch(
        &self,
        path: &str,
        mut version: String,
        backoff: &mut Backoff,
    ) -> Result<Relist, Over> {
        let audit = self.client.pace().audit.mul_f64(rand::rng().random_range(0.9..=1.1));
        let audit = tokio::time::sleep(audit);
        tokio::pin!(audit);
        loop {
            let begun = Instant::now();
            let ended = tokio::select! {
                () = &mut audit => return Ok(Relist::Audit),
                () = self.bell.relist.notified() => return Ok(Relist::Asked),
                () = self.bell.rewound.notified() => return Ok(Relist::Rewound),
                () = self.words.closed() => return Err(Over),
                ended = self.watch_once(path, &mut version) => ended,
            };
            match ended {
                // Its time was over. A server that ends watches at once is left in peace, too.
                Ok(()) if begun.elapsed() >= self.client.pace().backoff.0 => {}
                Ok(()) => self.wait(backoff.after_failure(Instant::now())).await?,
                Err(Ended::Over) => return Err(Over),
                Err(Ended::Relist(why)) => return Ok(why),
                Err(Ended::Because(ApiError::Gone(_))) => return Ok(Relist::Gone),
                Err(Ended::Because(error @ (ApiError::NotFound(_) | ApiError::Forbidden(_)))) => {
                    return self.failed(Relist::Gone, error, backoff).await;
                }
                Err(Ended::Because(error)) => {
                    self.sight.failed(&error);
                    self.wait(backoff.after_failure(Instant::now())).await?;
                }
            }
        }
    }

    async fn watch_once(&self, path: &str, version: &mut String) -> Result<(), Ended> {
        let pace = self.client.pace();
        let params = WatchParams {
            label_selector: self.plan.labels.map(Into::into),
            field_selector: self.plan.fields.as_deref().map(Into::into),
            timeout: Some(u32::try_from(pace.watch.as_secs()).unwrap_or(u32::MAX).max(1)),
            bookmarks: true,
            send_initial_events: false,
        };
        let request = Ask::new(path).watch(&params, version);
        let body = self.client.open(request.map_err(|error| unaskable(&error))?).await?;
        self.sight.watching();
        let mut lines = Lines::new(body, limit::LINE_BYTES_MAX);
        let mut throttle = Throttle::new();
        while let Some(line) = lines.next(&self.client, pace.watch + pace.read_max).await? {
            self.sight.heard();
            let event: Event =
                serde_json::from_slice(&line).map_err(|error| ApiError::unreadable(&error))?;
            if let Some(new) = self.take(&event).await? {
                let said = match event.kind.as_str() {
                    "BOOKMARK" => Said::Bookmark { version: &new },
                    _ => Said::Event { version: &new },
                };
                believe(self.sight.hear(said))?;
                *version = new;
            }
            throttle.turn().await;
        }
        Ok(())
    }

    /// Answers the version to go on from.
    async fn take(&self, event: &Event) -> Result<Option<String>, Ended> {
        match event.kind.as_str() {
            "ADDED" | "MODIFIED" => {
                let Read { id, version, item } = (self.plan.read)(&event.object);
                self.say(Word::Put(id, item)).await.map_err(|Over| Ended::Over)?;
                Ok(version)
            }
            "DELETED" => {
                let head = Head::of(&event.object);
                self.say(Word::Removed(head.id())).await.map_err(|Over| Ended::Over)?;
                Ok(head.version())
            }
            "BOOKMARK" => Ok(Head::of(&event.object).version()),
            "ERROR" => {
                let fault = serde_json::from_str::<Fault>(event.object.get());
                let Fault { code, message } =
                    fault.map_err(|error| ApiError::unreadable(&error))?;
                let message = super::error::short(&message.unwrap_or_default());
                let failure = match code {
                    Some(410) => Failure::Expired,
                    // To ask again for a version that is yet to come ends in a circle.
                    Some(504) if message.contains("Too large resource version") => Failure::Ahead,
                    _ => Failure::Other,
                };
                believe(self.sight.hear(Said::Failed(failure)))?;
                Err(Ended::Because(ApiError::Status(code.unwrap_or(500), message)))
            }
            other => {
                let cause = format!("an event of type {:?}", super::error::short(other));
                Err(Ended::Because(ApiError::Malformed(cause)))
            }
        }
    }
}

enum Ended {
    Over,
    Relist(Relist),
    Because(ApiError),
}

fn believe(verdict: Verdict) -> Result<(), Ended> {
    match verdict {
        Verdict::Continue => Ok(()),
        Verdict::Relist(Reason::Expired) => Err(Ended::Relist(Relist::Gone)),
        Verdict::Relist(Reason::Ahead | Reason::Rewound { .. }) => {
            Err(Ended::Relist(Relist::Rewound))
        }
        Verdict::Relist(Reason::Never) => Err(Ended::Relist(Relist::Asked)),
    }
}

impl From<ApiError> for Ended {
    fn from(error: ApiError) -> Self {
        Self::Because(error)
    }
}

fn unaskable(error: &dyn std::fmt::Display) -> ApiError {
    ApiError::Malformed(format!("the request cannot be written: {error}"))
}

pub(super) fn get(path: &str) -> Request<Vec<u8>> {
    Request::get(path).body(Vec::new()).expect("paths are written in this crate")
}

/// One cluster's flood of changes must not take the machine from the others.
struct Throttle {
    began: Instant,
    count: u32,
}

impl Throttle {
    fn new() -> Self {
        Self { began: Instant::now(), count: 0 }
    }

    async fn turn(&mut self) {
        let second = Duration::from_secs(1);
        self.count += 1;
        let elapsed = self.began.elapsed();
        if elapsed >= second {
            (self.began, self.count) = (Instant::now(), 0);
        } else if self.count >= limit::CHANGES_PER_SECOND_MAX {
            tokio::time::sleep(second - elapsed).await;
            (self.began, self.count) = (Instant::now(), 0);
        }
    }
}
