//! TensorRT's provider, and what its engines depend on.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ::ort::ep::{self, ExecutionProviderDispatch};

use super::{Placement, Runtime};
use crate::backend::tensor_rt::{digest, graph_folder};
use crate::backend::{Machine, Precision};

/// File of an `int8` engine's ranges, beside the engine.
pub(in crate::backend) const RANGES: &str = "ranges.table";

impl Runtime {
    /// What engines of TensorRT depend on beside graph and precision. Its version is known once its
    /// provider was registered.
    pub(in crate::backend) fn tensor_rt_identity(&self) -> BTreeMap<String, String> {
        let machine = Machine::here();
        let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
        [
            ("board", machine.board),
            ("gpu", machine.gpu),
            ("driver", machine.driver),
            ("tensorrt", library_version(&maps, "libnvinfer.so.")),
            ("onnxruntime", self.version.clone()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }
}

/// The numbers behind `name` of a library that is open, as in `libnvinfer.so.10.3.0`.
pub(super) fn library_version(maps: &str, name: &str) -> String {
    let paths = maps.lines().filter_map(|line| line.rsplit_once('/'));
    paths
        .filter_map(|(_, file)| file.strip_prefix(name))
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// The provider, with the folder of the graph's engines and that of the timing cache, which all
/// graphs share: tactics that were timed for one are known for the next.
pub(super) fn provider(placement: &Placement, engines: &Path) -> ExecutionProviderDispatch {
    let settings = placement.tensor_rt;
    let mut provider = ep::TensorRT::default()
        .with_engine_cache(true)
        .with_engine_cache_path(engines.to_string_lossy())
        .with_timing_cache(true)
        .with_timing_cache_path(placement.cache.join("timing").to_string_lossy());
    provider = match settings.precision {
        Precision::Fp32 => provider,
        Precision::Fp16 => provider.with_fp16(true),
        Precision::Int8 => provider
            .with_fp16(true)
            .with_int8(true)
            .with_int8_use_native_calibration_table(true)
            .with_int8_calibration_table_name(RANGES),
    };
    if let Some(core) = settings.dla {
        provider = provider.with_dla(true).with_dla_core(core);
    }
    provider.build().error_on_failure()
}

/// The folder for the TensorRT engines of one graph. ONNX Runtime names an engine by the graph's
/// structure and not by its weights, so two models of one architecture would share an engine and
/// the second would run with the weights of the first. Nor does it look at driver and precision.
pub(in crate::backend) fn engine_folder(placement: &Placement, onnx: &[u8]) -> PathBuf {
    let key = format!("{:?} {}", placement.identity, placement.tensor_rt);
    graph_folder(&placement.cache, onnx).join(digest(key.as_bytes()))
}
