//! Secrets and files come, change and go; each cluster has one owner, and never none in between.
#![allow(clippy::disallowed_methods, reason = "secrets as printed are files")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use diolkos_facts::limit;
use diolkos_facts::remote::{
    AllowedRanges, Code, Origin, Remark, RemoteChange, RemoteSecret, Remotes, Setup, read_secret,
};
use diolkos_topology::{ClusterId, Grants, Names, NetworkId, Networks};
use diolkos_trust::{SpiffeId, TrustDomain};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use proptest::prelude::*;

const CA: &str =
    "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1BTUNBUWM9Ci0tLS0tRU5EIENFUlRJRklDQVRFLS0tLS0K";

fn setup() -> Setup {
    Setup {
        own: ClusterId::new("east").expect("a name"),
        namespace: "istio-system".into(),
        allowed: AllowedRanges::default(),
    }
}

fn kubeconfig(name: &str, token: &str) -> String {
    format!(
        "clusters: [{{name: {name}, cluster: {{server: \"https://{name}.example\", \
         certificate-authority-data: {CA}}}}}]\ncontexts: [{{name: {name}, context: {{cluster: \
         {name}, user: {name}}}}}]\nusers: [{{name: {name}, user: {{token: {token}}}}}]\n"
    )
}

fn secret(name: &str, keys: &[(&str, &str)]) -> RemoteSecret {
    let data = keys.iter().map(|(key, text)| {
        let text = if text.contains(':') { (*text).into() } else { kubeconfig(key, text) };
        ((*key).to_owned(), text.into_bytes().into())
    });
    RemoteSecret {
        namespace: "istio-system".into(),
        name: name.into(),
        labels: [("istio/multiCluster".into(), "true".into())].into(),
        data: data.collect(),
        ..RemoteSecret::default()
    }
}

fn annotated(mut secret: RemoteSecret, name: &str, text: &str) -> RemoteSecret {
    secret.annotations.insert(name.into(), text.into());
    secret
}

/// `+west` is new or connects anew, `~west` may claim something else, `-west` is gone.
fn shown(changes: &[RemoteChange]) -> String {
    let changes = changes.iter().map(|change| match change {
        RemoteChange::Gone { cluster } => format!("-{cluster}"),
        RemoteChange::Put { remote, rotated: true } => format!("+{}", remote.cluster),
        RemoteChange::Put { remote, rotated: false } => format!("~{}", remote.cluster),
    });
    changes.collect::<Vec<_>>().join(" ")
}

fn codes(remotes: &Remotes) -> Vec<Code> {
    remotes.remarks().iter().map(|remark| remark.code).collect()
}

fn owners(remotes: &Remotes) -> String {
    let owners = remotes.clusters().map(|(origin, remote)| {
        let origin = match origin {
            Origin::File(name) | Origin::Secret { name, .. } => name,
        };
        format!("{}={origin}", remote.cluster)
    });
    owners.collect::<Vec<_>>().join(" ")
}

#[test]
fn a_secret_is_created_changed_said_again_and_deleted() {
    let mut remotes = Remotes::new(setup());
    assert_eq!(shown(&remotes.set(&secret("s", &[("west", "one")]))), "+west");
    assert_eq!(shown(&remotes.set(&secret("s", &[("west", "two")]))), "+west");
    assert_eq!(shown(&remotes.set(&secret("s", &[("west", "two")]))), "");
    let comment = kubeconfig("west", "two") + "# rotated: on a Tuesday\n";
    assert_eq!(shown(&remotes.set(&secret("s", &[("west", &comment)]))), "");
    assert_eq!(shown(&remotes.remove("istio-system", "s")), "-west");
    assert_eq!(shown(&remotes.remove("istio-system", "s")), "");
    assert_eq!(remotes.remarks(), []);
}

#[test]
fn keys_of_one_secret_come_and_go_alone() {
    let mut remotes = Remotes::new(setup());
    let (west, north) = (("west", "w"), ("north", "n"));
    assert_eq!(shown(&remotes.set(&secret("s", &[west]))), "+west");
    assert_eq!(shown(&remotes.set(&secret("s", &[west, north]))), "+north");
    assert_eq!(shown(&remotes.set(&secret("s", &[north]))), "-west");
    assert_eq!(shown(&remotes.set(&secret("s", &[west, north]))), "+west");
    assert_eq!(shown(&remotes.set(&secret("s", &[]))), "-north -west");
}

#[test]
fn the_second_owner_waits_and_takes_over_without_a_gap() {
    let mut remotes = Remotes::new(setup());
    remotes.set(&secret("first", &[("west", "one")]));
    assert_eq!(shown(&remotes.set(&secret("second", &[("west", "two")]))), "");
    assert_eq!(
        remotes.remarks().iter().map(Remark::to_string).collect::<Vec<_>>(),
        ["secret istio-system/second: key west: cluster west is already that of secret \
          istio-system/first; drop one of the two; when the first goes, this one takes over \
          [second-owner]"]
    );
    remotes.set(&secret("third", &[("west", "two")]));
    assert_eq!(owners(&remotes), "west=first");
    // That of another, deleted, changes nothing.
    assert_eq!(shown(&remotes.remove("istio-system", "second")), "");
    remotes.set(&secret("second", &[("west", "two")]));
    // The third has waited longer than the second does now.
    assert_eq!(shown(&remotes.remove("istio-system", "first")), "+west");
    assert_eq!((owners(&remotes), codes(&remotes)), ("west=third".into(), vec![Code::SecondOwner]));
    // And the same connection by another secret is no news at all.
    assert_eq!(shown(&remotes.remove("istio-system", "third")), "");
    assert_eq!((owners(&remotes), codes(&remotes)), ("west=second".into(), vec![]));
    assert_eq!(shown(&remotes.remove("istio-system", "second")), "-west");
}

#[test]
fn what_cannot_be_read_any_more_keeps_its_last_good_version_and_its_owner() {
    let mut remotes = Remotes::new(setup());
    remotes.set(&secret("first", &[("west", "one")]));
    remotes.set(&secret("second", &[("west", "two")]));
    assert_eq!(shown(&remotes.set(&secret("first", &[("west", "exec: {}")]))), "");
    assert_eq!(owners(&remotes), "west=first");
    let remark = &remotes.remarks()[1];
    assert_eq!(remark.code, Code::SecondOwner);
    let remark = &remotes.remarks()[0];
    assert!(remark.to_string().contains("(until then the last good version counts)"), "{remark}");
    assert_eq!(shown(&remotes.set(&secret("first", &[("west", "three")]))), "+west");
    // Never good, and so not waiting either.
    remotes.set(&secret("third", &[("south", "exec: {}")]));
    assert!(!remotes.remarks()[1].to_string().contains("until then"));
    assert_eq!(shown(&remotes.remove("istio-system", "third")), "");
}

#[test]
fn a_slip_in_an_annotation_changes_nothing_and_grants_nothing() {
    let mut remotes = Remotes::new(setup());
    let plain = || secret("s", &[("west", "one")]);
    let narrowed = annotated(plain(), "diolkos.dev/services", "shop/*");
    assert_eq!(shown(&remotes.set(&narrowed)), "+west");
    let slip = annotated(plain(), "diolkos.dev/servces", "shop/*");
    assert_eq!(shown(&remotes.set(&slip)), "");
    assert_eq!(codes(&remotes), [Code::Annotation]);
    assert!(remotes.remarks()[0].to_string().contains("until then"), "{:?}", remotes.remarks());
    assert_ne!(remotes.clusters().next().expect("west").1.claims.grants, Grants::plain());
    assert_eq!(shown(&remotes.set(&plain())), "~west");
    assert_eq!(codes(&remotes), []);
    assert_eq!(remotes.clusters().next().expect("west").1.claims.grants, Grants::plain());
    // A new secret with a slip is not taken at all.
    remotes.set(&annotated(secret("t", &[("north", "n")]), "diolkos.dev/servces", ""));
    assert_eq!((owners(&remotes), codes(&remotes)), ("west=s".into(), vec![Code::Annotation]));
}

#[test]
fn what_is_not_for_us_is_left_alone() {
    let mut remotes = Remotes::new(setup());
    let mut elsewhere = secret("s", &[("west", "one")]);
    elsewhere.namespace = "shop".into();
    assert_eq!(
        (shown(&remotes.set(&elsewhere)), codes(&remotes)),
        ("".into(), vec![Code::Namespace])
    );
    remotes.remove("shop", "s");
    for value in [None, Some("false"), Some("True"), Some("")] {
        let mut unlabelled = secret("s", &[("west", "one")]);
        unlabelled.labels.clear();
        unlabelled.labels.extend(value.map(|text| ("istio/multiCluster".into(), text.into())));
        assert_eq!((shown(&remotes.set(&unlabelled)), codes(&remotes)), ("".into(), vec![]));
    }
    let own = secret("own", &[("east", "one"), ("config", "two"), ("west", "three")]);
    assert_eq!(shown(&remotes.set(&own)), "+west");
    assert_eq!(codes(&remotes), [Code::ConfigKey, Code::OwnCluster]);
    assert_eq!(shown(&remotes.remove("istio-system", "own")), "-west");
    remotes.set(&secret("s", &[("-west", "one")]));
    assert_eq!(codes(&remotes), [Code::ClusterName]);
    // The label goes, and so does the cluster.
    remotes.set(&secret("s", &[("west", "one")]));
    let mut unlabelled = secret("s", &[("west", "one")]);
    unlabelled.labels.clear();
    assert_eq!(shown(&remotes.set(&unlabelled)), "-west");
}

#[test]
fn at_the_start_the_oldest_is_first_and_afterwards_whoever_has_it() {
    let mut remotes = Remotes::new(setup());
    let aged =
        |name: &str, created, token| RemoteSecret { created, ..secret(name, &[("west", token)]) };
    let changes = remotes.reset(&[aged("a", 20, "one"), aged("b", 10, "two"), aged("c", 10, "x")]);
    assert_eq!((shown(&changes), owners(&remotes)), ("+west".into(), "west=b".into()));
    // One that is older and comes later does not take it away.
    let changes = remotes.reset(&[aged("a", 5, "one"), aged("b", 10, "two")]);
    assert_eq!((shown(&changes), owners(&remotes)), ("".into(), "west=b".into()));
    let changes = remotes.reset(&[aged("a", 5, "one")]);
    assert_eq!((shown(&changes), owners(&remotes)), ("+west".into(), "west=a".into()));
    assert_eq!(shown(&remotes.reset(&[])), "-west");
}

fn files(files: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
    files.iter().map(|(name, text)| ((*name).into(), text.as_bytes().to_vec())).collect()
}

#[test]
fn files_are_clusters_by_the_name_inside() {
    let mut remotes = Remotes::new(setup());
    let (west, north) = (kubeconfig("west", "w"), kubeconfig("north", "n"));
    let two = files(&[("a", &west), ("b", &north), ("..data", &west), (".hidden", "x")]);
    assert_eq!(shown(&remotes.set_files(&two)), "+north +west");
    // The same id again, a malformed rewrite: what there is stays.
    let clash = kubeconfig("west", "other");
    assert_eq!(shown(&remotes.set_files(&files(&[("0", &clash), ("a", &west), ("b", "{")]))), "");
    assert_eq!(owners(&remotes), "north=b west=a");
    assert_eq!(codes(&remotes), [Code::SecondOwner, Code::Yaml]);
    // A rewrite with the same id, then with another.
    let again = kubeconfig("west", "w2");
    assert_eq!(shown(&remotes.set_files(&files(&[("a", &again), ("b", &north)]))), "+west");
    let south = kubeconfig("south", "s");
    assert_eq!(shown(&remotes.set_files(&files(&[("a", &south), ("b", &north)]))), "-west +south");
    let own = kubeconfig("east", "e");
    assert_eq!(shown(&remotes.set_files(&files(&[("a", &own)]))), "-north");
    assert_eq!((owners(&remotes), codes(&remotes)), ("south=a".into(), vec![Code::OwnCluster]));
    assert_eq!(shown(&remotes.set_files(&files(&[]))), "-south");
    // Two at once: the first by name.
    let both = files(&[("b", &west), ("a", &clash)]);
    assert_eq!(
        (shown(&remotes.set_files(&both)), owners(&remotes)),
        ("+west".into(), "west=a".into())
    );
    let nameless = "clusters: [{name: 'a/b', cluster: {server: 'https://a'}}]";
    remotes.set_files(&files(&[("a", nameless)]));
    assert_eq!(remotes.clusters().count(), 1, "the last good one");
}

#[test]
fn as_many_entries_and_clusters_as_the_limits_and_not_one_more() {
    let name = |place: usize| format!("c{place:03}");
    let many = |from: usize, count: usize| {
        let mut whole = secret("s", &[]);
        whole.name = format!("s{from:03}");
        for place in from..from + count {
            let text = kubeconfig(&name(place), "t").into_bytes();
            whole.data.insert(name(place), text.into());
        }
        whole
    };
    let (clusters_max, entries_max) = (limit::REMOTE_CLUSTERS_MAX, limit::REMOTE_ENTRIES_MAX);
    let mut remotes = Remotes::new(setup());
    remotes.set(&many(0, clusters_max));
    assert_eq!((remotes.clusters().count(), codes(&remotes)), (clusters_max, vec![]));
    assert_eq!(shown(&remotes.set(&many(clusters_max, 1))), "");
    assert_eq!((remotes.clusters().count(), codes(&remotes)), (clusters_max, vec![Code::TooMany]));
    // Room is for whoever waits.
    let changes = remotes.set(&many(0, clusters_max - 1));
    assert_eq!(shown(&changes), format!("-{} +{}", name(clusters_max - 1), name(clusters_max)));
    assert_eq!(read_secret(&many(0, entries_max), &setup()).len(), entries_max);
    let beyond = read_secret(&many(0, entries_max + 1), &setup());
    assert_eq!(beyond.len(), 1);
    assert!(beyond[0].1.as_ref().is_err_and(|remark| remark.code == Code::TooMany));
    let folder = |count| (0..count).map(|place| (name(place), b"{".to_vec())).collect();
    let mut remotes = Remotes::new(setup());
    remotes.set_files(&folder(entries_max + 1));
    let too_many = codes(&remotes).into_iter().filter(|code| *code == Code::TooMany);
    assert_eq!(too_many.count(), 1);
    remotes.set_files(&folder(entries_max));
    assert!(!codes(&remotes).contains(&Code::TooMany));
}

/// As the API server would store it.
fn printed(file: &str) -> RemoteSecret {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/remote").join(file);
    let text = std::fs::read_to_string(path).expect("a secret");
    let text = text.strip_suffix("---\n").unwrap_or(&text);
    let mut secret: Secret = serde_saphyr::from_str(text).expect("a Secret");
    let data = secret.string_data.take().unwrap_or_default();
    secret.data = Some(data.into_iter().map(|(k, v)| (k, ByteString(v.into_bytes()))).collect());
    secret.into()
}

#[test]
fn secrets_as_istioctl_prints_them() {
    let mut remotes = Remotes::new(setup());
    assert_eq!(shown(&remotes.set(&printed("bearer-token.yaml"))), "+west");
    let (origin, west) = remotes.clusters().next().expect("west");
    assert_eq!(origin.to_string(), "secret istio-system/istio-remote-secret-west");
    let connection = west.connection.to_string();
    assert_eq!(connection, "https://west.example:6443 as kubernetes.default by a token");
    let domain = TrustDomain::new("mesh.example").expect("a trust domain");
    let settings = west.settings(&domain, NetworkId::unnamed());
    assert_eq!((settings.trust_domain, settings.grants), (domain, Grants::plain()));
    assert!(settings.addresses.is_empty());
    // By a plug-in: refused, and the token of before stays.
    assert_eq!(shown(&remotes.set(&printed("plugin.yaml"))), "");
    assert_eq!(
        remotes.remarks()[0].to_string(),
        "secret istio-system/istio-remote-secret-west:18: key west: users[0].user.auth-provider: it \
         names a plug-in, and plug-ins run programs or call servers of the kubeconfig's choosing; \
         create the secret without --auth-type=plugin: with a token (until then the last good \
         version counts) [auth-provider]"
    );
    let mut remotes = Remotes::new(setup());
    assert_eq!(shown(&remotes.set(&printed("config-cluster.yaml"))), "");
    assert_eq!(codes(&remotes), [Code::ConfigKey]);
}

#[test]
fn a1_a_plain_secret_does_not_grant_the_system_namespace_whatever_it_is_called() {
    let domain = TrustDomain::new("mesh.example").expect("a trust domain");
    let setup = Setup { namespace: "blue-system".into(), ..setup() };
    let mut remotes = Remotes::new(setup);
    let secret = RemoteSecret { namespace: "blue-system".into(), ..printed("bearer-token.yaml") };
    assert_eq!(shown(&remotes.set(&secret)), "+west");
    let (_, west) = remotes.clusters().next().expect("west");
    let settings = west.settings(&domain, NetworkId::unnamed());
    for (namespace, granted) in [("shop", true), ("blue-system", false), ("istio-system", false)] {
        let identity = SpiffeId::workload(&domain, namespace, "diolkos").expect("an identity");
        assert_eq!(settings.refuse_identity(&identity).is_none(), granted, "{namespace}");
    }
}

#[test]
fn annotations_of_a_secret_count_for_each_of_its_clusters() {
    let mut remotes = Remotes::new(setup());
    let secret = printed("narrowed.yaml");
    assert_eq!(secret.created, 1_795_694_400_000);
    assert_eq!(shown(&remotes.set(&secret)), "+north +west");
    let domain = TrustDomain::new("mesh.example").expect("a trust domain");
    for (_, remote) in remotes.clusters() {
        let settings = remote.settings(&domain, NetworkId::unnamed());
        assert_eq!(settings.trust_domain.as_str(), "west.example");
        assert_eq!(settings.addresses.len(), 2);
        let Names::Listed(services) = &settings.grants.services else { panic!("{settings:?}") };
        assert_eq!(format!("{services:?}"), "[shop/*, pay/api]");
        assert!(matches!(&settings.grants.networks, Networks::Listed(one) if one.len() == 1));
    }
    let debug = format!("{secret:?} {remotes:?}");
    assert!(!debug.contains("-token"), "{debug}");
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64, failure_persistence: None, ..ProptestConfig::default()
    })]

    /// Whatever the order: what was told adds up to the owners, each cluster that somebody can
    /// speak for has one, and nobody loses a cluster while he speaks for it.
    #[test]
    fn owners_are_never_none_in_between(
        steps in prop::collection::vec((0..3usize, 0..3usize, 0..4usize), 1..40),
    ) {
        let (names, clusters) = (["a", "b", "c"], ["west", "north", "south"]);
        let mut remotes = Remotes::new(setup());
        let mut data: BTreeMap<usize, BTreeMap<&str, &str>> = BTreeMap::new();
        let mut good: BTreeSet<(usize, &str)> = BTreeSet::new();
        let mut told: BTreeSet<ClusterId> = BTreeSet::new();
        for (who, cluster, what) in steps {
            let (keys, cluster) = (data.entry(who).or_default(), clusters[cluster]);
            match what {
                0 => {
                    keys.remove(cluster);
                    good.remove(&(who, cluster));
                }
                1 => drop(keys.insert(cluster, "exec: {}")),
                token => {
                    keys.insert(cluster, ["one", "two"][token - 2]);
                    good.insert((who, cluster));
                }
            }
            let keys: Vec<_> = keys.iter().map(|(key, text)| (*key, *text)).collect();
            let before = owners(&remotes);
            let changes = remotes.set(&secret(names[who], &keys));
            let mut seen = BTreeSet::new();
            for change in &changes {
                let cluster = match change {
                    RemoteChange::Gone { cluster } => {
                        told.remove(cluster);
                        cluster
                    }
                    RemoteChange::Put { remote, .. } => {
                        told.insert(remote.cluster.clone());
                        &remote.cluster
                    }
                };
                prop_assert!(seen.insert(cluster.clone()), "{cluster} twice in {changes:?}");
            }
            let spoken: BTreeSet<_> = good.iter().map(|(_, cluster)| *cluster).collect();
            let owned: BTreeSet<_> = remotes.clusters().map(|(_, one)| one.cluster.clone()).collect();
            prop_assert_eq!(&owned, &told);
            prop_assert!(owned.iter().map(ClusterId::as_str).eq(spoken));
            for owner in before.split(' ').filter(|owner| !owner.is_empty()) {
                let (cluster, name) = owner.split_once('=').expect("cluster=owner");
                let who = names.iter().position(|one| *one == name).expect("a name");
                let stays = good.iter().any(|one| *one == (who, cluster));
                prop_assert!(!stays || owners(&remotes).contains(owner), "{owner} lost it");
            }
        }
    }
}
