//! GPU, driver, CUDA, cuDNN, TensorRT.

use super::{
    Finding, Machine, board,
    libraries::{newest, nvidia_folders},
    onnx_runtime::OrtLibrary,
};

/// NVIDIA's number among the makers of PCI devices, as `uevent` has it.
const NVIDIA: &str = "PCI_ID=10DE:";

/// What the ONNX Runtimes that are new enough were built for
/// (<https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html>).
const CUDA: [u32; 2] = [12, 13];
const CUDNN: u32 = 9;
const TENSOR_RT: u32 = 10;

/// An NVIDIA GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Gpu {
    name: String,
    /// Version of its driver; `None` where none is loaded.
    driver: Option<String>,
}

/// The GPU of a Jetson, else the first that the driver or the PCI bus has.
pub(super) fn find(machine: &dyn Machine) -> Option<Gpu> {
    let driver = machine
        .text("/proc/driver/nvidia/version")
        .and_then(|text| driver_version(&text));
    if board::is_jetson(machine) {
        return Some(Gpu {
            name: "the Jetson's own".to_owned(),
            // Its driver is part of JetPack; older ones have no such file.
            driver: Some(driver.unwrap_or_else(|| "of JetPack".to_owned())),
        });
    }
    let folder = "/proc/driver/nvidia/gpus";
    let named = machine.names(folder).iter().find_map(|bus| {
        let text = machine.text(&format!("{folder}/{bus}/information"))?;
        let line = text.lines().find(|line| line.starts_with("Model:"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    });
    if named.is_some() || driver.is_some() {
        return Some(Gpu {
            name: named.unwrap_or_else(|| "an NVIDIA GPU".to_owned()),
            driver,
        });
    }
    let folder = "/sys/bus/pci/devices";
    let on_the_bus = machine.names(folder).iter().any(|device| {
        let text = machine.text(&format!("{folder}/{device}/uevent"));
        // Classes 0x03… are displays and their like; the rest are bridges and sound.
        text.is_some_and(|text| text.contains(NVIDIA) && text.contains("PCI_CLASS=3"))
    });
    on_the_bus.then(|| Gpu {
        name: "an NVIDIA GPU".to_owned(),
        driver: None,
    })
}

/// `570.86.15` of `NVRM version: NVIDIA UNIX … 570.86.15  Release Build …`.
fn driver_version(text: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with("NVRM"))?;
    let is_version = |word: &&str| {
        word.contains('.') && word.split('.').all(|number| number.parse::<u32>().is_ok())
    };
    line.split_whitespace().find(is_version).map(str::to_owned)
}

pub(super) fn examine(
    machine: &dyn Machine,
    gpu: Option<&Gpu>,
    runtimes: &[OrtLibrary],
) -> Vec<Finding> {
    let Some(gpu) = gpu else {
        return vec![Finding::ok(
            "gpu",
            "no NVIDIA GPU here; frames are judged on the processor",
        )];
    };
    let Some(driver) = &gpu.driver else {
        return vec![Finding::warning(
            "gpu",
            format!("{} on the PCI bus, without NVIDIA's driver", gpu.name),
            "install it (Debian: `sudo apt install nvidia-driver`; Ubuntu: `sudo ubuntu-drivers \
             install`) and restart",
        )];
    };
    let mut findings = vec![described(machine, gpu, driver)];
    let packages = runtimes.iter().filter_map(OrtLibrary::python_packages);
    let folders = nvidia_folders(machine, packages);
    let library = |stem: &str| newest(machine, &folders, stem);
    let jetson = board::is_jetson(machine);
    let install = |packages: &str, pip: &str| {
        if jetson {
            format!("`sudo apt install {packages}` (JetPack's own)")
        } else {
            format!("`pip install {pip}` in the environment of onnxruntime-gpu")
        }
    };
    findings.push(match library("libcudart.so") {
        Some(found)
            if found
                .version
                .first()
                .is_none_or(|major| CUDA.contains(major)) =>
        {
            Finding::ok("cuda", format!("CUDA {} ({})", found.shown(), found.path))
                .with("version", found.shown())
        }
        Some(found) => Finding::warning(
            "cuda",
            format!(
                "CUDA {} ({}): ONNX Runtime needs 12 or 13",
                found.shown(),
                found.path
            ),
            install("nvidia-jetpack", "'onnxruntime-gpu[cuda,cudnn]'"),
        ),
        None => Finding::warning(
            "cuda",
            "no libcudart.so: the GPU can't be used",
            install("nvidia-jetpack", "'onnxruntime-gpu[cuda,cudnn]'"),
        ),
    });
    findings.push(match library("libcudnn.so") {
        Some(found) if found.version.first().is_none_or(|&major| major == CUDNN) => {
            Finding::ok("cudnn", format!("cuDNN {} ({})", found.shown(), found.path))
                .with("version", found.shown())
        }
        Some(found) => Finding::warning(
            "cudnn",
            format!(
                "cuDNN {} ({}): ONNX Runtime needs 9",
                found.shown(),
                found.path
            ),
            install("nvidia-cudnn", "nvidia-cudnn-cu12"),
        ),
        None => Finding::warning(
            "cudnn",
            "no libcudnn.so: the GPU can't be used",
            install("nvidia-cudnn", "nvidia-cudnn-cu12"),
        ),
    });
    findings.push(match library("libnvinfer.so") {
        Some(found)
            if found
                .version
                .first()
                .is_none_or(|&major| major == TENSOR_RT) =>
        {
            let text = format!("TensorRT {} ({})", found.shown(), found.path);
            Finding::ok("tensorrt", text).with("version", found.shown())
        }
        Some(found) => Finding::note(
            "tensorrt",
            format!(
                "TensorRT {} ({}): ONNX Runtime needs 10",
                found.shown(),
                found.path
            ),
        )
        .with_remedy(install("nvidia-tensorrt", "tensorrt-cu12")),
        None => Finding::note(
            "tensorrt",
            "no libnvinfer.so: `--device tensorrt` can't be used",
        )
        .with_remedy(install("nvidia-tensorrt", "tensorrt-cu12")),
    });
    findings
}

/// Name, driver, and what only `nvidia-smi` tells.
fn described(machine: &dyn Machine, gpu: &Gpu, driver: &str) -> Finding {
    let asked = machine.output(
        "nvidia-smi",
        &["--query-gpu=memory.total", "--format=csv,noheader,nounits"],
    );
    let memory = asked
        .as_deref()
        .and_then(|text| text.lines().next()?.trim().parse::<u32>().ok());
    let memory_text = memory.map_or(String::new(), |mib| {
        format!(", {:.0} GiB", f64::from(mib) / 1024.0)
    });
    let text = format!("{}{memory_text}, driver {driver}", gpu.name);
    let finding = Finding::ok("gpu", text)
        .with("name", gpu.name.clone())
        .with("driver", driver);
    match memory {
        Some(mib) => finding.with("memory_mib", mib),
        None => finding,
    }
}
