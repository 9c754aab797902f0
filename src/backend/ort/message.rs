//! What ONNX Runtime says when something fails.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::backend::error::one_line;

/// The last error that ONNX Runtime logged. Its log names a provider's missing library where the
/// returned status does not, and would otherwise go to stderr.
static LOGGED: Mutex<String> = Mutex::new(String::new());

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps an error that was logged until [`said`] asks for it.
pub(super) fn log(message: &str) {
    *lock(&LOGGED) = one_line(message);
}

/// The error's message, with what was logged on the way where that says more.
pub(super) fn said<R>(error: &::ort::Error<R>) -> String {
    let message = without_location(error.message());
    let logged = without_location(&std::mem::take(&mut *lock(&LOGGED)));
    if logged.is_empty() || message.contains(&logged) {
        message
    } else if logged.contains(&message) {
        logged
    } else {
        one_line(&format!("{message} ({logged})"))
    }
}

/// Cuts the place in ONNX Runtime's source and the error code from
/// `/…/provider_bridge_ort.cc:2043 … [ONNXRuntimeError] : 1 : FAIL : Failed to load library …`.
pub(super) fn without_location(message: &str) -> String {
    let rest = message
        .rsplit_once("[ONNXRuntimeError] : ")
        .and_then(|(_, coded)| coded.splitn(3, " : ").nth(2));
    one_line(rest.unwrap_or(message))
}
