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
    output::{StandardOutput, prepare_folder, write_whole},
    reporter::Reporter,
};

/// Turn latent vectors or maps into pictures.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  edge-vae encode frames/ --out latents.npz
  edge-vae decode latents.npz --out pictures/

Of an NPZ file the array latent is read, else z, else mean: N x L, or N x L x h x w, 32-bit or
64-bit floats. The pictures are named by row: 000000.png and so on. The path of each is printed.
With a model that cuts frames into tiles, a latent and its picture are of one tile.")]
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

pub(crate) fn run(options: &DecodeOptions, reporter: Reporter) -> anyhow::Result<Outcome> {
    let (bundle, engine) = options.model.open(reporter)?;
    let latent = bundle.vae()?.latent;
    let (_, values) = latents::read(&options.latents, &latent.shape())?;
    let mut painter = Painter::new(
        &bundle,
        InferenceSession::verified(&bundle, &engine)?.into_vae()?,
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
