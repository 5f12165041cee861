//! Properties 3, 5 to 8: what the order, the loss and the repetition of events may not change.
#![allow(clippy::unwrap_used, reason = "a test stops where its ground does not hold")]

mod common;

use std::collections::BTreeSet;

use common::*;
use diolkos_topology::*;
use proptest::prelude::*;

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

fn begun(export: ExportMode) -> Bench {
    let mut bench = Bench::default();
    bench.apply(Event::Mesh(MeshSettings { export, ..MeshSettings::default() }));
    for event in opening().into_iter().chain(audiences()) {
        bench.apply(event);
    }
    bench
}

fn views(bench: &Bench) -> Vec<View> {
    bench.views.values().map(|(_, view)| view.clone()).collect()
}

/// One stream per cluster, in order.
fn streams(steps: &[Step]) -> Vec<Vec<Event>> {
    let mut stamps = Stamps::default();
    let mut streams = vec![Vec::new(); NAMES.len()];
    for step in steps {
        if let Step::Say(who, _) | Step::Unsay(who, _) | Step::Resay(who, ..) | Step::Swap(who, _) =
            step
        {
            streams[usize::from(*who)].extend(stamps.events(step.clone()));
        }
    }
    streams
}

/// Takes from the streams as the picks say, then what is left.
fn interleave(streams: &[Vec<Event>], picks: &[prop::sample::Index]) -> Vec<Event> {
    let mut rest: Vec<_> = streams.iter().map(|stream| stream.iter().cloned()).collect();
    let mut events = Vec::new();
    for pick in picks {
        events.extend(rest[pick.index(streams.len())].next());
    }
    events.extend(rest.into_iter().flatten());
    events
}

fn kind_reset(who: u8, kind: FactKind, begin: Stamp, facts: Vec<(Stamp, Fact)>) -> Vec<Event> {
    let source = source(NAMES[usize::from(who)], 1);
    let mut events = vec![Event::ResetBegin { source: source.clone(), kind, stamp: begin }];
    for (stamp, fact) in facts {
        events.push(Event::Upsert { source: source.clone(), stamp, fact });
    }
    events.push(Event::ResetEnd { source, kind, begin });
    events
}

/// All kinds anew, as a source that was cut off does.
fn resync(who: u8, stamps: &mut Stamps, facts: &[Fact]) -> Vec<Event> {
    let mut events = Vec::new();
    for kind in FactKind::ALL {
        let begin = stamps.next(who);
        let own = facts.iter().filter(|fact| fact.key().kind() == kind);
        let own = own.map(|fact| (stamps.next(who), fact.clone())).collect();
        events.extend(kind_reset(who, kind, begin, own));
    }
    events
}

fn distinct(facts: Vec<Fact>) -> Vec<Fact> {
    let mut seen = BTreeSet::new();
    facts.into_iter().filter(|fact| seen.insert(fact.key())).collect()
}

proptest! {
    #![proptest_config(config(192))]

    #[test]
    fn p3_how_clusters_interleave_does_not_matter(
        steps in prop::collection::vec(any_word(), 1..50),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 60),
    ) {
        let streams = streams(&steps);
        let (mut one, mut other) = (begun(ExportMode::All), begun(ExportMode::All));
        for event in streams.concat() {
            one.apply(event);
        }
        for event in interleave(&streams, &picks) {
            other.apply(event);
        }
        prop_assert_eq!(views(&one), views(&other));
    }

    #[test]
    fn p3_the_order_within_a_reset_does_not_matter(
        facts in any_facts(1..20).prop_map(distinct),
        keys in prop::collection::vec(any::<u32>(), 20),
    ) {
        let (mut one, mut other) = (begun(ExportMode::All), begun(ExportMode::All));
        for kind in FactKind::ALL {
            let own: Vec<_> = facts.iter().filter(|fact| fact.key().kind() == kind).cloned().collect();
            let mut stamps = Stamps::default();
            let begin = stamps.next(0);
            let stamped: Vec<_> = own.into_iter().map(|fact| (stamps.next(0), fact)).collect();
            let mut shuffled: Vec<_> = stamped.iter().cloned().zip(&keys).collect();
            shuffled.sort_by_key(|(_, key)| **key);
            let shuffled = shuffled.into_iter().map(|(fact, _)| fact).collect();
            let mut effects = Effects::default();
            for event in kind_reset(0, kind, begin, stamped) {
                effects = one.apply(event).clone();
            }
            for event in kind_reset(0, kind, begin, shuffled) {
                other.apply(event);
            }
            prop_assert_eq!(&effects, &other.last);
        }
        prop_assert_eq!(views(&one), views(&other));
    }

    #[test]
    fn p5_a_resync_with_the_same_content_says_nothing(facts in any_facts(1..25).prop_map(distinct)) {
        let mut bench = begun(ExportMode::All);
        let mut stamps = Stamps::default();
        for event in resync(0, &mut stamps, &facts) {
            bench.apply(event);
        }
        for event in resync(0, &mut stamps, &facts) {
            let effects = bench.apply(event.clone());
            prop_assert!(effects.is_empty(), "{:?}: {}", event, effects);
        }
    }

    #[test]
    fn p7_a_partition_that_heals_leaves_no_trace(
        steps in prop::collection::vec(any_word(), 1..40),
        fates in prop::collection::vec((0..5u8, any::<prop::sample::Index>()), 80),
        facts in any_facts(1..20).prop_map(distinct),
    ) {
        // Swaps would fence the streams; their own property is `p8`.
        let steps: Vec<_> =
            steps.into_iter().filter(|step| !matches!(step, Step::Swap(..))).collect();
        let mut stamps = Stamps::default();
        let mut sent = Vec::new();
        for step in &steps {
            sent.extend(stamps.events(step.clone()));
        }
        let mut whole = begun(ExportMode::All);
        for event in &sent {
            whole.apply(event.clone());
        }
        let mut cut = begun(ExportMode::All);
        let mut late = Vec::new();
        for (event, (fate, place)) in sent.iter().zip(fates.iter().cycle()) {
            match fate {
                0 => {}
                1 => late.insert(place.index(late.len() + 1), event.clone()),
                2 => {
                    cut.apply(event.clone());
                    late.insert(place.index(late.len() + 1), event.clone());
                }
                _ => { cut.apply(event.clone()); }
            }
        }
        for event in late.iter().take(late.len() / 2).cloned() {
            cut.apply(event);
        }
        let mut heal = Vec::new();
        for who in 0..3 {
            heal.extend(resync(who, &mut stamps, &facts));
        }
        for event in heal {
            whole.apply(event.clone());
            cut.apply(event);
        }
        // What was still under way arrives after all.
        for event in late.iter().skip(late.len() / 2).cloned() {
            cut.apply(event);
        }
        prop_assert_eq!(views(&whole), views(&cut));
        cut.check();
    }

    #[test]
    fn p8_nothing_of_an_older_generation_or_epoch_lands(
        old in any_facts(1..15),
        new in any_facts(0..15).prop_map(distinct),
    ) {
        let mut bench = begun(ExportMode::All);
        let mut stamps = Stamps::default();
        for fact in &old {
            for event in stamps.events(Step::Say(0, fact.clone())) {
                bench.apply(event);
            }
        }
        for event in stamps.events(Step::Swap(0, new)) {
            bench.apply(event);
        }
        let restarted = Stamp::new(2, 0);
        let kind = FactKind::Node;
        bench.apply(Event::ResetBegin { source: stamps.source(0), kind, stamp: restarted });
        for (place, fact) in old.iter().enumerate() {
            let key = fact.key();
            let stamp = Stamp::new(9, 1_000 + place as u64);
            let said = Event::Upsert { source: source("a", 1), stamp, fact: fact.clone() };
            prop_assert!(bench.apply(said).is_empty());
            let removed = Event::Remove { source: source("a", 1), stamp, key: key.clone() };
            prop_assert!(bench.apply(removed).is_empty());
            // The right generation, but of the stream before it started over.
            let stamp = Stamp::new(1, 1_000_000);
            let said = Event::Upsert { source: stamps.source(0), stamp, fact: fact.clone() };
            prop_assert!(bench.apply(said).is_empty());
        }
        bench.check();
    }
}

/// Of the service that only A has. B may not be a gateway to A's network: that is no claim about
/// A's endpoints, but it does lead to them.
fn only_a(fact: Fact) -> Option<Fact> {
    let mine = key("alone", "a");
    Some(match fact {
        Fact::Service(fact) => Fact::Service(ServiceFact { key: mine, ..fact }),
        Fact::Slice(fact) => Fact::Slice(SliceFact { service: mine, ..fact }),
        Fact::Export(fact) => Fact::Export(ExportFact { service: mine, ..fact }),
        _ => return None,
    })
}

proptest! {
    #![proptest_config(config(192))]

    #[test]
    fn p6_what_b_says_never_changes_what_only_a_contributes(
        own in any_facts(1..20),
        steps in prop::collection::vec(any_word(), 1..30),
    ) {
        let mut bench = begun(ExportMode::All);
        let mut stamps = Stamps::default();
        let mine = own.into_iter().filter_map(only_a);
        let first = service_fact(key("alone", "a"), &[("http", 80)]);
        for fact in std::iter::once(first).chain(mine) {
            for event in stamps.events(Step::Say(0, fact)) {
                bench.apply(event);
            }
        }
        let alone = |view: &View| view.services.get(&key("alone", "a")).cloned();
        let before: Vec<_> = views(&bench).iter().map(alone).collect();
        for step in steps {
            let step = match step {
                Step::Say(_, fact) if fact.key().kind() != FactKind::Gateway => Step::Say(1, fact),
                Step::Unsay(_, key) => Step::Unsay(1, key),
                Step::Resay(_, kind, facts) if kind != FactKind::Gateway => {
                    Step::Resay(1, kind, facts)
                }
                _ => continue,
            };
            for event in stamps.events(step) {
                for change in &bench.apply(event).view.changes {
                    let service = match &change.what {
                        What::Service { key, .. } => key,
                        What::Endpoint { port, .. }
                        | What::Gateway { port, .. }
                        | What::Identities { port, .. } => &port.service,
                    };
                    prop_assert_ne!(service, &key("alone", "a"));
                }
            }
        }
        let after: Vec<_> = views(&bench).iter().map(alone).collect();
        prop_assert_eq!(before, after);
    }

    #[test]
    fn p5_a_resync_with_holes_only_removes(
        counts in prop::collection::vec(1..4u8, 1..6),
        holes in prop::collection::vec(any::<bool>(), 6),
    ) {
        let mut bench = begun(ExportMode::All);
        let mut stamps = Stamps::default();
        let web = key("shop", "web");
        for event in stamps.events(Step::Say(0, service_fact(web.clone(), &[("http", 80)]))) {
            bench.apply(event);
        }
        // Every slice has addresses of its own.
        let slices: Vec<Fact> = counts.iter().enumerate().map(|(place, count)| {
            let endpoints = (0..*count).map(|host| EndpointFact {
                address: std::net::Ipv4Addr::new(10, 9, place as u8, host).into(),
                health: Health::Ready,
                pod: None,
                node: None,
                zone: None,
                network: None,
                mtls: Mtls::Istio,
                identity: Some(identity("spiffe://td/ns/shop/sa/one")),
                workload: Default::default(),
            });
            Fact::Slice(SliceFact {
                service: web.clone(),
                name: SliceName::new(&format!("s{place}")).unwrap(),
                ports: vec![(PortName::new("http").unwrap(), port(8080))],
                endpoints: endpoints.collect(),
            })
        }).collect();
        for event in stamps.events(Step::Resay(0, FactKind::Slice, slices.clone())) {
            bench.apply(event);
        }
        let left = slices.into_iter().zip(&holes).filter(|(_, hole)| !**hole).map(|(fact, _)| fact);
        for event in stamps.events(Step::Resay(0, FactKind::Slice, left.collect())) {
            for change in &bench.apply(event).view.changes {
                match &change.what {
                    What::Endpoint { entry, .. } => prop_assert!(entry.is_none(), "{}", change),
                    What::Identities { identities, .. } => prop_assert!(identities.is_empty()),
                    What::Gateway { .. } => {}
                    What::Service { entry, .. } => prop_assert!(entry.is_none(), "{}", change),
                }
            }
        }
        bench.check();
    }
}
