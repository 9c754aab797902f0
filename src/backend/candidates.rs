//! Which engines the options leave open.

#[cfg(feature = "ort")]
use super::{BackendError, library};
use super::{BackendKind, Device, EngineOptions};

/// Engines that could run, and why one is not among them.
#[derive(Debug, Default)]
pub(crate) struct Candidates {
    /// In order of preference where nothing tells them apart; of several, each names back end and
    /// device.
    pub(crate) options: Vec<EngineOptions>,
    /// For the user, a line each.
    pub(crate) notices: Vec<String>,
}

impl EngineOptions {
    /// Whether back end or device are left to be chosen.
    pub(crate) fn leave_a_choice(&self) -> bool {
        match (self.backend, self.device) {
            (Some(BackendKind::Tract), _) | (_, Device::Cuda | Device::TensorRt) => false,
            (Some(BackendKind::Ort), device) => device == Device::Auto,
            // To name a library is to ask for it.
            (None, device) => device == Device::Auto || self.ort_library.is_none(),
        }
    }

    /// The engines that back end, device and library leave open. Where no ONNX Runtime is found
    /// that is `tract` alone, after a look into some folders. TensorRT is not among them: it builds
    /// for minutes.
    pub(crate) fn candidates(&self) -> Candidates {
        let mut found = Candidates::default();
        if self.leave_a_choice() {
            let tract = self.backend.is_none() && self.ort_library.is_none();
            if cfg!(feature = "tract") && tract {
                found.options.push(Self {
                    backend: Some(BackendKind::Tract),
                    device: Device::Cpu,
                    ..self.clone()
                });
            }
            #[cfg(feature = "ort")]
            if let Err(error) = found.add_ort(self)
                && library::is_named_by_variable()
            {
                let notice = format!("ONNX Runtime is not used: {error}");
                found.notices.push(notice);
            }
        }
        if found.options.is_empty() {
            // The only one, or the one whose opening tells what is missing.
            found.options.push(self.clone());
        }
        found
    }
}

#[cfg(feature = "ort")]
impl Candidates {
    fn add_ort(&mut self, options: &EngineOptions) -> Result<(), BackendError> {
        let library = library::locate(options.ort_library.as_deref())?;
        let mut devices = vec![Device::Cpu];
        if options.device == Device::Auto && library::has_provider_file(&library, "cuda") {
            devices.push(Device::Cuda);
        }
        self.options
            .extend(devices.into_iter().map(|device| EngineOptions {
                backend: Some(BackendKind::Ort),
                device,
                ort_library: Some(library.clone()),
                ..options.clone()
            }));
        Ok(())
    }
}

#[cfg(all(test, feature = "tract", feature = "ort"))]
mod tests {
    use std::fs;

    use super::*;

    fn found(options: &EngineOptions) -> Vec<(Option<BackendKind>, Device)> {
        let candidates = options.candidates().options;
        candidates.iter().map(|c| (c.backend, c.device)).collect()
    }

    #[test]
    fn what_was_asked_for_is_the_only_one() {
        let asked = |backend, device| EngineOptions {
            backend,
            device,
            ..EngineOptions::default()
        };
        let (tract, ort) = (Some(BackendKind::Tract), Some(BackendKind::Ort));
        for (backend, device) in [
            (tract, Device::Auto),
            (tract, Device::Cpu),
            (ort, Device::Cpu),
            (None, Device::Cuda),
            (ort, Device::TensorRt),
        ] {
            let options = asked(backend, device);
            assert!(!options.leave_a_choice());
            assert_eq!(found(&options), [(backend, device)]);
        }
        assert!(asked(None, Device::Cpu).leave_a_choice());
    }

    #[test]
    fn a_library_with_cuda_is_two_candidates_beside_tract() {
        let folder = tempfile::tempdir().unwrap();
        let library = folder.path().join("libonnxruntime.so");
        fs::write(&library, b"").unwrap();
        let named = |device| EngineOptions {
            ort_library: Some(library.clone()),
            device,
            ..EngineOptions::default()
        };
        let ort = Some(BackendKind::Ort);
        assert_eq!(found(&named(Device::Auto)), [(ort, Device::Cpu)]);
        fs::write(folder.path().join("libonnxruntime_providers_cuda.so"), b"").unwrap();
        let both = [(ort, Device::Cpu), (ort, Device::Cuda)];
        assert_eq!(found(&named(Device::Auto)), both);
        assert_eq!(found(&named(Device::Cpu)), [(None, Device::Cpu)]);
        let mut candidates = Candidates::default();
        candidates.add_ort(&named(Device::Cpu)).unwrap();
        assert_eq!(candidates.options.len(), 1);
    }
}
