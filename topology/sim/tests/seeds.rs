//! Fixed seeds, and the proof that the simulator can fail.
#![allow(clippy::unwrap_used, reason = "a test stops where its ground does not hold")]

use diolkos_sim::{Run, Sabotage};

#[test]
fn fixed_seeds_hold_every_invariant() {
    for seed in 13..33 {
        let run = Run::of_seed(seed);
        if let Err(failure) = run.execute() {
            panic!("seed {seed}: {failure}");
        }
    }
}

#[test]
fn a_world_that_loses_a_delta_is_caught() {
    let caught = (0..20).filter(|seed| {
        let mut run = Run::of_seed(*seed);
        run.shape.sabotage = Sabotage::LoseCatalogDelta;
        run.execute().is_err()
    });
    assert!(caught.count() > 5, "lost deltas go unnoticed");
}
