//! Residual features: what the reconstruction leaves unexplained, as feature maps.
//!
//! A pixel's residual says little: how much is left, where, and along which direction is what
//! differs between noise, a scratch and a stain. The maps tell it at four scales; Gaussians over
//! them and the posterior mean are the source `reconstruction`.

use edge_vae::vae::{Latent, Likelihood, VaeSpec};

use super::onnx::{Attribute, GraphBuilder, Value};
use crate::vae::{INPUT, RECONSTRUCTION};

/// How the residual is described.
struct ResidualParams {
    /// Scales, each half the one before, the first the tensor's own: noise, scratches and stains
    /// differ in which of them they are in.
    levels: usize,
    /// Most cells; more would make covariances larger and find no more.
    most_cells: usize,
}

const PARAMS: ResidualParams = ResidualParams {
    levels: 4,
    most_cells: 576,
};

/// Least side of a cell, in pixels: the coarsest scale has one place in it.
const LEAST_CELL: usize = 1 << (PARAMS.levels - 1);

/// Maps of each channel of the tensor at each scale.
const OF_CHANNEL: usize = 5;

/// The graph: `input`, `reconstruction` and, where the variance is learned,
/// `reconstruction_log_variance` N×C×H×W, `mean` N×L×h×w where the latent is a map →
/// `residual_pyramid` N×20·C×h'×w', and `residual_latent`, which is `mean`.
///
/// With u = x − r, or (x − r)/σ where the variance is learned, averaged over squares of 1, 2, 4 and
/// 8 pixels, the maps of a cell (square, of 8 pixels or more, at most 576 in all) are at each scale
/// the means of |u|, |∂u/∂x|, |∂u/∂y| and the largest u and −u, of each channel. `None` where the
/// sides have no such cell.
pub fn onnx(spec: &VaeSpec, model: &str) -> Option<Vec<u8>> {
    let cell = cell([spec.height, spec.width])?;
    let pixels = spec.input_shape();
    let mut graph = GraphBuilder::new("residual");
    let input = graph.input(INPUT, &pixels);
    let reconstruction = graph.input(RECONSTRUCTION, &pixels);
    let mut level = graph.node("Sub", "residual", &[&input, &reconstruction], &[]);
    if matches!(spec.likelihood, Likelihood::GaussianLearned) {
        let log_variance = graph.input("reconstruction_log_variance", &pixels);
        let half = graph.floats("minus_half", &[], &[-0.5]);
        let exponent = graph.node("Mul", "exponent", &[&log_variance, &half], &[]);
        let precision = graph.node("Exp", "precision", &[&exponent], &[]);
        level = graph.node("Mul", "weighted", &[&level, &precision], &[]);
    }
    let mut pyramid = Pyramid::new(graph, spec.channels);
    let mut maps = Vec::new();
    for scale in 0..PARAMS.levels {
        if scale > 0 {
            level = pyramid.pool("AveragePool", &format!("level{scale}"), &level, 2);
        }
        maps.extend(pyramid.maps(scale, &level, cell >> scale));
    }
    let mut graph = pyramid.graph;
    let maps: Vec<&Value> = maps.iter().collect();
    let joined = graph.node("Concat", "joined", &maps, &[("axis", Attribute::Int(1))]);
    let channels = PARAMS.levels * OF_CHANNEL * spec.channels;
    let shape = [channels, spec.height / cell, spec.width / cell];
    graph.output(&joined, "residual_pyramid", &shape);
    if let Latent::Map { .. } = spec.latent {
        let mean = graph.input("mean", &spec.latent.shape());
        graph.output(&mean, "residual_latent", &spec.latent.shape());
    }
    Some(graph.finish(&[
        ("edge_vae.graph", "residual".to_owned()),
        ("edge_vae.model", model.to_owned()),
    ]))
}

/// Side of a cell, in pixels: the least power of two with which there are few enough.
fn cell([height, width]: [usize; 2]) -> Option<usize> {
    let sides = std::iter::successors(Some(LEAST_CELL), |side| Some(2 * side));
    sides
        .take_while(|&side| height.is_multiple_of(side) && width.is_multiple_of(side))
        .take_while(|&side| side <= height.min(width))
        .find(|side| (height / side) * (width / side) <= PARAMS.most_cells)
}

struct Pyramid {
    graph: GraphBuilder,
    channels: usize,
    /// A pixel itself, and its differences from those to the right and below, for each channel.
    stencils: Value,
    edge: Value,
}

impl Pyramid {
    fn new(mut graph: GraphBuilder, channels: usize) -> Self {
        const STENCILS: [f32; 12] = [
            1.0, 0.0, 0.0, 0.0, // itself
            -1.0, 1.0, 0.0, 0.0, // to the right
            -1.0, 0.0, 1.0, 0.0, // below
        ];
        let stencils = STENCILS.repeat(channels);
        let stencils = graph.floats("stencils", &[3 * channels, 1, 2, 2], &stencils);
        let edge = graph.integers("edge", &[0, 0, 0, 0, 0, 0, 1, 1]);
        Self {
            graph,
            channels,
            stencils,
            edge,
        }
    }

    /// The maps of one scale, whose cells have a side of `cell` places.
    fn maps(&mut self, scale: usize, level: &Value, cell: usize) -> [Value; 3] {
        let name = |part: &str| format!("level{scale}.{part}");
        let padded = self.graph.node(
            "Pad",
            &name("padded"),
            &[level, &self.edge],
            &[("mode", Attribute::Text("edge"))],
        );
        let differences = self.graph.node(
            "Conv",
            &name("differences"),
            &[&padded, &self.stencils],
            &[
                ("kernel_shape", Attribute::Ints(&[2, 2])),
                ("group", Attribute::Int(self.channels as i64)),
            ],
        );
        let amounts = self
            .graph
            .node("Abs", &name("amounts"), &[&differences], &[]);
        let negative = self.graph.node("Neg", &name("negative"), &[level], &[]);
        [
            self.pool("AveragePool", &name("means"), &amounts, cell),
            self.pool("MaxPool", &name("brightest"), level, cell),
            self.pool("MaxPool", &name("darkest"), &negative, cell),
        ]
    }

    /// Mean or maximum of squares of `side` places.
    fn pool(&mut self, operator: &str, name: &str, map: &Value, side: usize) -> Value {
        if side == 1 {
            return map.clone();
        }
        let window = [side as i64; 2];
        self.graph.node(
            operator,
            name,
            &[map],
            &[
                ("kernel_shape", Attribute::Ints(&window)),
                ("strides", Attribute::Ints(&window)),
            ],
        )
    }
}

#[cfg(test)]
mod tests {
    use edge_vae::backend::{BackendKind, Engine, EngineOptions};

    use super::*;

    fn spec(channels: usize, [height, width]: [usize; 2], likelihood: Likelihood) -> VaeSpec {
        VaeSpec {
            channels,
            height,
            width,
            latent: Latent::Map {
                channels: 2,
                height: 2,
                width: 3,
            },
            likelihood,
        }
    }

    fn values(count: usize, step: f32) -> Vec<f32> {
        (0..count).map(|i| (i as f32 * step).sin()).collect()
    }

    /// The maps by their definition: of each scale amounts of all channels, then largest, then
    /// least.
    fn by_hand(u: &[f32], [channels, height, width]: [usize; 3], cell: usize) -> Vec<f32> {
        let mut out = Vec::new();
        for scale in 0..PARAMS.levels {
            let (side, k) = (cell >> scale, 1 << scale);
            let [rows, columns] = [height / k, width / k];
            let at = |c: usize, y: usize, x: usize| {
                let (y, x) = (y.min(rows - 1), x.min(columns - 1));
                let places = (0..k * k).map(|i| (y * k + i / k, x * k + i % k));
                let sum: f32 = places.map(|(y, x)| u[(c * height + y) * width + x]).sum();
                sum / (k * k) as f32
            };
            type Of<'a> = &'a dyn Fn(usize, usize, usize) -> f32;
            let mut cells =
                |of: Of, fold: fn(f32, f32) -> f32, first: f32, share: f32, c: usize| {
                    for cy in 0..height / cell {
                        for cx in 0..width / cell {
                            let places = (0..side * side).map(|i| [i / side, i % side]);
                            let each = places.map(|[y, x]| of(c, cy * side + y, cx * side + x));
                            out.push(share * each.fold(first, fold));
                        }
                    }
                };
            let (share, add) = (1.0 / (side * side) as f32, |a: f32, b: f32| a + b);
            for c in 0..channels {
                cells(&|c, y, x| at(c, y, x).abs(), add, 0.0, share, c);
                cells(
                    &|c, y, x| (at(c, y, x + 1) - at(c, y, x)).abs(),
                    add,
                    0.0,
                    share,
                    c,
                );
                cells(
                    &|c, y, x| (at(c, y + 1, x) - at(c, y, x)).abs(),
                    add,
                    0.0,
                    share,
                    c,
                );
            }
            (0..channels).for_each(|c| cells(&at, f32::max, f32::MIN, 1.0, c));
            (0..channels).for_each(|c| cells(&|c, y, x| -at(c, y, x), f32::max, f32::MIN, 1.0, c));
        }
        out
    }

    #[test]
    fn maps_are_what_they_are_said_to_be() {
        let engine = Engine::open(&EngineOptions {
            backend: Some(BackendKind::Tract),
            ..EngineOptions::default()
        })
        .unwrap();
        for (channels, size, likelihood) in [
            (1, [16, 24], Likelihood::GaussianLearned),
            (3, [32, 16], Likelihood::Gaussian { sigma: 0.3 }),
            (3, [16, 16], Likelihood::Bernoulli),
        ] {
            let spec = spec(channels, size, likelihood);
            let mut graph = engine
                .load(&onnx(&spec, "test").unwrap(), "residual.onnx", 1)
                .unwrap();
            let count = spec.dimensions();
            let (x, r) = (values(count, 0.37), values(count, 0.11));
            let (v, mean) = (values(count, 0.05), values(12, 1.3));
            let mut inputs = vec![&x[..], &r];
            let mut u: Vec<f32> = x.iter().zip(&r).map(|(x, r)| x - r).collect();
            if matches!(likelihood, Likelihood::GaussianLearned) {
                inputs.push(&v);
                u.iter_mut()
                    .zip(&v)
                    .for_each(|(u, v)| *u *= (-0.5 * v).exp());
            }
            inputs.push(&mean);
            let shape = [channels, size[0], size[1]];
            let expected = by_hand(&u, shape, 8);
            let mut pyramid = vec![0.0; expected.len()];
            let mut latent = vec![0.0; 12];
            graph
                .run(&inputs, &mut [&mut pyramid, &mut latent])
                .unwrap();
            assert_eq!(latent, mean);
            for (place, (found, expected)) in pyramid.iter().zip(&expected).enumerate() {
                assert!(
                    (found - expected).abs() < 1e-5,
                    "{channels} channels, value {place}: {found}, {expected} by hand"
                );
            }
        }
    }

    #[test]
    fn cells_grow_with_the_frame() {
        assert_eq!(cell([64, 64]), Some(8));
        assert_eq!(cell([128, 128]), Some(8));
        assert_eq!(cell([256, 256]), Some(16));
        assert_eq!(cell([384, 384]), Some(16));
        assert_eq!(cell([512, 512]), Some(32));
        assert_eq!(cell([512, 256]), Some(16));
        assert_eq!(cell([28, 28]), None);
        assert_eq!(cell([4, 4]), None);
        let digits = spec(1, [28, 28], Likelihood::Bernoulli);
        assert!(onnx(&digits, "test").is_none());
    }
}
