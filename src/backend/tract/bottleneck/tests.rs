//! Against plain loops in f64.

use super::super::super::Graph;
use super::super::super::test_graphs::{GraphBuilder, encode, int, ints, values};
use super::super::{tests::load, vectors::Vectors};
use super::*;

#[derive(Clone, Copy, Debug)]
struct Case {
    batch: usize,
    /// Of the block's input.
    inputs: usize,
    /// Between its first and its last step.
    channels: usize,
    outputs: usize,
    /// Height and width.
    size: [usize; 2],
    kernel: [usize; 2],
    stride: [usize; 2],
    /// Top, left, bottom, right.
    pads: [usize; 4],
    expands: bool,
    /// Upper end of the clamps after the first two steps.
    clip: Option<f32>,
    sum: bool,
    bias: bool,
}

/// Fewer than sixteen channels: of more, tract on arm64 makes depthwise convolutions of its own,
/// and no block is found.
const BLOCK: Case = Case {
    batch: 1,
    inputs: 5,
    channels: 13,
    outputs: 7,
    size: [12, 11],
    kernel: [3, 3],
    stride: [1, 1],
    pads: [1; 4],
    expands: true,
    clip: Some(1.5),
    sum: false,
    bias: true,
};

/// A convolution in plain loops: `picture` is N×(groups·I)×H×W, `weights` are O×I×KH×KW.
struct Convolution<'a> {
    weights: &'a [f32],
    bias: &'a [f32],
    groups: usize,
    kernel: [usize; 2],
    stride: [usize; 2],
    pads: [usize; 4],
    clip: Option<f32>,
}

impl Convolution<'_> {
    fn of(&self, picture: &[f64], batch: usize, size: [usize; 2]) -> (Vec<f64>, [usize; 2]) {
        let outputs = self.bias.len();
        let inputs = picture.len() / (batch * size[0] * size[1]);
        let (per_group, taps) = (inputs / self.groups, self.kernel[0] * self.kernel[1]);
        let side = |a: usize| {
            (size[a] + self.pads[a] + self.pads[a + 2] - self.kernel[a]) / self.stride[a] + 1
        };
        let to = [side(0), side(1)];
        let mut result = Vec::new();
        for (n, o) in (0..batch).flat_map(|n| (0..outputs).map(move |o| (n, o))) {
            for (y, x) in (0..to[0]).flat_map(|y| (0..to[1]).map(move |x| (y, x))) {
                let mut sum = f64::from(self.bias[o]);
                for (i, tap) in (0..per_group).flat_map(|i| (0..taps).map(move |tap| (i, tap))) {
                    let channel = o / (outputs / self.groups) * per_group + i;
                    let place = [
                        y * self.stride[0] + tap / self.kernel[1],
                        x * self.stride[1] + tap % self.kernel[1],
                    ];
                    let inside = |a: usize| place[a].checked_sub(self.pads[a]);
                    if let (Some(r), Some(c)) = (inside(0), inside(1))
                        && r < size[0]
                        && c < size[1]
                    {
                        let at = ((n * inputs + channel) * size[0] + r) * size[1] + c;
                        let weight = self.weights[(o * per_group + i) * taps + tap];
                        sum += picture[at] * f64::from(weight);
                    }
                }
                result.push(
                    self.clip
                        .map_or(sum, |high| sum.clamp(0.0, f64::from(high))),
                );
            }
        }
        (result, to)
    }
}

impl Case {
    fn input(&self, seed: u64) -> Vec<f32> {
        let channels = if self.expands {
            self.inputs
        } else {
            self.channels
        };
        values(seed, self.batch * channels * self.size[0] * self.size[1])
    }

    /// Weights and biases of the three steps.
    fn weights(&self) -> [(Vec<f32>, Vec<f32>); 3] {
        let taps = self.kernel[0] * self.kernel[1];
        let step = |seed, weights, outputs| {
            let bias = values(seed + 1, outputs);
            let bias = if self.bias { bias } else { vec![0.0; outputs] };
            (values(seed, weights), bias)
        };
        [
            step(60, self.channels * self.inputs, self.channels),
            step(62, self.channels * taps, self.channels),
            step(64, self.outputs * self.channels, self.outputs),
        ]
    }

    fn by_loops(&self, input: &[f32]) -> Vec<f32> {
        let mut picture: Vec<f64> = input.iter().map(|&x| x.into()).collect();
        let mut size = self.size;
        for (step, (weights, bias)) in self.weights().iter().enumerate() {
            if step == 0 && !self.expands {
                continue;
            }
            let depthwise = step == 1;
            let convolution = Convolution {
                weights,
                bias,
                groups: if depthwise { self.channels } else { 1 },
                kernel: if depthwise { self.kernel } else { [1, 1] },
                stride: if depthwise { self.stride } else { [1, 1] },
                pads: if depthwise { self.pads } else { [0; 4] },
                clip: self.clip.filter(|_| step < 2),
            };
            (picture, size) = convolution.of(&picture, self.batch, size);
        }
        let sums = picture.iter().enumerate();
        sums.map(|(at, &x)| {
            if self.sum {
                x as f32 + input[at]
            } else {
                x as f32
            }
        })
        .collect()
    }

    fn graph(&self) -> Vec<u8> {
        let int64 = |values: &[usize]| values.iter().map(|&v| v as i64).collect::<Vec<_>>();
        let mut b = GraphBuilder::default();
        let channels = if self.expands {
            self.inputs
        } else {
            self.channels
        };
        b.input(
            "x",
            &[&[0, channels as i64], &int64(&self.size)[..]].concat(),
        );
        b.weights("low", &[], &[0.0]);
        b.weights("high", &[], &[self.clip.unwrap_or(0.0)]);
        let mut last = "x".to_owned();
        let steps = ["expand", "depthwise", "project"];
        for (step, (weights, bias)) in self.weights().iter().enumerate() {
            if step == 0 && !self.expands {
                continue;
            }
            let name = |what: &str| format!("{}.{what}", steps[step]);
            let (inputs, kernel) = match step {
                0 => (self.inputs, [1, 1]),
                1 => (1, self.kernel),
                _ => (self.channels, [1, 1]),
            };
            let dims = int64(&[bias.len(), inputs, kernel[0], kernel[1]]);
            b.weights(&name("w"), &dims, weights);
            b.weights(&name("b"), &int64(&[bias.len()]), bias);
            let mut attributes = vec![ints("kernel_shape", &int64(&kernel))];
            if step == 1 {
                attributes.push(ints("strides", &int64(&self.stride)));
                attributes.push(ints("pads", &int64(&self.pads)));
                attributes.push(int("group", self.channels as i64));
            }
            let mut inputs = vec![last, name("w"), name("b")];
            inputs.truncate(if self.bias { 3 } else { 2 });
            let inputs: Vec<&str> = inputs.iter().map(|name| &name[..]).collect();
            last = name("sum");
            b.node("Conv", &inputs, &[&last], attributes);
            if self.clip.is_some() && step < 2 {
                let clipped = name("clipped");
                b.node("Clip", &[&last, "low", "high"], &[&clipped], vec![]);
                last = clipped;
            }
        }
        if self.sum {
            b.node("Add", &["x", &last], &["y"], vec![]);
        } else {
            b.node("Identity", &[&last], &["y"], vec![]);
        }
        b.output(
            "y",
            &[&[0, self.outputs as i64], &int64(&self.to())[..]].concat(),
        );
        encode(&b.finish())
    }

    fn to(&self) -> [usize; 2] {
        [0, 1].map(|a| {
            (self.size[a] + self.pads[a] + self.pads[a + 2] - self.kernel[a]) / self.stride[a] + 1
        })
    }

    /// Largest difference from plain loops, and the operators of the optimised graph.
    fn run(&self) -> (f32, Vec<String>) {
        let mut graph = load(&self.graph(), self.batch).unwrap();
        let [height, width] = self.to();
        let mut found = vec![f32::NAN; self.batch * self.outputs * height * width];
        // The second run shows that nothing of the first stays behind.
        for seed in [70, 71] {
            graph.run(&[&self.input(seed)], &mut [&mut found]).unwrap();
        }
        let expected = self.by_loops(&self.input(71));
        assert_eq!(expected.len(), found.len());
        let differences = expected.iter().zip(&found).map(|(a, b)| (a - b).abs());
        let largest = differences.fold(0.0, |a: f32, b| if b.is_nan() { b } else { a.max(b) });
        let nodes = graph.plan.model().nodes().iter();
        (largest, nodes.map(|node| node.op.name().into()).collect())
    }

    fn check(&self) {
        let (difference, operators) = self.run();
        assert!(difference < 2e-5, "{self:?}: {difference}");
        let known = ["Source", "Bottleneck"];
        let others = operators.iter().filter(|name| !known.contains(&&name[..]));
        // What is left changes no value: shapes alone.
        let others: Vec<_> = others.filter(|name| !name.contains("Axis")).collect();
        assert!(others.is_empty(), "{self:?}: {operators:?}");
        let blocks = operators.iter().filter(|name| *name == "Bottleneck");
        assert_eq!(blocks.count(), 1, "{self:?}: {operators:?}");
    }
}

#[test]
fn blocks_give_what_plain_loops_give() {
    for (kernel, pads) in [
        ([3, 3], [1; 4]),
        ([5, 5], [2; 4]),
        ([3, 3], [0, 0, 1, 1]),
        ([3, 5], [2, 0, 1, 4]),
        ([4, 2], [3, 1, 3, 1]),
    ] {
        for stride in [[1, 1], [2, 2], [2, 1], [1, 3]] {
            for (size, batch) in [([12, 11], 1), ([9, 32], 3), ([5, 4], 1)] {
                for expands in [true, false] {
                    let case = Case {
                        batch,
                        size,
                        kernel,
                        stride,
                        pads,
                        expands,
                        ..BLOCK
                    };
                    case.check();
                }
            }
        }
    }
}

#[test]
fn the_input_is_added_where_the_graph_adds_it() {
    for (batch, expands) in [(1, true), (2, true), (1, false), (2, false)] {
        let channels = if expands { 14 } else { 6 };
        let case = Case {
            batch,
            inputs: 6,
            channels,
            outputs: 6,
            expands,
            sum: true,
            ..BLOCK
        };
        case.check();
        Case {
            bias: false,
            ..case
        }
        .check();
        Case { clip: None, ..case }.check();
    }
}

/// Rows of several runs, of which neighbours expand the same input rows.
#[test]
fn runs_of_rows_join() {
    for (stride, kernel, pads) in [([1, 1], [5, 5], [2; 4]), ([2, 2], [3, 3], [0, 0, 1, 1])] {
        let case = Case {
            channels: 15,
            size: [300, 129],
            stride,
            kernel,
            pads,
            ..BLOCK
        };
        let graph = load(&case.graph(), 1).unwrap();
        let mut nodes = graph.plan.model().nodes().iter();
        let op = nodes.find_map(|node| node.op_as::<Bottleneck>()).unwrap();
        assert!(2 * op.run() < op.depthwise.rows.output, "{}", op.run());
        case.check();
    }
}

/// The other compilation than the one that the processor chooses.
#[test]
fn the_baseline_gives_what_plain_loops_give() {
    let graph = load(&BLOCK.graph(), 1).unwrap();
    let mut nodes = graph.plan.model().nodes().iter();
    let op = nodes.find_map(|node| node.op_as::<Bottleneck>());
    let mut op = op.unwrap().clone();
    op.project.vectors = Vectors::Baseline;
    op.expand.as_mut().unwrap().vectors = Vectors::Baseline;
    let input = BLOCK.input(72);
    let expected = BLOCK.by_loops(&input);
    let mut found = vec![0.0; expected.len()];
    op.compute(&input, &mut found);
    for (expected, found) in expected.iter().zip(&found) {
        assert!((expected - found).abs() < 2e-5);
    }
}

/// What else reads the block's inside keeps it from being one.
#[test]
fn an_inside_that_is_an_output_stays() {
    let mut b = GraphBuilder::default();
    b.input("x", &[0, 4, 6, 6]);
    b.weights("w1", &[4, 1, 3, 3], &values(80, 36));
    b.weights("w2", &[2, 4, 1, 1], &values(81, 8));
    let attributes = vec![ints("pads", &[1; 4]), int("group", 4)];
    b.node("Conv", &["x", "w1"], &["inside"], attributes);
    b.node("Conv", &["inside", "w2"], &["y"], vec![]);
    b.output("inside", &[0, 4, 6, 6]);
    b.output("y", &[0, 2, 6, 6]);
    let mut graph = load(&encode(&b.finish()), 1).unwrap();
    let mut nodes = graph.plan.model().nodes().iter();
    assert!(nodes.all(|node| node.op.name() != "Bottleneck"));
    let (mut inside, mut y) = (vec![0.0; 144], vec![0.0; 72]);
    let input = values(82, 144);
    graph.run(&[&input], &mut [&mut inside, &mut y]).unwrap();
    let weights = values(81, 8);
    for (at, found) in y.iter().enumerate() {
        let sum: f32 = (0..4)
            .map(|channel| weights[at / 36 * 4 + channel] * inside[channel * 36 + at % 36])
            .sum();
        assert!((sum - found).abs() < 1e-5);
    }
}

/// A NaN is not clamped away.
#[test]
fn a_frame_that_is_not_a_number_gives_none() {
    let mut graph = load(&BLOCK.graph(), 1).unwrap();
    let mut input = BLOCK.input(73);
    input[60] = f32::NAN;
    let mut found = vec![0.0; BLOCK.outputs * 12 * 11];
    graph.run(&[&input], &mut [&mut found]).unwrap();
    assert!(found.iter().any(|value| value.is_nan()));
}
