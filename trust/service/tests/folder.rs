//! The plugged-in layout: ours read back, openssl's read, ours verified by openssl, and faults.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use diolkos_tls::{Roots, Usage, peer_of, read_certificates};
use diolkos_trust::{SpiffeId, TrustDomain};
use diolkos_trust_service::{Authority, Issued, LeafRequest, Validity};
use tempfile::TempDir;

const HOUR: Duration = Duration::from_secs(3600);
const CART: &str = "spiffe://ours/ns/shop/sa/cart";

fn lasting(duration: Duration) -> Validity {
    let now = SystemTime::now();
    Validity { not_before: now, not_after: now + duration }
}

fn issue(authority: &Authority) -> Issued {
    let id = SpiffeId::parse(CART).unwrap();
    let leaf = LeafRequest { id, dns: vec![], ips: vec![], validity: lasting(HOUR) };
    authority.issue(&leaf).unwrap()
}

/// A leaf of this authority is accepted by peers that trust these roots; how long its chain is.
fn proven(authority: &Authority, roots: &Path) -> usize {
    let dir = tempfile::tempdir().unwrap();
    issue(authority).write(dir.path()).unwrap();
    let chain = read_certificates(&dir.path().join("cert-chain.pem")).unwrap();
    let roots = Roots::load(roots, &TrustDomain::new("ours").unwrap()).unwrap();
    peer_of(&chain, &roots, SystemTime::now(), Usage::Server).unwrap();
    chain.len()
}

struct Mesh {
    root: Authority,
    west: Authority,
    dir: TempDir,
}

/// A root and the folder of one intermediate.
fn mesh() -> Mesh {
    let root = Authority::new_root("root", lasting(100 * HOUR)).unwrap();
    let west = root.intermediate("west", lasting(10 * HOUR)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    west.write(dir.path()).unwrap();
    Mesh { root, west, dir }
}

#[test]
fn an_authority_written_is_the_authority_read() {
    let Mesh { root, west, dir } = mesh();
    let mode = |file| fs::metadata(dir.path().join(file)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("ca-key.pem"), 0o600);
    let mut files: Vec<_> =
        fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files, ["ca-cert.pem", "ca-key.pem", "cert-chain.pem", "root-cert.pem"]);

    let loaded = Authority::load(dir.path()).unwrap();
    assert_eq!(loaded.certificate_der(), west.certificate_der());
    assert_eq!(loaded.root_pem(), root.root_pem());
    assert_eq!(proven(&loaded, dir.path()), 2);
    let chain = read_certificates(&dir.path().join("cert-chain.pem")).unwrap();
    assert_eq!(chain.len(), 1, "the intermediate and not the root");

    let again = tempfile::tempdir().unwrap();
    loaded.write(again.path()).unwrap();
    for file in files {
        let [first, second] = [&dir, &again].map(|dir| fs::read(dir.path().join(&file)).unwrap());
        assert!(first == second, "{file:?}");
    }
}

#[test]
fn a_root_written_and_read_makes_further_intermediates() {
    let Mesh { root, dir: west, .. } = mesh();
    let dir = tempfile::tempdir().unwrap();
    root.write(dir.path()).unwrap();
    let loaded = Authority::load(dir.path()).unwrap();
    assert_eq!(proven(&loaded, dir.path()), 1);
    let east = loaded.intermediate("east", lasting(HOUR)).unwrap();
    assert_eq!(proven(&east, west.path()), 2);
    let subject = |authority: &Authority| {
        let der = authority.certificate_der();
        x509_parser::parse_x509_certificate(der).unwrap().1.subject().to_string()
    };
    assert_eq!(subject(&east), "O=root, CN=Intermediate CA east, L=east");
}

#[test]
fn roots_in_exchange_are_all_handed_to_the_leaves() {
    let Mesh { west, dir, .. } = mesh();
    let next = Authority::new_root("next", lasting(HOUR)).unwrap();
    let both = format!("{}{}", next.root_pem(), west.root_pem());
    fs::write(dir.path().join("root-cert.pem"), &both).unwrap();
    let loaded = Authority::load(dir.path()).unwrap();
    assert_eq!(issue(&loaded).root_pem, both);
    assert_eq!(proven(&loaded, dir.path()), 2);
}

#[test]
fn a_folder_with_a_fault_is_refused_naming_the_file() {
    let other = mesh();
    let leaf = tempfile::tempdir().unwrap();
    issue(&other.west).write(leaf.path()).unwrap();
    let copy = |from: &Path, dir: &Path, file: &str| {
        fs::copy(from, dir.join(file)).unwrap();
    };
    let theirs = |dir: &Path, file: &str| copy(&other.dir.path().join(file), dir, file);
    let spoil = |dir: &Path, what: &str| match what {
        "key of another" => theirs(dir, "ca-key.pem"),
        "root of another" => theirs(dir, "root-cert.pem"),
        "pair of another" => {
            theirs(dir, "ca-cert.pem");
            theirs(dir, "ca-key.pem");
        }
        "leaf for a CA" => {
            copy(&leaf.path().join("cert-chain.pem"), dir, "ca-cert.pem");
            copy(&leaf.path().join("key.pem"), dir, "ca-key.pem");
        }
        "text for a key" => fs::write(dir.join("ca-key.pem"), "key").unwrap(),
        "text for a root" => fs::write(dir.join("root-cert.pem"), "root").unwrap(),
        missing => fs::remove_file(dir.join(missing)).unwrap(),
    };
    for (what, file, cause) in [
        ("ca-cert.pem", "ca-cert.pem", ": cannot be read"),
        ("ca-key.pem", "ca-key.pem", ": cannot be read"),
        ("cert-chain.pem", "cert-chain.pem", ": cannot be read"),
        ("root-cert.pem", "root-cert.pem", ": cannot be read"),
        ("text for a key", "ca-key.pem", ": holds no private key"),
        ("text for a root", "root-cert.pem", ": holds no certificate"),
        ("key of another", "ca-key.pem", " is not the key of "),
        ("leaf for a CA", "ca-cert.pem", ": the certificate is no CA (it says CA:FALSE"),
        ("root of another", "cert-chain.pem", " does not lead from "),
        ("pair of another", "cert-chain.pem", " does not lead from "),
    ] {
        let Mesh { dir, .. } = mesh();
        spoil(dir.path(), what);
        let said = Authority::load(dir.path()).map(drop).expect_err(what).to_string();
        let begin = format!("{}{cause}", dir.path().join(file).display());
        assert!(said.starts_with(&begin) && !said.contains('\n'), "{what}: {said}");
    }
}

#[test]
fn a_ca_out_of_its_time_is_refused() {
    let Mesh { dir, .. } = mesh();
    let at = |time| Authority::load_at(dir.path(), time).map(drop).unwrap_err().to_string();
    let now = SystemTime::now();
    assert!(Authority::load_at(dir.path(), now + 9 * HOUR).is_ok());
    assert!(at(now + 11 * HOUR).contains("ca-cert.pem: the CA expired at "));
    assert!(at(now - HOUR).contains("ca-cert.pem: the CA is not valid before "));
}

/// True if openssl is here; where it is not, the test says that it was left out.
fn openssl_is_here(test: &str) -> bool {
    let here =
        Command::new("openssl").arg("version").output().is_ok_and(|out| out.status.success());
    if !here {
        println!("{test}: left out, openssl is not installed");
    }
    here
}

/// Runs an openssl command line (no argument contains a space).
#[track_caller]
fn openssl(dir: &Path, line: &str) -> String {
    let out = Command::new("openssl").current_dir(dir).args(line.split(' ')).output().unwrap();
    let text = [out.stdout, out.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(out.status.success(), "openssl {line}: {text:?}");
    text.concat()
}

#[test]
fn openssl_verifies_what_we_write() {
    if !openssl_is_here("openssl_verifies_what_we_write") {
        return;
    }
    let Mesh { west, dir, .. } = mesh();
    issue(&west).write(&dir.path().join("leaf")).unwrap();
    let dir = dir.path();
    openssl(dir, "verify -x509_strict -CAfile root-cert.pem ca-cert.pem");
    let verify = "verify -x509_strict -CAfile root-cert.pem -untrusted cert-chain.pem";
    for purpose in ["sslserver", "sslclient"] {
        openssl(dir, &format!("{verify} -purpose {purpose} leaf/cert-chain.pem"));
    }
    openssl(dir, "pkey -in ca-key.pem -check -noout");
    openssl(dir, "pkey -in leaf/key.pem -check -noout");
    let shown = openssl(dir, "x509 -in leaf/cert-chain.pem -noout -ext subjectAltName");
    assert!(shown.contains(&format!("critical\n    URI:{CART}\n")), "{shown}");
}

const CONFIG: &str = "\
[req]
distinguished_name = dn
[dn]
[root]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign, cRLSign, digitalSignature
subjectKeyIdentifier = hash
[intermediate]
basicConstraints = critical, CA:true, pathlen:0
keyUsage = critical, keyCertSign, cRLSign, digitalSignature
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid:always
[middle]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[mute]
basicConstraints = critical, CA:true
keyUsage = critical, digitalSignature
";

/// A root and a certificate below it, both with keys of one kind, as people make them with openssl.
/// The chain ends with the root, as Istio's own tools write it.
fn by_openssl(new_key: &str, section: &str) -> TempDir {
    by_openssl_as("/O=Istio/CN=Intermediate/L=west", new_key, section)
}

fn by_openssl_as(subject: &str, new_key: &str, section: &str) -> TempDir {
    let kept = tempfile::tempdir().unwrap();
    let dir = kept.path();
    fs::write(dir.join("x.cnf"), CONFIG).unwrap();
    openssl(dir, &new_key.replace("ca-key", "root-key"));
    openssl(
        dir,
        "req -x509 -new -config x.cnf -extensions root -key root-key.pem -sha256 -days 30 \
         -subj /O=Istio/CN=Root/OU=a/OU=b -out root-cert.pem",
    );
    openssl(dir, new_key);
    openssl(dir, &format!("req -new -config x.cnf -key ca-key.pem -subj {subject} -out ca.csr"));
    openssl(
        dir,
        &format!(
            "x509 -req -in ca.csr -CA root-cert.pem -CAkey root-key.pem -CAcreateserial -days 20 \
             -sha256 -extfile x.cnf -extensions {section} -out ca-cert.pem"
        ),
    );
    let both =
        ["ca-cert.pem", "root-cert.pem"].map(|file| fs::read_to_string(dir.join(file)).unwrap());
    fs::write(dir.join("cert-chain.pem"), both.concat()).unwrap();
    kept
}

#[test]
fn what_openssl_writes_loads_whatever_the_shape_of_the_key() {
    if !openssl_is_here("what_openssl_writes_loads") {
        return;
    }
    for (new_key, begins) in [
        ("genrsa -out ca-key.pem 2048", "-----BEGIN PRIVATE KEY-----"),
        ("genrsa -traditional -out ca-key.pem 2048", "-----BEGIN RSA PRIVATE KEY-----"),
        (
            "ecparam -name prime256v1 -genkey -noout -out ca-key.pem",
            "-----BEGIN EC PRIVATE KEY-----",
        ),
        ("ecparam -name secp384r1 -genkey -out ca-key.pem", "-----BEGIN EC PARAMETERS-----"),
        (
            "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out ca-key.pem",
            "-----BEGIN PRIVATE KEY-----",
        ),
    ] {
        let dir = by_openssl(new_key, "intermediate");
        let key = fs::read_to_string(dir.path().join("ca-key.pem")).unwrap();
        assert!(key.starts_with(begins), "{new_key}");
        let loaded =
            Authority::load(dir.path()).unwrap_or_else(|error| panic!("{new_key}: {error}"));
        assert_eq!(proven(&loaded, dir.path()), 2, "the root is not presented");
        assert!(loaded.intermediate("below", lasting(HOUR)).is_err(), "path length 0");
        // And back: openssl accepts the leaf.
        issue(&loaded).write(&dir.path().join("leaf")).unwrap();
        openssl(
            dir.path(),
            "verify -CAfile root-cert.pem -untrusted leaf/cert-chain.pem leaf/cert-chain.pem",
        );
    }
}

#[test]
fn a_ca_between_root_and_cluster_is_presented_too() {
    if !openssl_is_here("a_ca_between_root_and_cluster") {
        return;
    }
    let dir = by_openssl("ecparam -name prime256v1 -genkey -noout -out ca-key.pem", "middle");
    let middle = Authority::load(dir.path()).unwrap();
    let west = middle.intermediate("west", lasting(HOUR)).unwrap();
    assert_eq!(proven(&west, dir.path()), 3);
    let written = tempfile::tempdir().unwrap();
    west.write(written.path()).unwrap();
    let west = Authority::load(written.path()).unwrap();
    assert_eq!(proven(&west, dir.path()), 3);

    // Without the one between, the chain leads nowhere.
    let alone = fs::read(written.path().join("ca-cert.pem")).unwrap();
    fs::write(written.path().join("cert-chain.pem"), alone).unwrap();
    let said = Authority::load(written.path()).map(drop).unwrap_err().to_string();
    assert!(said.contains("a certificate between is missing or wrong"), "{said}");
}

#[test]
fn a_subject_that_leaves_cannot_name_is_refused_as_such() {
    if !openssl_is_here("a_subject_that_leaves_cannot_name") {
        return;
    }
    let key = "ecparam -name prime256v1 -genkey -noout -out ca-key.pem";
    let twice = by_openssl_as("/O=Istio/OU=a/OU=b", key, "intermediate");
    let said = Authority::load(twice.path()).map(drop).unwrap_err().to_string();
    assert!(said.contains("its subject repeats or groups name parts"), "{said}");
    let plain = by_openssl_as("/CN=west", key, "middle");
    let below = Authority::load(plain.path()).unwrap().intermediate("x", lasting(HOUR)).unwrap();
    assert_eq!(proven(&below, plain.path()), 3);
}

#[test]
fn keys_and_certificates_that_cannot_sign_are_refused() {
    if !openssl_is_here("keys_and_certificates_that_cannot_sign") {
        return;
    }
    let load = |key: &str, section: &str| {
        let dir = by_openssl(key, section);
        Authority::load(dir.path()).map(drop).unwrap_err().to_string()
    };
    let mute = load("ecparam -name prime256v1 -genkey -noout -out ca-key.pem", "mute");
    assert!(mute.contains("ca-cert.pem: the certificate is no CA (its key usage lacks"), "{mute}");
    for key in [
        "genrsa -out ca-key.pem 1024",
        "ecparam -name secp224r1 -genkey -noout -out ca-key.pem",
        "ecparam -name secp521r1 -genkey -noout -out ca-key.pem",
    ] {
        let weak = load(key, "intermediate");
        assert!(weak.contains("ca-key.pem: the key cannot sign: "), "{key}: {weak}");
        assert!(weak.contains("use RSA >= 2048 or ECDSA P-256 or P-384"), "{weak}");
    }
}
