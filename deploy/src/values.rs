//! What an operator says: a values file, and flags over it. Everything may be left unsaid.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::SettingsError;
use crate::limit;

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Values {
    pub cluster: Option<String>,
    pub network: Option<String>,
    pub mesh_id: Option<String>,
    pub trust_domain: Option<String>,
    pub cluster_domain: Option<String>,
    pub export: Option<String>,
    pub revision: Option<String>,
    pub namespace: Option<String>,
    pub image: Option<String>,
    pub image_pull_policy: Option<String>,
    pub image_pull_secrets: Vec<String>,
    /// More of the mesh file's `spec`.
    pub mesh: Map<String, Value>,
    pub primary: RoleValues,
    pub gateway: GatewayValues,
    pub remote: RemoteValues,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RoleValues {
    pub replicas: Option<u32>,
    /// Further flags of the role.
    pub args: Vec<String>,
    pub resources: Option<Value>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct GatewayValues {
    pub replicas: Option<u32>,
    pub args: Vec<String>,
    pub resources: Option<Value>,
    /// For the load balancers of clouds.
    pub service_annotations: BTreeMap<String, String>,
    pub expose_primary: Option<bool>,
    pub egress: Option<bool>,
    pub drain_seconds: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RemoteValues {
    pub primary_cluster: Option<String>,
    pub primary_addresses: Vec<String>,
}

impl Values {
    /// # Errors
    /// When the text is too large, or no YAML of this shape; the place is named.
    pub fn parse(text: &str) -> Result<Self, SettingsError> {
        if text.len() > limit::VALUES_BYTES_MAX {
            return Err(SettingsError::TooLarge(text.len()));
        }
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let options = serde_saphyr::options! { with_snippet: false };
        serde_saphyr::from_str_with_options(text, options)
            .map_err(|error| SettingsError::Values(error.to_string()))
    }

    /// These, and where they say nothing, `under`. A list counts as a whole.
    #[must_use]
    pub fn over(self, under: Self) -> Self {
        Self {
            cluster: self.cluster.or(under.cluster),
            network: self.network.or(under.network),
            mesh_id: self.mesh_id.or(under.mesh_id),
            trust_domain: self.trust_domain.or(under.trust_domain),
            cluster_domain: self.cluster_domain.or(under.cluster_domain),
            export: self.export.or(under.export),
            revision: self.revision.or(under.revision),
            namespace: self.namespace.or(under.namespace),
            image: self.image.or(under.image),
            image_pull_policy: self.image_pull_policy.or(under.image_pull_policy),
            image_pull_secrets: either(self.image_pull_secrets, under.image_pull_secrets),
            mesh: if self.mesh.is_empty() { under.mesh } else { self.mesh },
            primary: RoleValues {
                replicas: self.primary.replicas.or(under.primary.replicas),
                args: either(self.primary.args, under.primary.args),
                resources: self.primary.resources.or(under.primary.resources),
            },
            gateway: self.gateway.over(under.gateway),
            remote: RemoteValues {
                primary_cluster: self.remote.primary_cluster.or(under.remote.primary_cluster),
                primary_addresses: either(
                    self.remote.primary_addresses,
                    under.remote.primary_addresses,
                ),
            },
        }
    }
}

impl GatewayValues {
    fn over(self, under: Self) -> Self {
        let annotations = match self.service_annotations.is_empty() {
            true => under.service_annotations,
            false => self.service_annotations,
        };
        Self {
            replicas: self.replicas.or(under.replicas),
            args: either(self.args, under.args),
            resources: self.resources.or(under.resources),
            service_annotations: annotations,
            expose_primary: self.expose_primary.or(under.expose_primary),
            egress: self.egress.or(under.egress),
            drain_seconds: self.drain_seconds.or(under.drain_seconds),
        }
    }
}

fn either<T>(over: Vec<T>, under: Vec<T>) -> Vec<T> {
    if over.is_empty() { under } else { over }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_go_over_the_file_and_the_file_counts_where_they_say_nothing() {
        let file = "cluster: east\nimage: a/b:1\nmesh: {staleAfter: 90s}\nprimary: {replicas: 3}\n\
                    remote: {primaryAddresses: [10.0.0.1]}";
        let file = Values::parse(file).unwrap();
        let flags = Values {
            cluster: Some("west".into()),
            primary: RoleValues { replicas: Some(1), ..RoleValues::default() },
            ..Values::default()
        };
        let both = flags.over(file);
        assert_eq!(both.cluster.as_deref(), Some("west"));
        assert_eq!(both.image.as_deref(), Some("a/b:1"));
        assert_eq!(both.primary.replicas, Some(1));
        assert_eq!(both.mesh["staleAfter"], "90s");
        assert_eq!(both.remote.primary_addresses, ["10.0.0.1"]);
        assert_eq!(Values::parse(" \n").unwrap(), Values::default());
    }

    #[test]
    fn a_slip_of_the_pen_is_refused_with_its_place() {
        for (text, part) in [
            ("clutser: east", "clutser"),
            ("gateway: {replica: 1}", "replica"),
            ("primary: {replicas: many}", "line 1, column 21"),
            ("[a]", "line 1"),
            ("cluster: a\ncluster: b", "cluster"),
        ] {
            let error = Values::parse(text).unwrap_err().to_string();
            assert!(error.starts_with("the values cannot be read: "), "{error}");
            assert!(error.contains(part), "{text}: {error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn values_as_large_as_the_limit_are_read_and_a_byte_more_is_not() {
        let of = |bytes: usize| format!("cluster: a{}", " ".repeat(bytes - 10));
        assert!(Values::parse(&of(limit::VALUES_BYTES_MAX)).is_ok());
        let error = Values::parse(&of(limit::VALUES_BYTES_MAX + 1)).unwrap_err();
        assert_eq!(error, SettingsError::TooLarge(limit::VALUES_BYTES_MAX + 1));
    }
}
