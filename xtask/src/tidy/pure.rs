//! What the crate graph cannot see: the two crates with an exception, read as text.
//!
//! diolkos-xds may have tonic below it, so its own manifest and source must not speak of it.
//! diolkos-trust may verify with ring, so its source must not name ring's randomness.

use proc_macro2::{TokenStream, TokenTree};

use crate::tidy::{Finding, tree::Tree};

struct Exception {
    folder: &'static str,
    /// Not in the source, tests aside.
    words: &'static [&'static str],
    /// Not among `[dependencies]`.
    dependencies: &'static [&'static str],
}

const EXCEPTIONS: &[Exception] = &[
    Exception {
        folder: "primary/xds",
        words: &["tonic", "tokio", "hyper", "h2", "tower"],
        dependencies: &["tonic", "tokio", "hyper", "h2", "tower"],
    },
    Exception { folder: "trust", words: &["SystemRandom"], dependencies: &["rand", "getrandom"] },
];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for exception in EXCEPTIONS {
        let source = format!("{}/src/", exception.folder);
        for (path, text) in tree.rust().filter(|(path, _)| path.starts_with(&source)) {
            let Ok(tokens) = text.parse::<TokenStream>() else { continue };
            for word in words(tokens).iter().filter(|word| exception.words.contains(&word.as_str()))
            {
                findings.push(Finding::new(path, format!("a pure crate names {word}")));
            }
        }
        findings.extend(check_manifest(tree, exception));
    }
    findings.dedup();
    findings
}

fn check_manifest(tree: &Tree, exception: &Exception) -> Vec<Finding> {
    let path = format!("{}/Cargo.toml", exception.folder);
    let Some(text) = tree.text(&path) else { return Vec::new() };
    let Ok(manifest) = text.parse::<toml::Table>() else {
        return vec![Finding::new(path, "cannot be read as TOML")];
    };
    let dependencies = manifest.get("dependencies").and_then(toml::Value::as_table);
    let mut findings = Vec::new();
    for (name, value) in dependencies.into_iter().flatten() {
        let package = value.get("package").and_then(toml::Value::as_str).unwrap_or(name);
        if exception.dependencies.contains(&package) {
            findings.push(Finding::new(&path, format!("a pure crate depends on {package}")));
        }
    }
    findings
}

/// Every identifier; comments and strings are none.
fn words(tokens: TokenStream) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![tokens];
    while let Some(tokens) = open.pop() {
        for token in tokens {
            match token {
                TokenTree::Ident(word) => found.push(word.to_string()),
                TokenTree::Group(group) => open.push(group.stream()),
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(files: &[(&str, &str)]) -> Vec<String> {
        check(&Tree::of(files)).iter().map(Finding::to_string).collect()
    }

    #[test]
    fn the_xds_crate_does_not_speak_of_its_transport() {
        let found = says(&[
            (
                "primary/xds/Cargo.toml",
                "[dependencies]\nrpc = { package = \"tonic\", version = \"1\" }",
            ),
            ("primary/xds/src/a.rs", "fn a() { envoy_types::tonic::Status::ok(); }"),
            ("primary/xds/src/b.rs", "macro_rules! m { () => { use tokio::sync::Mutex; } }"),
        ]);
        assert_eq!(
            found,
            [
                "primary/xds/src/a.rs: a pure crate names tonic",
                "primary/xds/src/b.rs: a pure crate names tokio",
                "primary/xds/Cargo.toml: a pure crate depends on tonic",
            ]
        );
    }

    #[test]
    fn the_trust_crate_does_not_roll_dice() {
        let found = says(&[("trust/src/a.rs", "use ring::rand::SystemRandom;")]);
        assert_eq!(found, ["trust/src/a.rs: a pure crate names SystemRandom"]);
    }

    #[test]
    fn comments_tests_and_neighbours_may() {
        assert!(
            says(&[
                ("primary/xds/src/a.rs", "//! not tonic\nconst A: &str = \"tokio\";"),
                ("primary/xds/tests/a.rs", "use tokio::time;"),
                ("primary/xds/client/src/a.rs", "use tonic::Status;"),
                ("primary/xds/Cargo.toml", "[dev-dependencies]\ntokio = \"1\""),
                ("trust/service/src/a.rs", "use ring::rand::SystemRandom;"),
            ])
            .is_empty()
        );
    }
}
