//! Where to train: names of devices.

use anyhow::{Result, bail};
use candle_core::Device;

/// Devices that train together: processors or GPUs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Devices {
    /// So many replicas that share the processor's cores.
    Cpu(usize),
    /// NVIDIA GPUs by number.
    Cuda(Vec<usize>),
}

impl Devices {
    /// Opens them, in order.
    ///
    /// # Errors
    /// A build without CUDA, a GPU that is not there.
    pub(super) fn open(&self) -> Result<Vec<Device>> {
        let numbers = match self {
            Self::Cpu(count) => return Ok(vec![Device::Cpu; *count]),
            Self::Cuda(_) if !cfg!(feature = "cuda") => bail!(
                "--device cuda: this program was built without CUDA; \
                 build it with `cargo build --release -p edge-vae-train --features cuda`"
            ),
            Self::Cuda(numbers) => numbers,
        };
        let open = |&number: &usize| match Device::new_cuda(number) {
            Ok(device) => Ok(device),
            Err(error) => bail!("--device cuda:{number}: cannot open the GPU: {error}"),
        };
        numbers.iter().map(open).collect()
    }
}

/// Reads `cpu`, `cuda` (the first GPU), `cuda:N`, or several of one kind with commas between them.
///
/// # Errors
/// Unknown names, both kinds, a GPU twice; in words.
pub(super) fn devices(text: &str) -> Result<Devices, String> {
    let gpu = |name: &str| match name {
        "cpu" => Ok(None),
        "cuda" => Ok(Some(0)),
        _ => match name.strip_prefix("cuda:").map(str::parse) {
            Some(Ok(number)) => Ok(Some(number)),
            _ => Err(format!(
                "{name:?} is no device: expected cpu, cuda or cuda:N, or several with commas"
            )),
        },
    };
    let names = text.split(',').map(|name| gpu(name.trim()));
    let names: Vec<Option<usize>> = names.collect::<Result<_, _>>()?;
    let gpus: Vec<usize> = names.iter().copied().flatten().collect();
    if gpus.is_empty() {
        return Ok(Devices::Cpu(names.len()));
    }
    if gpus.len() < names.len() {
        return Err("cpu and cuda: GPUs would wait for the processor; name one kind".to_owned());
    }
    let twice = (1..gpus.len()).find(|&place| gpus[..place].contains(&gpus[place]));
    match twice {
        Some(place) => Err(format!("cuda:{} is named twice", gpus[place])),
        None => Ok(Devices::Cuda(gpus)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_device_or_several_of_a_kind() {
        assert_eq!(devices("cpu"), Ok(Devices::Cpu(1)));
        assert_eq!(devices("cpu, cpu,cpu"), Ok(Devices::Cpu(3)));
        assert_eq!(devices("cuda"), Ok(Devices::Cuda(vec![0])));
        assert_eq!(devices("cuda:1,cuda"), Ok(Devices::Cuda(vec![1, 0])));
        for (text, wanted) in [
            ("", "no device"),
            ("gpu", "no device"),
            ("cuda:x", "no device"),
            ("cpu,", "no device"),
            ("cpu,cuda:1", "one kind"),
            ("cuda,cuda:1,cuda:0", "cuda:0 is named twice"),
        ] {
            let error = devices(text).unwrap_err();
            assert!(error.contains(wanted), "{text}: {error}");
        }
    }
}
