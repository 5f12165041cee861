//! What can be wrong with an authority, naming the file and the way out.

use std::path::PathBuf;

use diolkos_tls::TlsError;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityError {
    #[error(transparent)]
    File(#[from] TlsError),
    #[error("{} cannot be written: {cause}", file.display())]
    Unwritable { file: PathBuf, cause: String },
    #[error(
        "{}: the key cannot sign: {cause}; use RSA >= 2048 or ECDSA P-256 or P-384",
        file.display()
    )]
    KeyUnusable { file: PathBuf, cause: String },
    #[error(
        "{} is not the key of {}; put the pair of one CA there",
        key.display(), certificate.display()
    )]
    KeyMismatch { key: PathBuf, certificate: PathBuf },
    #[error(
        "{}: the certificate is no CA ({cause}); intermediates need CA:TRUE and keyCertSign",
        file.display()
    )]
    NotAuthority { file: PathBuf, cause: String },
    #[error("{}: {cause}", file.display())]
    Certificate { file: PathBuf, cause: String },
    #[error(
        "{} does not lead from {} to {}: {cause}; it must hold every intermediate, lowest first",
        chain.display(), certificate.display(), root.display()
    )]
    Chain { chain: PathBuf, certificate: PathBuf, root: PathBuf, cause: String },
    #[error("{what} {text:?} cannot be put into a certificate: {cause}")]
    Name { what: &'static str, text: String, cause: String },
    #[error("nothing can be issued: {0}")]
    Validity(String),
    #[error("{0} may not sign another CA (path length 0); use the root or a CA above it")]
    PathLength(String),
    #[error("roots: {0}")]
    Roots(String),
    #[error("signing failed: {0}")]
    Signing(String),
}
