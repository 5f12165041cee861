//! A source file that nothing compiles still looks as if it counted.

use std::collections::{BTreeMap, BTreeSet};

use syn::visit::{self, Visit};

use crate::tidy::{Finding, tree::Tree};

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut reached = BTreeSet::new();
    for folder in tree.crates() {
        for root in roots(tree, folder) {
            follow(tree, &root, Kind::Root, &mut reached);
        }
    }
    let orphans = tree.rust().filter(|(path, _)| !reached.contains(*path));
    orphans.map(|(path, _)| Finding::new(path, "no crate compiles this file")).collect()
}

/// Where a file's modules lie: beside a root or mod.rs, in a folder of the file's name elsewhere.
#[derive(Clone, Copy)]
enum Kind {
    Root,
    Module,
}

/// Files that cargo starts from: those it finds by itself and those a manifest names.
fn roots(tree: &Tree, folder: &str) -> Vec<String> {
    let mut roots = vec![format!("{folder}/build.rs")];
    roots.extend(["lib", "main"].map(|stem| format!("{folder}/src/{stem}.rs")));
    let found =
        ["src/bin", "tests", "benches", "examples"].map(|place| format!("{folder}/{place}/"));
    for (path, _) in tree.rust().filter(|(path, _)| tree.crate_of(path) == Some(folder)) {
        let inside = found.iter().find_map(|place| path.strip_prefix(place.as_str()));
        if inside.is_some_and(|rest| !rest.contains('/') || is_main_of_a_folder(rest)) {
            roots.push(path.to_owned());
        }
    }
    let manifest = tree.text(&format!("{folder}/Cargo.toml")).unwrap_or_default();
    let manifest = manifest.parse::<toml::Table>().unwrap_or_default();
    for section in ["lib", "bin", "test", "bench", "example"] {
        let targets = match manifest.get(section) {
            Some(toml::Value::Array(targets)) => targets.as_slice(),
            Some(target) => std::slice::from_ref(target),
            None => &[],
        };
        let paths = targets.iter().filter_map(|target| target.get("path")?.as_str());
        roots.extend(paths.map(|path| joined(folder, path)));
    }
    roots
}

fn is_main_of_a_folder(path: &str) -> bool {
    path.strip_suffix("/main.rs").is_some_and(|folder| !folder.contains('/'))
}

fn follow(tree: &Tree, path: &str, kind: Kind, reached: &mut BTreeSet<String>) {
    let Some(text) = tree.text(path) else { return };
    if !reached.insert(path.to_owned()) {
        return;
    }
    // What is no Rust is reported where names are read.
    let Ok(file) = syn::parse_file(text) else { return };
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let stem = name.strip_suffix(".rs").unwrap_or(name);
    let below = match kind {
        Kind::Module if stem != "mod" => format!("{folder}/{stem}"),
        Kind::Root | Kind::Module => folder.to_owned(),
    };
    let mut declared = Declared { folder: folder.to_owned(), below, files: BTreeMap::new() };
    declared.visit_file(&file);
    for (path, kind) in declared.files {
        follow(tree, &path, kind, reached);
    }
}

/// Files that one file says belong to it.
struct Declared {
    /// Of the file itself: `#[path]` and `include!` count from here.
    folder: String,
    /// Where `mod name;` looks at this depth of inline modules.
    below: String,
    files: BTreeMap<String, Kind>,
}

impl<'ast> Visit<'ast> for Declared {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        let name = item.ident.to_string();
        let name = name.strip_prefix("r#").unwrap_or(&name);
        let below = format!("{}/{name}", self.below);
        if item.content.is_some() {
            let outer = std::mem::replace(&mut self.below, below);
            visit::visit_item_mod(self, item);
            self.below = outer;
        } else if let Some(path) = path_attribute(&item.attrs) {
            self.files.insert(joined(&self.folder, &path), Kind::Root);
        } else {
            self.files.insert(format!("{below}.rs"), Kind::Module);
            self.files.insert(format!("{below}/mod.rs"), Kind::Module);
        }
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        if call.path.is_ident("include")
            && let Ok(path) = call.parse_body::<syn::LitStr>()
        {
            self.files.insert(joined(&self.folder, &path.value()), Kind::Root);
        }
    }
}

fn path_attribute(attributes: &[syn::Attribute]) -> Option<String> {
    let attribute = attributes.iter().find(|attribute| attribute.path().is_ident("path"))?;
    let syn::Meta::NameValue(pair) = &attribute.meta else { return None };
    match &pair.value {
        syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(path), .. }) => Some(path.value()),
        _ => None,
    }
}

/// `folder/path`, with `.` and `..` resolved.
fn joined(folder: &str, path: &str) -> String {
    let mut parts = Vec::new();
    for part in folder.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orphans(files: &[(&str, &str)]) -> Vec<String> {
        check(&Tree::of(files)).into_iter().map(|finding| finding.place).collect()
    }

    #[test]
    fn a_file_that_nothing_declares_is_an_orphan() {
        let found = orphans(&[
            ("a/Cargo.toml", ""),
            ("a/src/lib.rs", "mod kept;\n// mod gone;\nconst A: &str = \"mod text;\";"),
            ("a/src/kept.rs", ""),
            ("a/src/gone.rs", ""),
            ("a/src/text.rs", ""),
            ("a/tests/common/shared.rs", ""),
            ("stray.rs", ""),
        ]);
        assert_eq!(
            found,
            ["a/src/gone.rs", "a/src/text.rs", "a/tests/common/shared.rs", "stray.rs"]
        );
    }

    #[test]
    fn every_way_to_belong_is_followed() {
        let found = orphans(&[
            (
                "a/Cargo.toml",
                "[[bin]]\nname = \"f\"\npath = \"targets/f.rs\"\n[lib]\npath = \"l.rs\"",
            ),
            ("a/build.rs", ""),
            (
                "a/l.rs",
                "mod deep;\n#[path = \"../odd/place.rs\"]\nmod renamed;\nmod inline { mod leaf; }",
            ),
            ("odd/place.rs", "mod beside;"),
            ("odd/beside.rs", ""),
            ("a/inline/leaf.rs", ""),
            ("a/deep.rs", "mod deeper;"),
            ("a/deep/deeper/mod.rs", "include!(\"table.rs\"); mod own;"),
            ("a/deep/deeper/table.rs", ""),
            ("a/deep/deeper/own.rs", ""),
            ("a/targets/f.rs", ""),
            ("a/src/main.rs", "mod tests { mod inner; }"),
            ("a/src/tests/inner.rs", ""),
            ("a/src/bin/tool.rs", ""),
            ("a/tests/e2e/main.rs", "mod step;"),
            ("a/tests/e2e/step.rs", ""),
            ("a/benches/b.rs", ""),
            ("a/examples/e.rs", ""),
        ]);
        assert_eq!(found, [""; 0]);
    }

    #[test]
    fn a_module_is_looked_for_where_the_compiler_looks() {
        let found = orphans(&[
            ("a/Cargo.toml", ""),
            ("a/src/lib.rs", "mod outer;"),
            ("a/src/outer.rs", "mod inner;"),
            ("a/src/inner.rs", ""),
            ("a/b/Cargo.toml", ""),
            ("a/b/src/lib.rs", ""),
            ("a/b/tests/own.rs", ""),
        ]);
        assert_eq!(found, ["a/src/inner.rs"]);
    }
}
