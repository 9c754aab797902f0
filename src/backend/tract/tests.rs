use rand::{RngExt, SeedableRng};

use crate::backend::test_graphs::{
    GraphBuilder, absurd_size, bernoulli_decoder, bernoulli_decoder_by_loops, encode,
    largest_difference, two_heads, two_heads_by_loops, unknown_operator, values,
};

use super::*;

pub(super) fn load(bytes: &[u8], batch: usize) -> Result<TractGraph, BackendError> {
    load_with(&Plans::default(), bytes, batch)
}

fn load_with(plans: &Plans, bytes: &[u8], batch: usize) -> Result<TractGraph, BackendError> {
    TractGraph::load(
        bytes,
        ModelFile::read(bytes, "test.onnx", batch)?,
        plans,
        None,
    )
}

#[test]
fn graphs_of_one_file_share_a_plan_and_nothing_else() {
    let plans = Plans::default();
    let [file, other] = [two_heads(), bernoulli_decoder()].map(|file| encode(&file));
    let mut first = load_with(&plans, &file, 1).unwrap();
    let mut second = load_with(&plans, &file, 1).unwrap();
    assert!(Arc::ptr_eq(&first.plan, &second.plan));
    let apart = [(&file, 5), (&other, 1)].map(|(file, batch)| load_with(&plans, file, batch));
    for graph in apart {
        assert!(!Arc::ptr_eq(&first.plan, &graph.unwrap().plan));
    }

    let run = |graph: &mut TractGraph, seed| {
        let (mut mean, mut log_variance) = (vec![0.0; 4], vec![0.0; 4]);
        let input = values(seed, 72);
        let made = graph.run(&[&input], &mut [&mut mean, &mut log_variance]);
        made.map(|()| (mean, two_heads_by_loops(&input).0))
    };
    let inputs = [40, 41];
    let apart = std::thread::scope(|scope| {
        let running = [(&mut first, inputs[0]), (&mut second, inputs[1])]
            .map(|(graph, seed)| scope.spawn(move || (0..50).map(|_| run(graph, seed)).last()));
        running.map(|thread| thread.join().unwrap().unwrap().unwrap())
    });
    for (found, expected) in apart {
        assert!(largest_difference(&found, &expected) < 1e-5);
    }

    // The last one takes the plan with it.
    let plan = Arc::downgrade(&first.plan);
    drop(first);
    assert!(plan.upgrade().is_some());
    drop(second);
    assert!(plan.upgrade().is_none());
    assert!(load_with(&plans, &file, 1).is_ok());
}

#[test]
fn the_version_is_the_pinned_one() {
    assert!(
        include_str!("../../../Cargo.toml")
            .contains(&format!("tract-onnx = {{ version = \"={VERSION}\""))
    );
}

#[test]
fn an_encoder_gives_what_plain_loops_give() {
    for batch in [1, 5] {
        let mut graph = load(&encode(&two_heads()), batch).unwrap();
        assert_eq!(graph.outputs()[1].name, "log_variance");
        assert_eq!(graph.metadata("edge_vae.model").as_deref(), Some("test"));
        assert_eq!(graph.metadata("absent"), None);
        let (mut mean, mut log_variance) = (vec![0.0; batch * 4], vec![0.0; batch * 4]);
        // A second run with other values shows that nothing of the first stays behind.
        for seed in [20, 21] {
            let input = values(seed, batch * 72);
            graph
                .run(&[&input], &mut [&mut mean, &mut log_variance])
                .unwrap();
            for row in 0..batch {
                let (m, l) = two_heads_by_loops(&input[row * 72..][..72]);
                assert!(largest_difference(&mean[row * 4..][..4], &m) < 1e-5);
                assert!(largest_difference(&log_variance[row * 4..][..4], &l) < 1e-5);
            }
        }
    }
}

#[test]
fn a_decoder_gives_what_plain_loops_give() {
    for batch in [1, 5] {
        let mut graph = load(&encode(&bernoulli_decoder()), batch).unwrap();
        let latent = values(30, batch * 4);
        let (mut reconstruction, mut logits) = (vec![0.0; batch * 72], vec![0.0; batch * 72]);
        graph
            .run(&[&latent], &mut [&mut reconstruction, &mut logits])
            .unwrap();
        for row in 0..batch {
            let expected = bernoulli_decoder_by_loops(&latent[row * 4..][..4]);
            let sigmoid: Vec<f32> = expected.iter().map(|v| 1.0 / (1.0 + (-v).exp())).collect();
            assert!(largest_difference(&logits[row * 72..][..72], &expected) < 1e-5);
            assert!(largest_difference(&reconstruction[row * 72..][..72], &sigmoid) < 1e-5);
        }
    }
}

#[test]
fn an_output_may_be_the_input() {
    let mut builder = GraphBuilder::default();
    builder.input("x", &[0, 3]);
    builder.node("Identity", &["x"], &["y"], vec![]);
    builder.output("y", &[0, 3]);
    let mut graph = load(&encode(&builder.finish()), 1).unwrap();
    let mut out = [0.0; 3];
    for value in [1.0, 2.0] {
        graph.run(&[&[value; 3]], &mut [&mut out]).unwrap();
        assert_eq!(out, [value; 3]);
    }
}

#[test]
fn wrong_buffers_are_named() {
    let mut graph = load(&encode(&two_heads()), 1).unwrap();
    let (mut mean, mut log_variance) = ([0.0; 4], [0.0; 4]);
    let error = graph
        .run(&[&[0.0; 71]], &mut [&mut mean, &mut log_variance])
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "test.onnx: the buffer for input `input` holds 71 values, its shape is [1, 2, 6, 6]"
    );
    let error = graph
        .run(&[&[0.0; 72]], &mut [&mut mean, &mut [0.0; 5]])
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "test.onnx: the buffer for output `log_variance` holds 5 values, its shape is [1, 4]"
    );
    let error = graph.run(&[&[0.0; 72]], &mut [&mut mean]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "test.onnx: found 1 buffers for 2 outputs"
    );
    let error = graph
        .run(&[], &mut [&mut mean, &mut log_variance])
        .unwrap_err();
    assert_eq!(error.to_string(), "test.onnx: found 0 buffers for 1 inputs");
}

#[test]
fn unknown_operators_and_absurd_sizes_are_errors() {
    let error = load(&unknown_operator(), 1).err().unwrap().to_string();
    assert!(
        error.starts_with("tract: cannot load test.onnx: ") && error.contains("Frobnicate"),
        "{error}"
    );

    // 10^6 × 10^6 inside the graph, ends of modest size.
    let error = load(&absurd_size(0), 1).err().unwrap().to_string();
    assert!(error.contains("makes a tensor of shape"), "{error}");

    // The same as a constant, which tract would compute while it reads the file.
    let mut builder = GraphBuilder::default();
    builder.input("x", &[0, 1]);
    builder.integers("large", &[1_000_000, 1_000_000, 100]);
    builder.node("ConstantOfShape", &["large"], &["e"], vec![]);
    builder.node("Add", &["x", "e"], &["y"], vec![]);
    builder.output("y", &[0, 1]);
    let error = load(&encode(&builder.finish()), 1)
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("makes a tensor of shape"), "{error}");
}

#[test]
fn a_declared_shape_that_is_not_the_real_one_is_an_error() {
    let mut builder = GraphBuilder::default();
    builder.input("x", &[0, 3]);
    builder.node("Relu", &["x"], &["y"], vec![]);
    builder.output("y", &[0, 4]);
    let error = load(&encode(&builder.finish()), 1)
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("output \"y\""), "{error}");
}

/// Whatever happens to the bytes: an error or a graph that runs or fails, never a panic.
#[test]
fn damaged_files_are_errors() {
    let mut rng = rand_pcg::Pcg64::seed_from_u64(7);
    let (mut refused, mut read) = (0, 0);
    let mut attempt = |bytes: &[u8]| match load(bytes, 1) {
        Ok(mut graph) => {
            let inputs: Vec<Vec<f32>> = graph.inputs().iter().map(|i| vec![0.5; i.len()]).collect();
            let mut outputs: Vec<Vec<f32>> =
                graph.outputs().iter().map(|o| vec![0.0; o.len()]).collect();
            let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
            let mut outputs: Vec<&mut [f32]> = outputs.iter_mut().map(Vec::as_mut_slice).collect();
            let _ = graph.run(&inputs, &mut outputs);
            read += 1;
        }
        Err(error) => {
            assert!(!error.to_string().contains('\n'));
            refused += 1;
        }
    };
    for whole in [encode(&two_heads()), encode(&bernoulli_decoder())] {
        for _ in 0..60 {
            attempt(&whole[..rng.random_range(0..whole.len())]);
        }
        for _ in 0..120 {
            let mut damaged = whole.clone();
            for _ in 0..rng.random_range(1..8) {
                let at = rng.random_range(0..damaged.len());
                damaged[at] ^= 1 << rng.random_range(0..8);
            }
            attempt(&damaged);
        }
        // Structure sits around the weights: damage the bytes that are no floats more often.
        let nodes = whole
            .windows(4)
            .position(|w| w == b"Conv" || w == b"Gemm")
            .unwrap();
        for _ in 0..120 {
            let mut damaged = whole.clone();
            let at = rng.random_range(nodes.saturating_sub(40)..(nodes + 400).min(damaged.len()));
            damaged[at] = rng.random();
            attempt(&damaged);
        }
    }
    for _ in 0..60 {
        let length = rng.random_range(1..300);
        let noise: Vec<u8> = (0..length).map(|_| rng.random()).collect();
        attempt(&noise);
    }
    assert!(refused > 200 && read > 50, "{refused} refused, {read} read");
}
