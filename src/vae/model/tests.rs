use super::*;
use crate::backend::test_graphs::{
    FakeGraph, bernoulli_decoder, bernoulli_decoder_by_loops, encode, two_heads,
    two_heads_by_loops, values,
};
use crate::backend::{BackendKind, Engine, EngineOptions};
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
fn constant(inputs: &[(&str, &[usize])], outputs: &[(&str, &[usize], f32)]) -> Box<dyn Graph> {
    let fill: Vec<f32> = outputs.iter().map(|(.., fill)| *fill).collect();
    let outputs: Vec<_> = outputs
        .iter()
        .map(|&(name, shape, _)| (name, shape))
        .collect();
    FakeGraph::boxed(inputs, &outputs, move |_, outputs| {
        for (output, fill) in outputs.iter_mut().zip(&fill) {
            output.fill(*fill);
        }
    })
}

const PICTURE: &[usize] = &[1, 2, 6, 6];
const CODE: &[usize] = &[1, 4];

fn encoder(mean: f32, log_variance: f32) -> Box<dyn Graph> {
    constant(
        &[("input", PICTURE)],
        &[("mean", CODE, mean), ("log_variance", CODE, log_variance)],
    )
}

fn decoder(reconstruction: f32, logits: f32) -> Box<dyn Graph> {
    constant(
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
    let encoder = constant(
        &[("input", PICTURE)],
        &[("log_variance", CODE, -2.0), ("mean", CODE, 3.0)],
    );
    let mut vae = Vae::new(spec(), encoder, decoder(0.5, 0.0)).unwrap();
    assert_eq!(vae.decoder_metadata("input").as_deref(), Some("latent"));
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
    let graph = constant(
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
    let graph = constant(&[("latent", CODE)], &[("reconstruction", PICTURE, 0.5)]);
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
        "the decoder has the outputs [\"reconstruction\", \"logits\"], expected \
         [\"reconstruction\", \"log_variance\"]"
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
    let encoder = constant(
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
        constant(
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
        "the encoder has the outputs [\"mean\", \"log_variance\", \"feature\"], expected \
         [\"mean\", \"log_variance\"]"
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
