//! The backbone that comes with the trainer: EfficientNet-lite0 (Tan & Le 2019, without squeeze and
//! excitation), trained on ImageNet, up to stride 16, as an ONNX graph of any size.
//!
//! Its weights are frozen. Features that have seen a million photographs separate anomalous from
//! normal where a few hundred frames of one part teach a network little:
//! `docs/experiments/2026-11-23-pretrained-backbone.md` compares both.

use anyhow::{Context, Result, ensure};
use edge_vae::preprocess::Normalise;
use half::f16;
use safetensors::{SafeTensors, tensor::TensorView};

use crate::export::onnx::{Attribute, GraphBuilder, Value};

/// Convolutions with batch normalisation folded into them; see `train/backbone`.
const WEIGHTS: &[u8] = include_bytes!("../../backbone/efficientnet-lite0.safetensors");

/// Kernel and stride of the depthwise convolution of each block.
const BLOCKS: [(usize, usize); 11] = [
    (3, 1),
    (3, 2),
    (3, 1),
    (5, 2),
    (5, 1),
    (3, 2),
    (3, 1),
    (3, 1),
    (5, 1),
    (5, 1),
    (5, 1),
];

/// A block whose output is a feature map.
struct Tap {
    /// Its place.
    block: usize,
    /// The stride there.
    stride: usize,
    /// The map's name.
    name: &'static str,
    /// The cells that it is averaged down to at most. More would make covariances and the time of a
    /// frame larger and find no more: what large frames bring are details, not places.
    most_cells: usize,
}

/// The finest map is not compared with the others, but says where a defect is.
const TAPS: [Tap; 3] = [
    Tap {
        block: 2,
        stride: 4,
        name: "detail4",
        most_cells: 1024,
    },
    Tap {
        block: 4,
        stride: 8,
        name: "stride8",
        most_cells: 576,
    },
    Tap {
        block: 10,
        stride: 16,
        name: "stride16",
        most_cells: 576,
    },
];

/// What the network was trained with: 8-bit values less 127, divided by 128.
pub fn normalise() -> Normalise {
    Normalise {
        mean: vec![127.0 / 255.0; 3],
        std: vec![128.0 / 255.0; 3],
    }
}

/// The graph for pictures of `height`×`width`, multiples of 16: `picture` N×3×H×W (normalised as
/// [`normalise`] says) → `detail4` N×24×h'×w', `stride8` N×40×h×w and `stride16` N×112×h×w.
///
/// All are averages over some 3×3 places around each (Roth et al. 2022, PatchCore, eq. 2), so that
/// a pixel of shift changes little. Where that would be more than 576 places (1024 of `detail4`)
/// they are averaged further, by powers of two that divide their sides, for squares of 256, 384 and
/// 512 to the same h×w.
///
/// # Errors
/// A side that is not a multiple of 16.
pub fn onnx(height: usize, width: usize) -> Result<Vec<u8>> {
    ensure!(
        height > 0 && width > 0 && height.is_multiple_of(16) && width.is_multiple_of(16),
        "the shipped backbone takes sides that are multiples of 16, not {height}×{width}"
    );
    let mut writer = Writer {
        weights: SafeTensors::deserialize(WEIGHTS).context("the shipped backbone's weights")?,
        graph: GraphBuilder::new("backbone"),
    };
    let picture = writer.graph.input("picture", &[3, height, width]);
    let bounds = [("zero", 0.0), ("six", 6.0)];
    let bounds = bounds.map(|(name, value)| writer.graph.floats(name, &[], &[value]));

    let mut x = writer.convolve(&picture, "stem", (3, 2), false)?;
    x = writer.relu6(&x, "stem.relu", &bounds);
    for (block, &(kernel, stride)) in BLOCKS.iter().enumerate() {
        let name = |part: &str| format!("block{block}.{part}");
        let mut y = x.clone();
        if block > 0 {
            y = writer.convolve(&y, &name("expand"), (1, 1), false)?;
            y = writer.relu6(&y, &name("expand.relu"), &bounds);
        }
        y = writer.convolve(&y, &name("depthwise"), (kernel, stride), true)?;
        y = writer.relu6(&y, &name("depthwise.relu"), &bounds);
        y = writer.convolve(&y, &name("project"), (1, 1), false)?;
        let alike = block > 0 && writer.channels(block)? == writer.channels(block - 1)?;
        x = if alike && stride == 1 {
            writer.graph.node("Add", &name("sum"), &[&x, &y], &[])
        } else {
            y
        };
        if let Some(tap) = TAPS.iter().find(|tap| tap.block == block) {
            let size = [height / tap.stride, width / tap.stride];
            let step = step(size, tap.most_cells);
            let shape = [writer.channels(block)?, size[0] / step, size[1] / step];
            let mean = writer.mean(&x, &format!("mean{}", tap.stride), step);
            writer.graph.output(&mean, tap.name, &shape);
        }
    }
    Ok(writer.graph.finish(&[]))
}

/// Places in each direction that are averaged to one of a map of `size`.
fn step([rows, columns]: [usize; 2], most: usize) -> usize {
    let fits = |step: &usize| {
        let divides = rows.is_multiple_of(*step) && columns.is_multiple_of(*step);
        divides && (rows / step) * (columns / step) <= most
    };
    let mut steps = (0..=usize::BITS).map_while(|power| 1_usize.checked_shl(power));
    steps.find(fits).unwrap_or(1)
}

struct Writer<'a> {
    weights: SafeTensors<'a>,
    graph: GraphBuilder,
}

impl Writer<'_> {
    /// A convolution with bias whose output has the input's size divided by the stride: as in
    /// TensorFlow («same»), an odd rest of the padding comes last.
    fn convolve(
        &mut self,
        x: &Value,
        name: &str,
        (kernel, stride): (usize, usize),
        depthwise: bool,
    ) -> Result<Value> {
        let weight = self.weights.tensor(&format!("{name}.weight"))?;
        let bias = self.weights.tensor(&format!("{name}.bias"))?;
        let groups = if depthwise { weight.shape()[0] } else { 1 };
        let weight = self.graph.halves(
            &format!("{name}.weight"),
            weight.shape(),
            &numbers(&weight, f16::from_le_bytes),
        );
        let bias = self.graph.floats(
            &format!("{name}.bias"),
            bias.shape(),
            &numbers(&bias, f32::from_le_bytes),
        );
        let padding = kernel.saturating_sub(stride) as i64;
        let (before, after) = (padding / 2, padding - padding / 2);
        let attributes = [
            ("kernel_shape", Attribute::Ints(&[kernel as i64; 2])),
            ("strides", Attribute::Ints(&[stride as i64; 2])),
            ("pads", Attribute::Ints(&[before, before, after, after])),
            ("group", Attribute::Int(groups as i64)),
        ];
        let inputs = [x, &weight, &bias];
        Ok(self.graph.node("Conv", name, &inputs, &attributes))
    }

    /// Channels that a block gives.
    fn channels(&self, block: usize) -> Result<usize> {
        let bias = self.weights.tensor(&format!("block{block}.project.bias"))?;
        Ok(bias.shape()[0])
    }

    fn relu6(&mut self, x: &Value, name: &str, [zero, six]: &[Value; 2]) -> Value {
        self.graph.node("Clip", name, &[x, zero, six], &[])
    }

    /// The mean of each `step`×`step` places and of those around them.
    fn mean(&mut self, x: &Value, name: &str, step: usize) -> Value {
        let step = step as i64;
        let attributes = [
            ("kernel_shape", Attribute::Ints(&[step + 2; 2])),
            ("strides", Attribute::Ints(&[step; 2])),
            ("pads", Attribute::Ints(&[1; 4])),
        ];
        self.graph.node("AveragePool", name, &[x], &attributes)
    }
}

/// The numbers of a tensor, of N bytes each.
fn numbers<const N: usize, T>(tensor: &TensorView<'_>, of: fn([u8; N]) -> T) -> Vec<T> {
    let (each, _) = tensor.data().as_chunks::<N>();
    each.iter().copied().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use edge_vae::backend::{BackendKind, Engine, EngineOptions};

    /// Held against PyTorch's double-precision run of the same weights on the same picture.
    #[test]
    fn maps_are_what_the_original_gives() {
        let (height, width) = (64, 96);
        let engine = Engine::open(&EngineOptions {
            backend: Some(BackendKind::Tract),
            ..EngineOptions::default()
        })
        .unwrap();
        let onnx = onnx(height, width).unwrap();
        let mut graph = engine.load(&onnx, "backbone.onnx", 1).unwrap();
        let mut picture = Vec::new();
        for channel in 0..3 {
            for y in 0..height {
                for x in 0..width {
                    let value = (3 * x + 5 * y + 7 * channel) % 17;
                    picture.push(value as f32 / 8.5 - 1.0);
                }
            }
        }
        let (mut fine, mut coarse) = (vec![0.0; 40 * 8 * 12], vec![0.0; 112 * 4 * 6]);
        let mut detail = vec![0.0; 24 * 16 * 24];
        graph
            .run(&[&picture], &mut [&mut detail, &mut fine, &mut coarse])
            .unwrap();
        let size = |map: &[f32]| map.iter().map(|v| v.abs()).sum::<f32>() / map.len() as f32;
        let found = [
            detail[0],
            detail[7 * 384 + 3 * 24 + 4],
            size(&detail),
            fine[0],
            fine[7 * 96 + 3 * 12 + 4],
            size(&fine),
            coarse[0],
            coarse[7 * 24 + 3 * 6 + 4],
            size(&coarse),
        ];
        let expected = [
            -7.601_924, -2.560_514, 5.502_035, 2.357_635, -8.917_968, 5.532_306, 5.878_851,
            6.308_856, 4.021_599,
        ];
        for (found, expected) in found.into_iter().zip(expected) {
            assert!((found - expected).abs() < 1e-3, "{found} for {expected}");
        }
    }

    #[test]
    fn large_pictures_have_both_maps_on_one_grid() {
        let engine = Engine::open(&EngineOptions {
            backend: Some(BackendKind::Tract),
            ..EngineOptions::default()
        })
        .unwrap();
        for (side, detail, fine, coarse) in [
            (128, 32, 16, 8),
            (256, 32, 16, 16),
            (384, 24, 24, 24),
            (512, 32, 16, 16),
        ] {
            let onnx = onnx(side, side).unwrap();
            let graph = engine.load(&onnx, "backbone.onnx", 1).unwrap();
            let shapes: Vec<_> = graph.outputs().iter().map(|o| o.shape.clone()).collect();
            let expected = [(24, detail), (40, fine), (112, coarse)];
            assert_eq!(shapes, expected.map(|(c, side)| [1, c, side, side]));
        }
    }

    #[test]
    fn odd_sides_are_refused() {
        assert!(onnx(100, 128).is_err());
        assert!(onnx(128, 0).is_err());
    }
}
