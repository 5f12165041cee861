//! By what a primary knows us.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use diolkos_tls::Identity;
use diolkos_trust::{SpiffeId, TOKEN_BYTES_MAX};
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};

use crate::why::{Why, plain};

#[derive(Clone, Debug)]
pub enum Credential {
    /// Shown in TLS.
    Certificate(Identity),
    /// A file with a Kubernetes service-account token, read anew for each stream: the kubelet
    /// replaces it long before it expires. No certificate is shown.
    Token(PathBuf),
}

impl Credential {
    /// Who we say we are in TLS.
    pub(crate) fn spiffe_id(&self) -> Option<SpiffeId> {
        match self {
            Self::Certificate(identity) => Some(identity.spiffe_id()),
            Self::Token(_) => None,
        }
    }

    /// What goes with a stream's first headers. The cluster is Istio's `clusterid`: an istiod asks
    /// that cluster's API server.
    pub(crate) fn metadata(&self, cluster: &str) -> Result<MetadataMap, Why> {
        let mut metadata = MetadataMap::new();
        let Self::Token(file) = self else { return Ok(metadata) };
        let unusable = |cause: &str| Why::Own(format!("token file {}: {cause}", file.display()));
        let token = read_token(file).map_err(|cause| unusable(&cause))?;
        let bearer: Result<MetadataValue<Ascii>, _> = format!("Bearer {token}").parse();
        let mut bearer = bearer.map_err(|_| unusable("it holds no token, but other text"))?;
        bearer.set_sensitive(true);
        metadata.insert("authorization", bearer);
        if let Ok(cluster) = cluster.parse::<MetadataValue<Ascii>>()
            && !cluster.is_empty()
        {
            metadata.insert("clusterid", cluster);
        }
        Ok(metadata)
    }
}

/// The token in a file, without the line's end that editors add.
pub fn read_token(file: &Path) -> Result<String, String> {
    let unreadable = |error: std::io::Error| format!("it cannot be read: {}", plain(&error));
    let mut text = String::new();
    let opened = File::open(file).map_err(unreadable)?;
    // One line's end more than a token may have.
    let bytes_max = TOKEN_BYTES_MAX as u64 + 2;
    opened.take(bytes_max + 1).read_to_string(&mut text).map_err(unreadable)?;
    let token = text.trim_end_matches(['\n', '\r']);
    match token.len() {
        0 => Err("it is empty; write a service-account token into it".into()),
        1..=TOKEN_BYTES_MAX => Ok(token.to_owned()),
        _ => Err(format!("it holds more than {TOKEN_BYTES_MAX} bytes, and so no token")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), content).expect("it can be written");
        file
    }

    fn told(content: &str) -> Result<MetadataMap, String> {
        let file = file(content);
        let metadata = Credential::Token(file.path().into()).metadata("east");
        let shown = format!("token file {}: ", file.path().display());
        metadata.map_err(|why| match why {
            Why::Own(text) => text.strip_prefix(&shown).expect("the file is named").to_owned(),
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn a_token_goes_with_the_cluster_and_is_never_printed() {
        let metadata = told("a.b.c\n").expect("a token");
        assert_eq!(metadata.get("authorization").expect("it is there"), "Bearer a.b.c");
        assert_eq!(metadata.get("clusterid").expect("it is there"), "east");
        assert!(!format!("{metadata:?}").contains("a.b.c"), "{metadata:?}");
    }

    #[test]
    fn what_is_no_token_is_told_of_its_file() {
        assert_eq!(told("").unwrap_err(), "it is empty; write a service-account token into it");
        assert_eq!(told("a\nb").unwrap_err(), "it holds no token, but other text");
        let longest = "x".repeat(TOKEN_BYTES_MAX);
        assert!(told(&format!("{longest}\r\n")).is_ok());
        let told = told(&format!("{longest}x")).unwrap_err();
        assert_eq!(told, "it holds more than 16384 bytes, and so no token");
        let missing = read_token(Path::new("/nowhere/token")).unwrap_err();
        assert_eq!(missing, "it cannot be read: entity not found");
    }
}
