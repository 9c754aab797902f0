//! TensorRT's provider, and what its engines depend on.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use ::ort::ep::{self, ExecutionProviderDispatch};

use crate::backend::{Machine, Precision, TensorRtSettings};

/// File of an `int8` engine's ranges, beside the engine.
pub(in crate::backend) const RANGES: &str = "ranges.table";

/// What engines of TensorRT depend on beside graph and precision, of this version of ONNX Runtime.
/// TensorRT's is known once its provider was registered.
pub(in crate::backend) fn tensor_rt_identity(onnx_runtime: &str) -> BTreeMap<String, String> {
    let machine = Machine::here();
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    [
        ("board", machine.board),
        ("gpu", machine.gpu),
        ("driver", machine.driver),
        ("tensorrt", library_version(&maps, "libnvinfer.so.")),
        ("onnxruntime", onnx_runtime.to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
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
pub(super) fn provider(
    settings: TensorRtSettings,
    engines: &Path,
    timing: &Path,
) -> ExecutionProviderDispatch {
    let mut provider = ep::TensorRT::default()
        .with_engine_cache(true)
        .with_engine_cache_path(engines.to_string_lossy())
        .with_timing_cache(true)
        .with_timing_cache_path(timing.to_string_lossy());
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
