//! The signature's file: a Sigstore bundle in JSON around a DSSE envelope, as OpenSSF Model Signing
//! (OMS) 1.0 has them for plain keys.
//!
//! <https://github.com/ossf/model-signing-spec/blob/main/spec/v1.0.md>,
//! <https://github.com/secure-systems-lab/dsse/blob/master/protocol.md>

use std::path::Path;

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{PublicKey, SigningKey, TrustError};

const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// The file. Nothing in it may be unknown: what is not signed is at least understood.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SigstoreBundle {
    media_type: String,
    verification_material: Material,
    dsse_envelope: Envelope,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Material {
    public_key: KeyIdentifier,
    /// Entries of a public log, which a signature by a plain key has none of.
    #[serde(default)]
    tlog_entries: Vec<Value>,
}

/// Which key signed. It is not believed: the keys are those that the verifier has.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct KeyIdentifier {
    /// Fingerprint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    /// The key itself, in signatures of `model-signing` before 1.1.
    #[serde(default, skip_serializing)]
    raw_bytes: Option<String>,
    #[serde(default, skip_serializing, rename = "keyDetails")]
    _key_details: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<Signature>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signature {
    sig: String,
    #[serde(default)]
    keyid: Option<String>,
}

/// What DSSE signs of a payload, the pre-authentication encoding.
fn pre_authentication_encoding(payload: &[u8]) -> Vec<u8> {
    let head = format!(
        "DSSEv1 {} {PAYLOAD_TYPE} {} ",
        PAYLOAD_TYPE.len(),
        payload.len()
    );
    [head.as_bytes(), payload].concat()
}

/// The file with the signature of a payload.
pub(super) fn sign(payload: &[u8], key: &SigningKey) -> Vec<u8> {
    let bundle = SigstoreBundle {
        media_type: MEDIA_TYPE.to_owned(),
        verification_material: Material {
            public_key: KeyIdentifier {
                hint: Some(key.public().fingerprint().to_owned()),
                raw_bytes: None,
                _key_details: None,
            },
            tlog_entries: Vec::new(),
        },
        dsse_envelope: Envelope {
            payload: BASE64_STANDARD.encode(payload),
            payload_type: PAYLOAD_TYPE.to_owned(),
            signatures: vec![Signature {
                sig: BASE64_STANDARD.encode(key.sign(&pre_authentication_encoding(payload))),
                keyid: Some(String::new()),
            }],
        },
    };
    // Texts and lists always are JSON.
    serde_json::to_vec(&bundle).unwrap_or_default()
}

/// The payload of a signature's file, if one of these keys signed it, and which. `what` is what the
/// keys are trusted for, `path` names the file in errors.
pub(super) fn verify<'k>(
    file: &[u8],
    keys: &'k [PublicKey],
    what: &'static str,
    path: &Path,
) -> Result<(Vec<u8>, &'k PublicKey), TrustError> {
    let malformed = |problem: String| TrustError::Malformed {
        path: path.to_owned(),
        problem,
    };
    let bundle: SigstoreBundle = serde_json::from_slice(file).map_err(|error| {
        malformed(format!(
            "is no signature by a key in the format of OpenSSF Model Signing 1.0: {error}"
        ))
    })?;
    if bundle.media_type != MEDIA_TYPE {
        return Err(malformed(format!(
            "mediaType is {:?}, expected {MEDIA_TYPE:?}",
            bundle.media_type
        )));
    }
    let envelope = bundle.dsse_envelope;
    if envelope.payload_type != PAYLOAD_TYPE {
        return Err(malformed(format!(
            "payloadType is {:?}, expected {PAYLOAD_TYPE:?}",
            envelope.payload_type
        )));
    }
    if !bundle.verification_material.tlog_entries.is_empty() {
        let problem = "has entries of a public log, which a signature by a key has none of";
        return Err(malformed(problem.to_owned()));
    }
    let identifier = bundle.verification_material.public_key;
    let candidates: Vec<&PublicKey> = match (&identifier.hint, &identifier.raw_bytes) {
        (Some(hint), _) => keys
            .iter()
            .filter(|key| key.fingerprint() == hint)
            .collect(),
        (None, Some(_)) => keys.iter().collect(),
        (None, None) => return Err(malformed("does not say which key signed".to_owned())),
    };
    if candidates.is_empty() {
        let prints: Vec<&str> = keys.iter().map(PublicKey::fingerprint).collect();
        return Err(TrustError::OtherKey {
            path: path.to_owned(),
            found: shortened(identifier.hint.as_deref().unwrap_or_default()),
            what,
            allowed: match prints[..] {
                [] => "is none".to_owned(),
                [one] => format!("is {one}"),
                _ => format!("are {}", prints.join(", ")),
            },
        });
    }
    let decode = |text: &str, key: &str| {
        let decoded = BASE64_STANDARD.decode(text);
        decoded.map_err(|error| malformed(format!("{key} is no base64: {error}")))
    };
    let payload = decode(&envelope.payload, "payload")?;
    let message = pre_authentication_encoding(&payload);
    for signature in &envelope.signatures {
        // A key's name is not signed, and nothing of it is used.
        let named = signature.keyid.as_deref().unwrap_or_default();
        if !named.is_empty() {
            return Err(malformed("keyid is given, expected none".to_owned()));
        }
        let der = decode(&signature.sig, "sig")?;
        if let Some(key) = candidates.iter().find(|key| key.verifies(&message, &der)) {
            return Ok((payload, key));
        }
    }
    Err(TrustError::Forged {
        path: path.to_owned(),
    })
}

/// A text from outside, short and free of control characters.
fn shortened(text: &str) -> String {
    let shown = text.chars().filter(|c| !c.is_control());
    shown.take(64).collect()
}
