//! Fixed seeds, and the proof that the simulator can fail.
#![allow(clippy::unwrap_used, reason = "a test stops where its ground does not hold")]

use std::ops::Range;

use diolkos_sim::{Run, Sabotage};

fn hold(seeds: Range<u64>) {
    for seed in seeds {
        let run = Run::of_seed(seed);
        if let Err(failure) = run.execute() {
            let end = seed + 1;
            panic!("{failure}\nsee it with: cargo run -p diolkos-sim -- seeds {seed}..{end}");
        }
    }
}

// Tests of one binary run side by side.

#[test]
fn seeds_0_to_40_hold_every_invariant() {
    hold(0..40);
}

#[test]
fn seeds_40_to_80_hold_every_invariant() {
    hold(40..80);
}

#[test]
fn seeds_80_to_120_hold_every_invariant() {
    hold(80..120);
}

/// Whether a fault is found within the first seeds, as often as it should be.
fn is_caught(sabotage: Sabotage, times: usize) -> bool {
    let caught = (0..20).filter(|seed| {
        let mut run = Run::of_seed(*seed);
        run.shape.sabotage = sabotage;
        run.execute().is_err()
    });
    caught.take(times).count() == times
}

#[test]
fn a_world_that_loses_a_delta_is_caught() {
    assert!(is_caught(Sabotage::LoseCatalogDelta, 6), "lost deltas go unnoticed");
}

#[test]
fn a_world_that_loses_a_message_is_caught() {
    assert!(is_caught(Sabotage::LoseMessage, 2), "lost messages go unnoticed");
}

#[test]
fn a_primary_that_serves_before_it_has_heard_everyone_is_caught() {
    assert!(is_caught(Sabotage::ServeEarly, 2), "nobody minds that clusters are missing");
}
