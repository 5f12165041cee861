//! What a document points to is there: files of this tree, and the headings in them.

use std::collections::BTreeSet;

use crate::tidy::{Finding, tree::Tree};

const DOCUMENTS: &[&str] = &["README.md", "CONTRIBUTING.md", "CHANGELOG.md"];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.files().filter(|(path, _)| is_document(path)) {
        for (line, target) in links(text) {
            if let Err(says) = find(tree, path, &target) {
                findings.push(Finding::new(format!("{path}:{line}"), format!("{target}: {says}")));
            }
        }
    }
    findings
}

fn is_document(path: &str) -> bool {
    DOCUMENTS.contains(&path) || (path.starts_with("docs/") && path.ends_with(".md"))
}

fn find(tree: &Tree, from: &str, target: &str) -> Result<(), &'static str> {
    let (path, heading) = target.split_once('#').unwrap_or((target, ""));
    let path = match path {
        "" => from.to_owned(),
        path => below(from, path).ok_or("leads out of the tree")?,
    };
    match tree.text(&path) {
        Some(text) if heading.is_empty() || headings(text).contains(heading) => Ok(()),
        Some(_) => Err("no such heading"),
        None if heading.is_empty() && tree.files().any(|(file, _)| is_inside(file, &path)) => {
            Ok(())
        }
        None => Err("no such file"),
    }
}

fn is_inside(file: &str, folder: &str) -> bool {
    file.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

/// `path` as it is meant in the file `from`; `None` above the root.
fn below(from: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// Targets within the tree, with their lines. What stands in code is none.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in prose(text) {
        let line = without_code(line);
        let mut rest = line.as_str();
        while let Some((_, after)) = rest.split_once("](") {
            let target = after.split([')', ' ']).next().unwrap_or_default();
            found.push((number, target.to_owned()));
            rest = after;
        }
        // `[name]: target`, on a line of its own
        if let Some((name, target)) = line.split_once("]: ")
            && name.starts_with('[')
        {
            found.push((number, target.trim().to_owned()));
        }
    }
    found.retain(|(_, target)| !target.contains("://") && !target.starts_with("mailto:"));
    found
}

/// Lines outside of fenced code, counted from 1.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        (!fenced && !fence).then_some((index + 1, line))
    })
}

fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join("`")
}

/// As GitHub names them: small letters, hyphens for spaces, no other punctuation.
fn headings(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (_, line) in prose(text) {
        let title = line.trim_start_matches('#');
        if title.len() == line.len() || !title.starts_with(' ') {
            continue;
        }
        let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
        let name: String = title.trim().to_lowercase().chars().filter(kept).collect();
        names.insert(name.replace(' ', "-"));
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(files: &[(&str, &str)]) -> Vec<String> {
        check(&Tree::of(files)).iter().map(Finding::to_string).collect()
    }

    #[test]
    fn a_link_to_nothing_is_found_with_its_line() {
        let found = says(&[
            ("README.md", "a\n[gone](docs/gone.md) and [there](docs/there.md)\n"),
            ("docs/there.md", "[up](../README.md) [out](../../x.md)\n[x]: gone.md\n"),
            ("docs/deep/er.md", "[no](there.md) [anchor](../there.md#nowhere) [own](#none)"),
            ("src/notes.md", "[of no document](gone.md)"),
        ]);
        assert_eq!(
            found,
            [
                "README.md:2: docs/gone.md: no such file",
                "docs/deep/er.md:1: there.md: no such file",
                "docs/deep/er.md:1: ../there.md#nowhere: no such heading",
                "docs/deep/er.md:1: #none: no such heading",
                "docs/there.md:1: ../../x.md: leads out of the tree",
                "docs/there.md:2: gone.md: no such file",
            ]
        );
    }

    #[test]
    fn files_folders_headings_and_other_places_are_fine() {
        let found = says(&[
            (
                "README.md",
                "[file](docs/a.md) [folder](docs/adr) [title](docs/a.md \"A\") [root](LICENSE)\n\
                 [heading](docs/a.md#who-is-calling-and-why) [own](#two-words)\n\
                 [web](https://host/gone.md) [mail](mailto:a@host) ![image](docs/./a.md)\n\
                 ## Two words\n",
            ),
            ("docs/a.md", "# Who is calling, and why?\n[up](../README.md#two-words)\n"),
            ("docs/adr/1.md", ""),
            ("LICENSE", ""),
        ]);
        assert_eq!(found, [""; 0]);
    }

    #[test]
    fn code_holds_neither_links_nor_headings() {
        let text = "`[a](gone.md)` and [b](#real)\n```sh\n[c](gone.md)\n# fake\n```\n# real\n";
        assert_eq!(says(&[("README.md", text)]), [""; 0]);
        assert_eq!(says(&[("README.md", &format!("{text}[d](#fake)"))]).len(), 1);
    }
}
