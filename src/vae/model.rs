//! The two graphs of a VAE, checked against what the bundle says of them.

use std::fmt;

use super::{Likelihood, VaeError, VaeSpec, check_length};
use crate::backend::{Graph, TensorInfo};

/// Encoder and decoder of one batch size.
pub struct Vae {
    spec: VaeSpec,
    batch: usize,
    encoder: Side,
    decoder: Side,
    /// Posterior of the last [`Vae::reconstruct`].
    mean: Vec<f32>,
    log_variance: Vec<f32>,
    decoded: Decoded,
}

/// One of the two graphs: one input, one output or two, and the feature maps.
struct Side {
    name: &'static str,
    graph: Box<dyn Graph>,
    input: Port,
    first: Port,
    second: Option<Port>,
    /// Which output of the file is which.
    roles: Vec<Role>,
    features: Vec<FeatureMap>,
}

/// What an output of a graph is.
#[derive(Clone, Copy)]
enum Role {
    First,
    Second,
    /// The feature map of this index.
    Feature(usize),
}

/// What the encoder is called in errors.
const ENCODER: &str = "encoder";

/// Start of the name of an encoder's additional outputs.
const FEATURES: &str = "features_";

/// Most outputs of a graph.
const MAX_OUTPUTS: usize = 16;

/// A feature map of the encoder, of the last batch encoded.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureMap {
    /// Name of the graph's output: `features_…`.
    pub name: String,
    /// N×C×h×w.
    pub shape: [usize; 4],
    /// The values, row by row.
    pub values: Vec<f32>,
}

/// A named tensor and its number of elements, batch included.
#[derive(Clone, Copy)]
struct Port {
    name: &'static str,
    len: usize,
}

/// What the decoder gives for a batch. The buffers are reused from call to call.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decoded {
    /// Mean of p(x|z), N×C×H×W, in units of the input tensor.
    pub reconstruction: Vec<f32>,
    /// Logits of p(x|z), N×C×H×W; empty unless the likelihood is Bernoulli.
    pub logits: Vec<f32>,
    /// Log-variance of p(x|z), N×C×H×W; empty unless the likelihood is a Gaussian of learned
    /// variance.
    pub log_variance: Vec<f32>,
}

impl Vae {
    /// Joins two loaded graphs.
    ///
    /// # Errors
    /// Inputs or outputs of other names or shapes than [`VaeSpec`] tells, and graphs of different
    /// batch sizes. The outputs may come in any order. The encoder may have further outputs, maps
    /// N×C×h×w called `features_…`: see [`Vae::features`].
    pub fn new(
        spec: VaeSpec,
        encoder: Box<dyn Graph>,
        decoder: Box<dyn Graph>,
    ) -> Result<Self, VaeError> {
        let batch = encoder
            .inputs()
            .first()
            .and_then(|input| input.shape.first().copied())
            .unwrap_or(0);
        let with_batch = |shape: &[usize]| [&[batch], shape].concat();
        let picture = with_batch(&spec.input_shape());
        let latent = with_batch(&spec.latent.shape());
        let second = match spec.likelihood {
            Likelihood::Bernoulli => Some("logits"),
            Likelihood::Gaussian { .. } => None,
            Likelihood::GaussianLearned => Some("log_variance"),
        };
        let encoder = Side::new(
            ENCODER,
            encoder,
            ("input", &picture),
            ("mean", Some("log_variance"), &latent),
        )?;
        let decoder = Side::new(
            "decoder",
            decoder,
            ("latent", &latent),
            ("reconstruction", second, &picture),
        )?;
        Ok(Self {
            spec,
            batch,
            mean: vec![0.0; encoder.first.len],
            log_variance: vec![0.0; encoder.first.len],
            decoded: Decoded::default(),
            encoder,
            decoder,
        })
    }

    /// Frames per run, N.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Shapes and likelihood.
    pub fn spec(&self) -> &VaeSpec {
        &self.spec
    }

    /// A value of the encoder file's `metadata_props`.
    pub fn encoder_metadata(&self, key: &str) -> Option<String> {
        self.encoder.graph.metadata(key)
    }

    /// A value of the decoder file's `metadata_props`.
    pub fn decoder_metadata(&self, key: &str) -> Option<String> {
        self.decoder.graph.metadata(key)
    }

    /// Mean and log-variance of the posterior q(z|x), both N×L or N×L×h×w, of `input` N×C×H×W.
    ///
    /// # Errors
    /// Buffers of other lengths, NaN or infinite values in or out, and failures of the engine.
    pub fn encode_into(
        &mut self,
        input: &[f32],
        mean: &mut [f32],
        log_variance: &mut [f32],
    ) -> Result<(), VaeError> {
        self.encoder.run(input, mean, Some(log_variance))
    }

    /// What the decoder makes of `latent` N×L or N×L×h×w; `out` is resized where it does not fit.
    ///
    /// # Errors
    /// As [`Vae::encode_into`].
    pub fn decode_into(&mut self, latent: &[f32], out: &mut Decoded) -> Result<(), VaeError> {
        decode(&self.spec, &mut self.decoder, latent, out)
    }

    /// Decodes the posterior mean of `input` N×C×H×W, in buffers of its own.
    ///
    /// # Errors
    /// As [`Vae::encode_into`].
    pub fn reconstruct(&mut self, input: &[f32]) -> Result<&Decoded, VaeError> {
        self.encoder
            .run(input, &mut self.mean, Some(&mut self.log_variance))?;
        decode(&self.spec, &mut self.decoder, &self.mean, &mut self.decoded)?;
        Ok(&self.decoded)
    }

    /// The encoder's feature maps of the last batch encoded, in the order of the file; zeros before
    /// the first, and none where the encoder gives none.
    pub fn features(&self) -> &[FeatureMap] {
        &self.encoder.features
    }

    /// Mean and log-variance of the posterior that the last [`Vae::reconstruct`] found.
    pub fn last_posterior(&self) -> (&[f32], &[f32]) {
        (&self.mean, &self.log_variance)
    }
}

impl fmt::Debug for Vae {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vae")
            .field("spec", &self.spec)
            .field("batch", &self.batch)
            .finish_non_exhaustive()
    }
}

fn decode(
    spec: &VaeSpec,
    decoder: &mut Side,
    latent: &[f32],
    out: &mut Decoded,
) -> Result<(), VaeError> {
    let len = decoder.first.len;
    let (logits, log_variance) = match spec.likelihood {
        Likelihood::Bernoulli => (len, 0),
        Likelihood::Gaussian { .. } => (0, 0),
        Likelihood::GaussianLearned => (0, len),
    };
    out.reconstruction.resize(len, 0.0);
    out.logits.resize(logits, 0.0);
    out.log_variance.resize(log_variance, 0.0);
    let second = match spec.likelihood {
        Likelihood::Bernoulli => Some(&mut out.logits[..]),
        Likelihood::Gaussian { .. } => None,
        Likelihood::GaussianLearned => Some(&mut out.log_variance[..]),
    };
    decoder.run(latent, &mut out.reconstruction, second)
}

impl Side {
    /// Checks a graph; both outputs have one shape.
    fn new(
        name: &'static str,
        graph: Box<dyn Graph>,
        (input, input_shape): (&'static str, &[usize]),
        (first, second, output_shape): (&'static str, Option<&'static str>, &[usize]),
    ) -> Result<Self, VaeError> {
        let outputs: Vec<&'static str> = [Some(first), second].into_iter().flatten().collect();
        check_ports(
            name,
            ("input", "inputs"),
            graph.inputs(),
            &[input],
            input_shape,
        )?;
        let (own, further): (Vec<_>, Vec<_>) = graph
            .outputs()
            .iter()
            .cloned()
            .partition(|output| name != ENCODER || !output.name.starts_with(FEATURES));
        check_ports(name, ("output", "outputs"), &own, &outputs, output_shape)?;
        let features = further
            .into_iter()
            .map(|output| feature_map(output, output_shape[0]))
            .collect::<Result<Vec<_>, _>>()?;
        if graph.outputs().len() > MAX_OUTPUTS {
            return Err(VaeError::Names {
                graph: name,
                direction: "outputs",
                found: graph.outputs().iter().map(|o| o.name.clone()).collect(),
                expected: outputs,
            });
        }
        let roles = graph
            .outputs()
            .iter()
            .map(|output| {
                let feature = features.iter().position(|map| map.name == output.name);
                match feature {
                    Some(index) => Role::Feature(index),
                    None if output.name == first => Role::First,
                    None => Role::Second,
                }
            })
            .collect();
        // The shapes are those of tensors that exist, so that the products do not overflow.
        let input = Port {
            name: input,
            len: input_shape.iter().product(),
        };
        let port = |name| Port {
            name,
            len: output_shape.iter().product(),
        };
        Ok(Self {
            name,
            input,
            first: port(first),
            second: second.map(port),
            roles,
            features,
            graph,
        })
    }

    /// Runs the graph; `second` is given where the graph has a second output.
    fn run(
        &mut self,
        input: &[f32],
        first: &mut [f32],
        second: Option<&mut [f32]>,
    ) -> Result<(), VaeError> {
        check_length(self.input.name, input.len(), self.input.len)?;
        check_length(self.first.name, first.len(), self.first.len)?;
        let second = match (self.second, second) {
            (Some(port), Some(second)) => {
                check_length(port.name, second.len(), port.len)?;
                second
            }
            _ => &mut [],
        };
        let mut outputs: [&mut [f32]; MAX_OUTPUTS] = std::array::from_fn(|_| &mut [][..]);
        let (mut first_place, mut second_place) = (0, 0);
        let mut maps: [Option<&mut [f32]>; MAX_OUTPUTS] = std::array::from_fn(|_| None);
        for (slot, map) in maps.iter_mut().zip(&mut self.features) {
            *slot = Some(&mut map.values);
        }
        for (place, role) in self.roles.iter().enumerate() {
            match *role {
                Role::First => first_place = place,
                Role::Second => second_place = place,
                Role::Feature(index) => outputs[place] = maps[index].take().unwrap_or_default(),
            }
        }
        outputs[second_place] = &mut *second;
        outputs[first_place] = &mut *first;
        self.graph.run(&[input], &mut outputs[..self.roles.len()])?;
        self.check_finite(input, self.first.name, first)?;
        if let Some(port) = self.second {
            self.check_finite(input, port.name, second)?;
        }
        self.features
            .iter()
            .try_for_each(|map| self.check_finite(input, &map.name, &map.values))
    }

    /// Looks at the input only when the output is bad, to tell which of the two is to blame.
    fn check_finite(&self, input: &[f32], port: &str, output: &[f32]) -> Result<(), VaeError> {
        let Some(value) = not_finite(output) else {
            return Ok(());
        };
        Err(match not_finite(input) {
            Some(value) => VaeError::InputNotFinite {
                graph: self.name,
                input: self.input.name,
                value,
            },
            None => VaeError::OutputNotFinite {
                graph: self.name,
                output: port.to_owned(),
                value,
            },
        })
    }
}

/// The buffer for an additional output of the encoder.
fn feature_map(output: TensorInfo, batch: usize) -> Result<FeatureMap, VaeError> {
    match output.shape[..] {
        [n, channels, height, width] if n == batch => Ok(FeatureMap {
            shape: [n, channels, height, width],
            values: vec![0.0; output.len()],
            name: output.name,
        }),
        _ => Err(VaeError::Features {
            output: output.name,
            found: output.shape,
            batch,
        }),
    }
}

fn not_finite(values: &[f32]) -> Option<&'static str> {
    // Folding without an early way out lets the compiler look at several values at once.
    if values
        .iter()
        .fold(true, |finite, value| finite & value.is_finite())
    {
        None
    } else if values.iter().any(|value| value.is_nan()) {
        Some("NaN")
    } else {
        Some("an infinite value")
    }
}

fn check_ports(
    graph: &'static str,
    (one, many): (&'static str, &'static str),
    found: &[TensorInfo],
    expected: &[&'static str],
    shape: &[usize],
) -> Result<(), VaeError> {
    let same_names = found.len() == expected.len()
        && expected
            .iter()
            .all(|name| found.iter().any(|info| info.name == *name));
    if !same_names {
        return Err(VaeError::Names {
            graph,
            direction: many,
            found: found.iter().map(|info| info.name.clone()).collect(),
            expected: expected.to_vec(),
        });
    }
    match found.iter().find(|info| info.shape != shape) {
        None => Ok(()),
        Some(info) => Err(VaeError::Shape {
            what: format!("the {graph}'s {one} `{}`", info.name),
            found: info.shape.clone(),
            expected: shape.to_vec(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::test_graphs::{
        bernoulli_decoder, bernoulli_decoder_by_loops, encode, two_heads, two_heads_by_loops,
        values,
    };
    use crate::backend::{BackendError, BackendKind, Engine, EngineOptions};
    use crate::vae::Latent;

    fn spec() -> VaeSpec {
        VaeSpec {
            channels: 2,
            height: 6,
            width: 6,
            latent: Latent::Vector { length: 4 },
            likelihood: Likelihood::Bernoulli,
        }
    }

    fn engine() -> Engine {
        Engine::open(&EngineOptions {
            backend: Some(BackendKind::Tract),
            ..EngineOptions::default()
        })
        .unwrap()
    }

    fn graphs(batch: usize) -> (Box<dyn Graph>, Box<dyn Graph>) {
        let engine = engine();
        let encoder = engine
            .load(&encode(&two_heads()), "encoder.onnx", batch)
            .unwrap();
        let decoder = engine
            .load(&encode(&bernoulli_decoder()), "decoder.onnx", batch)
            .unwrap();
        (encoder, decoder)
    }

    /// A graph that fills its outputs with constants.
    struct Constant {
        inputs: Vec<TensorInfo>,
        outputs: Vec<TensorInfo>,
        fill: Vec<f32>,
    }

    impl Constant {
        fn boxed(inputs: &[(&str, &[usize])], outputs: &[(&str, &[usize], f32)]) -> Box<dyn Graph> {
            let info = |name: &str, shape: &[usize]| TensorInfo {
                name: name.into(),
                shape: shape.to_vec(),
            };
            Box::new(Self {
                inputs: inputs
                    .iter()
                    .map(|(name, shape)| info(name, shape))
                    .collect(),
                outputs: outputs
                    .iter()
                    .map(|(name, shape, _)| info(name, shape))
                    .collect(),
                fill: outputs.iter().map(|(_, _, fill)| *fill).collect(),
            })
        }
    }

    impl Graph for Constant {
        fn inputs(&self) -> &[TensorInfo] {
            &self.inputs
        }

        fn outputs(&self) -> &[TensorInfo] {
            &self.outputs
        }

        fn metadata(&self, key: &str) -> Option<String> {
            (key == "side").then(|| self.inputs[0].name.clone())
        }

        fn run(&mut self, _: &[&[f32]], outputs: &mut [&mut [f32]]) -> Result<(), BackendError> {
            for (output, fill) in outputs.iter_mut().zip(&self.fill) {
                output.fill(*fill);
            }
            Ok(())
        }
    }

    const PICTURE: &[usize] = &[1, 2, 6, 6];
    const CODE: &[usize] = &[1, 4];

    fn encoder(mean: f32, log_variance: f32) -> Box<dyn Graph> {
        Constant::boxed(
            &[("input", PICTURE)],
            &[("mean", CODE, mean), ("log_variance", CODE, log_variance)],
        )
    }

    fn decoder(reconstruction: f32, logits: f32) -> Box<dyn Graph> {
        Constant::boxed(
            &[("latent", CODE)],
            &[
                ("reconstruction", PICTURE, reconstruction),
                ("logits", PICTURE, logits),
            ],
        )
    }

    #[test]
    fn reconstructs_what_plain_loops_reconstruct() {
        for batch in [1, 3] {
            let (encoder, decoder) = graphs(batch);
            let mut vae = Vae::new(spec(), encoder, decoder).unwrap();
            assert_eq!(vae.batch(), batch);
            assert_eq!(
                vae.encoder_metadata("edge_vae.model").as_deref(),
                Some("test")
            );
            assert_eq!(vae.decoder_metadata("edge_vae.model"), None);
            for seed in [50, 51] {
                let input = values(seed, batch * 72);
                let decoded = vae.reconstruct(&input).unwrap().clone();
                assert!(decoded.log_variance.is_empty());
                for row in 0..batch {
                    let (mean, _) = two_heads_by_loops(&input[row * 72..][..72]);
                    let logits = bernoulli_decoder_by_loops(&mean);
                    for (i, logit) in logits.iter().enumerate() {
                        // The decoder multiplies the encoder's rounding by weights that sum to tens.
                        assert!((decoded.logits[row * 72 + i] - logit).abs() < 1e-4);
                        let sigmoid = 1.0 / (1.0 + (-logit).exp());
                        assert!((decoded.reconstruction[row * 72 + i] - sigmoid).abs() < 1e-4);
                    }
                }

                let (mut mean, mut log_variance) = (vec![0.0; batch * 4], vec![0.0; batch * 4]);
                vae.encode_into(&input, &mut mean, &mut log_variance)
                    .unwrap();
                assert_eq!(vae.last_posterior(), (&mean[..], &log_variance[..]));
                let mut again = Decoded::default();
                vae.decode_into(&mean, &mut again).unwrap();
                assert_eq!(again, decoded);
            }
        }
    }

    #[test]
    fn outputs_are_found_by_name() {
        let encoder = Constant::boxed(
            &[("input", PICTURE)],
            &[("log_variance", CODE, -2.0), ("mean", CODE, 3.0)],
        );
        let mut vae = Vae::new(spec(), encoder, decoder(0.5, 0.0)).unwrap();
        assert_eq!(vae.decoder_metadata("side").as_deref(), Some("latent"));
        let (mut mean, mut log_variance) = ([0.0; 4], [0.0; 4]);
        vae.encode_into(&[0.0; 72], &mut mean, &mut log_variance)
            .unwrap();
        assert_eq!((mean, log_variance), ([3.0; 4], [-2.0; 4]));
    }

    #[test]
    fn each_likelihood_has_its_outputs() {
        let learned = VaeSpec {
            likelihood: Likelihood::GaussianLearned,
            ..spec()
        };
        let graph = Constant::boxed(
            &[("latent", CODE)],
            &[
                ("reconstruction", PICTURE, 0.5),
                ("log_variance", PICTURE, -1.0),
            ],
        );
        let mut vae = Vae::new(learned.clone(), encoder(0.0, 0.0), graph).unwrap();
        let decoded = vae.reconstruct(&[0.0; 72]).unwrap();
        assert_eq!((decoded.log_variance.len(), decoded.logits.len()), (72, 0));
        assert_eq!(decoded.log_variance[71], -1.0);

        let fixed = VaeSpec {
            likelihood: Likelihood::Gaussian { sigma: 0.1 },
            ..spec()
        };
        let graph = Constant::boxed(&[("latent", CODE)], &[("reconstruction", PICTURE, 0.5)]);
        let mut vae = Vae::new(fixed, encoder(0.0, 0.0), graph).unwrap();
        // A buffer that held another model's output is cut to this one's.
        let mut out = Decoded {
            logits: vec![9.0; 7],
            ..Decoded::default()
        };
        vae.decode_into(&[0.0; 4], &mut out).unwrap();
        assert_eq!(out.reconstruction, vec![0.5; 72]);
        assert!(out.logits.is_empty() && out.log_variance.is_empty());

        let error = Vae::new(learned, encoder(0.0, 0.0), decoder(0.5, 0.0)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the decoder has the outputs [\"reconstruction\", \"logits\"], expected [\"reconstruction\", \"log_variance\"]"
        );
    }

    #[test]
    fn shapes_and_batches_are_those_of_the_specification() {
        let wide = VaeSpec { width: 8, ..spec() };
        let error = Vae::new(wide, encoder(0.0, 0.0), decoder(0.5, 0.0)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the encoder's input `input`: found shape [1, 2, 6, 6], expected [1, 2, 6, 8]"
        );
        let map = VaeSpec {
            latent: Latent::Map {
                channels: 1,
                height: 2,
                width: 2,
            },
            ..spec()
        };
        let error = Vae::new(map, encoder(0.0, 0.0), decoder(0.5, 0.0)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the encoder's output `mean`: found shape [1, 4], expected [1, 1, 2, 2]"
        );
        let (encoder_of_three, _) = graphs(3);
        let (_, decoder_of_two) = graphs(2);
        let error = Vae::new(spec(), encoder_of_three, decoder_of_two).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the decoder's input `latent`: found shape [2, 4], expected [3, 4]"
        );
        let (encoder, decoder) = graphs(1);
        let error = Vae::new(spec(), decoder, encoder).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the encoder has the inputs [\"latent\"], expected [\"input\"]"
        );
    }

    #[test]
    fn feature_maps_are_handed_out_whatever_the_order_of_the_outputs() {
        let coarse: &[usize] = &[1, 3, 2, 1];
        let fine: &[usize] = &[1, 1, 4, 2];
        let encoder = Constant::boxed(
            &[("input", PICTURE)],
            &[
                ("features_8", coarse, 0.75),
                ("log_variance", CODE, -1.0),
                ("features_4", fine, 0.25),
                ("mean", CODE, 2.0),
            ],
        );
        let mut vae = Vae::new(spec(), encoder, decoder(0.5, 0.0)).unwrap();
        assert_eq!(vae.features().len(), 2);
        vae.reconstruct(&[0.0; 72]).unwrap();
        assert_eq!(vae.last_posterior(), (&[2.0; 4][..], &[-1.0; 4][..]));
        let map = |name: &str, shape, value, count| FeatureMap {
            name: name.to_owned(),
            shape,
            values: vec![value; count],
        };
        assert_eq!(
            vae.features(),
            [
                map("features_8", [1, 3, 2, 1], 0.75, 6),
                map("features_4", [1, 1, 4, 2], 0.25, 8),
            ]
        );
    }

    #[test]
    fn feature_maps_must_be_maps_of_sound_values() {
        let with = |name: &str, shape: &[usize], value| {
            Constant::boxed(
                &[("input", PICTURE)],
                &[
                    ("mean", CODE, 0.0),
                    ("log_variance", CODE, 0.0),
                    (name, shape, value),
                ],
            )
        };
        let refused = |encoder| {
            Vae::new(spec(), encoder, decoder(0.5, 0.0))
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            refused(with("features_4", &[1, 3], 0.0)),
            "the encoder's output `features_4`: found shape [1, 3], expected 1×C×h×w"
        );
        assert_eq!(
            refused(with("feature", &[1, 3, 1, 1], 0.0)),
            "the encoder has the outputs [\"mean\", \"log_variance\", \"feature\"], expected [\"mean\", \"log_variance\"]"
        );
        let damaged = with("features_4", &[1, 3, 1, 1], f32::NAN);
        let mut vae = Vae::new(spec(), damaged, decoder(0.5, 0.0)).unwrap();
        assert_eq!(
            vae.reconstruct(&[0.0; 72]).unwrap_err().to_string(),
            "the encoder's output `features_4` holds NaN: the weights are damaged"
        );
    }

    #[test]
    fn damaged_weights_are_named() {
        let failure = |encoder, decoder| {
            let mut vae = Vae::new(spec(), encoder, decoder).unwrap();
            vae.reconstruct(&[0.0; 72]).unwrap_err().to_string()
        };
        assert_eq!(
            failure(encoder(f32::NAN, 0.0), decoder(0.5, 0.0)),
            "the encoder's output `mean` holds NaN: the weights are damaged"
        );
        assert_eq!(
            failure(encoder(0.0, f32::INFINITY), decoder(0.5, 0.0)),
            "the encoder's output `log_variance` holds an infinite value: the weights are damaged"
        );
        assert_eq!(
            failure(encoder(0.0, 0.0), decoder(0.5, f32::NAN)),
            "the decoder's output `logits` holds NaN: the weights are damaged"
        );
    }

    #[test]
    fn damaged_weights_in_a_file_are_named() {
        let mut proto = two_heads();
        let weights = &mut proto.graph.as_mut().unwrap().initializer[3];
        weights.raw_data[..4].copy_from_slice(&f32::INFINITY.to_le_bytes());
        let encoder = engine().load(&encode(&proto), "encoder.onnx", 1).unwrap();
        let mut vae = Vae::new(spec(), encoder, decoder(0.5, 0.0)).unwrap();
        let error = vae.reconstruct(&values(1, 72)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the encoder's output `mean` holds an infinite value: the weights are damaged"
        );
    }

    #[test]
    fn a_bad_input_is_not_blamed_on_the_weights() {
        let (encoder, decoder) = graphs(1);
        let mut vae = Vae::new(spec(), encoder, decoder).unwrap();
        let mut input = values(1, 72);
        input[5] = f32::INFINITY;
        assert_eq!(
            vae.reconstruct(&input).unwrap_err().to_string(),
            "the values for the encoder's input `input` hold an infinite value"
        );
        input[5] = 0.0;
        assert!(vae.reconstruct(&input).is_ok());
    }

    #[test]
    fn wrong_buffers_are_errors() {
        let (encoder, decoder) = graphs(1);
        let mut vae = Vae::new(spec(), encoder, decoder).unwrap();
        let (mut mean, mut log_variance) = ([0.0; 4], [0.0; 3]);
        let error = vae
            .encode_into(&[0.0; 72], &mut mean, &mut log_variance)
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "log_variance: found 3 values, expected 4"
        );
        let error = vae.reconstruct(&[0.0; 71]).unwrap_err();
        assert_eq!(error.to_string(), "input: found 71 values, expected 72");
        let error = vae
            .decode_into(&[0.0; 5], &mut Decoded::default())
            .unwrap_err();
        assert_eq!(error.to_string(), "latent: found 5 values, expected 4");
    }
}
