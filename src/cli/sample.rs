//! `edge-vae sample`.

use std::path::PathBuf;

use clap::Args;
use edge_vae::{
    InferenceSession,
    render::{Tile, contact_sheet, png},
    vae::{Posterior, sample_prior},
};
use rand::SeedableRng;
use rand_pcg::Pcg64;

use super::{
    Outcome,
    decode::Painter,
    flags::{ModelFlags, ModelOptions},
    frames::with_frame,
    interrupt,
    output::{StandardOutput, prepare_folder, write_whole},
    reconstruct::one_posterior,
    reporter::Reporter,
};

/// Draw pictures from the model: from the prior, or from the posterior of a frame.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  edge-vae sample --count 64 --seed 7 --out samples/ --sheet
  edge-vae sample --posterior frame.png --count 8 --out samples/

Each picture is the decoder's mean at a drawn z. The same seed gives the same pictures. They are
named 000000.png and so on, or sheet.png; the path of each is printed.")]
pub(crate) struct SampleFlags {
    /// Number of samples.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 16,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000)
    )]
    count: u32,

    /// Seed of the random numbers.
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,

    /// Draw z from q(z|x) of this frame, not from the prior.
    #[arg(long, value_name = "FRAME")]
    posterior: Option<PathBuf>,

    /// Folder for the pictures.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    /// Write all samples (at most 1024) as one sheet, not as single pictures.
    #[arg(long)]
    sheet: bool,

    #[command(flatten)]
    model: ModelFlags,
}

/// What [`SampleFlags`] are resolved into.
#[derive(Debug)]
pub(crate) struct SampleOptions {
    model: ModelOptions,
    count: u32,
    seed: u64,
    posterior: Option<PathBuf>,
    out: PathBuf,
    sheet: bool,
}

/// More pictures make a sheet that nobody can look at.
const MAX_SHEET: u32 = 1024;

impl SampleFlags {
    pub(crate) fn resolve(self) -> anyhow::Result<SampleOptions> {
        anyhow::ensure!(
            !self.sheet || self.count <= MAX_SHEET,
            "--sheet holds at most {MAX_SHEET} samples, not {}",
            self.count
        );
        Ok(SampleOptions {
            model: self.model.resolve()?,
            count: self.count,
            seed: self.seed,
            posterior: self.posterior,
            out: self.out,
            sheet: self.sheet,
        })
    }
}

pub(crate) fn run(options: &SampleOptions, reporter: Reporter) -> anyhow::Result<Outcome> {
    let (bundle, engine) = options.model.open(reporter)?;
    let latent = bundle.vae()?.latent;
    let mut session = InferenceSession::verified(&bundle, &engine)?;
    let decode = bundle.manifest().preprocess.decode_options();
    if let Some(path) = &options.posterior {
        let tiles = session.canvas_layout().tiles();
        one_posterior(
            tiles,
            bundle.model_id(),
            "--posterior draws from a single one; leave it out",
        )?;
        with_frame(path, &decode, |frame| session.run(&frame))?;
    }
    let mean = session.posterior_mean().to_vec();
    let log_variance = session.posterior_log_variance().to_vec();
    let posterior = match options.posterior {
        Some(_) => Some(Posterior::new(&mean, &log_variance)?),
        None => None,
    };
    prepare_folder(&options.out)?;
    let mut painter = Painter::new(&bundle, session.into_vae()?);
    let mut rng = Pcg64::seed_from_u64(options.seed);
    let mut z = vec![0.0; latent.dimensions()];
    let mut out = StandardOutput::new();
    let mut tiles = Vec::new();
    interrupt::watch();
    for index in 0..options.count {
        interrupt::check()?;
        match &posterior {
            Some(posterior) => posterior.sample_into(&mut rng, &mut z)?,
            None => sample_prior(&mut rng, &mut z),
        }
        let picture = painter.paint(&z)?;
        if options.sheet {
            tiles.push(Tile::new(picture, ""));
        } else {
            let target = options.out.join(format!("{index:06}.png"));
            write_whole(&target, &png(picture)?)?;
            out.line(format_args!("{}", target.display()))?;
        }
    }
    if options.sheet {
        let columns = f64::from(options.count).sqrt().ceil() as usize;
        let rows: Vec<Vec<Tile>> = tiles.chunks(columns).map(<[Tile]>::to_vec).collect();
        let target = options.out.join("sheet.png");
        write_whole(&target, &png(contact_sheet(&rows))?)?;
        out.line(format_args!("{}", target.display()))?;
    }
    out.finish()?;
    Ok(Outcome::Done)
}
