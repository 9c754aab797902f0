//! `preview`: contact sheets of what a model would learn from.

mod draw;
mod model;

use std::{
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

use anyhow::{Context, Result};
use candle_core::Device;
use edge_vae::{
    bundle::Bundle,
    dataset::{Dataset, Sample},
    preprocess::Normalise,
    render::{Tile, contact_sheet},
    replace_file,
};
use image::codecs::png::{CompressionType, FilterType, PngEncoder};

use crate::{
    data::{
        self, Frames, Input,
        augmentation::{Batches, defect_scale},
    },
    defects::{self, DefectOptions, Defective, Kind},
    options::FitOptions,
    outliers::Judge,
    random::{Purpose, stream},
    reporter::Reporter,
};
use draw::{enlarged, outlined, picture};
use model::Watcher;

/// One call of `preview`.
#[derive(Debug)]
pub struct PreviewJob {
    /// Folder of the sheets.
    pub out: PathBuf,
    /// The run that they are about.
    pub options: FitOptions,
    /// The bundle to show.
    pub model: Option<Bundle>,
    /// Frames shown, at least 1.
    pub count: usize,
}

/// Tiles of a row.
const COLUMNS: usize = 8;
/// Frames whose augmentations are shown, a row each.
const AUGMENTED: usize = 6;
/// Most defects of a kind in a row, each beside its outline.
const PAIRS: usize = 4;
/// Attempts at a defect that can be seen.
const ATTEMPTS: u64 = 40;

/// Writes the sheets: the paths of what was written.
///
/// # Errors
/// Frames, a bundle or a folder that can't be used.
pub fn preview(dataset: &Dataset, job: &PreviewJob, reporter: &Reporter) -> Result<Vec<PathBuf>> {
    let mut watcher = job.model.as_ref().map(Watcher::open).transpose()?;
    let mask = data::read_mask(&job.options)?;
    let Input {
        spec,
        preprocess: settings,
        ..
    } = data::input(dataset, &job.options, mask.as_deref())?;
    let settings = match &watcher {
        Some(watcher) => watcher.plain_settings(),
        None => settings,
    };
    let some = spread(&dataset.train, 2 * job.count.max(COLUMNS));
    let loaded = data::load(
        &some,
        &settings,
        mask.as_deref(),
        &AtomicBool::new(false),
        reporter,
    )?;
    let sheets = Sheets {
        frames: &loaded.frames,
        names: loaded.samples.iter().map(|sample| sample.name()).collect(),
        count: job.count.min(loaded.frames.count()),
        crop: data::crop(&job.options),
        tensor: [spec.height, spec.width],
        options: &job.options,
    };
    let mut written = Vec::new();
    let mut write = |name: &str, rows: &[Vec<Tile>]| -> Result<()> {
        let path = job.out.join(name);
        let mut png = Vec::new();
        // A quarter of the size that the encoder's own default makes.
        let (compression, filter) = (CompressionType::Default, FilterType::Adaptive);
        contact_sheet(rows)
            .write_with_encoder(PngEncoder::new_with_quality(&mut png, compression, filter))
            .with_context(|| format!("{}: cannot encode", path.display()))?;
        replace_file(&path, &png).with_context(|| format!("{}: cannot write", path.display()))?;
        written.push(path);
        Ok(())
    };
    write("frames.png", &sheets.frames())?;
    write("augmented.png", &sheets.augmented()?)?;
    write("defects.png", &sheets.defects())?;
    if let Some(model) = &job.model
        && let Some(rows) = ranked(model, dataset, job.count, reporter)?
    {
        write("ranked.png", &rows)?;
    }
    if let Some(watcher) = &mut watcher {
        write("model-normal.png", &sheets.model_normal(watcher)?)?;
        write("model-defects.png", &sheets.model_defects(watcher)?)?;
    }
    Ok(written)
}

/// At most `wanted` samples, evenly spread.
fn spread(samples: &[Sample], wanted: usize) -> Vec<Sample> {
    let wanted = wanted.min(samples.len());
    (0..wanted)
        .map(|i| samples[i * samples.len() / wanted].clone())
        .collect()
}

/// The oddest frames of the model's ranking, each beside its map; `None` where it has no ranking.
fn ranked(
    model: &Bundle,
    dataset: &Dataset,
    count: usize,
    reporter: &Reporter,
) -> Result<Option<Vec<Vec<Tile>>>> {
    let mut judge = Judge::open(model)?;
    let Some(ranking) = judge.ranking_of_fit(model.path())? else {
        return Ok(None);
    };
    let mut tiles = Vec::new();
    for ranked in ranking.frames.iter().take(count) {
        let mut samples = dataset.train.iter();
        let Some(sample) = samples.find(|sample| sample.name() == ranked.frame) else {
            reporter.line(format_args!("{}: is not among these frames", ranked.frame));
            continue;
        };
        let seen = judge.look(sample)?;
        let mark = if ranked.suspicious { "!" } else { "" };
        let place = format!(
            "{}.{mark} score {:.2}, p {:.1e}",
            ranked.rank, ranked.score, ranked.p_value
        );
        tiles.push(Tile::new(seen.frame, file_name(&ranked.frame)));
        tiles.push(Tile::new(seen.heat, place));
    }
    Ok(Some(rows(tiles, COLUMNS)))
}

/// What the sheets are made of.
struct Sheets<'a> {
    /// In [0, 1].
    frames: &'a Frames,
    names: Vec<&'a str>,
    /// Frames shown of these.
    count: usize,
    /// Side of the crops of training.
    crop: Option<usize>,
    /// Height and width of the tensor.
    tensor: [usize; 2],
    options: &'a FitOptions,
}

impl Sheets<'_> {
    fn frames(&self) -> Vec<Vec<Tile>> {
        let tile = |i: usize| Tile::new(self.shown(self.frames.get(i)), file_name(self.names[i]));
        rows((0..self.count).map(tile).collect(), COLUMNS)
    }

    /// Frames, and beside each what training takes of it.
    fn augmented(&self) -> Result<Vec<Vec<Tile>>> {
        let channels = self.frames.shape()[0];
        let normalise = Normalise::identity(channels);
        let batches = Batches {
            frames: self.frames,
            normalise: &normalise,
            donors: &[],
            crop: self.crop,
            tensor: self.tensor,
            head: None,
            seed: self.options.seed,
        };
        let mut rows = Vec::new();
        for index in 0..self.count.min(AUGMENTED) {
            let indices = [index; COLUMNS - 1];
            let counter = (index * COLUMNS) as u64;
            let changed = batches
                .train(&indices, &self.options.augmentation, counter, &Device::Cpu)?
                .input
                // From N×H×W×C.
                .permute((0, 3, 1, 2))?;
            let (_, _, height, width) = changed.dims4()?;
            let changed = changed.flatten_all()?.to_vec1::<f32>()?;
            let mut row = vec![Tile::new(
                self.shown(self.frames.get(index)),
                file_name(self.names[index]),
            )];
            for values in changed.chunks_exact(channels * height * width) {
                let native = picture(values, [channels, height, width]);
                row.push(Tile::new(enlarged(&native), ""));
            }
            rows.push(row);
        }
        Ok(rows)
    }

    /// A row for each kind, and one of what training draws: kinds by lot, sometimes two.
    fn defects(&self) -> Vec<Vec<Tile>> {
        let pairs = self.count.div_ceil(2).min(PAIRS);
        let mut rows = Kind::all().map(|kind| vec![kind]).to_vec();
        rows.push(Vec::new());
        rows.iter()
            .enumerate()
            .map(|(row, kinds)| {
                (0..pairs)
                    .flat_map(|place| {
                        let defective = self.defective(kinds, row, place);
                        let native = picture(&defective.values, self.frames.shape());
                        let outline = outlined(&native, &defective.mask);
                        [
                            Tile::new(enlarged(&native), caption(&defective)),
                            Tile::new(outline, ""),
                        ]
                    })
                    .collect()
            })
            .collect()
    }

    /// A defect of one of `kinds` (none: of any) on the frame of a place of a row.
    fn defective(&self, kinds: &[Kind], row: usize, place: usize) -> Defective {
        let index = (row + place) % self.frames.count();
        let donor = (index + 1) % self.frames.count();
        let draw = |attempt: u64| {
            // Not the draws of training, whose counters are small.
            let counter = (1 << 48) + (((row * PAIRS + place) as u64) << 16) + attempt;
            let mut random = stream(self.options.seed, Purpose::Defect, counter);
            let options = DefectOptions {
                kinds: kinds.to_vec(),
                second: if kinds.is_empty() { 0.5 } else { 0.0 },
                scale: defect_scale(self.tensor, &mut random),
            };
            defects::defective(
                &mut random,
                &options,
                self.frames.get(index),
                self.frames.shape(),
                self.frames.get(donor),
            )
        };
        (0..ATTEMPTS)
            .map(draw)
            .find(|defective| !defective.kinds.is_empty())
            .unwrap_or_else(|| draw(0))
    }

    fn model_normal(&self, watcher: &mut Watcher) -> Result<Vec<Vec<Tile>>> {
        let mut tiles = Vec::new();
        for index in 0..self.count {
            let values = self.frames.get(index);
            let seen = watcher.look(values, self.frames.shape())?;
            tiles.push(Tile::new(self.shown(values), file_name(self.names[index])));
            tiles.extend(seen.tiles());
        }
        Ok(rows(tiles, 6))
    }

    /// A row for each kind.
    fn model_defects(&self, watcher: &mut Watcher) -> Result<Vec<Vec<Tile>>> {
        let pairs = self.count.div_ceil(2).min(2);
        let mut sheet = Vec::new();
        for (row, kind) in Kind::all().iter().enumerate() {
            let mut tiles = Vec::new();
            for place in 0..pairs {
                let defective = self.defective(&[*kind], row, place);
                let seen = watcher.look(&defective.values, self.frames.shape())?;
                let native = picture(&defective.values, self.frames.shape());
                let outline = outlined(&native, &defective.mask);
                tiles.push(Tile::new(outline, caption(&defective)));
                tiles.extend(seen.tiles());
            }
            sheet.push(tiles);
        }
        Ok(sheet)
    }

    /// Values in [0, 1], C×H×W, as an enlarged picture.
    fn shown(&self, values: &[f32]) -> image::RgbImage {
        enlarged(&picture(values, self.frames.shape()))
    }
}

fn caption(defective: &Defective) -> String {
    if defective.kinds.is_empty() {
        return "nothing visible".to_owned();
    }
    let names: Vec<&str> = defective.kinds.iter().map(|kind| kind.name()).collect();
    names.join(" + ")
}

fn file_name(name: &str) -> String {
    let path = Path::new(name);
    path.file_name()
        .map_or(name.to_owned(), |name| name.to_string_lossy().into_owned())
}

fn rows(tiles: Vec<Tile>, columns: usize) -> Vec<Vec<Tile>> {
    tiles.chunks(columns).map(<[Tile]>::to_vec).collect()
}

#[cfg(test)]
mod tests {
    use edge_vae::{
        dataset::DatasetOptions,
        synth::{DatasetCounts, SurfaceSettings, write_dataset},
    };

    use super::*;
    use crate::options::Preset;

    #[test]
    fn every_sheet_is_written_whole_and_repeats() {
        let room = tempfile::tempdir().unwrap();
        let frames = room.path().join("frames");
        let settings = SurfaceSettings {
            width: 36,
            height: 36,
            ..SurfaceSettings::default()
        };
        let counts = DatasetCounts {
            train: 12,
            test_good: 1,
            per_kind: 1,
        };
        write_dataset(&frames, &settings, 4, &counts, &mut |_, _| ()).unwrap();
        let dataset = Dataset::open(&frames, &DatasetOptions::default()).unwrap();
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/digits28");
        let job = |name: &str| PreviewJob {
            out: room.path().join(name),
            options: FitOptions::defaults(Preset::Small28),
            model: Some(Bundle::open(&model).unwrap()),
            count: 3,
        };
        let written = preview(&dataset, &job("a"), &Reporter::new(true)).unwrap();
        // Tiles of 9·28 pixels, gaps of 8, captions of 14.
        let size = |columns: u32, rows: u32| (8 + columns * 260, 8 + rows * 274);
        let expected = [
            ("frames.png", size(3, 1)),
            ("augmented.png", size(8, 3)),
            ("defects.png", size(4, 11)),
            ("model-normal.png", size(6, 2)),
            ("model-defects.png", size(6, 10)),
        ];
        assert_eq!(written.len(), expected.len());
        let again = preview(&dataset, &job("b"), &Reporter::new(true)).unwrap();
        for ((path, other), (name, size)) in written.iter().zip(&again).zip(expected) {
            assert_eq!(path.file_name().unwrap(), name);
            assert_eq!(
                image::open(path).unwrap().into_rgb8().dimensions(),
                size,
                "{name}"
            );
            assert_eq!(std::fs::read(path).unwrap(), std::fs::read(other).unwrap());
        }
    }

    #[test]
    fn samples_are_spread_over_the_whole_set() {
        let room = tempfile::tempdir().unwrap();
        for i in 0..10 {
            std::fs::write(room.path().join(format!("{i}.png")), b"").unwrap();
        }
        let dataset = Dataset::open(room.path(), &DatasetOptions::default()).unwrap();
        let names = |wanted: usize| -> Vec<String> {
            let some = spread(&dataset.train, wanted);
            some.iter().map(|sample| file_name(sample.name())).collect()
        };
        assert_eq!(names(3), ["0.png", "3.png", "6.png"]);
        assert_eq!(names(99).len(), 10);
    }
}
