//! Clients of web servers: who is trusted, who we are, and what went wrong.

use std::{io::ErrorKind, path::Path, sync::Arc, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use ureq::{
    Agent,
    tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig},
};
use url::Url;

use super::{
    address::percent_decoded,
    tls::{self, Identity},
};

/// User and password of an address, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Login {
    pub(super) user: String,
    pub(super) password: String,
}

impl Login {
    /// Takes the login out of an address; `None` where it has none.
    ///
    /// # Errors
    /// What can't be decoded.
    pub(super) fn take(url: &mut Url) -> Result<Option<Self>, String> {
        let login = Self {
            user: percent_decoded(url.username())?,
            password: percent_decoded(url.password().unwrap_or_default())?,
        };
        if login.user.is_empty() && login.password.is_empty() {
            return Ok(None);
        }
        // Either can be taken off every web address.
        let _ = url.set_username("").and_then(|()| url.set_password(None));
        Ok(Some(login))
    }

    /// The value of `Authorization` (RFC 7617).
    ///
    /// # Errors
    /// A user that can't be sent so.
    pub(super) fn basic(&self) -> Result<String, String> {
        if self.user.contains(':') {
            return Err(
                "has a colon in the user, which basic authentication can't send".to_owned(),
            );
        }
        let login = BASE64_STANDARD.encode(format!("{}:{}", self.user, self.password));
        Ok(format!("Basic {login}"))
    }
}

/// A client that trusts the CA certificates of a file, or those of the system, and shows our own
/// certificate where it is asked for one.
///
/// # Errors
/// Certificates that can't be read, or are of no use.
pub(super) fn agent(
    url: &Url,
    ca: Option<&Path>,
    identity: Option<Identity>,
    timeout: Duration,
    redirects: u32,
) -> Result<Agent, String> {
    let mut config = Agent::config_builder()
        .timeout_global(Some(timeout))
        .http_status_as_error(false)
        .max_redirects(redirects)
        .max_redirects_will_error(false)
        .user_agent(concat!("edge-vae/", env!("CARGO_PKG_VERSION")));
    if url.scheme() == "https" {
        let roots: Vec<Certificate<'static>> = tls::roots(ca)?
            .iter()
            .map(|root| Certificate::from_der(root).to_owned())
            .collect();
        let roots = RootCerts::Specific(Arc::new(roots));
        let identity = identity.map(client_certificate).transpose()?;
        let tls = TlsConfig::builder().root_certs(roots).client_cert(identity);
        config = config.tls_config(tls.build());
    } else if ca.is_some() || identity.is_some() {
        return Err("certificates are only used by https://".to_owned());
    }
    Ok(config.build().new_agent())
}

fn client_certificate(identity: Identity) -> Result<ClientCert, String> {
    let chain: Vec<Certificate<'static>> = identity
        .chain
        .iter()
        .map(|certificate| Certificate::from_der(certificate).to_owned())
        .collect();
    let key = PrivateKey::from_pem(&identity.key_pem).map_err(|error| format!("key: {error}"))?;
    Ok(ClientCert::new_with_certs(&chain, key))
}

/// Why there was no answer; `secure`, where TLS is spoken.
pub(super) fn explain(error: &ureq::Error, secure: bool) -> String {
    match error {
        ureq::Error::HostNotFound => "unknown host".to_owned(),
        ureq::Error::Timeout(_) => "no answer in time".to_owned(),
        ureq::Error::BodyExceedsLimit(most) => {
            format!("the answer has more than {most} bytes, which are read at most")
        }
        ureq::Error::Rustls(error) => tls::explain(error, "server"),
        ureq::Error::Io(error) if tls::failure(error).is_some() => {
            tls::failure(error).map_or_else(String::new, |error| tls::explain(error, "server"))
        }
        ureq::Error::Io(error) => match error.kind() {
            ErrorKind::ConnectionRefused => {
                "connection refused: no server listens there".to_owned()
            }
            ErrorKind::BrokenPipe
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::UnexpectedEof => {
                let hint = if secure {
                    format!("; {}", tls::MAY_WANT_CERTIFICATE)
                } else {
                    String::new()
                };
                format!("the server closed the connection without an answer{hint}")
            }
            _ => error.to_string(),
        },
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_in_the_address_is_decoded() {
        let mut url = Url::parse("https://anna:p%40ss%2Fw%3Ard@host/a").unwrap();
        let login = Login::take(&mut url).unwrap().unwrap();
        assert_eq!(login.password, "p@ss/w:rd");
        // base64 of anna:p@ss/w:rd
        assert_eq!(login.basic().unwrap(), "Basic YW5uYTpwQHNzL3c6cmQ=");
        assert_eq!(url.as_str(), "https://host/a");
        assert_eq!(Login::take(&mut url), Ok(None));
        let mut url = Url::parse("https://an%3Ana:x@host/").unwrap();
        let problem = Login::take(&mut url).unwrap().unwrap().basic().unwrap_err();
        assert!(problem.contains("colon"), "{problem}");
    }
}
