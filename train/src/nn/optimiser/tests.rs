use super::*;
use candle_core::Device;

const SETTINGS: AdamWSettings = AdamWSettings {
    beta1: 0.8,
    beta2: 0.95,
    eps: 1e-6,
    weight_decay: 0.1,
    max_gradient_norm: Some(0.9),
    average_decay: Some(0.7),
};

/// AdamW as the paper writes it, with clipping and averaging, in `f64` and one number at a
/// time.
struct ByHand {
    weights: Vec<f64>,
    first: Vec<f64>,
    second: Vec<f64>,
    average: Vec<f64>,
}

impl ByHand {
    fn new(weights: &[f64]) -> Self {
        let zeros = vec![0.0; weights.len()];
        Self {
            weights: weights.to_vec(),
            first: zeros.clone(),
            second: zeros,
            average: weights.to_vec(),
        }
    }

    fn step(&mut self, gradient: &[f64], norm: f64, t: i32, rate: f64, decay: f64) {
        let clip = if norm > 0.9 { 0.9 / norm } else { 1.0 };
        let average_decay = f64::min(0.7, f64::from(1 + t) / f64::from(10 + t));
        for (i, gradient) in gradient.iter().enumerate() {
            let g = gradient * clip;
            self.first[i] = 0.8 * self.first[i] + 0.2 * g;
            self.second[i] = 0.95 * self.second[i] + 0.05 * g * g;
            let first = self.first[i] / (1.0 - 0.8f64.powi(t));
            let second = self.second[i] / (1.0 - 0.95f64.powi(t));
            let old = self.weights[i];
            self.weights[i] = old - rate * (first / (second.sqrt() + 1e-6) + decay * old);
            self.average[i] =
                average_decay * self.average[i] + (1.0 - average_decay) * self.weights[i];
        }
    }
}

fn variables(dtype: DType) -> BTreeMap<String, Var> {
    let kernel = [[0.5, -1.0, 2.0], [0.1, 0.0, -0.7]];
    let bias = [1.5, -0.2, 3e-3];
    let variable =
        |t: Result<Tensor>| Var::from_tensor(&t.unwrap().to_dtype(dtype).unwrap()).unwrap();
    BTreeMap::from([
        (
            "kernel".to_owned(),
            variable(Tensor::new(&kernel, &Device::Cpu)),
        ),
        (
            "norm.bias".to_owned(),
            variable(Tensor::new(&bias, &Device::Cpu)),
        ),
    ])
}

/// A loss whose gradients change from step to step and exceed the clipping norm in some.
fn gradients(variables: &BTreeMap<String, Var>, t: u64) -> GradStore {
    let size = 0.02 * t as f64 * t as f64;
    let product = variables["kernel"]
        .broadcast_mul(&variables["norm.bias"])
        .unwrap();
    let loss = (product.sqr().unwrap() - variables["kernel"].as_tensor()).unwrap();
    (loss.sum_all().unwrap() * size)
        .unwrap()
        .backward()
        .unwrap()
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

fn follows_the_formula(dtype: DType, tolerance: f64) {
    let variables = variables(dtype);
    let mut by_hand: Vec<ByHand> = variables.values().map(|v| ByHand::new(&flat(v))).collect();
    let mut optimiser = AdamW::new(&variables, |name| !name.ends_with("bias"), SETTINGS).unwrap();
    let mut clipped = 0;
    for t in 1..=12 {
        let rate = 0.05 / f64::from(t);
        let grads = gradients(&variables, t as u64);
        let numbers: Vec<Vec<f64>> = variables
            .values()
            .map(|v| flat(grads.get(v).unwrap()))
            .collect();
        let norm = numbers.iter().flatten().map(|g| g * g).sum::<f64>().sqrt();
        clipped += u32::from(norm > 0.9);
        let found = optimiser.step(&grads, rate).unwrap();
        assert!((found / norm - 1.0).abs() < 1e-6, "{found} for {norm}");
        for ((by_hand, numbers), decay) in by_hand.iter_mut().zip(&numbers).zip([0.1, 0.0]) {
            by_hand.step(numbers, norm, t, rate, decay);
        }
        let averages = optimiser.averages().unwrap();
        for ((name, variable), by_hand) in variables.iter().zip(&by_hand) {
            let pairs = [
                (flat(variable), &by_hand.weights),
                (flat(&averages[name]), &by_hand.average),
            ];
            for (found, expected) in pairs {
                for (found, expected) in found.iter().zip(expected) {
                    assert!(
                        (found - expected).abs() < tolerance,
                        "{name}, step {t}: {found} for {expected}"
                    );
                }
            }
        }
    }
    assert!(
        (1..12).contains(&clipped),
        "some steps clip and some do not: {clipped}"
    );
}

#[test]
fn steps_in_place_follow_the_formula() {
    follows_the_formula(DType::F32, 2e-6);
}

#[test]
fn steps_by_tensors_follow_the_formula() {
    follows_the_formula(DType::F64, 1e-12);
}

fn bits(variables: &BTreeMap<String, Var>) -> Vec<u32> {
    variables
        .values()
        .flat_map(|v| v.flatten_all().unwrap().to_vec1::<f32>().unwrap())
        .map(f32::to_bits)
        .collect()
}

#[test]
fn a_restored_optimiser_goes_on_bit_by_bit() {
    let whole = variables(DType::F32);
    let mut undisturbed = AdamW::new(&whole, |_| true, SETTINGS).unwrap();
    let mut halfway = None;
    for t in 1..=8 {
        undisturbed.step(&gradients(&whole, t), 0.01).unwrap();
        if t == 4 {
            let weights: Vec<Tensor> = whole.values().map(|v| v.copy().unwrap()).collect();
            halfway = Some((weights, undisturbed.state().unwrap()));
        }
    }
    let (weights, state) = halfway.unwrap();
    let resumed = variables(DType::F32);
    for (variable, weights) in resumed.values().zip(&weights) {
        variable.set(weights).unwrap();
    }
    let mut optimiser = AdamW::new(&resumed, |_| true, SETTINGS).unwrap();
    optimiser.restore(&state).unwrap();
    assert_eq!(optimiser.steps(), 4);
    for t in 5..=8 {
        optimiser.step(&gradients(&resumed, t), 0.01).unwrap();
    }
    assert_eq!(bits(&whole), bits(&resumed));
    let averages = |optimiser: &AdamW| -> Vec<Vec<f64>> {
        optimiser.averages().unwrap().values().map(flat).collect()
    };
    assert_eq!(averages(&undisturbed), averages(&optimiser));
}

#[test]
fn an_incomplete_state_is_refused_and_changes_nothing() {
    let variables = variables(DType::F32);
    let mut optimiser = AdamW::new(&variables, |_| true, SETTINGS).unwrap();
    optimiser.step(&gradients(&variables, 3), 0.01).unwrap();
    let before = optimiser.state().unwrap();
    let mut state = before.clone();
    let kernel = state.remove("second.kernel").unwrap();
    let message = optimiser.restore(&state).unwrap_err().to_string();
    assert!(message.contains("second.kernel"), "{message}");
    state.insert("second.kernel".to_owned(), kernel.flatten_all().unwrap());
    assert!(optimiser.restore(&state).is_err());
    for (key, tensor) in optimiser.state().unwrap() {
        assert_eq!(flat(&tensor), flat(&before[&key]), "{key}");
    }
}

#[test]
fn gradients_that_are_not_finite_change_nothing() {
    let variables = variables(DType::F32);
    let mut optimiser = AdamW::new(&variables, |_| true, SETTINGS).unwrap();
    let before = bits(&variables);
    let mut grads = gradients(&variables, 3);
    let broken = Tensor::new(&[f32::NAN, 0.0, 1.0], &Device::Cpu).unwrap();
    grads.insert(&variables["norm.bias"], broken);
    assert!(optimiser.step(&grads, 0.01).unwrap().is_nan());
    assert_eq!(bits(&variables), before);
    assert_eq!(optimiser.steps(), 0);
}

#[test]
fn variables_without_gradient_are_left_alone() {
    let variables = variables(DType::F32);
    let mut optimiser = AdamW::new(&variables, |_| true, SETTINGS).unwrap();
    let loss = variables["kernel"].sqr().unwrap().sum_all().unwrap();
    optimiser.step(&loss.backward().unwrap(), 0.1).unwrap();
    assert_eq!(flat(&variables["norm.bias"])[0], 1.5);
    assert!(flat(&variables["kernel"])[0] < 0.5);
}
