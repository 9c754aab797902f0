//! Runs the graphs of a bundle on one engine and device, for `benches/gpu/run.py`.
//!
//! `graphs MODEL FOLDER DEVICE BATCH SECONDS`: for each graph the values of its inputs are read
//! from `FOLDER/GRAPH.INPUT.BATCH.f32`, what it makes of them is written to
//! `FOLDER/GRAPH.OUTPUT.BATCH.DEVICE.f32` (32-bit floats, little-endian, batch first), and a line
//! of JSON is printed with its times in milliseconds: `load`, `first`, and of the runs in so many
//! seconds `least` and `median`.

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use edge_vae::{
    backend::{BackendKind, Engine, EngineOptions, TensorInfo},
    bundle::Bundle,
};

fn main() -> anyhow::Result<()> {
    // `cargo bench` and `cargo test` add flags of their own.
    let arguments: Vec<String> = env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    let [model, folder, device, batch, seconds] = &arguments[..] else {
        if arguments.is_empty() {
            eprintln!("graphs MODEL FOLDER DEVICE BATCH SECONDS; see benches/gpu/README.md");
            return Ok(());
        }
        bail!("expected MODEL FOLDER DEVICE BATCH SECONDS, found {arguments:?}");
    };
    let bundle = Bundle::open(Path::new(model))?;
    let engine = Engine::open(&EngineOptions {
        backend: Some(match device.as_str() {
            "tract" => BackendKind::Tract,
            _ => BackendKind::Ort,
        }),
        device: match device.as_str() {
            "tract" => "cpu".parse()?,
            named => named.parse()?,
        },
        ..EngineOptions::default()
    })?;
    let batch: usize = batch.parse().context("BATCH")?;
    let runs = Duration::from_secs_f64(seconds.parse().context("SECONDS")?);
    for (name, onnx) in bundle.graphs() {
        let began = Instant::now();
        let mut graph = engine.load(onnx, name, batch)?;
        let load = began.elapsed();
        let file = |tensor: &str, end: &str| -> PathBuf {
            Path::new(folder).join(format!("{name}.{tensor}.{batch}{end}.f32"))
        };
        let inputs: Vec<Vec<f32>> = graph
            .inputs()
            .iter()
            .map(|input| read(&file(&input.name, ""), input))
            .collect::<anyhow::Result<_>>()?;
        let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
        let mut outputs: Vec<Vec<f32>> = graph
            .outputs()
            .iter()
            .map(|output| vec![0.0; output.len()])
            .collect();
        let mut run = || -> anyhow::Result<f64> {
            let mut outputs: Vec<&mut [f32]> = outputs.iter_mut().map(Vec::as_mut_slice).collect();
            let began = Instant::now();
            graph.run(&inputs, &mut outputs)?;
            Ok(1e3 * began.elapsed().as_secs_f64())
        };
        let first = run()?;
        let began = Instant::now();
        let mut times = Vec::new();
        while times.len() < 3 || began.elapsed() < runs {
            times.push(run()?);
        }
        times.sort_by(f64::total_cmp);
        for (output, values) in graph.outputs().iter().zip(&outputs) {
            let bytes: Vec<u8> = values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect();
            fs::write(file(&output.name, &format!(".{device}")), bytes)?;
        }
        let record = serde_json::json!({
            "graph": name,
            "engine": engine.description(),
            "batch": batch,
            "load": 1e3 * load.as_secs_f64(),
            "first": first,
            "least": times[0],
            "median": times[times.len() / 2],
            "runs": times.len(),
        });
        println!("{record}");
    }
    Ok(())
}

fn read(path: &Path, tensor: &TensorInfo) -> anyhow::Result<Vec<f32>> {
    let bytes = fs::read(path).with_context(|| path.display().to_string())?;
    let (values, rest) = bytes.as_chunks::<4>();
    ensure!(
        rest.is_empty() && values.len() == tensor.len(),
        "{}: {} bytes for the shape {:?}",
        path.display(),
        bytes.len(),
        tensor.shape
    );
    Ok(values
        .iter()
        .map(|value| f32::from_le_bytes(*value))
        .collect())
}
