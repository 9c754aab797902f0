//! Plans of graphs, shared by all that load the same file with one engine.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use sha2::{Digest, Sha256};
use tract_onnx::prelude::*;

/// A file's SHA-256 and the batch size.
type Key = ([u8; 32], usize);

/// The plans that are in use. A plan holds a graph's weights and is never written to; what changes
/// when it runs is each [`TractGraph`](super::TractGraph)'s own.
#[derive(Debug, Default)]
pub(in crate::backend) struct Plans(Mutex<HashMap<Key, Weak<TypedRunnableModel>>>);

impl Plans {
    /// The plan of a file for `batch` frames; `make` is called where there is none. Others wait
    /// meanwhile, since making two at a time would take memory for both.
    pub(super) fn get<E>(
        &self,
        bytes: &[u8],
        batch: usize,
        make: impl FnOnce() -> Result<Arc<TypedRunnableModel>, E>,
    ) -> Result<Arc<TypedRunnableModel>, E> {
        let key = (Sha256::digest(bytes).into(), batch);
        // A panic while a plan was made has left the list as it was.
        let mut plans = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(plan) = plans.get(&key).and_then(Weak::upgrade) {
            return Ok(plan);
        }
        let plan = make()?;
        plans.retain(|_, plan| plan.strong_count() > 0);
        plans.insert(key, Arc::downgrade(&plan));
        Ok(plan)
    }
}
