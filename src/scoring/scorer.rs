//! From the score maps of a frame to its anomaly map and its raw score.

use std::collections::BTreeMap;

use ndarray::Array3;
use serde::{Deserialize, Serialize};

use crate::{
    image::{GaussianSmoothing, Upsample},
    model::{GraphShapes, ModelOutputs},
    preprocess::{CanvasLayout, Interior, TileBlend},
    vae::{VaeSpec, kl_standard_normal},
    value::check_length,
};

use super::{
    ImageScore, MapScore, Mean, ScoreMap, ScoreSource, Scoring, ScoringError, SourceSettings,
    Standardisation,
};

impl Scoring {
    /// Checks what a manifest may say, but for statistics and graphs, which [`Scorer::new`] checks.
    ///
    /// # Errors
    /// A setting outside of its domain; a source that is listed twice, or used and not listed; a
    /// standardised source without statistics.
    pub fn validate(&self, spec: &VaeSpec) -> Result<(), ScoringError> {
        let wrong = |message: String| Err(ScoringError::Contradiction(message));
        self.image.aggregation.validate()?;
        GaussianSmoothing::new(spec.width, spec.height, self.map.smoothing)?;
        for (place, settings) in self.sources.iter().enumerate() {
            GaussianSmoothing::new(spec.width, spec.height, settings.smoothing)?;
            if self.sources[..place]
                .iter()
                .any(|other| other.source == settings.source)
            {
                return wrong(format!("source `{}` is listed twice", settings.source));
            }
        }
        if self.map.mean == Mean::Geometric && self.map.standardised {
            return wrong(
                "the map asks for a geometric mean of z, which may be negative".to_owned(),
            );
        }
        for (user, sources, standardised) in [
            ("image", &self.image.sources, self.image.standardised),
            ("map", &self.map.sources, self.map.standardised),
        ] {
            if sources.is_empty() {
                return wrong(format!("{user} names no source"));
            }
            for (place, source) in sources.iter().enumerate() {
                if sources[..place].contains(source) {
                    return wrong(format!("{user} names `{source}` twice"));
                }
                let Some(settings) = self.sources.iter().find(|s| s.source == *source) else {
                    return wrong(format!(
                        "{user} names `{source}`, which is not among the sources"
                    ));
                };
                if standardised && settings.statistics.is_none() {
                    return wrong(format!(
                        "{user} asks for standardised `{source}`, which has no statistics"
                    ));
                }
            }
        }
        Ok(())
    }
}

/// From what was computed for a frame to its anomaly map and score, as a bundle's [`Scoring`] says,
/// with buffers of its own: in steady state it allocates nothing. Training, calibration and
/// runtime use the same one.
///
/// Of a canvas of several tiles, each tile is handed to [`Scorer::add_tile`]; each source's maps of
/// the tiles are blended into one of the canvas before anything else is done. Cells that the mask
/// leaves out count in no score.
#[derive(Debug)]
pub struct Scorer {
    maps: Vec<SourceMap>,
    image: ImageScore,
    map: MapScore,
    /// Rows and columns of the canvas.
    size: [usize; 2],
    /// Cells of the anomaly map that count, where not all do.
    interior: Option<Interior>,
    tiles: usize,
    /// Tiles of the present frame that were handed over.
    added: usize,
    /// The part of the sources that they were handed over for.
    part: SourceSubset,
    /// Sum over these tiles of the posterior's divergence from the prior, nats.
    divergence: f64,
    last_smoothing: GaussianSmoothing,
    upsample: Upsample,
    selection: Vec<f32>,
}

/// How much of the score in a part of the frame comes from a source.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceShare {
    /// The source.
    pub source: ScoreSource,
    /// Its largest standardised value there, in deviations of normal frames.
    pub z: f32,
    /// Share of the sum of all sources' positive z, 0–1.
    pub share: f32,
}

/// Some of a scoring's sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SourceSubset {
    /// All of them.
    All,
    /// Those that score and map are made of.
    Scoring,
    /// Those that only explain.
    Explaining,
}

impl SourceSubset {
    fn has(self, is_scored: bool) -> bool {
        match self {
            Self::All => true,
            Self::Scoring => is_scored,
            Self::Explaining => !is_scored,
        }
    }
}

/// One source's map of the last frame.
#[derive(Debug)]
struct SourceMap {
    /// Whether score or map are made of it.
    is_scored: bool,
    score_map: ScoreMap,
    /// What puts the maps of several tiles together, and the map of one.
    tile: Option<(TileBlend, Vec<f32>)>,
    /// Rows and columns of the canvas's map.
    shape: [usize; 2],
    /// Its cells that count, where not all do.
    interior: Option<Interior>,
    smoothing: GaussianSmoothing,
    standardisation: Option<Standardisation>,
    /// Smoothed.
    raw: Vec<f32>,
    /// Standardised too; empty without statistics.
    z: Vec<f32>,
}

impl Scorer {
    /// For the frames of `spec` and `layout`, with the maps that the bundle's graphs make and each
    /// source's statistics, as [`Standardisation::from_array`] takes them.
    ///
    /// # Errors
    /// What [`Scoring::validate`] refuses; a source whose graph is missing; statistics that are
    /// missing, or such as [`Standardisation::from_array`] refuses.
    pub fn new(
        scoring: &Scoring,
        spec: &VaeSpec,
        layout: &CanvasLayout,
        graphs: GraphShapes,
        statistics: &BTreeMap<ScoreSource, Array3<f32>>,
    ) -> Result<Self, ScoringError> {
        scoring.validate(spec)?;
        let maps = scoring
            .sources
            .iter()
            .map(|settings| {
                let users = [&scoring.image.sources, &scoring.map.sources];
                Ok(SourceMap {
                    is_scored: users.iter().any(|user| user.contains(&settings.source)),
                    ..SourceMap::new(settings, spec, layout, graphs, statistics)?
                })
            })
            .collect::<Result<_, ScoringError>>()?;
        let size = layout.tiles().canvas_size();
        Ok(Self {
            maps,
            image: scoring.image.clone(),
            map: scoring.map.clone(),
            size,
            interior: layout.interior(size),
            tiles: layout.tiles().count(),
            added: 0,
            part: SourceSubset::All,
            divergence: 0.0,
            last_smoothing: GaussianSmoothing::new(size[1], size[0], scoring.map.smoothing)?,
            upsample: Upsample::to(size),
            selection: Vec::with_capacity(size[0] * size[1]),
        })
    }

    /// Computes the anomaly map of a frame of one tile into `map` (`H×W`, tensor geometry) and
    /// gives its raw score.
    ///
    /// # Errors
    /// A slice of another length; NaN or an infinity in the maps, from the input or the model; a
    /// layout of several tiles.
    pub fn score(&mut self, outputs: &ModelOutputs, map: &mut [f32]) -> Result<f64, ScoringError> {
        self.add_tile(0, outputs)?;
        self.finish(map)
    }

    /// Takes in what was computed for a tile of a frame; tiles come in ascending order, and tile 0
    /// begins a frame.
    ///
    /// # Errors
    /// Those of [`ScoreMap::compute`]; a posterior that is not a number; another tile than the
    /// next.
    pub fn add_tile(&mut self, tile: usize, outputs: &ModelOutputs) -> Result<(), ScoringError> {
        self.add_tile_for(SourceSubset::All, tile, outputs)
    }

    /// [`Scorer::add_tile`] for a part of the sources; [`SourceSubset::Explaining`] comes after the frame
    /// was finished for [`SourceSubset::Scoring`]. That part alone has no divergence.
    pub(crate) fn add_tile_for(
        &mut self,
        part: SourceSubset,
        tile: usize,
        outputs: &ModelOutputs,
    ) -> Result<(), ScoringError> {
        if tile == 0 {
            self.added = 0;
            self.part = part;
            self.divergence = 0.0;
        }
        if tile != self.added || tile >= self.tiles {
            return Err(ScoringError::Contradiction(format!(
                "found tile {tile}, expected tile {} of {}: hand over each once, in ascending order",
                self.added, self.tiles
            )));
        }
        for field in self.maps.iter_mut().filter(|f| part.has(f.is_scored)) {
            match &mut field.tile {
                None => field.score_map.compute(outputs, &mut field.raw)?,
                Some((blend, map)) => {
                    field.score_map.compute(outputs, map)?;
                    blend.add(tile, map, &mut field.raw);
                }
            }
        }
        if part != SourceSubset::Scoring {
            self.divergence += kl_standard_normal(outputs.mean, outputs.log_variance)?.max(0.0);
        }
        self.added += 1;
        Ok(())
    }

    /// KL(q(z|x) ‖ N(0, I)) of the last frame whose tiles were taken in, nats; of several tiles the
    /// mean. It says how unusual the frame is to the model, whatever the score is made of.
    pub fn divergence(&self) -> f64 {
        self.divergence / self.tiles.max(1) as f64
    }

    /// Computes the anomaly map of the frame whose last tile was taken in, into `map` (`H×W` of the
    /// canvas), and gives its raw score. Cells that the mask leaves out hold the map's minimum.
    ///
    /// # Errors
    /// A slice of another length; NaN or an infinity in the maps; tiles that are missing.
    pub fn finish(&mut self, map: &mut [f32]) -> Result<f64, ScoringError> {
        check_length("anomaly map", map.len(), self.positions())?;
        self.post_process()?;
        let settings = (&self.map.sources[..], self.map.standardised, self.map.mean);
        average(&self.maps, &mut self.upsample, settings, map)?;
        self.last_smoothing.apply(map)?;
        if let Some(interior) = &self.interior {
            interior.exclude(map);
        }

        self.selection.clear();
        match self.image.sources[..] {
            [source] => {
                let field = find(&self.maps, source)?;
                let values = field.values(self.image.standardised);
                match &field.interior {
                    None => self.selection.extend_from_slice(values),
                    Some(interior) => self.selection.extend(interior.inside(values)),
                }
            }
            _ => {
                self.selection.resize(map.len(), 0.0);
                let image = &self.image;
                let settings = (&image.sources[..], image.standardised, Mean::Arithmetic);
                let out = &mut self.selection;
                average(&self.maps, &mut self.upsample, settings, out)?;
                if let Some(interior) = &self.interior {
                    let mut cells = interior.cells().iter();
                    self.selection
                        .retain(|_| cells.next().is_some_and(|inside| *inside));
                }
            }
        }
        self.image.aggregation.score(&mut self.selection)
    }

    /// Smooths and standardises the maps of the sources whose last tile was taken in, as
    /// [`Scorer::finish`] does too.
    ///
    /// # Errors
    /// Tiles that are missing, NaN or an infinity in the maps.
    pub(crate) fn post_process(&mut self) -> Result<(), ScoringError> {
        let added = std::mem::take(&mut self.added);
        if added != self.tiles {
            return Err(ScoringError::Contradiction(format!(
                "found {added} of the frame's {} tiles: hand over each",
                self.tiles
            )));
        }
        self.maps
            .iter_mut()
            .filter(|field| self.part.has(field.is_scored))
            .try_for_each(SourceMap::post_process)
    }

    /// The sources that score and map are made of.
    pub(crate) fn scored_sources(&self) -> Vec<ScoreSource> {
        let scored = self.maps.iter().filter(|field| field.is_scored);
        scored.map(|field| field.score_map.source()).collect()
    }

    /// Number of values of the anomaly map: H·W of the canvas.
    pub fn positions(&self) -> usize {
        self.size[0] * self.size[1]
    }

    /// Which sources speak against a part of the last frame, the strongest first: `[x, y, width,
    /// height]` in pixels of the canvas. Sources without statistics are left out, and cells that the
    /// mask leaves out, unless there are no others.
    pub fn source_shares(&self, part: [usize; 4]) -> Vec<SourceShare> {
        let [rows, columns] = self.size;
        let mut source_shares: Vec<SourceShare> = self
            .maps
            .iter()
            .filter(|field| !field.z.is_empty())
            .map(|field| {
                let [height, width] = field.shape;
                let span = |from: usize, length: usize, of: usize, side: usize| {
                    let first = (from * side / of).min(side - 1);
                    first..((from + length) * side).div_ceil(of).clamp(first + 1, side)
                };
                let across = span(part[0], part[2], columns, width);
                let cells = || {
                    span(part[1], part[3], rows, height)
                        .flat_map(|y| across.clone().map(move |x| y * width + x))
                };
                let counts = |cell: &usize| {
                    let inside = field.interior.as_ref().map(Interior::cells);
                    inside.is_none_or(|inside| inside[*cell])
                };
                let most = |z: f32, cell: usize| z.max(field.z[cell]);
                let z = match cells().any(|cell| counts(&cell)) {
                    true => cells().filter(counts).fold(f32::MIN, most),
                    false => cells().fold(f32::MIN, most),
                };
                SourceShare {
                    source: field.score_map.source(),
                    z,
                    share: 0.0,
                }
            })
            .collect();
        let sum: f32 = source_shares.iter().map(|share| share.z.max(0.0)).sum();
        for share in &mut source_shares {
            share.share = if sum > 0.0 {
                share.z.max(0.0) / sum
            } else {
                0.0
            };
        }
        source_shares.sort_by(|a, b| b.z.total_cmp(&a.z));
        source_shares
    }
}

/// The mean of the sources' maps, standardised or not, in the canvas's size.
fn average(
    maps: &[SourceMap],
    upsample: &mut Upsample,
    (sources, standardised, mean): (&[ScoreSource], bool, Mean),
    out: &mut [f32],
) -> Result<(), ScoringError> {
    out.fill(0.0);
    let share = 1.0 / sources.len() as f32;
    for &source in sources {
        let field = find(maps, source)?;
        let values = upsample.apply(field.values(standardised), field.shape);
        for (out, &value) in out.iter_mut().zip(values) {
            *out += share * mean.term(value);
        }
    }
    for out in out {
        *out = mean.of_terms(*out);
    }
    Ok(())
}

fn find(maps: &[SourceMap], source: ScoreSource) -> Result<&SourceMap, ScoringError> {
    maps.iter()
        .find(|field| field.score_map.source() == source)
        .ok_or_else(|| ScoringError::Contradiction(format!("source `{source}` is not computed")))
}

impl SourceMap {
    fn new(
        settings: &SourceSettings,
        spec: &VaeSpec,
        layout: &CanvasLayout,
        graphs: GraphShapes,
        statistics: &BTreeMap<ScoreSource, Array3<f32>>,
    ) -> Result<Self, ScoringError> {
        let score_map = ScoreMap::new(settings.source, spec, graphs)?;
        let [rows, columns] = score_map.shape();
        // The setting is in pixels of the tensor, the map may be coarser.
        let smoothing = settings.smoothing * rows as f32 / spec.height as f32;
        let shape = layout.map_size([rows, columns]);
        let [height, width] = shape;
        let standardisation = match (&settings.statistics, statistics.get(&settings.source)) {
            (None, _) => None,
            (Some(file), None) => {
                return Err(ScoringError::Contradiction(format!(
                    "the statistics {file} of source `{}` are missing",
                    settings.source
                )));
            }
            (Some(_), Some(array)) => Some(Standardisation::from_array(array.view(), shape)?),
        };
        Ok(Self {
            is_scored: true,
            smoothing: GaussianSmoothing::new(width, height, smoothing)?,
            raw: vec![0.0; height * width],
            z: vec![
                0.0;
                if standardisation.is_some() {
                    height * width
                } else {
                    0
                }
            ],
            standardisation,
            tile: layout
                .blend([rows, columns])
                .map(|blend| (blend, vec![0.0; rows * columns])),
            interior: layout.interior(shape),
            shape,
            score_map,
        })
    }

    fn post_process(&mut self) -> Result<(), ScoringError> {
        self.smoothing.apply(&mut self.raw)?;
        if let Some(standardisation) = &self.standardisation {
            self.z.copy_from_slice(&self.raw);
            standardisation.apply(&mut self.z)?;
        }
        Ok(())
    }

    fn values(&self, standardised: bool) -> &[f32] {
        if standardised { &self.z } else { &self.raw }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;
    use crate::{
        preprocess::{Colour, PreprocessSettings, Preprocessor, Tiles},
        scoring::Aggregation,
        vae::{Latent, Likelihood},
        value::ValueError,
    };

    fn spec() -> VaeSpec {
        VaeSpec {
            channels: 1,
            height: 2,
            width: 2,
            latent: Latent::Vector { length: 1 },
            likelihood: Likelihood::Gaussian { sigma: 0.5 },
        }
    }

    fn residual_z(smoothing: f32) -> Scoring {
        Scoring::of_one(
            ScoreSource::Residual,
            smoothing,
            Some("statistics.npy".into()),
            Aggregation::Maximum,
        )
    }

    fn scorer(scoring: &Scoring, array: Array3<f32>) -> Result<Scorer, ScoringError> {
        let statistics = BTreeMap::from([(ScoreSource::Residual, array)]);
        let graphs = GraphShapes {
            head: Some([1, 1]),
            distance: Some([1, 2]),
            reconstruction_distance: Some([2, 1]),
            detail_distance: None,
        };
        Scorer::new(
            scoring,
            &spec(),
            &CanvasLayout::whole(2, 2),
            graphs,
            &statistics,
        )
    }

    fn statistics() -> Array3<f32> {
        array![[[1.0, 1.0], [0.0, 2.0]], [[0.5, 1.0], [2.0, 0.25]]]
    }

    /// Residuals over σ: 2, 0, 4, 1.
    fn outputs() -> ModelOutputs<'static> {
        ModelOutputs {
            input: &[1.0, 0.0, 3.0, 0.5],
            reconstruction: &[0.0, 0.0, 1.0, 0.0],
            head: &[-3.0],
            distance: &[10.0, 20.0],
            reconstruction_distance: &[5.0, 7.0],
            ..ModelOutputs::default()
        }
    }

    #[test]
    fn the_whole_way_by_hand() {
        let mut scorer = scorer(&residual_z(0.0), statistics()).unwrap();
        let mut map = [0.0; 4];
        let score = scorer.score(&outputs(), &mut map).unwrap();
        assert_eq!(map, [2.0, -1.0, 2.0, -4.0]);
        assert_eq!(score, 2.0);
        let bad = ModelOutputs {
            input: &[f32::NAN; 4],
            ..outputs()
        };
        assert!(matches!(
            scorer.score(&bad, &mut map),
            Err(ScoringError::Value(ValueError::NotFinite { index: 0, .. }))
        ));
    }

    #[test]
    fn each_tile_is_wanted_once() {
        let settings = PreprocessSettings {
            tiles: Some(Tiles {
                width: 3,
                height: 2,
                overlap: 0.5,
            }),
            ..PreprocessSettings::new(2, 2, Colour::Grey)
        };
        let preprocessor = Preprocessor::new(settings).unwrap();
        let layout = preprocessor.canvas_layout();
        assert_eq!(layout.tiles().count(), 2);
        let mut scoring = residual_z(0.0);
        scoring.image.standardised = false;
        scoring.map.standardised = false;
        scoring.sources[0].statistics = None;
        let graphs = GraphShapes::default();
        let mut scorer = Scorer::new(&scoring, &spec(), layout, graphs, &BTreeMap::new()).unwrap();
        let mut map = [0.0; 6];
        assert!(scorer.score(&outputs(), &mut map).is_err());
        assert!(scorer.add_tile(1, &outputs()).is_err());
        scorer.add_tile(0, &outputs()).unwrap();
        assert!(scorer.finish(&mut map).is_err());
        scorer.add_tile(0, &outputs()).unwrap();
        scorer.add_tile(1, &outputs()).unwrap();
        assert!(scorer.add_tile(2, &outputs()).is_err());
        // Both tiles show 2, 0 over 4, 1; they share the column in the middle.
        assert_eq!(scorer.finish(&mut map).unwrap(), 4.0);
        assert_eq!(map, [2.0, 1.0, 0.0, 4.0, 2.5, 1.0]);
    }

    #[test]
    fn smoothing_comes_before_standardisation() {
        let flat = array![[[1.0, 1.0], [1.0, 1.0]], [[0.5, 0.5], [0.5, 0.5]]];
        let mut scorer = scorer(&residual_z(50.0), flat).unwrap();
        let mut map = [0.0; 4];
        scorer.score(&outputs(), &mut map).unwrap();
        // The mean residual is 1.75.
        assert!(map.iter().all(|z| (z - 1.5).abs() < 1e-2), "{map:?}");
    }

    #[test]
    fn score_and_map_may_come_from_different_sources() {
        let plain = |source| SourceSettings {
            source,
            smoothing: 0.0,
            statistics: None,
        };
        let scoring = Scoring {
            graphs: Vec::new(),
            backbone: None,
            image: ImageScore {
                sources: vec![ScoreSource::Features],
                standardised: false,
                aggregation: Aggregation::Total,
            },
            map: MapScore {
                sources: vec![ScoreSource::Residual, ScoreSource::Head],
                standardised: false,
                mean: Mean::Arithmetic,
                smoothing: 0.0,
            },
            sources: vec![
                plain(ScoreSource::Residual),
                plain(ScoreSource::Head),
                plain(ScoreSource::Features),
            ],
        };
        let mut scorer = scorer(&scoring, statistics()).unwrap();
        let mut map = [0.0; 4];
        assert_eq!(scorer.score(&outputs(), &mut map).unwrap(), 30.0);
        // The mean of 2, 0, 4, 1 and of −3 everywhere.
        assert_eq!(map, [-0.5, -1.5, 0.5, -1.0]);
    }

    #[test]
    fn several_sources_make_one_score_in_the_tensors_size() {
        let mut scoring = residual_z(0.0);
        scoring.sources.push(SourceSettings {
            source: ScoreSource::Features,
            smoothing: 0.0,
            statistics: None,
        });
        scoring.image.standardised = false;
        scoring.image.sources.push(ScoreSource::Features);
        let mut scorer = scorer(&scoring, statistics()).unwrap();
        let mut map = [0.0; 4];
        // (2 + 10)/2, (0 + 20)/2, (4 + 10)/2, (1 + 20)/2.
        assert_eq!(scorer.score(&outputs(), &mut map).unwrap(), 10.5);
    }

    #[test]
    fn distances_make_a_geometric_mean() {
        let mut scoring = residual_z(0.0);
        scoring.sources = [ScoreSource::Features, ScoreSource::Reconstruction]
            .map(|source| SourceSettings {
                source,
                smoothing: 0.0,
                statistics: None,
            })
            .to_vec();
        scoring.image.standardised = false;
        scoring.image.sources = vec![ScoreSource::Features];
        scoring.map = MapScore {
            sources: vec![ScoreSource::Features, ScoreSource::Reconstruction],
            standardised: false,
            mean: Mean::Geometric,
            smoothing: 0.0,
        };
        let mut scorer = scorer(&scoring, statistics()).unwrap();
        let mut map = [0.0; 4];
        assert_eq!(scorer.score(&outputs(), &mut map).unwrap(), 20.0);
        let expected = [50.0_f32, 100.0, 70.0, 140.0].map(f32::sqrt);
        for (found, expected) in map.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-4, "{map:?}");
        }
        let odd = |distance| ModelOutputs {
            reconstruction_distance: distance,
            ..outputs()
        };
        // What can't be divided by anything counts as little; what is no number is no map.
        scorer.score(&odd(&[0.0, -1.0]), &mut map).unwrap();
        assert!((map[0] - 1e-5_f32.sqrt()).abs() < 1e-5, "{map:?}");
        assert!(map.iter().all(|value| *value > 0.0), "{map:?}");
        scorer.score(&odd(&[f32::NAN, 1.0]), &mut map).unwrap();
        assert!(map[0].is_nan());

        scoring.map.standardised = true;
        let refused = scoring.validate(&spec()).unwrap_err().to_string();
        assert!(refused.contains("geometric"), "{refused}");
    }

    #[test]
    fn shares_name_what_speaks_against_a_part() {
        let mut scoring = residual_z(0.0);
        scoring.sources.push(SourceSettings {
            source: ScoreSource::Features,
            smoothing: 0.0,
            statistics: Some("features.npy".into()),
        });
        let maps = BTreeMap::from([
            (ScoreSource::Residual, statistics()),
            (ScoreSource::Features, array![[[4.0, 5.0]], [[1.0, 5.0]]]),
        ]);
        let graphs = GraphShapes {
            distance: Some([1, 2]),
            ..GraphShapes::default()
        };
        let mut scorer =
            Scorer::new(&scoring, &spec(), &CanvasLayout::whole(2, 2), graphs, &maps).unwrap();
        scorer.score(&outputs(), &mut [0.0; 4]).unwrap();
        let source_shares = scorer.source_shares([0, 0, 1, 1]);
        assert_eq!(
            source_shares[0],
            SourceShare {
                source: ScoreSource::Features,
                z: 6.0,
                share: 0.75
            }
        );
        assert_eq!(
            source_shares[1],
            SourceShare {
                source: ScoreSource::Residual,
                z: 2.0,
                share: 0.25
            }
        );
        // Lower right: z = −4 and 3.
        let source_shares = scorer.source_shares([1, 1, 1, 1]);
        assert_eq!((source_shares[0].z, source_shares[0].share), (3.0, 1.0));
        assert_eq!((source_shares[1].z, source_shares[1].share), (-4.0, 0.0));
    }

    #[test]
    fn settings_of_a_hostile_manifest_are_refused() {
        let ones = || Array3::ones((2, 2, 2));
        for smoothing in [-1.0, f32::NAN, 1e9] {
            assert!(scorer(&residual_z(smoothing), ones()).is_err());
            assert!(residual_z(smoothing).validate(&spec()).is_err());
        }
        assert!(residual_z(1.0).validate(&spec()).is_ok());
        for shape in [(2, 4, 1), (2, 1, 4), (1, 2, 2), (3, 2, 2)] {
            assert!(scorer(&residual_z(0.0), Array3::ones(shape)).is_err());
        }
        let broken = |change: fn(&mut Scoring)| {
            let mut scoring = residual_z(0.0);
            change(&mut scoring);
            scoring.validate(&spec()).unwrap_err().to_string()
        };
        assert!(broken(|s| s.image.sources.clear()).contains("image names no source"));
        assert!(
            broken(|s| s.map.sources = vec![ScoreSource::Head]).contains("not among the sources")
        );
        assert!(broken(|s| s.sources[0].statistics = None).contains("has no statistics"));
        assert!(broken(|s| s.map.sources.push(ScoreSource::Residual)).contains("twice"));
        assert!(broken(|s| s.sources.push(s.sources[0].clone())).contains("listed twice"));
        assert!(broken(|s| s.map.smoothing = -1.0).contains("smoothing"));
    }
}
