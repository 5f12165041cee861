//! The mesh's settings: a ConfigMap that holds a mesh file without clusters.

use serde_json::{Value, json};

use crate::error::SettingsError;
use crate::names;
use crate::parts::metadata;
use crate::settings::{Export, Settings};
use crate::yaml;

pub(crate) fn config_map(settings: &Settings) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(settings, names::MESH),
        "data": {names::MESH_KEY: text(settings)},
    })
}

fn text(settings: &Settings) -> String {
    let mut spec = settings.mesh.clone();
    let mut say = |key: &str, value: &str| spec.insert(key.to_owned(), value.into());
    say("trustDomain", settings.trust_domain.as_str());
    say("clusterDomain", &settings.cluster_domain);
    say("export", if settings.export == Export::All { "all" } else { "listed" });
    yaml::document(&json!({
        "apiVersion": "diolkos.dev/v1alpha1",
        "kind": "Mesh",
        "metadata": {"name": settings.mesh_id},
        "spec": spec,
    }))
}

/// What the primary would refuse is refused here, where somebody reads it.
pub(crate) fn check(settings: &Settings) -> Result<(), SettingsError> {
    for key in ["trustDomain", "clusterDomain", "export"] {
        if settings.mesh.contains_key(key) {
            let cause = format!("{key} is a value of its own; move it out of mesh");
            return Err(SettingsError::Mesh(cause));
        }
    }
    let (read, remarks) = diolkos_facts::parse_mesh_template(&text(settings));
    let remark = read.err().or_else(|| remarks.into_iter().next());
    match remark {
        None => Ok(()),
        Some(remark) => Err(SettingsError::Mesh(remark.to_string())),
    }
}
