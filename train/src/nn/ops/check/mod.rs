//! What every operation is held to: central differences in `f64`, candle's own operations, and
//! equal bits with any number of threads.

mod convolution;
mod detection;
mod layers;
mod likelihood;
mod together;

use candle_core::{DType, Device, Result, Tensor, Var};
use rand::SeedableRng;
use rand_distr::{Distribution, StandardNormal};
use rand_pcg::Pcg64;

use super::Activation;

const ACTIVATIONS: [Activation; 4] = [
    Activation::Identity,
    Activation::Relu,
    Activation::LeakyRelu,
    Activation::Silu,
];

fn normal(generator: &mut Pcg64, shape: &[usize]) -> Tensor {
    let count = shape.iter().product();
    let numbers: Vec<f64> = StandardNormal.sample_iter(generator).take(count).collect();
    Tensor::from_vec(numbers, shape, &Device::Cpu).unwrap()
}

fn normals(seed: u64, shapes: &[&[usize]]) -> Vec<Tensor> {
    let mut generator = Pcg64::seed_from_u64(seed);
    shapes
        .iter()
        .map(|shape| normal(&mut generator, shape))
        .collect()
}

fn flat(tensor: &Tensor) -> Vec<f64> {
    tensor
        .to_dtype(DType::F64)
        .unwrap()
        .flatten_all()
        .unwrap()
        .to_vec1()
        .unwrap()
}

/// A scalar of the function's result that depends on each number of it differently.
fn loss(y: &Tensor) -> Tensor {
    let weights = normals(99, &[y.dims()])
        .remove(0)
        .to_dtype(y.dtype())
        .unwrap();
    (y * weights).unwrap().sum_all().unwrap()
}

type Function<'a> = &'a dyn Fn(&[Tensor]) -> Result<Tensor>;

/// Gradients of [`loss`] by the inputs; `None` where there is none.
fn gradients(function: Function<'_>, inputs: &[Tensor]) -> Vec<Option<Vec<f64>>> {
    let variables: Vec<Var> = inputs
        .iter()
        .map(|t| Var::from_tensor(t).unwrap())
        .collect();
    let tensors: Vec<Tensor> = variables.iter().map(|v| v.as_tensor().clone()).collect();
    let grads = loss(&function(&tensors).unwrap()).backward().unwrap();
    tensors.iter().map(|t| grads.get(t).map(flat)).collect()
}

/// Holds the gradients by the first `differentiable` inputs against central differences, and
/// demands that the others have none.
fn check_gradients(what: &str, function: Function<'_>, inputs: &[Tensor], differentiable: usize) {
    const STEP: f64 = 1e-5;
    let found = gradients(function, inputs);
    for (index, found) in found.iter().enumerate() {
        if index >= differentiable {
            let zero = found.as_ref().is_none_or(|g| g.iter().all(|g| *g == 0.0));
            assert!(zero, "{what}: input {index} has a gradient");
            continue;
        }
        let found = found
            .as_ref()
            .unwrap_or_else(|| panic!("{what}: input {index} has none"));
        let numbers = flat(&inputs[index]);
        for (position, found) in found.iter().enumerate() {
            let value = |shift: f64| {
                let mut numbers = numbers.clone();
                numbers[position] += shift;
                let mut inputs = inputs.to_vec();
                let shape = inputs[index].shape().clone();
                inputs[index] = Tensor::from_vec(numbers, shape, &Device::Cpu).unwrap();
                loss(&function(&inputs).unwrap())
                    .to_scalar::<f64>()
                    .unwrap()
            };
            let difference = (value(STEP) - value(-STEP)) / (2.0 * STEP);
            assert!(
                (found - difference).abs() <= 1e-6 * (1.0 + difference.abs()),
                "{what}: input {index}, number {position}: {found}, by differences {difference}"
            );
        }
    }
}

/// Holds results and gradients against another implementation.
fn check_against(
    what: &str,
    ours: Function<'_>,
    theirs: Function<'_>,
    inputs: &[Tensor],
    tolerance: f64,
) {
    let compare = |part: &str, a: &[f64], b: &[f64]| {
        assert_eq!(a.len(), b.len(), "{what}: {part}");
        for (a, b) in a.iter().zip(b) {
            assert!(
                (a - b).abs() <= tolerance * (1.0 + b.abs()),
                "{what}: {part}: {a} for {b}"
            );
        }
    };
    let (our_result, their_result) = (ours(inputs).unwrap(), theirs(inputs).unwrap());
    assert_eq!(our_result.dims(), their_result.dims(), "{what}");
    compare("result", &flat(&our_result), &flat(&their_result));
    for (index, (a, b)) in gradients(ours, inputs)
        .iter()
        .zip(gradients(theirs, inputs))
        .enumerate()
    {
        let count = inputs[index].elem_count();
        let or_zero = |g: Option<&Vec<f64>>| g.cloned().unwrap_or_else(|| vec![0.0; count]);
        compare(
            &format!("gradient {index}"),
            &or_zero(a.as_ref()),
            &or_zero(b.as_ref()),
        );
    }
}
