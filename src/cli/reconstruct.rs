//! `edge-vae reconstruct`.

use std::path::PathBuf;

use clap::Args;
use edge_vae::{
    InferenceSession,
    preprocess::{PreprocessSettings, TileLayout, denormalise_canvas},
    render::{MapScale, Tile, contact_sheet, heat_map, png},
};
use image::DynamicImage;
use ndarray::{Array2, ArrayView3, Axis};

use super::{
    Outcome,
    flags::{ModelFlags, ModelOptions},
    frames::{self, FrameFlags, with_frame},
    interrupt,
    names::{RECONSTRUCTION, ResultNames, SHEET},
    output::{StandardOutput, prepare_folder, write_whole},
    reporter::{Reporter, one_line},
};

/// Draw frames beside what the model's decoder makes of them, and the difference.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  edge-vae reconstruct frame.png --out seen/
  edge-vae reconstruct frames/ --out seen/ --plain

The reconstruction is the decoder's mean at the posterior mean, in the size of the model's input.
Tiles are blended where they overlap. The difference is the mean over channels of
|input - reconstruction|: 0 is none, 1 is from black to white. Its colours go from 0 to the largest
value of the frame, which stands beside it. The path of each picture is printed.")]
pub(crate) struct ReconstructFlags {
    #[command(flatten)]
    frames: FrameFlags,

    /// Folder for the pictures.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    /// Write the reconstruction alone.
    #[arg(long)]
    plain: bool,

    #[command(flatten)]
    model: ModelFlags,
}

/// What [`ReconstructFlags`] are resolved into.
#[derive(Debug)]
pub(crate) struct ReconstructOptions {
    frames: Vec<PathBuf>,
    model: ModelOptions,
    out: PathBuf,
    plain: bool,
}

impl ReconstructFlags {
    pub(crate) fn resolve(self) -> anyhow::Result<ReconstructOptions> {
        Ok(ReconstructOptions {
            frames: self.frames.resolve(),
            model: self.model.resolve()?,
            out: self.out,
            plain: self.plain,
        })
    }
}

pub(crate) fn run(options: &ReconstructOptions, reporter: Reporter) -> anyhow::Result<Outcome> {
    let list = frames::find(&options.frames, &[&options.out], reporter)?;
    let (bundle, engine) = options.model.open(reporter)?;
    bundle.vae()?;
    let mut session = InferenceSession::verified(&bundle, &engine)?;
    prepare_folder(&options.out)?;
    let settings = &bundle.manifest().preprocess;
    let decode = settings.decode_options();
    let names = ResultNames::new(&list.paths);
    let mut out = StandardOutput::new();
    let mut reconstruction = Vec::new();
    let mut failed = list.failed;
    interrupt::watch();
    for path in &list.paths {
        interrupt::check()?;
        let run = with_frame(path, &decode, |frame| {
            session.reconstruct_canvas(&frame, &mut reconstruction)
        });
        if let Err(error) = run {
            failed += 1;
            reporter.error(&one_line(&error));
            continue;
        }
        let input = (!options.plain).then_some(session.canvas());
        let picture = picture(settings, &reconstruction, input)?;
        let suffix = if options.plain { RECONSTRUCTION } else { SHEET };
        let target = names.path(&options.out, path, suffix);
        write_whole(&target, &png(picture)?)?;
        out.line(format_args!("{}", target.display()))?;
    }
    out.finish()?;
    Ok(Outcome::after_failures(failed))
}

/// Refuses a model that cuts frames into several tiles, of which each has a posterior of its own;
/// `reason` says why the verb needs one of the frame.
pub(crate) fn one_posterior(
    layout: &TileLayout,
    model_id: &str,
    reason: &str,
) -> anyhow::Result<()> {
    anyhow::ensure!(
        layout.count() == 1,
        "{model_id} cuts a frame into {} tiles, each with a posterior of its own: {reason}",
        layout.count()
    );
    Ok(())
}

/// The reconstruction of a canvas; beside its `input`, where that is given.
fn picture(
    settings: &PreprocessSettings,
    reconstruction: &[f32],
    input: Option<&[f32]>,
) -> anyhow::Result<DynamicImage> {
    let painted = denormalise_canvas(settings, reconstruction)?;
    let Some(input) = input else {
        return Ok(painted);
    };
    let difference = difference(settings, input, reconstruction)?;
    let largest = difference
        .iter()
        .fold(0.0_f32, |largest, &v| largest.max(v));
    let scale = MapScale::around(0.5 * largest, 0.0);
    let row = vec![
        Tile::new(denormalise_canvas(settings, input)?, "input"),
        Tile::new(painted, "reconstruction"),
        Tile::new(
            heat_map(difference.view(), &scale),
            format!("difference 0-{largest:.3}"),
        ),
    ];
    Ok(contact_sheet(&[row]).into())
}

/// Mean over channels of |x − r| of a canvas, `H'×W'`, in units of the full range of a frame.
fn difference(
    settings: &PreprocessSettings,
    input: &[f32],
    reconstruction: &[f32],
) -> anyhow::Result<Array2<f32>> {
    let view = |values| ArrayView3::from_shape(settings.canvas_shape(), values);
    let mut distance = (&view(input)? - &view(reconstruction)?).abs();
    for (mut channel, std) in distance.outer_iter_mut().zip(&settings.normalise.std) {
        channel *= *std;
    }
    Ok(distance.sum_axis(Axis(0)) / settings.channels() as f32)
}

#[cfg(test)]
mod tests {
    use edge_vae::preprocess::{Colour, Normalise};

    use super::*;

    #[test]
    fn the_difference_is_in_units_of_the_full_range() {
        let settings = PreprocessSettings {
            normalise: Normalise {
                mean: vec![0.0; 3],
                std: vec![1.0, 0.5, 0.25],
            },
            ..PreprocessSettings::new(2, 1, Colour::Rgb)
        };
        let difference =
            difference(&settings, &[0.0; 6], &[0.3, 0.0, -0.6, 0.0, 1.2, 0.0]).unwrap();
        // (0.3 · 1 + 0.6 · 0.5 + 1.2 · 0.25) / 3
        assert!((difference[[0, 0]] - 0.3).abs() < 1e-6);
        assert_eq!(difference[[0, 1]], 0.0);
    }
}
