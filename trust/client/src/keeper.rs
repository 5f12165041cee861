//! Keeps a certificate: the first, and each after it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use diolkos_ops::metrics::Registry;
use diolkos_ops::printable;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::fetch::{By, Fetcher, roots_print};
use crate::limit::LOOK_INTERVAL;
use crate::material::Material;
use crate::metrics::Metrics;
use crate::renewal::{due, retry_after};
use crate::settings::CertificateSettings;

/// The material in force; `None` until the first came.
pub type Kept = watch::Receiver<Option<Arc<Material>>>;

/// Why the last attempt failed; `None` once one succeeded.
pub type Fault = watch::Receiver<Option<String>>;

#[derive(Debug)]
pub struct Keeper {
    fetcher: Fetcher,
    settings: Arc<CertificateSettings>,
    metrics: Metrics,
    kept: watch::Sender<Option<Arc<Material>>>,
    fault: watch::Sender<Option<String>>,
    /// As they were when the certificate came.
    roots: Option<Vec<u8>>,
    failures: u32,
}

impl Keeper {
    /// `role` is the first word of its metrics.
    pub fn new(settings: CertificateSettings, registry: &mut Registry, role: &str) -> Self {
        let settings = Arc::new(settings);
        Self {
            fetcher: Fetcher::new(settings.clone()),
            settings,
            metrics: Metrics::new(registry, role),
            kept: watch::Sender::new(None),
            fault: watch::Sender::new(None),
            roots: None,
            failures: 0,
        }
    }

    pub fn kept(&self) -> Kept {
        self.kept.subscribe()
    }

    pub fn fault(&self) -> Fault {
        self.fault.subscribe()
    }

    /// Until dropped.
    pub async fn run(mut self) {
        loop {
            self.until_due().await;
            self.renew().await;
        }
    }

    /// By the clock that certificates count by, looked at each second: it may be set, and a machine
    /// may sleep. New roots are a reason too: others are verified against what the CA hands out.
    async fn until_due(&self) {
        let Some(current) = self.kept.borrow().clone() else { return };
        let due = due(current.since, current.not_after, rand::random());
        let mut looks = interval(LOOK_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            let now = SystemTime::now();
            if now >= due || now < current.since {
                return;
            }
            let roots = roots_print(&self.settings.root_file);
            if roots.is_some() && roots != self.roots {
                tracing::info!("the roots changed: asking for a certificate of the new ones");
                return;
            }
        }
    }

    /// As often as it takes.
    async fn renew(&mut self) {
        let mut by = By::Token;
        loop {
            let before = self.kept.borrow().clone();
            let valid = before.filter(|before| before.not_after > SystemTime::now());
            let roots = roots_print(&self.settings.root_file);
            match self.fetcher.fetch(by, valid.as_deref()).await {
                Ok(material) => {
                    self.failures = 0;
                    self.roots = roots;
                    self.keep(material, by);
                    return;
                }
                Err(error) => {
                    let wait = retry_after(self.failures, rand::random());
                    self.failures += 1;
                    self.metrics.failed();
                    self.tell(&error.to_string(), wait, valid.as_deref());
                    by = match by {
                        By::Token if valid.is_some() && error.is_of_the_api_server() => {
                            By::Certificate
                        }
                        _ => By::Token,
                    };
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }

    fn keep(&self, material: Material, by: By) {
        let left = material.not_after.duration_since(material.since).unwrap_or_default();
        tracing::info!(
            identity = %self.settings.id, ?by, valid_min = left.as_secs() / 60, "certificate issued"
        );
        self.metrics.renewed(material.not_after);
        self.fault.send_replace(None);
        self.kept.send_replace(Some(Arc::new(material)));
    }

    /// The first failure, and each that doubles the count: an outage of a night is not a log of one.
    fn tell(&self, why: &str, wait: Duration, valid: Option<&Material>) {
        let why = printable(why).into_owned();
        self.fault.send_replace(Some(why.clone()));
        if !self.failures.is_power_of_two() {
            return;
        }
        let (failures, retry_ms) = (self.failures, wait.as_millis());
        match valid {
            None => tracing::warn!(%why, failures, retry_ms, "no certificate yet"),
            Some(current) => {
                let left = current.not_after.duration_since(SystemTime::now()).unwrap_or_default();
                let left_min = left.as_secs() / 60;
                tracing::warn!(%why, failures, retry_ms, left_min, "certificate not renewed, the one before is used");
            }
        }
    }
}
