//! Changes of subscription on their way to the driver.
//!
//! Kept as the last wish for each name, not as a queue: however fast a reader changes its mind
//! while the primary is away, no more is stored than there are names.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use diolkos_xds::ResourceType;
use tokio::sync::Notify;

#[derive(Debug, Default)]
pub(crate) struct Wanted {
    pending: Mutex<Vec<Pending>>,
    changed: Notify,
}

#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) kind: ResourceType,
    /// Whether to subscribe.
    wishes: BTreeMap<String, Wish>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Subscribe,
    Unsubscribe,
}

impl Pending {
    /// Names to subscribe, names to unsubscribe.
    pub(crate) fn split(self) -> (Vec<String>, Vec<String>) {
        let (subscribe, unsubscribe): (Vec<_>, Vec<_>) =
            self.wishes.into_iter().partition(|(_, wish)| *wish == Wish::Subscribe);
        let names = |wishes: Vec<(String, Wish)>| wishes.into_iter().map(|(name, _)| name);
        (names(subscribe).collect(), names(unsubscribe).collect())
    }
}

impl Wanted {
    pub(crate) fn subscribe(&self, kind: ResourceType, names: Vec<String>) {
        self.wish(kind, names, Wish::Subscribe);
    }

    pub(crate) fn unsubscribe(&self, kind: ResourceType, names: Vec<String>) {
        self.wish(kind, names, Wish::Unsubscribe);
    }

    /// Waits until there is something; cancelling loses nothing.
    pub(crate) async fn changed(&self) {
        loop {
            let notified = self.changed.notified();
            if !self.lock().is_empty() {
                return;
            }
            notified.await;
        }
    }

    pub(crate) fn take(&self) -> Vec<Pending> {
        std::mem::take(&mut *self.lock())
    }

    fn wish(&self, kind: ResourceType, names: Vec<String>, wish: Wish) {
        let mut pending = self.lock();
        let entry = match pending.iter().position(|pending| pending.kind == kind) {
            Some(index) => &mut pending[index],
            None => {
                pending.push(Pending { kind, wishes: BTreeMap::new() });
                pending.last_mut().expect("just pushed")
            }
        };
        entry.wishes.extend(names.into_iter().map(|name| (name, wish)));
        drop(pending);
        self.changed.notify_one();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Pending>> {
        // Nothing in here panics half-way.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
