//! A detector that is being made while another judges.

use std::{
    io,
    thread::{self, JoinHandle},
};

use crate::Detector;

/// A detector of the same model that takes a while to make, such as one whose engine has to be
/// compiled first. The pipeline judges with the one of its plan until this one is there, and goes
/// over to it between two frames.
pub struct Successor {
    thread: Option<JoinHandle<Result<Detector, String>>>,
}

impl Successor {
    /// Makes it in a thread of its own; an error says in one line why there will be none. Where the
    /// run ends before, the thread ends with the program.
    ///
    /// # Errors
    /// A system without threads.
    pub fn start(
        make: impl FnOnce() -> Result<Detector, String> + Send + 'static,
    ) -> io::Result<Self> {
        let thread = thread::Builder::new()
            .name("successor".into())
            .spawn(make)?;
        Ok(Self {
            thread: Some(thread),
        })
    }

    /// The detector, or why there is none, once that is known.
    pub(super) fn take(&mut self) -> Option<Result<Detector, String>> {
        let thread = self.thread.take_if(|thread| thread.is_finished())?;
        let broke_off = |_| Err("it broke off".to_owned());
        Some(thread.join().unwrap_or_else(broke_off))
    }
}
