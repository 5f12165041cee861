//! Published catalogs: written by the owner task, read by every session of the audience or scope.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Instant;

use diolkos_xds::{Catalog, CatalogDelta};
use tokio::sync::watch;

#[derive(Debug)]
pub(crate) struct CatalogCell {
    catalog: RwLock<Catalog>,
    changed: watch::Sender<Published>,
}

/// The last change of a cell.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Published {
    /// When the source said what led to it.
    pub(crate) said_at: Instant,
}

impl CatalogCell {
    pub(crate) fn new(now: Instant) -> Arc<Self> {
        let (changed, _) = watch::channel(Published { said_at: now });
        Arc::new(Self { catalog: RwLock::new(Catalog::new()), changed })
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Catalog> {
        // A panic inside `apply` is a bug that ends the owner; readers keep what is there.
        self.catalog.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Published> {
        self.changed.subscribe()
    }

    fn write(&self) -> RwLockWriteGuard<'_, Catalog> {
        self.catalog.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Applies one turn's deltas so that no session sees a part of them: a removed cluster, say, whose
/// route is still there. Cells come in the order in which sessions lock them: audiences, then
/// scopes.
pub(crate) fn publish(changes: &[(Arc<CatalogCell>, Vec<CatalogDelta>)], said_at: Instant) {
    let mut locked: Vec<_> = changes.iter().map(|(cell, deltas)| (cell.write(), deltas)).collect();
    for (catalog, deltas) in &mut locked {
        for delta in *deltas {
            catalog.apply(delta);
        }
    }
    drop(locked);
    for (cell, _) in changes {
        cell.changed.send_replace(Published { said_at });
    }
}
