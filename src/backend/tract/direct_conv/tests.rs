//! Against plain loops in f64.

use super::super::super::Graph;
use super::super::super::test_graphs::{GraphBuilder, encode, int, ints, values};
use super::super::tests::load;
use super::*;

#[derive(Clone, Copy, Debug)]
struct Case {
    batch: usize,
    groups: usize,
    /// Channels in and out of a group.
    channels: [usize; 2],
    /// Height and width.
    size: [usize; 2],
    kernel: [usize; 2],
    stride: [usize; 2],
    /// Top, left, bottom, right.
    pads: [usize; 4],
    clip: Option<[f32; 2]>,
}

const DEPTHWISE: Case = Case {
    batch: 1,
    groups: 6,
    channels: [1, 1],
    size: [12, 12],
    kernel: [3, 3],
    stride: [1, 1],
    pads: [1; 4],
    clip: None,
};

impl Case {
    fn output(&self) -> [usize; 2] {
        [0, 1].map(|a| {
            (self.size[a] + self.pads[a] + self.pads[a + 2] - self.kernel[a]) / self.stride[a] + 1
        })
    }

    fn weights(&self) -> Vec<f32> {
        let [inputs, outputs] = self.channels;
        values(
            40,
            self.groups * inputs * outputs * self.kernel[0] * self.kernel[1],
        )
    }

    fn bias(&self) -> Vec<f32> {
        values(41, self.groups * self.channels[1])
    }

    fn input(&self) -> Vec<f32> {
        let [inputs, _] = self.channels;
        values(
            42,
            self.batch * self.groups * inputs * self.size[0] * self.size[1],
        )
    }

    fn graph(&self, with_bias: bool) -> Vec<u8> {
        let [inputs, outputs] = self.channels;
        let (total_in, total_out) = (self.groups * inputs, self.groups * outputs);
        let [oh, ow] = self.output();
        let int64 = |values: &[usize]| values.iter().map(|&v| v as i64).collect::<Vec<_>>();
        let mut b = GraphBuilder::default();
        b.input(
            "x",
            &[&[0, total_in as i64], &int64(&self.size)[..]].concat(),
        );
        let dims = int64(&[total_out, inputs, self.kernel[0], self.kernel[1]]);
        b.weights("w", &dims, &self.weights());
        b.weights("b", &[total_out as i64], &self.bias());
        b.node(
            "Conv",
            if with_bias {
                &["x", "w", "b"]
            } else {
                &["x", "w"]
            },
            &[if self.clip.is_some() { "sum" } else { "y" }],
            vec![
                ints("kernel_shape", &int64(&self.kernel)),
                ints("strides", &int64(&self.stride)),
                ints("pads", &int64(&self.pads)),
                int("group", self.groups as i64),
            ],
        );
        if let Some([low, high]) = self.clip {
            b.weights("low", &[], &[low]);
            b.weights("high", &[], &[high]);
            b.node("Clip", &["sum", "low", "high"], &["y"], vec![]);
        }
        b.output("y", &[0, total_out as i64, oh as i64, ow as i64]);
        encode(&b.finish())
    }

    fn by_loops(&self, with_bias: bool) -> Vec<f32> {
        let ([inputs, outputs], [oh, ow]) = (self.channels, self.output());
        let (input, weights, bias) = (self.input(), self.weights(), self.bias());
        let mut result = Vec::new();
        for n in 0..self.batch {
            for (o, &bias) in bias.iter().enumerate() {
                for (y, x) in (0..oh).flat_map(|y| (0..ow).map(move |x| (y, x))) {
                    let mut sum = if with_bias { f64::from(bias) } else { 0.0 };
                    for i in 0..inputs {
                        let channel = (n * self.groups + o / outputs) * inputs + i;
                        for ky in 0..self.kernel[0] {
                            for kx in 0..self.kernel[1] {
                                let r = y * self.stride[0] + ky;
                                let c = x * self.stride[1] + kx;
                                let inside = (self.pads[0]..self.size[0] + self.pads[0])
                                    .contains(&r)
                                    && (self.pads[1]..self.size[1] + self.pads[1]).contains(&c);
                                if !inside {
                                    continue;
                                }
                                let at = (channel * self.size[0] + r - self.pads[0]) * self.size[1]
                                    + c
                                    - self.pads[1];
                                let tap =
                                    ((o * inputs + i) * self.kernel[0] + ky) * self.kernel[1] + kx;
                                sum += f64::from(input[at]) * f64::from(weights[tap]);
                            }
                        }
                    }
                    let sum = sum as f32;
                    result.push(self.clip.map_or(sum, |[low, high]| sum.max(low).min(high)));
                }
            }
        }
        result
    }

    /// Largest difference from plain loops, and the operators of the optimised graph.
    fn run(&self, with_bias: bool) -> (f32, Vec<String>) {
        let mut graph = load(&self.graph(with_bias), self.batch).unwrap();
        let expected = self.by_loops(with_bias);
        let mut found = vec![f32::NAN; expected.len()];
        // The second run shows that nothing of the first stays behind.
        for input in [values(50, self.input().len()), self.input()] {
            graph.run(&[&input], &mut [&mut found]).unwrap();
        }
        let difference = expected
            .iter()
            .zip(&found)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, |a: f32, b| if b.is_nan() { b } else { a.max(b) });
        let nodes = graph.plan.model().nodes().iter();
        (
            difference,
            nodes.map(|node| node.op.name().into()).collect(),
        )
    }

    fn check(&self) {
        for with_bias in [true, false] {
            let (difference, operators) = self.run(with_bias);
            assert!(difference < 1e-5, "{self:?}: {difference}");
            let direct = operators
                .iter()
                .filter(|name| *name == "DirectConv")
                .count();
            assert_eq!(direct, 1, "{self:?}: {operators:?}");
            let clamps = operators
                .iter()
                .any(|name| name.contains("Max") || name.contains("Min"));
            assert!(!clamps, "{self:?}: {operators:?}");
        }
    }
}

#[test]
fn depthwise_convolutions_give_what_plain_loops_give() {
    for (kernel, pads) in [
        ([3, 3], [1; 4]),
        ([5, 5], [2; 4]),
        ([7, 7], [3; 4]),
        ([3, 3], [0; 4]),
        ([3, 3], [0, 0, 1, 1]),
        ([5, 5], [1, 1, 2, 2]),
        ([3, 5], [2, 0, 1, 4]),
        ([1, 7], [0, 6, 0, 6]),
        ([4, 2], [3, 1, 3, 1]),
    ] {
        for stride in [[1, 1], [2, 2], [2, 1], [1, 2], [3, 3]] {
            for (size, batch) in [([12, 12], 1), ([9, 31], 3), ([8, 7], 1)] {
                let case = Case {
                    batch,
                    size,
                    kernel,
                    stride,
                    pads,
                    ..DEPTHWISE
                };
                case.check();
            }
        }
    }
}

#[test]
fn runs_of_rows_join() {
    for stride in [[1, 1], [2, 2]] {
        // More rows of copied values than are taken at a time, and a last run that is shorter.
        let case = Case {
            groups: 2,
            size: [131, 129],
            stride,
            ..DEPTHWISE
        };
        case.check();
        Case {
            kernel: [5, 5],
            pads: [2; 4],
            size: [300, 45],
            ..case
        }
        .check();
    }
}

#[test]
fn kernels_larger_than_the_frame() {
    for stride in [[1, 1], [2, 2]] {
        let case = Case {
            size: [2, 3],
            kernel: [7, 7],
            pads: [3; 4],
            stride,
            ..DEPTHWISE
        };
        case.check();
        Case {
            size: [1, 1],
            pads: [6; 4],
            ..case
        }
        .check();
        Case {
            size: [1, 9],
            kernel: [5, 5],
            pads: [2, 9, 2, 0],
            ..case
        }
        .check();
    }
}

#[test]
fn groups_of_few_channels() {
    for (groups, channels) in [
        (1, [3, 8]),
        (1, [1, 5]),
        (4, [1, 2]),
        (3, [2, 1]),
        (1, [4, 1]),
    ] {
        for (kernel, stride, pads) in [
            ([3, 3], [2, 2], [0, 0, 1, 1]),
            ([4, 4], [4, 4], [0; 4]),
            ([7, 7], [4, 4], [3; 4]),
            ([5, 3], [1, 1], [2, 1, 2, 1]),
        ] {
            let size = [20, 23];
            let case = Case {
                groups,
                channels,
                size,
                kernel,
                stride,
                pads,
                ..DEPTHWISE
            };
            case.check();
            Case { batch: 3, ..case }.check();
        }
    }
}

#[test]
fn clamps_are_taken_in() {
    for clip in [[0.0, 6.0], [-0.1, 0.2], [0.0, f32::INFINITY], [0.3, -0.3]] {
        Case {
            clip: Some(clip),
            ..DEPTHWISE
        }
        .check();
    }
}

/// A sum that something else reads as well is not clamped away.
#[test]
fn a_sum_that_is_an_output_stays() {
    let case = DEPTHWISE;
    let mut b = GraphBuilder::default();
    b.input("x", &[0, 6, 12, 12]);
    b.weights("w", &[6, 1, 3, 3], &case.weights());
    b.weights("b", &[6], &case.bias());
    let attributes = vec![ints("pads", &[1; 4]), int("group", 6)];
    b.node("Conv", &["x", "w", "b"], &["sum"], attributes);
    b.node("Relu", &["sum"], &["y"], vec![]);
    b.output("sum", &[0, 6, 12, 12]);
    b.output("y", &[0, 6, 12, 12]);
    let mut graph = load(&encode(&b.finish()), 1).unwrap();
    let (mut sum, mut y) = (vec![0.0; 864], vec![0.0; 864]);
    graph
        .run(&[&case.input()], &mut [&mut sum, &mut y])
        .unwrap();
    for ((expected, sum), y) in case.by_loops(true).iter().zip(&sum).zip(&y) {
        assert!((expected - sum).abs() < 1e-5);
        assert!((expected.max(0.0) - y).abs() < 1e-5);
    }
    assert!(sum.iter().any(|&value| value < 0.0));
}

/// The other compilation than the one that the processor chooses.
#[test]
fn the_baseline_gives_what_plain_loops_give() {
    let graph = load(&DEPTHWISE.graph(true), 1).unwrap();
    let nodes = graph.plan.model().nodes().iter();
    let mut op = nodes
        .filter_map(|node| node.op_as::<DirectConv>())
        .next()
        .unwrap()
        .clone();
    op.vectors = Vectors::Baseline;
    let mut found = vec![0.0; 864];
    op.compute(&DEPTHWISE.input(), &mut found);
    for (expected, found) in DEPTHWISE.by_loops(true).iter().zip(&found) {
        assert!((expected - found).abs() < 1e-5);
    }
}

#[test]
fn means_of_neighbours_leave_padding_out() {
    for (size, side, stride, pad) in [
        ([16, 16], 3, 1, 1),
        ([64, 65], 4, 2, 1),
        ([33, 20], 6, 4, 1),
        ([9, 9], 5, 3, 2),
        ([8, 8], 2, 2, 0),
    ] {
        let (channels, batch) = (5, 2);
        let [oh, ow] = size.map(|length| (length + 2 * pad - side) / stride + 1);
        let mut b = GraphBuilder::default();
        b.input("x", &[0, channels as i64, size[0] as i64, size[1] as i64]);
        let attributes = vec![
            ints("kernel_shape", &[side as i64; 2]),
            ints("strides", &[stride as i64; 2]),
            ints("pads", &[pad as i64; 4]),
        ];
        b.node("AveragePool", &["x"], &["y"], attributes);
        b.output("y", &[0, channels as i64, oh as i64, ow as i64]);
        let mut graph = load(&encode(&b.finish()), batch).unwrap();
        let mut nodes = graph.plan.model().nodes().iter();
        assert!(nodes.any(|node| node.op.name() == "DirectConv"));
        let input = values(44, batch * channels * size[0] * size[1]);
        let mut found = vec![f32::NAN; batch * channels * oh * ow];
        graph.run(&[&input], &mut [&mut found]).unwrap();
        for (place, found) in found.into_iter().enumerate() {
            let (y, x) = (place / ow % oh, place % ow);
            let plane = &input[place / (oh * ow) * size[0] * size[1]..];
            let span = |at: usize, of: usize| {
                (at * stride).saturating_sub(pad)..(at * stride + side - pad).min(of)
            };
            let cells = span(y, size[0])
                .flat_map(|row| span(x, size[1]).map(move |column| row * size[1] + column));
            let (sum, count) = cells.fold((0.0, 0), |(sum, count), cell| {
                (sum + f64::from(plane[cell]), count + 1)
            });
            let expected = sum / f64::from(count);
            assert!(
                (expected - f64::from(found)).abs() < 1e-6,
                "{size:?}, {side}, {place}"
            );
        }
    }
}

#[test]
fn others_are_left_to_tract() {
    for case in [
        Case {
            groups: 1,
            channels: [5, 2],
            ..DEPTHWISE
        },
        Case {
            kernel: [9, 9],
            pads: [4; 4],
            ..DEPTHWISE
        },
        Case {
            stride: [5, 5],
            ..DEPTHWISE
        },
        Case {
            kernel: [1, 1],
            pads: [0; 4],
            ..DEPTHWISE
        },
    ] {
        let (difference, operators) = case.run(true);
        assert!(difference < 1e-5, "{case:?}: {difference}");
        assert!(
            !operators.iter().any(|name| name == "DirectConv"),
            "{operators:?}"
        );
    }
}
