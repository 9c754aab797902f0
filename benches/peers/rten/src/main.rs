//! One ONNX graph on rten, on one thread: `rten-graph GRAPH FOLDER SECONDS`.
//!
//! FOLDER holds an input as `NAME.f32`, raw and little-endian, and gets each output as
//! `NAME.rten.f32`. Prints the mean milliseconds of CPU of a run.

use std::error::Error;
use std::path::Path;
use std::time::Instant;
use std::{env, fs};

use rten::{Dimension, ModelOptions, RunOptions, ThreadPool, Value};
use rten_tensor::Tensor;
use rten_tensor::prelude::*;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [graph, folder, seconds] = &arguments[..] else {
        return Err("usage: rten-graph GRAPH FOLDER SECONDS".into());
    };
    let (folder, seconds) = (Path::new(folder), seconds.parse::<f64>()?);
    let model = ModelOptions::with_all_ops()
        .prepack_weights(true)
        .load_file(graph)?;
    let pool = ThreadPool::with_num_threads(1).into();
    let options =
        || Some(RunOptions::default().with_thread_pool(Some(std::sync::Arc::clone(&pool))));

    let mut inputs = Vec::new();
    for id in model.input_ids() {
        let info = model.node_info(*id).ok_or("an input without a node")?;
        let shape = info.shape().ok_or("an input without a shape")?;
        let shape: Vec<usize> = shape
            .iter()
            .map(|dimension| match dimension {
                Dimension::Fixed(length) => *length,
                Dimension::Symbolic(_) => 1,
            })
            .collect();
        let name = info.name().ok_or("an input without a name")?;
        let values: Vec<f32> = fs::read(folder.join(format!("{name}.f32")))?
            .chunks_exact(4)
            .map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
            .collect();
        inputs.push((
            *id,
            Value::from(Tensor::<f32>::try_from_data(&shape[..], values)?),
        ));
    }
    let run = || {
        let inputs = inputs
            .iter()
            .map(|(id, value)| (*id, value.as_view().into()))
            .collect();
        model.run(inputs, model.output_ids(), options())
    };

    for (id, value) in model.output_ids().iter().zip(run()?) {
        let name = model
            .node_info(*id)
            .and_then(|node| node.name().map(str::to_owned));
        let name = name.ok_or("an output without a name")?;
        let values: Tensor<f32> = value.try_into()?;
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        fs::write(folder.join(format!("{name}.rten.f32")), bytes)?;
    }
    let (began, before, mut runs) = (Instant::now(), cpu_seconds()?, 0);
    while runs < 5 || began.elapsed().as_secs_f64() < seconds {
        run()?;
        runs += 1;
    }
    println!("{}", 1000.0 * (cpu_seconds()? - before) / f64::from(runs));
    Ok(())
}

/// CPU time of this process, by Linux's count of hundredths of a second.
fn cpu_seconds() -> Result<f64, Box<dyn Error>> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap_or("")
        .split_whitespace()
        .collect();
    let ticks = fields
        .get(11)
        .zip(fields.get(12))
        .ok_or("no times in /proc/self/stat")?;
    Ok((ticks.0.parse::<f64>()? + ticks.1.parse::<f64>()?) / 100.0)
}
