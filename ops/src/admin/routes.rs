//! Which path says what.

use std::collections::BTreeMap;
use std::fmt;
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;

use crate::admin::{Answer, Query};
use crate::metrics::Registry;

type Page = Arc<dyn Fn(Query) -> Pin<Box<dyn Future<Output = Answer> + Send>> + Send + Sync>;

/// Who can reach the endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// Only processes of this machine; any other address is refused.
    #[default]
    Loopback,
    /// Whoever reaches the address given: the operator asked for it.
    Network,
}

/// The pages of one role, by exact path.
#[derive(Clone, Default)]
pub struct AdminRoutes {
    pages: BTreeMap<String, Page>,
    pub(super) reach: Reach,
}

impl AdminRoutes {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What anyone may ask of a role in a cluster, and nothing that tells of the mesh: whether it
    /// lives, whether it is ready (else, in the fewest words, why not), and its figures.
    #[must_use]
    pub fn health<F, A>(registry: Arc<Registry>, ready: F) -> Self
    where
        F: Fn() -> A + Send + Sync + 'static,
        A: Future<Output = Result<(), String>> + Send + 'static,
    {
        Self::new()
            .page("/healthz", |_| Answer::text("alive"))
            .asking("/healthz/ready", move |_| {
                let ready = ready();
                async move {
                    match ready.await {
                        Ok(()) => Answer::text("ready"),
                        Err(why) => Answer::unavailable(why),
                    }
                }
            })
            .metrics(registry)
            .reach(Reach::Network)
    }

    /// `GET path` answers what `page` returns. It runs on the runtime's threads: it reads what is
    /// there, and does not wait.
    #[must_use]
    pub fn page<F>(self, path: &str, page: F) -> Self
    where
        F: Fn(&Query) -> Answer + Send + Sync + 'static,
    {
        self.add(path, Arc::new(move |query| Box::pin(ready(page(&query)))))
    }

    /// As [`AdminRoutes::page`], for a page that has to ask the task that owns the answer.
    #[must_use]
    pub fn asking<F, A>(self, path: &str, page: F) -> Self
    where
        F: Fn(Query) -> A + Send + Sync + 'static,
        A: Future<Output = Answer> + Send + 'static,
    {
        self.add(path, Arc::new(move |query| Box::pin(page(query))))
    }

    /// `GET /metrics` in OpenMetrics text.
    #[must_use]
    pub fn metrics(self, registry: Arc<Registry>) -> Self {
        self.page("/metrics", move |_| Answer::metrics(&registry))
    }

    #[must_use]
    pub fn reach(self, reach: Reach) -> Self {
        Self { reach, ..self }
    }

    pub(super) fn find(&self, path: &str) -> Option<&Page> {
        self.pages.get(path)
    }

    /// Said where a path has no page, so that a person need not guess.
    pub(super) fn list(&self) -> String {
        let paths: Vec<&str> = self.pages.keys().map(String::as_str).collect();
        paths.join("\n")
    }

    fn add(mut self, path: &str, page: Page) -> Self {
        self.pages.insert(path.to_owned(), page);
        self
    }
}

impl fmt::Debug for AdminRoutes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminRoutes")
            .field("pages", &self.pages.keys())
            .field("reach", &self.reach)
            .finish()
    }
}
