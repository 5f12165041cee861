//! Certificates and keys from PEM files, bounded.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use rustls_pki_types::pem::{Error as PemError, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::error::{FileFault, TlsError};
use crate::limit::FILE_BYTES_MAX;

pub(crate) fn fault(file: &Path, fault: FileFault) -> TlsError {
    TlsError::File { file: file.to_path_buf(), fault }
}

pub(crate) fn read(file: &Path) -> Result<Vec<u8>, TlsError> {
    let unreadable = |error: std::io::Error| fault(file, FileFault::Unreadable(error.to_string()));
    let mut bytes = Vec::new();
    let opened = File::open(file).map_err(unreadable)?;
    opened.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(fault(file, FileFault::TooLarge { bytes_max: FILE_BYTES_MAX }));
    }
    Ok(bytes)
}

/// A PEM file as it is, bounded.
pub fn read_pem(file: &Path) -> Result<Vec<u8>, TlsError> {
    read(file)
}

/// The certificates of a PEM file, at least one.
pub fn read_certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    certificates(file, &read(file)?)
}

/// The first private key of a PEM file.
pub fn read_key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    key(file, &read(file)?)
}

/// As [`read_certificates`], of a text that was read elsewhere; `file` is what an error names.
pub fn parse_certificates(
    file: &Path,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    certificates(file, pem)
}

/// As [`read_key`], of a text that was read elsewhere; `file` is what an error names.
pub fn parse_key(file: &Path, pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    key(file, pem)
}

/// At least one, in the order of the file; other kinds of PEM blocks are passed over.
pub(crate) fn certificates(
    file: &Path,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| fault(file, FileFault::NotPem(error.to_string())))?;
    match found.is_empty() {
        true => Err(fault(file, FileFault::NoCertificate)),
        false => Ok(found),
    }
}

pub(crate) fn key(file: &Path, pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        PemError::NoItemsFound => fault(file, FileFault::NoKey),
        other => fault(file, FileFault::NotPem(other.to_string())),
    })
}
