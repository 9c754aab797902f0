//! Certificates: whom to trust, and who we are.

use std::{fs, path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

/// The CA certificates of a PEM file, or those that the system trusts.
pub(super) fn roots(ca: Option<&Path>) -> Result<Vec<CertificateDer<'static>>, String> {
    match ca {
        Some(path) => certificates("ca", path),
        None => {
            let found = rustls_native_certs::load_native_certs();
            if found.certs.is_empty() {
                return Err(
                    "the system has no CA certificates (on Debian: the package ca-certificates); \
                     install them or set ca"
                        .to_owned(),
                );
            }
            Ok(found.certs)
        }
    }
}

fn certificates(key: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let shown = path.display();
    let pem = fs::read(path).map_err(|error| format!("{key} {shown}: cannot read: {error}"))?;
    let found: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("{key} {shown}: is no PEM file: {error}"))?;
    if found.is_empty() {
        return Err(format!("{key} {shown}: has no certificate in PEM format"));
    }
    Ok(found)
}

/// The settings of TLS: `identity` is our own certificate with its chain, and its key.
pub(super) fn client(
    ca: Option<&Path>,
    identity: Option<(&Path, &Path)>,
) -> Result<Arc<ClientConfig>, String> {
    let mut trusted = RootCertStore::empty();
    trusted.add_parsable_certificates(roots(ca)?);
    if trusted.is_empty() {
        return Err("none of the CA certificates can be used; set another ca".to_owned());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS: {error}"))?
        .with_root_certificates(trusted);
    let Some((certificate, key)) = identity else {
        return Ok(Arc::new(config.with_no_client_auth()));
    };
    let chain = certificates("certificate", certificate)?;
    let shown = key.display();
    let pem = fs::read(key).map_err(|error| format!("key {shown}: cannot read: {error}"))?;
    let key = PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|error| format!("key {shown}: has no private key in PEM format: {error}"))?;
    config
        .with_client_auth_cert(chain, key)
        .map(Arc::new)
        .map_err(|error| format!("certificate and key do not belong together: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_without_certificates_are_refused_in_clear_words() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        let problem = roots(Some(&path)).unwrap_err();
        assert!(problem.contains("cannot read"), "{problem}");
        fs::write(&path, "no certificate").unwrap();
        let problem = client(Some(&path), None).unwrap_err();
        assert!(problem.contains("has no certificate"), "{problem}");
    }
}
