//! `edge-vae decode`.

use std::path::PathBuf;

use clap::Args;
use edge_vae::{
    InferenceSession,
    bundle::Bundle,
    preprocess::denormalise,
    render::png,
    vae::{Decoded, Vae},
};
use image::DynamicImage;

use super::{
    Outcome,
    flags::{ModelFlags, ModelOptions},
    interrupt, latents,
    messages::Voice,
    output::{StandardOutput, prepare_folder, write_whole},
};

/// Turn latents into pictures.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  edge-vae encode frames/ --out latents.npz
  edge-vae decode latents.npz --out pictures/

Of an NPZ file the array latent is read, else z, else mean: N x L, or N x L x h x w, f32 or f64.
The pictures are named 000000.png and so on, after the rows; each path is printed. Latents of a
model that cuts frames into tiles are of tiles, and so are their pictures.")]
pub(crate) struct DecodeFlags {
    /// NPY or NPZ file with a latent in each row.
    #[arg(value_name = "LATENTS")]
    latents: PathBuf,

    /// Folder for the pictures.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    #[command(flatten)]
    model: ModelFlags,
}

/// What [`DecodeFlags`] are resolved into.
#[derive(Debug)]
pub(crate) struct DecodeOptions {
    latents: PathBuf,
    model: ModelOptions,
    out: PathBuf,
}

impl DecodeFlags {
    pub(crate) fn resolve(self) -> anyhow::Result<DecodeOptions> {
        Ok(DecodeOptions {
            latents: self.latents,
            model: self.model.resolve()?,
            out: self.out,
        })
    }
}

pub(crate) fn run(options: &DecodeOptions, voice: Voice) -> anyhow::Result<Outcome> {
    let (bundle, engine) = options.model.open(voice)?;
    let latent = bundle.manifest().vae.latent;
    let (_, values) = latents::read(&options.latents, &latent.shape())?;
    let mut painter = Painter::new(
        &bundle,
        InferenceSession::verified(&bundle, &engine)?.into_vae(),
    );
    prepare_folder(&options.out)?;
    let mut out = StandardOutput::new();
    interrupt::watch();
    for (row, z) in values.chunks_exact(latent.dimensions()).enumerate() {
        interrupt::check()?;
        let target = options.out.join(format!("{row:06}.png"));
        write_whole(&target, &png(painter.paint(z)?)?)?;
        out.line(format_args!("{}", target.display()))?;
    }
    out.finish()?;
    Ok(Outcome::Done)
}

/// Paints the decoder's mean of p(x|z), one latent at a time.
pub(crate) struct Painter<'a> {
    bundle: &'a Bundle,
    vae: Vae,
    decoded: Decoded,
}

impl<'a> Painter<'a> {
    /// `vae` is the bundle's, of batch 1.
    pub(crate) fn new(bundle: &'a Bundle, vae: Vae) -> Self {
        Self {
            bundle,
            vae,
            decoded: Decoded::default(),
        }
    }

    pub(crate) fn paint(&mut self, z: &[f32]) -> anyhow::Result<DynamicImage> {
        self.vae.decode_into(z, &mut self.decoded)?;
        let settings = &self.bundle.manifest().preprocess;
        Ok(denormalise(settings, &self.decoded.reconstruction)?)
    }
}
