//! The identity folder: what loads, what does not and why, and what a reload changes.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod mesh;

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use diolkos_tls::{
    CHAIN_CERTIFICATES_MAX, Expect, FILE_BYTES_MAX, Identity, Peer, Polled, Roots, Usage, Watch,
    client_config, peer_of, server_config,
};
use mesh::{Ca, Chain, HOUR, Leaf, bundles_of, domain, id, meet, roots};
use rcgen::KeyPair;
use tempfile::TempDir;

const CART: &str = "spiffe://ours/ns/shop/sa/cart";
const CART_2: &str = "spiffe://ours/ns/shop/sa/cart-2";

fn chain(ca: &Ca, uri: &str) -> Chain {
    ca.sign(&Leaf::of(&[uri]))
}

fn folder(chain: &Chain, roots: &[&Ca]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    chain.write(dir.path(), roots);
    dir
}

#[test]
fn an_identity_says_who_it_is_and_until_when() {
    let root = Ca::root("root");
    let dir = folder(&chain(&root, CART), &[&root]);
    let identity = Identity::load(dir.path()).unwrap();
    assert_eq!(identity.spiffe_id(), id(CART));
    let left = identity.not_after().duration_since(SystemTime::now()).unwrap();
    assert!(left <= HOUR && left > HOUR / 2);
    let loaded = Roots::load(dir.path(), &domain("ours")).unwrap();
    assert_eq!(*loaded.get(), bundles_of(&[("ours", &[&root])]));
}

/// One thing wrong with a folder, and what is said of it.
type Fault<'a> = (&'a str, Box<dyn Fn(&Path) + 'a>, &'a str);

#[test]
fn a_folder_with_a_fault_is_refused_naming_file_and_cause() {
    let root = Ca::root("root");
    let put = |file: &'static str, text: &'static str| -> Box<dyn Fn(&Path)> {
        Box::new(move |dir| fs::write(dir.join(file), text).unwrap())
    };
    let gone = |file: &'static str| -> Box<dyn Fn(&Path)> {
        Box::new(move |dir| fs::remove_file(dir.join(file)).unwrap())
    };
    let write = |chain: Chain| -> Box<dyn Fn(&Path)> { Box::new(move |dir| chain.write(dir, &[])) };
    let now = SystemTime::now();
    let dated = |from, to| write(root.sign(&Leaf::of(&[CART]).valid(from, to)));
    let mut other_key = chain(&root, CART);
    other_key.key = KeyPair::generate().unwrap();
    let mut ca_first = chain(&root, CART);
    ca_first.certificates.insert(0, root.der.clone());
    let too_long = chain(&root, CART).with(&[&root; CHAIN_CERTIFICATES_MAX]);
    let half = "-----BEGIN CERTIFICATE-----\nMIIB";
    let not_der = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
    let faults: Vec<Fault<'_>> = vec![
        ("no chain", gone("cert-chain.pem"), "cert-chain.pem: cannot be read"),
        ("no key", gone("key.pem"), "key.pem: cannot be read"),
        ("empty chain", put("cert-chain.pem", ""), "cert-chain.pem: holds no certificate"),
        ("empty key", put("key.pem", ""), "key.pem: holds no private key"),
        ("cut PEM", put("cert-chain.pem", half), "cert-chain.pem: is not well-formed PEM"),
        ("no DER", put("cert-chain.pem", not_der), "cert-chain.pem: the certificate cannot be"),
        ("key of another", write(other_key), "key.pem: is not the key of the first certificate"),
        ("CA first", write(ca_first), "cert-chain.pem: the leaf has no SPIFFE id, only"),
        ("long chain", write(too_long), "cert-chain.pem: holds 8 certificates, at most 7"),
        (
            "expired",
            dated(now - 9 * HOUR, now - 7 * HOUR / 2),
            "cert-chain.pem: the leaf of spiffe://ours/ns/shop/sa/cart expired 3 h ago",
        ),
        (
            "early",
            dated(now + 7 * HOUR / 2, now + 9 * HOUR),
            "cert-chain.pem: the leaf of spiffe://ours/ns/shop/sa/cart is not valid for another 3",
        ),
        (
            "two ids",
            write(root.sign(&Leaf::of(&[CART, CART_2]))),
            "cert-chain.pem: the leaf has 2 URI names",
        ),
        (
            "DNS only",
            write(root.sign(&Leaf::of(&[]).dns("cart"))),
            "cert-chain.pem: the leaf has no SPIFFE id, only the names [cart]",
        ),
    ];
    for (name, spoil, expected) in faults {
        let dir = folder(&chain(&root, CART), &[&root]);
        spoil(dir.path());
        let said = Identity::load(dir.path()).expect_err(name).to_string();
        let begin = dir.path().join(expected);
        assert!(said.starts_with(begin.to_str().unwrap()), "{name}: {said}");
        assert!(!said.contains('\n'), "{name}: {said}");
    }
}

#[test]
fn roots_with_a_fault_are_refused_naming_file_and_cause() {
    let root = Ca::root("root");
    let leaf = chain(&root, CART);
    let fault_of = |spoil: &dyn Fn(&Path)| {
        let dir = folder(&leaf, &[&root]);
        spoil(&dir.path().join("root-cert.pem"));
        Roots::load(dir.path(), &domain("ours")).unwrap_err().to_string()
    };
    let missing = fault_of(&|file| fs::remove_file(file).unwrap());
    assert!(missing.contains("root-cert.pem: cannot be read"), "{missing}");
    let empty = fault_of(&|file| fs::write(file, "").unwrap());
    assert!(empty.contains("root-cert.pem: holds no certificate"), "{empty}");
    let no_ca = fault_of(&|file| {
        fs::copy(file.with_file_name("cert-chain.pem"), file).unwrap();
    });
    assert!(no_ca.contains("certificate 1 cannot be a root: it is not a CA"), "{no_ca}");
}

#[test]
fn a_file_is_read_up_to_its_limit_and_no_further() {
    let root = Ca::root("root");
    let dir = folder(&chain(&root, CART), &[&root]);
    let file = dir.path().join("cert-chain.pem");
    let mut text = fs::read(&file).unwrap();
    text.resize(FILE_BYTES_MAX as usize, b'\n');
    fs::write(&file, &text).unwrap();
    assert!(Identity::load(dir.path()).is_ok());
    text.push(b'\n');
    fs::write(&file, &text).unwrap();
    let said = Identity::load(dir.path()).unwrap_err().to_string();
    assert!(said.ends_with("cert-chain.pem: is larger than 1048576 bytes"), "{said}");
}

#[test]
fn a_chain_has_at_most_seven_certificates() {
    let root = Ca::root("root");
    let longest = chain(&root, CART).with(&[&root; CHAIN_CERTIFICATES_MAX - 1]);
    assert_eq!(longest.identity().spiffe_id(), id(CART));
}

#[test]
fn an_expired_leaf_loads_as_of_the_time_it_was_good() {
    let root = Ca::root("root");
    let past = SystemTime::now() - 9 * HOUR;
    let old = root.sign(&Leaf::of(&[CART]).valid(past, past + HOUR));
    let dir = folder(&old, &[&root]);
    assert!(Identity::load(dir.path()).is_err());
    let identity = Identity::load_at(dir.path(), past + HOUR / 2).unwrap();
    assert_eq!(identity.spiffe_id(), id(CART));
}

/// Whom the client meets at the server, with configurations made once.
struct Pair {
    dir: TempDir,
    identity: Identity,
    server_roots: Roots,
    client: std::sync::Arc<rustls::ClientConfig>,
    server: std::sync::Arc<rustls::ServerConfig>,
}

impl Pair {
    fn new(root: &Ca, client_roots: &Roots) -> Self {
        let dir = folder(&chain(root, CART), &[root]);
        let identity = Identity::load(dir.path()).unwrap();
        let server_roots = roots(&[("ours", &[root])]);
        let expect = || Expect::AnyOf(vec![domain("ours")]);
        let client = client_config(&identity, client_roots, expect(), &[]);
        let server = server_config(&identity, &server_roots, expect(), &[]);
        Self { dir, identity, server_roots, client, server }
    }

    fn seen_by_client(&self, roots: &Roots) -> Result<Peer, rustls::Error> {
        let met = meet(&self.client, &self.server, "cart");
        let client = met.client?;
        met.server?;
        let chain = client.peer_certificates().unwrap();
        Ok(peer_of(chain, roots, SystemTime::now(), Usage::Server).unwrap())
    }
}

#[test]
fn a_reload_reaches_configurations_handed_out_before() {
    let (root, next) = (Ca::root("root"), Ca::root("next root"));
    let client_roots = roots(&[("ours", &[&root])]);
    let pair = Pair::new(&root, &client_roots);
    assert_eq!(pair.seen_by_client(&client_roots).unwrap().id, id(CART));
    assert!(!pair.identity.reload().unwrap(), "nothing changed");

    chain(&root, CART_2).write(pair.dir.path(), &[]);
    assert!(pair.identity.reload().unwrap());
    assert_eq!(pair.identity.spiffe_id(), id(CART_2));
    assert_eq!(pair.seen_by_client(&client_roots).unwrap().id, id(CART_2));

    // The leaf moves to another root: refused until the roots follow, on both ends.
    chain(&next, CART).write(pair.dir.path(), &[]);
    assert!(pair.identity.reload().unwrap());
    assert!(pair.seen_by_client(&client_roots).is_err());
    client_roots.set(bundles_of(&[("ours", &[&root, &next])]));
    assert!(pair.seen_by_client(&client_roots).is_err());
    pair.server_roots.set(bundles_of(&[("ours", &[&root, &next])]));
    assert_eq!(pair.seen_by_client(&client_roots).unwrap().id, id(CART));

    // The old root is withdrawn: its leaves are refused at once.
    client_roots.set(bundles_of(&[("ours", &[&next])]));
    chain(&root, CART).write(pair.dir.path(), &[]);
    assert!(pair.identity.reload().unwrap());
    assert!(pair.seen_by_client(&client_roots).is_err());
}

#[test]
fn a_broken_rewrite_keeps_what_was_there() {
    let root = Ca::root("root");
    let client_roots = roots(&[("ours", &[&root])]);
    let pair = Pair::new(&root, &client_roots);
    let mut mismatched = chain(&root, CART_2);
    mismatched.key = KeyPair::generate().unwrap();
    mismatched.write(pair.dir.path(), &[]);
    assert!(pair.identity.reload().is_err());
    assert_eq!(pair.identity.spiffe_id(), id(CART));
    assert_eq!(pair.seen_by_client(&client_roots).unwrap().id, id(CART));
}

#[test]
fn a_root_that_cannot_be_read_vouches_for_nobody_and_spoils_no_other() {
    let root = Ca::root("root");
    let mut all = bundles_of(&[("ours", &[&root])]);
    let broken =
        diolkos_trust::Bundle::new(domain("ours"), [b"no DER".to_vec(), root.der.to_vec()]);
    all.insert(broken.unwrap());
    let only = diolkos_trust::Bundle::new(domain("theirs"), [b"no DER".to_vec()]);
    all.insert(only.unwrap());
    let roots = Roots::new(all);
    let now = SystemTime::now();
    let ours = chain(&root, CART).certificates;
    assert!(peer_of(&ours, &roots, now, Usage::Client).is_ok());
    let theirs = chain(&root, "spiffe://theirs/ns/shop/sa/cart").certificates;
    assert!(peer_of(&theirs, &roots, now, Usage::Client).is_err());
}

#[test]
fn a_watched_folder_is_told_of_once_per_fault_and_only_if_it_lasts() {
    let (root, next) = (Ca::root("root"), Ca::root("next root"));
    let kept = folder(&chain(&root, CART), &[&root]);
    let dir = kept.path();
    let identity = Identity::load(dir).unwrap();
    let roots = Roots::load(dir, &domain("ours")).unwrap();
    let others = bundles_of(&[("ours", &[&root]), ("theirs", &[&next])]);
    roots.set(others.clone());
    let mut watch = Watch::new(identity.clone(), roots.clone(), dir.to_path_buf());
    let now = SystemTime::now();
    assert_eq!(watch.poll(now), Polled::Same);

    chain(&root, CART_2).write(dir, &[&root]);
    assert_eq!(watch.poll(now), Polled::Reloaded { identity: true, roots: false });
    assert_eq!(watch.poll(now), Polled::Same);
    assert_eq!(*roots.get(), others, "bundles of other domains stay");

    chain(&root, CART).write(dir, &[&root, &next]);
    assert_eq!(watch.poll(now), Polled::Reloaded { identity: true, roots: true });
    let both = bundles_of(&[("ours", &[&root, &next]), ("theirs", &[&next])]);
    assert_eq!(*roots.get(), both);

    // Half written at one look and whole at the next: nobody need know.
    fs::write(dir.join("key.pem"), "half").unwrap();
    assert_eq!(watch.poll(now), Polled::Same);
    chain(&root, CART_2).write(dir, &[&root, &next]);
    assert_eq!(watch.poll(now), Polled::Reloaded { identity: true, roots: false });

    // Broken for good: told once, and neither leaf nor roots are taken.
    chain(&root, CART).write(dir, &[&next]);
    fs::write(dir.join("key.pem"), "nonsense").unwrap();
    assert_eq!(watch.poll(now), Polled::Same);
    let Polled::Kept(error) = watch.poll(now) else { panic!("the fault was not told") };
    assert!(error.to_string().contains("key.pem"), "{error}");
    assert_eq!(watch.poll(now), Polled::Same);
    assert_eq!(watch.poll(now), Polled::Same);
    assert_eq!((identity.spiffe_id(), &*roots.get()), (id(CART_2), &both));
    // Another fault is another story.
    fs::write(dir.join("root-cert.pem"), "nonsense").unwrap();
    assert_eq!(watch.poll(now), Polled::Same);
    assert!(matches!(watch.poll(now), Polled::Kept(_)));
}

#[test]
fn a_leaf_written_ahead_of_its_time_is_taken_when_the_time_comes() {
    let root = Ca::root("root");
    let kept = folder(&chain(&root, CART), &[&root]);
    let identity = Identity::load(kept.path()).unwrap();
    let roots = Roots::load(kept.path(), &domain("ours")).unwrap();
    let mut watch = Watch::new(identity.clone(), roots, kept.path().to_path_buf());
    let now = SystemTime::now();
    root.sign(&Leaf::of(&[CART_2]).valid(now + HOUR, now + 9 * HOUR)).write(kept.path(), &[&root]);
    assert_eq!(watch.poll(now), Polled::Same);
    assert!(matches!(watch.poll(now), Polled::Kept(_)));
    assert_eq!(identity.spiffe_id(), id(CART));
    let then = watch.poll(now + 2 * HOUR);
    assert_eq!(then, Polled::Reloaded { identity: true, roots: false });
    assert_eq!(identity.spiffe_id(), id(CART_2));
}
