//! `edge-vae encode`.

use std::{io::Cursor, path::PathBuf};

use anyhow::Context;
use clap::Args;
use edge_vae::{
    InferenceSession,
    model::{LOG_VARIANCE, MEAN},
    preprocess::PixelRect,
    vae::Posterior,
};
use ndarray::{ArrayView1, ArrayView2, ArrayViewD};
use ndarray_npy::NpzWriter;
use serde::Serialize;

use super::{
    Outcome,
    flags::{ModelFlags, ModelOptions},
    frames::{self, FrameFlags, with_frame},
    interrupt,
    output::{FilePlace, SCHEMA_VERSION, StandardOutput},
    reporter::{Reporter, one_line},
};

/// Print or write the latent posterior of frames: mean and variance of q(z|x).
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  edge-vae encode frame.png --json
  edge-vae encode frames/ --out latents.npz
  edge-vae decode latents.npz --out pictures/

Without --json and --out, one line for each frame: its KL divergence to the prior in nats, the
largest |mean|, and the average standard deviation. The NPZ file holds arrays of 32-bit floats with
a row for each frame: mean, log_variance, variance and standard_deviation (N x L, or N x L x h x w),
and frame (N), the number of the row's frame from 0.

A model that cuts frames into tiles has a posterior for each tile, and so a line, JSON object or row
for each, in the order of the frames and of their rows of tiles. tile (N) is its number, from 0, and
tile_bbox (N x 4) its x, y, width and height in pixels of the canvas, to which the frame is resized.
Other models have one tile.")]
pub(crate) struct EncodeFlags {
    #[command(flatten)]
    frames: FrameFlags,

    /// Print a JSON object for each frame.
    #[arg(long, conflicts_with = "out")]
    json: bool,

    /// Write all posteriors into one NPZ file; its folder is made where it does not exist.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    #[command(flatten)]
    model: ModelFlags,
}

/// What [`EncodeFlags`] are resolved into.
#[derive(Debug)]
pub(crate) struct EncodeOptions {
    frames: Vec<PathBuf>,
    model: ModelOptions,
    json: bool,
    out: Option<PathBuf>,
}

impl EncodeFlags {
    pub(crate) fn resolve(self) -> anyhow::Result<EncodeOptions> {
        Ok(EncodeOptions {
            frames: self.frames.resolve(),
            model: self.model.resolve()?,
            json: self.json,
            out: self.out,
        })
    }
}

#[derive(Serialize)]
struct Record<'a> {
    schema_version: u32,
    path: &'a str,
    tile: usize,
    tile_bbox: [u32; 4],
    model_id: &'a str,
    shape: &'a [usize],
    mean: &'a [f32],
    log_variance: &'a [f32],
    variance: Vec<f32>,
    standard_deviation: Vec<f32>,
    kl: f64,
}

/// Rows of the NPZ file.
#[derive(Debug, Default)]
struct Rows {
    frame: Vec<u64>,
    tile: Vec<u64>,
    /// `N×4`.
    tile_bbox: Vec<u64>,
    mean: Vec<f32>,
    log_variance: Vec<f32>,
    variance: Vec<f32>,
    standard_deviation: Vec<f32>,
}

pub(crate) fn run(options: &EncodeOptions, reporter: Reporter) -> anyhow::Result<Outcome> {
    let list = frames::find(&options.frames, &[], reporter)?;
    let file = options.out.as_deref();
    let file = file.map(|path| FilePlace::check(path, "npz")).transpose()?;
    let (bundle, engine) = options.model.open(reporter)?;
    let latent = bundle.vae()?.latent;
    let mut session = InferenceSession::verified(&bundle, &engine)?;
    if let Some(file) = file {
        file.prepare()?;
    }
    let decode = bundle.manifest().preprocess.decode_options();
    let shape = latent.shape();
    let tiles = session.canvas_layout().tiles().clone();
    let mut out = StandardOutput::new();
    let mut rows = Rows::default();
    let (mut means, mut log_variances) = (Vec::new(), Vec::new());
    let mut failed = list.failed;
    interrupt::watch();
    for (index, path) in list.paths.iter().enumerate() {
        interrupt::check()?;
        if out.is_closed() {
            break;
        }
        means.clear();
        log_variances.clear();
        let encoded = with_frame(path, &decode, |frame| {
            session.run_tiles(&frame, |_, outputs| {
                means.extend(outputs.values(MEAN));
                log_variances.extend(outputs.values(LOG_VARIANCE));
                Ok(())
            })
        });
        if let Err(error) = encoded {
            failed += 1;
            reporter.error(&one_line(&error));
            continue;
        }
        let parts = means.chunks_exact(latent.dimensions());
        let posteriors = parts.zip(log_variances.chunks_exact(latent.dimensions()));
        for (tile, (mean, log_variance)) in posteriors.enumerate() {
            let posterior = Posterior::new(mean, log_variance)?;
            let tile_bbox = tiles.tile(tile).map(bbox).unwrap_or_default();
            if file.is_some() {
                rows.push(index, tile, tile_bbox, &posterior);
            } else if options.json {
                out.json(&Record {
                    schema_version: SCHEMA_VERSION,
                    path: &path.to_string_lossy(),
                    tile,
                    tile_bbox,
                    model_id: bundle.model_id(),
                    shape: &shape,
                    mean,
                    log_variance,
                    variance: posterior.variance().collect(),
                    standard_deviation: posterior.standard_deviation().collect(),
                    kl: posterior.kl()?,
                })?;
            } else {
                let of = match tiles.count() {
                    1 => String::new(),
                    count => format!("  tile {tile} of {count}"),
                };
                print(&mut out, &posterior, format_args!("{}{of}", path.display()))?;
            }
        }
    }
    out.finish()?;
    if let Some(file) = file {
        anyhow::ensure!(
            !rows.frame.is_empty(),
            "{}: not written, for no frame could be encoded",
            file.path().display()
        );
        file.write(&rows.npz(&shape).context("NPZ")?)?;
    }
    Ok(Outcome::after_failures(failed))
}

fn bbox(tile: PixelRect) -> [u32; 4] {
    [tile.x, tile.y, tile.width, tile.height]
}

fn print(
    out: &mut StandardOutput,
    posterior: &Posterior<'_>,
    name: std::fmt::Arguments<'_>,
) -> anyhow::Result<()> {
    let largest = posterior
        .mean()
        .iter()
        .fold(0.0_f32, |largest, value| largest.max(value.abs()));
    let deviation: f32 = posterior.standard_deviation().sum();
    out.line(format_args!(
        "KL {:>10.3} nats  largest |mean| {largest:>8.4}  mean standard deviation {:>8.4}  {name}",
        posterior.kl()?,
        deviation / posterior.dimensions() as f32,
    ))
}

impl Rows {
    fn push(&mut self, index: usize, tile: usize, tile_bbox: [u32; 4], posterior: &Posterior<'_>) {
        self.frame.push(index as u64);
        self.tile.push(tile as u64);
        self.tile_bbox.extend(tile_bbox.map(u64::from));
        self.mean.extend(posterior.mean());
        self.log_variance.extend(posterior.log_variance());
        self.variance.extend(posterior.variance());
        self.standard_deviation
            .extend(posterior.standard_deviation());
    }

    fn npz(&self, shape: &[usize]) -> anyhow::Result<Vec<u8>> {
        let shape = [&[self.frame.len()], shape].concat();
        let mut writer = NpzWriter::new(Cursor::new(Vec::new()));
        for (name, values) in [
            ("mean", &self.mean),
            ("log_variance", &self.log_variance),
            ("variance", &self.variance),
            ("standard_deviation", &self.standard_deviation),
        ] {
            writer.add_array(name, &ArrayViewD::from_shape(shape.clone(), values)?)?;
        }
        let boxes = ArrayView2::from_shape((self.frame.len(), 4), &self.tile_bbox)?;
        writer.add_array("frame", &ArrayView1::from(&self.frame))?;
        writer.add_array("tile", &ArrayView1::from(&self.tile))?;
        writer.add_array("tile_bbox", &boxes)?;
        Ok(writer.finish()?.into_inner())
    }
}
