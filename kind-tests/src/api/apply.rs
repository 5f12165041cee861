//! Objects into a cluster, by server-side apply: what is there already is changed to what is wanted.

use std::path::Path;

use anyhow::{Context as _, bail};
use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use serde_json::Value;

use super::{Cluster, in_time};
use crate::limit::{APPLY_AT_ONCE, APPLY_WITHIN, MANIFEST_BYTES_MAX, TRY_AGAIN_AFTER};

/// Who owns the fields that are set from here.
const OWNER: &str = "diolkos-topology";

impl Cluster {
    /// Namespaces and definitions first, then the rest at once.
    ///
    /// # Errors
    /// The first object that was refused for good, or for too long.
    pub async fn apply(&self, documents: &[Value]) -> anyhow::Result<()> {
        let is_first = |document: &&Value| {
            matches!(kind_of(document), "Namespace" | "CustomResourceDefinition")
        };
        let (first, rest): (Vec<&Value>, Vec<&Value>) = documents.iter().partition(is_first);
        for group in [first, rest] {
            // All made beforehand: else the compiler does not see that the whole may be sent between
            // threads.
            let applied: Vec<_> =
                group.into_iter().map(|document| self.apply_one(document).boxed()).collect();
            stream::iter(applied).buffer_unordered(APPLY_AT_ONCE).try_collect::<Vec<()>>().await?;
        }
        Ok(())
    }

    /// Every document of a YAML text.
    ///
    /// # Errors
    /// As [`Cluster::apply`], or when the text is no YAML.
    pub async fn apply_text(&self, text: &str) -> anyhow::Result<()> {
        self.apply(&documents(text)?).await
    }

    /// Every YAML file of a folder.
    ///
    /// # Errors
    /// As [`Cluster::apply_text`], or when a file cannot be read.
    pub async fn apply_folder(&self, folder: &Path) -> anyhow::Result<()> {
        self.apply(&documents_of(folder)?).await
    }

    /// Whether the API server serves the kind of each.
    pub(crate) async fn knows_all(&self, documents: &[Value]) -> bool {
        for document in documents {
            let api_version = document["apiVersion"].as_str().unwrap_or_default();
            if self.kind(api_version, kind_of(document)).await.is_err() {
                return false;
            }
        }
        true
    }

    async fn apply_one(&self, document: &Value) -> anyhow::Result<()> {
        let deadline = tokio::time::Instant::now() + APPLY_WITHIN;
        loop {
            let Err(error) = self.try_apply(document).await else { return Ok(()) };
            if !is_momentary(&error) || tokio::time::Instant::now() > deadline {
                let name = document["metadata"]["name"].as_str().unwrap_or_default();
                let what = format!("{}: cannot apply {} {name}", self.name, kind_of(document));
                return Err(error.context(what));
            }
            tokio::time::sleep(TRY_AGAIN_AFTER).await;
        }
    }

    async fn try_apply(&self, document: &Value) -> anyhow::Result<()> {
        let api_version = document["apiVersion"].as_str().context("no apiVersion")?;
        let metadata = &document["metadata"];
        let name = metadata["name"].as_str().context("no metadata.name")?;
        let (resource, namespaced) = self.kind(api_version, kind_of(document)).await?;
        let client = self.client();
        let api: Api<DynamicObject> = if namespaced {
            let namespace = metadata["namespace"].as_str().unwrap_or("default");
            Api::namespaced_with(client, namespace, &resource)
        } else {
            Api::all_with(client, &resource)
        };
        let parameters = PatchParams::apply(OWNER).force();
        in_time(api.patch(name, &parameters, &Patch::Apply(document))).await?;
        Ok(())
    }
}

fn kind_of(document: &Value) -> &str {
    document["kind"].as_str().unwrap_or_default()
}

/// What comes by itself: a kind whose definition was just made, a namespace that others still make,
/// a webhook whose server is not up, an API server that starts.
fn is_momentary(error: &anyhow::Error) -> bool {
    match error.downcast_ref::<kube::Error>() {
        Some(kube::Error::Api(status)) => {
            matches!(status.code, 404 | 409 | 429 | 500 | 503 | 504)
        }
        Some(kube::Error::Discovery(_) | kube::Error::Service(_) | kube::Error::HyperError(_)) => {
            true
        }
        Some(_) => false,
        // No answer in time.
        None => true,
    }
}

pub(crate) fn documents(text: &str) -> anyhow::Result<Vec<Value>> {
    let mut documents = Vec::new();
    for (index, part) in split(text).into_iter().enumerate() {
        let value: Value = serde_saphyr::from_str(&part)
            .with_context(|| format!("document {} is no YAML", index + 1))?;
        match value {
            Value::Null => {}
            Value::Object(_) if kind_of(&value).ends_with("List") && value["items"].is_array() => {
                documents.extend(value["items"].as_array().into_iter().flatten().cloned());
            }
            Value::Object(_) => documents.push(value),
            _ => bail!("document {} is no object", index + 1),
        }
    }
    Ok(documents)
}

/// At the lines that separate documents, each with what follows.
fn split(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    for line in text.lines() {
        if line == "---" || line.starts_with("--- ") {
            parts.push(String::new());
        } else if let Some(part) = parts.last_mut() {
            part.push_str(line);
            part.push('\n');
        }
    }
    let says_something =
        |part: &String| part.lines().any(|line| !line.trim().is_empty() && !line.starts_with('#'));
    parts.retain(says_something);
    parts
}

fn documents_of(folder: &Path) -> anyhow::Result<Vec<Value>> {
    let shown = folder.display();
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {shown}"))?;
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ext| ext == "yaml" || ext == "yml"));
    paths.sort();
    let mut all = Vec::new();
    for path in paths {
        let shown = path.display();
        let size = std::fs::metadata(&path).with_context(|| shown.to_string())?.len();
        if size > MANIFEST_BYTES_MAX {
            bail!("{shown} has {size} bytes, at most {MANIFEST_BYTES_MAX} are read");
        }
        let text = std::fs::read_to_string(&path).with_context(|| shown.to_string())?;
        all.extend(documents(&text).with_context(|| shown.to_string())?);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_told_apart_and_lists_opened() {
        let text = "# first\n---\nkind: A\n---\n\n--- # three\nkind: BList\nitems: [{kind: B}]\n";
        let found = documents(text).unwrap();
        let kinds: Vec<&str> = found.iter().map(kind_of).collect();
        assert_eq!(kinds, ["A", "B"]);
        assert!(documents("- 1\n").unwrap_err().to_string().contains("document 1 is no object"));
    }

    #[test]
    fn a_text_inside_a_document_may_look_like_a_separator() {
        let found = documents("kind: A\ntext: |\n  ---\n  x\n").unwrap();
        assert_eq!(found[0]["text"], "---\nx\n");
    }
}
