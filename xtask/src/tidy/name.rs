//! Words that say nothing about what a thing is.

use syn::visit::{self, Visit};

use crate::tidy::{Finding, tree::Tree};

const EMPTY_WORDS: &[&str] = &["manager", "handler", "util", "helper"];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.rust() {
        let file = match syn::parse_file(text) {
            Ok(file) => file,
            Err(cause) => {
                findings.push(Finding::new(path, format!("cannot be read as Rust: {cause}")));
                continue;
            }
        };
        let mut names = Names::default();
        names.visit_file(&file);
        let stem = path.rsplit('/').next().and_then(|name| name.strip_suffix(".rs"));
        names.found.extend(stem.map(str::to_owned));
        for name in names.found {
            if let Some(word) = empty_word(&name) {
                findings.push(Finding::new(path, format!("{name}: \"{word}\" says nothing")));
            }
        }
    }
    findings
}

/// Names of types, modules and functions that are given here. A method of someone else's trait is
/// named elsewhere.
#[derive(Default)]
struct Names {
    found: Vec<String>,
}

impl<'ast> Visit<'ast> for Names {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let name = match item {
            syn::Item::Enum(item) => Some(&item.ident),
            syn::Item::Fn(item) => Some(&item.sig.ident),
            syn::Item::Mod(item) => Some(&item.ident),
            syn::Item::Struct(item) => Some(&item.ident),
            syn::Item::Trait(item) => Some(&item.ident),
            syn::Item::Type(item) => Some(&item.ident),
            syn::Item::Union(item) => Some(&item.ident),
            _ => None,
        };
        self.found.extend(name.map(ToString::to_string));
        visit::visit_item(self, item);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        for entry in &item.items {
            if let (None, syn::ImplItem::Fn(function)) = (&item.trait_, entry) {
                self.found.push(function.sig.ident.to_string());
            }
        }
        visit::visit_item_impl(self, item);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        self.found.push(function.sig.ident.to_string());
        visit::visit_trait_item_fn(self, function);
    }
}

fn empty_word(name: &str) -> Option<&'static str> {
    let words = words(name);
    EMPTY_WORDS.iter().copied().find(|empty| {
        words.iter().any(|word| word == empty || word.strip_suffix('s') == Some(empty))
    })
}

/// `HelloReader` and `hello_reader` are both hello, reader.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for c in name.chars() {
        if c == '_' || c.is_uppercase() {
            words.push(String::new());
        }
        if let (Some(word), true) = (words.last_mut(), c != '_') {
            word.extend(c.to_lowercase());
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_words_are_found_wherever_a_name_is_given() {
        for (text, name) in [
            ("struct LinkManager;", "LinkManager"),
            ("mod utils {}", "utils"),
            ("fn handler() {}", "handler"),
            ("impl A { fn retry_helper(&self) {} }", "retry_helper"),
            ("trait A { fn manager(&self); }", "manager"),
            ("mod a { enum XdsHandlers {} }", "XdsHandlers"),
            ("fn a() { fn helper() {} }", "helper"),
        ] {
            let found = check(&Tree::of(&[("a.rs", text)]));
            assert_eq!(found.len(), 1, "{text}: {found:?}");
            assert!(found[0].to_string().starts_with(&format!("a.rs: {name}: ")), "{found:?}");
        }
        assert_eq!(check(&Tree::of(&[("src/util.rs", "")])).len(), 1);
    }

    #[test]
    fn other_words_and_other_peoples_names_are_fine() {
        let text = "struct Utilisation; fn managed() {} struct Manageress;\n\
                    impl Other for A { fn handler(&self) {} }\n\
                    fn a() { let helper = hyper_util::b(); }";
        assert_eq!(check(&Tree::of(&[("a.rs", text)])), []);
    }

    #[test]
    fn a_file_that_is_no_rust_is_found() {
        assert_eq!(check(&Tree::of(&[("a.rs", "fn (")])).len(), 1);
    }
}
