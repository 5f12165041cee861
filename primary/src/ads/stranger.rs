//! A connection whose client presented no certificate: nobody, until one of its streams shows a
//! good token, and not for long.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep_until};

use crate::limit;

/// What a connection has proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Unknown,
    /// By a certificate, or once by a token: its later streams answer for themselves.
    Proven,
    /// What it showed first was no good. It is listened to no more.
    Refused,
}

/// Shared by a connection and its streams.
#[derive(Debug)]
pub(super) struct Proof(watch::Sender<Standing>);

impl Proof {
    pub(super) fn new(standing: Standing) -> Self {
        Self(watch::channel(standing).0)
    }

    pub(super) fn standing(&self) -> Standing {
        *self.0.borrow()
    }

    pub(super) fn proven(&self) {
        self.0.send_replace(Standing::Proven);
    }

    /// One who has proved something keeps that.
    pub(super) fn refused(&self) {
        self.0.send_if_modified(|standing| {
            let unknown = *standing == Standing::Unknown;
            if unknown {
                *standing = Standing::Refused;
            }
            unknown
        });
    }
}

/// A place for one more of them, or why there is none.
pub(super) fn place(places: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, String> {
    places.clone().try_acquire_owned().map_err(|_| {
        format!("{} clients without proof are here already; come again", limit::STRANGERS_MAX)
    })
}

/// Tells when a connection has to end for want of proof.
#[derive(Debug)]
pub(super) struct Patience {
    standing: watch::Receiver<Standing>,
    until: Instant,
    /// A stranger's place, given back once it is none any more.
    place: Option<OwnedSemaphorePermit>,
}

impl Patience {
    pub(super) fn new(proof: &Proof, place: Option<OwnedSemaphorePermit>) -> Self {
        let until = Instant::now() + limit::PROOF_MAX;
        Self { standing: proof.0.subscribe(), until, place }
    }

    /// Returns when it is over, with a reason if nobody was told one; never for one who has proved
    /// who it is. May be dropped and called again.
    pub(super) async fn over(&mut self) -> Option<String> {
        loop {
            let standing = *self.standing.borrow_and_update();
            match standing {
                Standing::Proven => {
                    self.place = None;
                    return std::future::pending().await;
                }
                Standing::Refused => {
                    let soon = Instant::now() + limit::REFUSED_MAX;
                    self.until = self.until.min(soon);
                    sleep_until(self.until).await;
                    return None;
                }
                Standing::Unknown => {}
            }
            tokio::select! {
                // The other end of it lives as long as the connection.
                changed = self.standing.changed() => if changed.is_err() {
                    return std::future::pending().await;
                },
                () = sleep_until(self.until) => {
                    let seconds = limit::PROOF_MAX.as_secs();
                    return Some(format!("no certificate, and no token within {seconds} s"));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use tokio::time::timeout;

    struct Ground {
        places: Arc<Semaphore>,
        proof: Proof,
        patience: Patience,
    }

    fn ground() -> Ground {
        let places = Arc::new(Semaphore::new(1));
        let place = place(&places).expect("there is one");
        let proof = Proof::new(Standing::Unknown);
        let patience = Patience::new(&proof, Some(place));
        Ground { places, proof, patience }
    }

    #[test]
    fn as_many_strangers_as_the_limit_and_not_one_more() {
        let places = Arc::new(Semaphore::new(limit::STRANGERS_MAX));
        let taken: Vec<_> = (0..limit::STRANGERS_MAX).map(|_| place(&places)).collect();
        assert!(taken.iter().all(Result::is_ok));
        let why = place(&places).expect_err("one too many");
        assert_eq!(why, "1024 clients without proof are here already; come again");
        drop(taken);
        assert!(place(&places).is_ok());
    }

    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test(start_paused = true)]
    async fn who_shows_nothing_is_cut_after_a_while() {
        let Ground { places, mut patience, proof: _proof } = ground();
        let begin = Instant::now();
        let why = timeout(LONG, patience.over()).await.expect("it ends");
        assert_eq!(why.as_deref(), Some("no certificate, and no token within 10 s"));
        assert_eq!(begin.elapsed(), limit::PROOF_MAX);
        drop(patience);
        assert_eq!(places.available_permits(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn who_shows_a_good_token_stays_and_gives_the_strangers_place_back() {
        let Ground { places, proof, mut patience } = ground();
        assert!(timeout(limit::PROOF_MAX / 2, patience.over()).await.is_err());
        assert_eq!(places.available_permits(), 0);
        proof.proven();
        proof.refused();
        assert_eq!(proof.standing(), Standing::Proven, "a later bad token is a stream's affair");
        assert!(timeout(LONG, patience.over()).await.is_err());
        assert_eq!(places.available_permits(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_refused_has_time_to_read_why_however_often_it_is_asked() {
        let Ground { proof, mut patience, .. } = ground();
        proof.refused();
        let begin = Instant::now();
        for _ in 0..4 {
            assert!(timeout(limit::REFUSED_MAX / 5, patience.over()).await.is_err());
        }
        assert_eq!(timeout(LONG, patience.over()).await.expect("it ends"), None);
        assert_eq!(begin.elapsed(), limit::REFUSED_MAX);
    }
}
