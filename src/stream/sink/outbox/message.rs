//! Messages that wait, and their files.

use std::io;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

const SCHEMA_VERSION: u32 = 1;

/// A message that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxMessage {
    /// Where it goes, in the words of the sink.
    pub address: String,
    /// What is delivered.
    pub body: Vec<u8>,
}

impl OutboxMessage {
    pub(super) fn bytes(&self) -> u64 {
        (self.address.len() + self.body.len()) as u64
    }
}

/// First line of a message's file.
#[derive(Deserialize, Serialize)]
struct Header {
    schema_version: u32,
    address: String,
    bytes: usize,
    sha256: String,
}

fn digest(address: &str, body: &[u8]) -> String {
    let mut hash = Sha256::new();
    hash.update(address.as_bytes());
    hash.update([b'\n']);
    hash.update(body);
    hex(&hash.finalize())
}

/// The content of its file.
pub(crate) fn written(message: &OutboxMessage) -> io::Result<Vec<u8>> {
    let header = Header {
        schema_version: SCHEMA_VERSION,
        address: message.address.clone(),
        bytes: message.body.len(),
        sha256: digest(&message.address, &message.body),
    };
    let mut file = serde_json::to_vec(&header)?;
    file.push(b'\n');
    file.extend_from_slice(&message.body);
    Ok(file)
}

/// The message of a file; `None` for a file that is not what was written.
pub(crate) fn read(file: &[u8]) -> Option<OutboxMessage> {
    let end = file.iter().position(|&byte| byte == b'\n')?;
    let header: Header = serde_json::from_slice(&file[..end]).ok()?;
    let body = &file[end + 1..];
    let whole = header.schema_version == SCHEMA_VERSION
        && header.bytes == body.len()
        && header.sha256 == digest(&header.address, body);
    whole.then(|| OutboxMessage {
        address: header.address,
        body: body.to_vec(),
    })
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
