//! One orderly end, told to everyone at once.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// Exit status of a process that is told a second time to end: 128 + SIGINT, as shells count.
const EXIT_IMPATIENT: i32 = 130;

/// Waits for the end. Clones all see the same one; a clone made after the end sees it at once.
#[derive(Clone, Debug)]
pub struct Shutdown {
    ending: watch::Receiver<bool>,
}

/// Starts the end, by [`Trigger::fire`] or when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Trigger {
    ending: watch::Sender<bool>,
}

impl Shutdown {
    #[must_use]
    pub fn new() -> (Trigger, Self) {
        let (sender, receiver) = watch::channel(false);
        (Trigger { ending: sender }, Self { ending: receiver })
    }

    /// Ends at SIGTERM or SIGINT; a second signal ends the process on the spot.
    ///
    /// # Errors
    /// When the system refuses a signal handler.
    pub fn on_signals() -> io::Result<Self> {
        let (trigger, shutdown) = Self::new();
        trigger.fire_on_signals()?;
        Ok(shutdown)
    }

    /// Returns once the end has begun. Cancellation-safe, and may be awaited again.
    pub async fn wait(&self) {
        let mut ending = self.ending.clone();
        // An error means that nobody is left who could fire: that is the end as well.
        let _ = ending.wait_for(|ending| *ending).await;
    }

    #[must_use]
    pub fn has_begun(&self) -> bool {
        *self.ending.borrow() || self.ending.has_changed().is_err()
    }
}

impl Trigger {
    pub fn fire(&self) {
        self.ending.send_replace(true);
    }

    /// Also fires at SIGTERM or SIGINT, beside whoever else holds a clone of this trigger.
    ///
    /// # Errors
    /// When the system refuses a signal handler.
    pub fn fire_on_signals(&self) -> io::Result<()> {
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        tokio::spawn(self.clone().follow(terminate, interrupt));
        Ok(())
    }

    async fn follow(self, mut terminate: Signal, mut interrupt: Signal) {
        let name = next_of(&mut terminate, &mut interrupt).await;
        tracing::info!(signal = name, "ending");
        self.fire();
        let name = next_of(&mut terminate, &mut interrupt).await;
        tracing::warn!(signal = name, "told to end a second time, not waiting any longer");
        std::process::exit(EXIT_IMPATIENT);
    }
}

async fn next_of(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_clone_sees_the_end_also_one_that_waits_late() {
        let (trigger, shutdown) = Shutdown::new();
        let early = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { shutdown.wait().await }
        });
        assert!(!shutdown.has_begun());
        trigger.fire();
        early.await.unwrap();
        shutdown.clone().wait().await;
        shutdown.wait().await;
        assert!(shutdown.has_begun());
    }

    #[tokio::test]
    async fn losing_the_last_trigger_is_the_end_losing_one_of_two_is_not() {
        let (trigger, shutdown) = Shutdown::new();
        let other = trigger.clone();
        drop(trigger);
        assert!(!shutdown.has_begun());
        drop(other);
        shutdown.wait().await;
        assert!(shutdown.has_begun());
    }
}
