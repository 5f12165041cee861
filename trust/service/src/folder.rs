//! The plugged-in CA layout, exactly as Istio's `cacerts`.

use std::fs::{OpenOptions, create_dir_all, rename};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use pem::{EncodeConfig, LineEnding, Pem, encode_config};
use rcgen::{Issuer, PublicKeyData};
use rustls_pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;

use crate::authority::{Authority, Validity};
use crate::error::AuthorityError;
use crate::{key, proof};

pub const CA_CERT_FILE: &str = "ca-cert.pem";
pub const CA_KEY_FILE: &str = "ca-key.pem";
/// The CA and what is between it and the root, lowest first.
pub const CERT_CHAIN_FILE: &str = "cert-chain.pem";
pub const ROOT_CERT_FILE: &str = "root-cert.pem";

/// The names of the four files, as errors should say them.
struct Names {
    certificate: PathBuf,
    key: PathBuf,
    chain: PathBuf,
    root: PathBuf,
}

impl Names {
    fn of(dir: &Path) -> Self {
        Self {
            certificate: dir.join(CA_CERT_FILE),
            key: dir.join(CA_KEY_FILE),
            chain: dir.join(CERT_CHAIN_FILE),
            root: dir.join(ROOT_CERT_FILE),
        }
    }
}

/// What the four files hold: of a folder, or of a Secret in the same layout.
#[derive(Clone, PartialEq, Eq)]
pub struct CaFiles {
    pub certificate: Vec<u8>,
    pub key: Vec<u8>,
    pub chain: Vec<u8>,
    pub root: Vec<u8>,
}

impl CaFiles {
    /// # Errors
    /// When a file is not there, or larger than any CA's.
    pub fn read(dir: &Path) -> Result<Self, AuthorityError> {
        let names = Names::of(dir);
        Ok(Self {
            certificate: diolkos_tls::read_pem(&names.certificate)?,
            key: diolkos_tls::read_pem(&names.key)?,
            chain: diolkos_tls::read_pem(&names.chain)?,
            root: diolkos_tls::read_pem(&names.root)?,
        })
    }

    /// Each with its name in the layout.
    pub fn entries(&self) -> [(&'static str, &[u8]); 4] {
        [
            (CA_CERT_FILE, &self.certificate),
            (CA_KEY_FILE, &self.key),
            (CERT_CHAIN_FILE, &self.chain),
            (ROOT_CERT_FILE, &self.root),
        ]
    }
}

/// The key is nobody's to print.
impl std::fmt::Debug for CaFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CaFiles").finish_non_exhaustive()
    }
}

impl Authority {
    /// As the four files hold it.
    pub fn files(&self) -> CaFiles {
        let certificate = pem_of([&self.certificate]);
        // A root has nothing between: the file then holds the root itself, as Istio wants it there.
        let chain = match self.intermediates.is_empty() {
            true => certificate.clone(),
            false => pem_of(&self.intermediates),
        };
        CaFiles {
            certificate: certificate.into_bytes(),
            key: self.issuer.key().serialize_pem().into_bytes(),
            chain: chain.into_bytes(),
            root: self.root_pem().into_bytes(),
        }
    }

    /// Creates or replaces the four files; the key is readable by its owner only.
    pub fn write(&self, dir: &Path) -> Result<(), AuthorityError> {
        let (names, files) = (Names::of(dir), self.files());
        let put = |file: &Path, text: &[u8], mode| {
            replace(file, text, mode).map_err(|error| AuthorityError::Unwritable {
                file: file.to_path_buf(),
                cause: error.to_string(),
            })
        };
        create_dir_all(dir).map_err(|error| AuthorityError::Unwritable {
            file: dir.to_path_buf(),
            cause: error.to_string(),
        })?;
        put(&names.root, &files.root, 0o644)?;
        put(&names.chain, &files.chain, 0o644)?;
        put(&names.key, &files.key, 0o600)?;
        put(&names.certificate, &files.certificate, 0o644)
    }

    pub fn load(dir: &Path) -> Result<Self, AuthorityError> {
        Self::load_at(dir, SystemTime::now())
    }

    /// As if the time were `now`: a CA expired then is refused.
    pub fn load_at(dir: &Path, now: SystemTime) -> Result<Self, AuthorityError> {
        Self::of_files(dir, &CaFiles::read(dir)?, now)
    }

    /// Of files that were read elsewhere; `place` is what errors name them after.
    ///
    /// # Errors
    /// When they are no CA that may sign now, or do not belong together.
    pub fn of_files(
        place: &Path,
        files: &CaFiles,
        now: SystemTime,
    ) -> Result<Self, AuthorityError> {
        let names = Names::of(place);
        let certificates = diolkos_tls::parse_certificates;
        let certificate = certificates(&names.certificate, &files.certificate)?.swap_remove(0);
        let pair = key::parse(&names.key, &files.key)?;
        let roots = certificates(&names.root, &files.root)?;
        let chain = certificates(&names.chain, &files.chain)?;

        let unreadable =
            |cause: String| AuthorityError::Certificate { file: names.certificate.clone(), cause };
        let (_, parsed) = X509Certificate::from_der(&certificate)
            .map_err(|error| unreadable(error.to_string()))?;
        if parsed.public_key().raw != pair.subject_public_key_info() {
            return Err(AuthorityError::KeyMismatch {
                key: names.key,
                certificate: names.certificate,
            });
        }
        let path_length = ca_path_length(&parsed, &names.certificate)?;
        let validity = in_time(&parsed, now).map_err(unreadable)?;
        let organization = parsed
            .subject()
            .iter_organization()
            .find_map(|found| found.as_str().ok())
            .unwrap_or_default()
            .to_string();

        let is_root = roots.contains(&certificate);
        let between = chain.into_iter().filter(|one| *one != certificate && !roots.contains(one));
        let own = (!is_root).then(|| certificate.clone());
        let intermediates: Vec<_> = own.into_iter().chain(between).collect();
        let issuer = Issuer::from_ca_cert_der(&certificate, pair)
            .map_err(|error| unreadable(error.to_string()))?;
        let authority =
            Self { issuer, organization, certificate, intermediates, roots, validity, path_length };
        proof::leads_to_root(&authority, now).map_err(|cause| AuthorityError::Chain {
            chain: names.chain,
            certificate: names.certificate,
            root: names.root,
            cause,
        })?;
        Ok(authority)
    }
}

fn ca_path_length(
    parsed: &X509Certificate<'_>,
    file: &Path,
) -> Result<Option<u32>, AuthorityError> {
    let refused = |cause: &str| AuthorityError::NotAuthority {
        file: file.to_path_buf(),
        cause: cause.into(),
    };
    let constraints = parsed.basic_constraints().map_err(|error| refused(&error.to_string()))?;
    let Some(constraints) = constraints.filter(|found| found.value.ca) else {
        return Err(refused("it says CA:FALSE or nothing"));
    };
    let usage = parsed.key_usage().map_err(|error| refused(&error.to_string()))?;
    match usage.is_none_or(|found| found.value.key_cert_sign()) {
        true => Ok(constraints.value.path_len_constraint),
        false => Err(refused("its key usage lacks keyCertSign")),
    }
}

fn in_time(parsed: &X509Certificate<'_>, now: SystemTime) -> Result<Validity, String> {
    let system = |time: ASN1Time| SystemTime::from(time.to_datetime());
    let validity = Validity {
        not_before: system(parsed.validity().not_before),
        not_after: system(parsed.validity().not_after),
    };
    if now > validity.not_after {
        return Err(format!("the CA expired at {}; renew it", parsed.validity().not_after));
    }
    if now < validity.not_before {
        return Err(format!(
            "the CA is not valid before {}; compare the clocks",
            parsed.validity().not_before
        ));
    }
    Ok(validity)
}

pub(crate) fn pem_of<'a>(
    certificates: impl IntoIterator<Item = &'a CertificateDer<'static>>,
) -> String {
    let line_feeds = EncodeConfig::new().set_line_ending(LineEnding::LF);
    certificates
        .into_iter()
        .map(|one| encode_config(&Pem::new("CERTIFICATE", one.to_vec()), line_feeds))
        .collect()
}

/// Whole or not at all: a reader sees the old file or the new one.
pub(crate) fn replace(file: &Path, text: &[u8], mode: u32) -> io::Result<()> {
    let mut unfinished = file.as_os_str().to_owned();
    unfinished.push(".new");
    let unfinished = PathBuf::from(unfinished);
    match std::fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut opened =
        OpenOptions::new().write(true).create_new(true).mode(mode).open(&unfinished)?;
    opened.write_all(text)?;
    opened.sync_all()?;
    rename(&unfinished, file)
}
