//! Threat A4, case by case: `testdata/a4/kubeconfigs.txt`.
//! `DIOLKOS_REWRITE=1 cargo test -p diolkos-facts --test a4_kubeconfigs` writes the verdicts anew.
#![allow(clippy::disallowed_methods, reason = "the corpus is a file")]

use std::collections::BTreeMap;
use std::path::Path;

use diolkos_facts::remote::{AllowedRanges, Code, Outcome, RemoteSecret, Setup, read_secret};
use diolkos_topology::ClusterId;

const CASES_MIN: usize = 100;
/// In no verdict, no debug text and no error may this ever be.
const CANARY: &str = "CANARY.eyJhbGciOiJSUzI1NiJ9.x_y-z";
/// The shortest DER there is, as PEM, as base64.
const CERT: &str =
    "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1BTUNBUWM9Ci0tLS0tRU5EIENFUlRJRklDQVRFLS0tLS0K";
const KEY: &str =
    "LS0tLS1CRUdJTiBQUklWQVRFIEtFWS0tLS0tCk1BTUNBUWM9Ci0tLS0tRU5EIFBSSVZBVEUgS0VZLS0tLS0K";

#[derive(Default)]
struct Case {
    name: String,
    parts: BTreeMap<String, String>,
}

#[test]
fn a4_every_kubeconfig_has_its_verdict_and_no_secret_in_it() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/a4/kubeconfigs.txt");
    let text = std::fs::read_to_string(&path).expect("the corpus");
    let (now, count) = replay(&text);
    assert!(count >= CASES_MIN, "{count} cases");
    if std::env::var_os("DIOLKOS_REWRITE").is_some() {
        std::fs::write(&path, &now).expect("the corpus can be written");
    }
    let expected = std::fs::read_to_string(&path).expect("the corpus");
    let differs = expected.lines().zip(now.lines()).find(|(expected, now)| expected != now);
    assert_eq!(differs, None, "expected, and came");
    assert_eq!(expected.len(), now.len());
}

/// Those that are not about a kubeconfig have their cases in `tests/remotes.rs`.
const OTHER_CODES: &[Code] = &[
    Code::Annotation,
    Code::ClusterName,
    Code::ConfigKey,
    Code::Namespace,
    Code::OwnCluster,
    Code::SecondOwner,
    Code::TooMany,
];

#[test]
fn a4_every_code_has_a_case() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/a4/kubeconfigs.txt");
    let text = std::fs::read_to_string(&path).expect("the corpus");
    for code in Code::ALL.iter().filter(|code| !OTHER_CODES.contains(code)) {
        let mut verdicts = text.lines().filter_map(|line| line.strip_prefix("refused "));
        let has = |verdict: &str| verdict.split(':').next() == Some(code.as_str());
        assert!(verdicts.any(has), "{code}");
    }
}

/// The file as it would be if what came were right.
fn replay(text: &str) -> (String, usize) {
    let (mut out, mut count) = (String::new(), 0);
    let (mut case, mut part) = (Case::default(), None::<String>);
    let mut verdict = false;
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("== ") {
            case = Case { name: name.into(), ..Case::default() };
            (part, verdict) = (None, false);
        } else if line == "----" {
            out.push_str(&format!("{line}\n{}\n\n", judged(&case)));
            count += 1;
            verdict = true;
        } else if !case.name.is_empty() && !verdict {
            match &part {
                Some(part) if !is_part(line) => {
                    let known = case.parts.entry(part.clone()).or_default();
                    known.push_str(&format!("{line}\n"));
                }
                _ => {
                    case.parts.entry(line.into()).or_default();
                    part = Some(line.into());
                }
            }
        }
        if !verdict {
            out.push_str(&format!("{line}\n"));
        }
    }
    (out.trim_end().to_owned() + "\n", count)
}

fn is_part(line: &str) -> bool {
    ["cluster", "context", "user", "+cluster", "+user", "top", "whole"].contains(&line)
}

impl Case {
    fn bytes(&self) -> Vec<u8> {
        let own = |part: &str| self.parts.get(part).map_or("", String::as_str);
        let body = |part: &str, right: &str| {
            let text = self.parts.get(part).map_or(right, String::as_str).to_owned();
            let text = text + own(&format!("+{part}"));
            text.lines().map(|line| format!("    {line}\n")).collect::<String>()
        };
        let cluster = "server: https://west.example:6443\ncertificate-authority-data: {CA}\n";
        let text = match self.parts.get("whole") {
            Some(whole) => whole.clone(),
            None => format!(
                "apiVersion: v1\nkind: Config\nclusters:\n- name: west\n  cluster:\n{}\
                 contexts:\n- name: west\n  context:\n{}current-context: west\n\
                 users:\n- name: west\n  user:\n{}{}",
                body("cluster", cluster),
                body("context", "cluster: west\nuser: west\n"),
                body("user", "token: {TOKEN}\n"),
                own("top"),
            ),
        };
        unescaped(&expanded(&text))
    }
}

fn expanded(text: &str) -> String {
    let mut text = text.to_owned();
    for (name, value) in [("{CA}", CERT), ("{CERT}", CERT), ("{KEY}", KEY), ("{TOKEN}", CANARY)] {
        text = text.replace(name, value);
    }
    // {80*x}
    let mut out = String::new();
    let mut rest = text.as_str();
    while let Some(at) = rest.find('{') {
        let (before, from) = rest.split_at(at);
        let many = from[1..].split_once('*').and_then(|(count, rest)| {
            let (what, rest) = rest.split_once('}')?;
            Some((what.repeat(count.parse().ok()?), rest))
        });
        out.push_str(before);
        match many {
            Some((many, after)) => {
                out.push_str(&many);
                rest = after;
            }
            None => {
                out.push('{');
                rest = &from[1..];
            }
        }
    }
    out + rest
}

fn unescaped(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (before, from) = rest.split_at(at);
        out.extend(before.bytes());
        rest = &from[2..];
        match &from[1..2] {
            "0" => out.push(0),
            "t" => out.push(b'\t'),
            "x" => {
                out.push(u8::from_str_radix(&rest[..2], 16).expect("two hex digits"));
                rest = &rest[2..];
            }
            "u" => {
                let (digits, after) = rest[1..].split_once('}').expect("a brace");
                let code = u32::from_str_radix(digits, 16).expect("hex digits");
                out.extend(char::from_u32(code).expect("a character").to_string().bytes());
                rest = after;
            }
            // The document's own.
            other => out.extend([b'\\', other.as_bytes()[0]]),
        }
    }
    out.extend(rest.bytes());
    out
}

fn outcome(bytes: Vec<u8>) -> Outcome {
    let setup = Setup {
        own: ClusterId::new("east").expect("a name"),
        namespace: "istio-system".into(),
        allowed: AllowedRanges::default(),
    };
    let secret = RemoteSecret {
        namespace: "istio-system".into(),
        name: "istio-remote-secret-west".into(),
        labels: [("istio/multiCluster".into(), "true".into())].into(),
        data: [("west".into(), bytes.into())].into(),
        ..RemoteSecret::default()
    };
    let mut outcomes = read_secret(&secret, &setup);
    assert_eq!(outcomes.len(), 1);
    outcomes.remove(0).1
}

fn judged(case: &Case) -> String {
    let bytes = case.bytes();
    let outcome = outcome(bytes.clone());
    let verdict = match &outcome {
        Ok(remote) => format!("accepted {}", remote.connection),
        Err(remark) => {
            let place = "secret istio-system/istio-remote-secret-west";
            let text = remark.to_string();
            let text = text.strip_prefix(place).expect("it names the secret");
            assert!(text.contains(": key west: "), "{text}");
            format!("refused {}{}", remark.code, text.replacen(": key west", "", 1))
        }
    };
    let verdict = match verdict.rsplit_once(" [") {
        Some((text, _)) if outcome.is_err() => text.to_owned(),
        _ => verdict,
    };
    let debug = format!("{outcome:?}");
    for secret in [CANARY, KEY] {
        assert!(!verdict.contains(secret), "{}: {verdict}", case.name);
        assert!(!debug.contains(secret), "{}: {debug}", case.name);
    }
    assert_eq!(verdict.lines().count(), 1, "{verdict}");
    again(case, &bytes, &outcome);
    verdict
}

/// What means the same is the same: a comment more is no other cluster.
fn again(case: &Case, bytes: &[u8], outcome: &Outcome) {
    let Ok(remote) = outcome else { return };
    for end in ["\n# rotated on a Tuesday\n", "\n\n\n"] {
        let other = self::outcome([bytes, end.as_bytes()].concat());
        assert_eq!(other.as_ref(), Ok(remote), "{}", case.name);
    }
}
