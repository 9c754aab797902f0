//! `edge-vae interpolate`.

use std::path::PathBuf;

use clap::Args;
use edge_vae::{
    InferenceSession,
    render::{Tile, contact_sheet, png},
    vae::{Interpolation, interpolate},
};

use super::{
    Outcome,
    decode::Painter,
    flags::{ModelFlags, ModelOptions},
    frames::with_frame,
    interrupt,
    output::{FilePlace, StandardOutput},
    reconstruct::one_posterior,
    reporter::Reporter,
};

/// Draw the way from one frame to another through latent space, as one sheet.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  edge-vae interpolate a.png b.png --steps 9 --spherical --out way.png

The ends are the posterior means of the two frames, and count as steps.")]
pub(crate) struct InterpolateFlags {
    /// The frame to start from.
    #[arg(value_name = "A")]
    from: PathBuf,

    /// The frame to end at.
    #[arg(value_name = "B")]
    to: PathBuf,

    /// Number of pictures, both ends included.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 8,
        value_parser = clap::value_parser!(u16).range(2..=1024)
    )]
    steps: u16,

    /// Go along the great circle, not the straight line.
    #[arg(long)]
    spherical: bool,

    /// The PNG file; its folder is made where it does not exist.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,

    #[command(flatten)]
    model: ModelFlags,
}

/// What [`InterpolateFlags`] are resolved into.
#[derive(Debug)]
pub(crate) struct InterpolateOptions {
    ends: [PathBuf; 2],
    model: ModelOptions,
    steps: usize,
    path: Interpolation,
    out: PathBuf,
}

impl InterpolateFlags {
    pub(crate) fn resolve(self) -> anyhow::Result<InterpolateOptions> {
        Ok(InterpolateOptions {
            ends: [self.from, self.to],
            model: self.model.resolve()?,
            steps: self.steps.into(),
            path: if self.spherical {
                Interpolation::Spherical
            } else {
                Interpolation::Linear
            },
            out: self.out,
        })
    }
}

/// Pictures in a row of the sheet.
const COLUMNS: usize = 16;

pub(crate) fn run(options: &InterpolateOptions, reporter: Reporter) -> anyhow::Result<Outcome> {
    let file = FilePlace::check(&options.out, "png")?;
    let (bundle, engine) = options.model.open(reporter)?;
    bundle.vae()?;
    let mut session = InferenceSession::verified(&bundle, &engine)?;
    let decode = bundle.manifest().preprocess.decode_options();
    one_posterior(
        session.canvas_layout().tiles(),
        bundle.model_id(),
        "there is no single way from frame to frame; `encode --out` and `decode` serve for its \
         tiles",
    )?;
    file.prepare()?;
    let mut mean = |path| -> anyhow::Result<Vec<f32>> {
        with_frame(path, &decode, |frame| session.run(&frame))?;
        Ok(session.posterior_mean().to_vec())
    };
    let (from, to) = (mean(&options.ends[0])?, mean(&options.ends[1])?);
    let mut painter = Painter::new(&bundle, session.into_vae()?);
    let mut tiles = Vec::new();
    interrupt::watch();
    for z in interpolate(&from, &to, options.steps, options.path)? {
        interrupt::check()?;
        tiles.push(Tile::new(painter.paint(&z)?, ""));
    }
    let rows: Vec<Vec<Tile>> = tiles.chunks(COLUMNS).map(<[Tile]>::to_vec).collect();
    file.write(&png(contact_sheet(&rows))?)?;
    let mut out = StandardOutput::new();
    out.line(format_args!("{}", options.out.display()))?;
    out.finish()?;
    Ok(Outcome::Done)
}
