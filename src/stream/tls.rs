//! Certificates: whom to trust, and who we are.

use std::{io, path::Path, sync::Arc};

use rustls::{
    AlertDescription as Alert, CertificateError as Wrong, ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use crate::read_bounded;

/// Longest PEM file that is read, in bytes: five times all CAs that a system trusts.
const MOST_BYTES: u64 = 1 << 20;

/// Who we are.
pub(super) struct Identity {
    /// Our own certificate, then those between it and a CA.
    pub(super) chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    /// The key as it stands in its file.
    pub(super) key_pem: Vec<u8>,
}

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
    let pem = read(key, path)?;
    let found: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("{key} {shown}: is no PEM file: {error}"))?;
    if found.is_empty() {
        return Err(format!("{key} {shown}: has no certificate in PEM format"));
    }
    Ok(found)
}

fn read(key: &str, path: &Path) -> Result<Vec<u8>, String> {
    read_bounded(path, MOST_BYTES)
        .map_err(|error| format!("{key} {}: cannot read: {error}", path.display()))
}

/// Reads the files of `certificate` and `key`, which are set together or not at all.
pub(super) fn identity(
    certificate: Option<&Path>,
    key: Option<&Path>,
) -> Result<Option<Identity>, String> {
    let (certificate, key) = match (certificate, key) {
        (Some(certificate), Some(key)) => (certificate, key),
        (None, None) => return Ok(None),
        _ => return Err("certificate and key belong together; set both".to_owned()),
    };
    let chain = certificates("certificate", certificate)?;
    let key_pem = read("key", key)?;
    let private = PrivateKeyDer::from_pem_slice(&key_pem).map_err(|error| {
        let shown = key.display();
        format!("key {shown}: has no private key in PEM format: {error}")
    })?;
    // That they fit is found out here, and not at the first connection.
    let provider = rustls::crypto::ring::default_provider();
    rustls::sign::CertifiedKey::from_der(chain.clone(), private.clone_key(), &provider).map_err(
        |error| {
            format!(
                "certificate {} and key {} do not belong together: {error}",
                certificate.display(),
                key.display()
            )
        },
    )?;
    Ok(Some(Identity {
        chain,
        key: private,
        key_pem,
    }))
}

/// The settings of TLS.
pub(super) fn client(
    ca: Option<&Path>,
    identity: Option<Identity>,
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
    match identity {
        None => Ok(Arc::new(config.with_no_client_auth())),
        Some(identity) => config
            .with_client_auth_cert(identity.chain, identity.key)
            .map(Arc::new)
            .map_err(|error| format!("TLS: {error}")),
    }
}

/// The failure of TLS that an error of a stream stands for, if it does.
pub(super) fn failure(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// What is wrong between us and the peer (`"broker"`, `"server"`), and what to do.
pub(super) fn explain(error: &rustls::Error, peer: &str) -> String {
    use rustls::Error;
    match error {
        Error::InvalidCertificate(wrong) => explain_certificate(wrong, peer),
        Error::InvalidMessage(_) => format!("the {peer} does not speak TLS on this port"),
        Error::AlertReceived(Alert::CertificateRequired | Alert::HandshakeFailure) => {
            format!("the {peer} wants a certificate of ours: set certificate and key")
        }
        Error::AlertReceived(
            alert @ (Alert::UnknownCA
            | Alert::BadCertificate
            | Alert::DecryptError
            | Alert::CertificateUnknown
            | Alert::CertificateExpired
            | Alert::CertificateRevoked
            | Alert::UnsupportedCertificate
            | Alert::AccessDenied),
        ) => format!(
            "the {peer} refuses our certificate ({alert:?}): set certificate and key to ones of a \
             CA that it trusts"
        ),
        Error::AlertReceived(alert) => format!("the {peer} ended the TLS handshake ({alert:?})"),
        other => format!("TLS: {other}"),
    }
}

/// A certificate's name, of which the library tells the kind as well: `DnsName("localhost")`.
fn plain(name: &str) -> &str {
    let inner = || name.split_once("(\"")?.1.strip_suffix("\")");
    inner().unwrap_or(name)
}

/// What a peer that closes the connection may want: after the handshake of TLS 1.3 its alert may be
/// lost behind the closed connection.
pub(super) const MAY_WANT_CERTIFICATE: &str =
    "it may want a certificate of ours that it trusts: set certificate and key";

fn explain_certificate(wrong: &Wrong, peer: &str) -> String {
    let date = |time: rustls::pki_types::UnixTime| {
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(time.as_secs());
        humantime::format_rfc3339_seconds(time).to_string()
    };
    match wrong {
        Wrong::UnknownIssuer | Wrong::BadSignature => format!(
            "the {peer}'s certificate is of a CA that is not trusted; set ca to the CA's PEM file"
        ),
        Wrong::NotValidForNameContext {
            expected,
            presented,
        } => format!(
            "the {peer}'s certificate is for another host name: for {}, not for {}; set url to \
             a name that it has",
            presented
                .iter()
                .map(|name| plain(name))
                .collect::<Vec<_>>()
                .join(", "),
            expected.to_str()
        ),
        Wrong::NotValidForName => format!("the {peer}'s certificate is for another host name"),
        Wrong::ExpiredContext { time, not_after } => format!(
            "the {peer}'s certificate has expired on {}, and the clock here is at {}: renew it, \
             or set the clock",
            date(*not_after),
            date(*time)
        ),
        Wrong::Expired => format!("the {peer}'s certificate has expired, or the clock is wrong"),
        Wrong::NotValidYetContext { time, not_before } => format!(
            "the {peer}'s certificate is valid from {} on, and the clock here is at {}: set the \
             clock",
            date(*not_before),
            date(*time)
        ),
        other => format!("the {peer}'s certificate can't be used: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

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
