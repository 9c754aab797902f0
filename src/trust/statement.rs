//! What is signed: an in-toto statement with the predicate of OpenSSF Model Signing 1.0, which
//! lists every file with its digest.
//!
//! What this program adds (version, expiry, the model of a calibration) is an annotation of the
//! subject, which other verifiers pass over.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::TrustError;

const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
const PREDICATE_TYPE: &str = "https://model_signing/signature/v1.0";

/// Key of the annotations of this program.
const ANNOTATION: &str = "edge-vae";

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<Subject>,
    predicate_type: String,
    predicate: Predicate,
}

#[derive(Serialize, Deserialize)]
struct Subject {
    name: String,
    digest: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    annotations: Map<String, Value>,
}

#[derive(Serialize, Deserialize)]
struct Predicate {
    resources: Vec<Resource>,
    serialization: Serialization,
}

#[derive(Serialize, Deserialize)]
struct Resource {
    name: String,
    algorithm: String,
    digest: String,
}

#[derive(Serialize, Deserialize)]
struct Serialization {
    method: String,
    hash_type: String,
    allow_symlinks: bool,
    #[serde(default)]
    ignore_paths: Vec<String>,
}

/// What this program adds to a statement.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Annotations {
    /// Version of the model: later ones are higher.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// When the signature is no longer valid, RFC 3339 in UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// Of a calibration: the model that it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelIdentity>,
}

/// A model as a calibration's signature names it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ModelIdentity {
    /// Its id.
    pub id: String,
    /// SHA-256 of its manifest, which has the digests of all its files.
    pub manifest_sha256: String,
}

/// What a signature says: files with their digests, and the annotations.
#[derive(Clone, Debug, PartialEq)]
pub struct SignedContent {
    /// The name of what is signed.
    pub name: String,
    /// Lower-case hexadecimal SHA-256 by path.
    pub files: BTreeMap<String, String>,
    /// What this program adds.
    pub annotations: Annotations,
}

impl SignedContent {
    /// The digest of all digests, one after the other in the order of the paths.
    pub fn root_digest(&self) -> String {
        root_digest(self.files.values().map(String::as_str))
    }

    /// The statement as JSON. `ignored` are the paths that are not signed.
    pub(super) fn to_json(&self, ignored: &[&str]) -> Vec<u8> {
        let mut annotations = Map::new();
        if self.annotations != Annotations::default()
            && let Ok(value) = serde_json::to_value(&self.annotations)
        {
            annotations.insert(ANNOTATION.to_owned(), value);
        }
        let resource = |(name, digest): (&String, &String)| Resource {
            name: name.clone(),
            algorithm: "sha256".to_owned(),
            digest: digest.clone(),
        };
        let statement = Statement {
            kind: STATEMENT_TYPE.to_owned(),
            subject: vec![Subject {
                name: self.name.clone(),
                digest: BTreeMap::from([("sha256".to_owned(), self.root_digest())]),
                annotations,
            }],
            predicate_type: PREDICATE_TYPE.to_owned(),
            predicate: Predicate {
                resources: self.files.iter().map(resource).collect(),
                serialization: Serialization {
                    method: "files".to_owned(),
                    hash_type: "sha256".to_owned(),
                    allow_symlinks: false,
                    ignore_paths: ignored.iter().map(|path| (*path).to_owned()).collect(),
                },
            },
        };
        // Texts and lists always are JSON.
        serde_json::to_vec(&statement).unwrap_or_default()
    }

    /// Reads a statement whose signature was verified; `path` names the signature in errors.
    pub(super) fn from_json(payload: &[u8], path: &Path) -> Result<Self, TrustError> {
        parse(payload).map_err(|problem| TrustError::Malformed {
            path: path.to_owned(),
            problem,
        })
    }
}

fn parse(payload: &[u8]) -> Result<SignedContent, String> {
    // The types first: of another statement, the rest is none of ours.
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Types {
        #[serde(rename = "_type")]
        kind: String,
        predicate_type: String,
    }
    let no_statement = |error: serde_json::Error| format!("signs no statement: {error}");
    let types: Types = serde_json::from_slice(payload).map_err(no_statement)?;
    let expect = |key: &str, found: &str, expected: &str| match found == expected {
        true => Ok(()),
        false => Err(format!("{key} is {found:?}, expected {expected:?}")),
    };
    expect("_type", &types.kind, STATEMENT_TYPE)?;
    expect("predicateType", &types.predicate_type, PREDICATE_TYPE)?;
    let statement: Statement = serde_json::from_slice(payload).map_err(no_statement)?;
    let serialization = &statement.predicate.serialization;
    expect("serialization.method", &serialization.method, "files")?;
    expect(
        "serialization.hash_type",
        &serialization.hash_type,
        "sha256",
    )?;
    let [subject] = &statement.subject[..] else {
        let found = statement.subject.len();
        return Err(format!("has {found} subjects, expected one"));
    };
    let resources = &statement.predicate.resources;
    let mut files = BTreeMap::new();
    for resource in resources {
        expect("algorithm", &resource.algorithm, "sha256")?;
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if resource.digest.len() != 64 || !resource.digest.bytes().all(hex) {
            return Err(format!("the digest of {:?} is no SHA-256", resource.name));
        }
        if !is_path(&resource.name) {
            return Err(format!("{:?} is no path below the model", resource.name));
        }
        let digest = resource.digest.clone();
        if files.insert(resource.name.clone(), digest).is_some() {
            return Err(format!("lists {:?} twice", resource.name));
        }
    }
    if files.is_empty() {
        return Err("lists no files".to_owned());
    }
    let listed = root_digest(resources.iter().map(|resource| resource.digest.as_str()));
    if subject.digest.get("sha256") != Some(&listed) {
        return Err("the digest of the whole is not that of the files listed".to_owned());
    }
    let annotations = match subject.annotations.get(ANNOTATION) {
        Some(value) => serde_json::from_value(value.clone())
            .map_err(|error| format!("annotations of {ANNOTATION}: {error}"))?,
        None => Annotations::default(),
    };
    Ok(SignedContent {
        name: subject.name.clone(),
        files,
        annotations,
    })
}

/// Whether it is a canonical relative path.
fn is_path(name: &str) -> bool {
    !name.contains('\\') && name.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

/// SHA-256 over the bytes of hexadecimal digests.
fn root_digest<'a>(digests: impl Iterator<Item = &'a str>) -> String {
    let mut root = Sha256::new();
    for digest in digests {
        for pair in digest.as_bytes().chunks(2) {
            let byte = std::str::from_utf8(pair).ok();
            let byte = byte.and_then(|pair| u8::from_str_radix(pair, 16).ok());
            root.update([byte.unwrap_or_default()]);
        }
    }
    let hex = |byte: &u8| format!("{byte:02x}");
    root.finalize().iter().map(hex).collect()
}
