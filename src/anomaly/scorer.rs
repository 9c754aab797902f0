//! From the evidence against a frame to its anomaly map and its one raw score.

use std::collections::BTreeMap;

use fast_image_resize::{
    FilterType, ResizeAlg, ResizeOptions, Resizer,
    images::{TypedImage, TypedImageRef},
    pixels::F32,
};
use ndarray::Array3;
use serde::{Deserialize, Serialize};

use crate::vae::VaeSpec;

use super::{
    AnomalyError, EvidenceMap, GaussianSmoothing, GraphShapes, ImageScore, MapScore, Observed,
    Scoring, Source, SourceSettings, Standardisation, check_length,
};

impl Scoring {
    /// Checks what a manifest may say, but for statistics and graphs, which [`Scorer::new`] checks.
    ///
    /// # Errors
    /// A setting outside of its domain; a source that is listed twice, or used and not listed; a
    /// standardised source without statistics.
    pub fn validate(&self, spec: &VaeSpec) -> Result<(), AnomalyError> {
        let wrong = |message: String| Err(AnomalyError::Scoring(message));
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
#[derive(Debug)]
pub struct Scorer {
    fields: Vec<Field>,
    image: ImageScore,
    map: MapScore,
    /// Rows and columns of the tensor.
    size: [usize; 2],
    last_smoothing: GaussianSmoothing,
    enlarged: Enlarged,
    selection: Vec<f32>,
}

/// How much of the evidence in a part of the frame comes from a source.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// The source.
    pub source: Source,
    /// Its largest standardised value there, in deviations of normal frames.
    pub z: f32,
    /// Share of the sum of all sources' positive z, 0–1.
    pub share: f32,
}

/// One source's map of the last frame.
#[derive(Debug)]
struct Field {
    evidence: EvidenceMap,
    smoothing: GaussianSmoothing,
    standardisation: Option<Standardisation>,
    /// Smoothed.
    raw: Vec<f32>,
    /// Standardised too; empty without statistics.
    z: Vec<f32>,
}

impl Scorer {
    /// For the frames of `spec`, with the maps that the bundle's graphs make and the content
    /// `2×h×w` of each source's statistics.
    ///
    /// # Errors
    /// What [`Scoring::validate`] refuses; a source whose graph is missing; statistics that are
    /// missing, of another shape, or such as [`Standardisation::from_array`] refuses.
    pub fn new(
        scoring: &Scoring,
        spec: &VaeSpec,
        graphs: GraphShapes,
        statistics: &BTreeMap<Source, Array3<f32>>,
    ) -> Result<Self, AnomalyError> {
        scoring.validate(spec)?;
        let fields = scoring
            .sources
            .iter()
            .map(|settings| Field::new(settings, spec, graphs, statistics))
            .collect::<Result<_, _>>()?;
        let size = [spec.height, spec.width];
        Ok(Self {
            fields,
            image: scoring.image.clone(),
            map: scoring.map.clone(),
            size,
            last_smoothing: GaussianSmoothing::new(size[1], size[0], scoring.map.smoothing)?,
            enlarged: Enlarged::new(size),
            selection: Vec::with_capacity(size[0] * size[1]),
        })
    }

    /// Computes the anomaly map of one frame into `map` (`H×W`, tensor geometry) and gives its raw
    /// score.
    ///
    /// # Errors
    /// A slice of another length; NaN or an infinity in the maps, from the input or the model.
    pub fn score(&mut self, observed: &Observed, map: &mut [f32]) -> Result<f64, AnomalyError> {
        for field in &mut self.fields {
            field.evidence.compute(observed, &mut field.raw)?;
        }
        self.judge(map)
    }

    /// [`Scorer::score`] with the maps of [`EvidenceMap::compute`] at hand, in the order of
    /// [`Scoring::sources`]: many scorings can be tried on evidence that was computed once.
    ///
    /// # Errors
    /// Maps of another number or size; NaN or an infinity in them.
    pub fn score_maps(&mut self, maps: &[&[f32]], map: &mut [f32]) -> Result<f64, AnomalyError> {
        check_length("maps of the sources", maps.len(), self.fields.len())?;
        for (field, values) in self.fields.iter_mut().zip(maps) {
            check_length("map of a source", values.len(), field.raw.len())?;
            field.raw.copy_from_slice(values);
        }
        self.judge(map)
    }

    /// Number of values of the anomaly map: H·W.
    pub fn positions(&self) -> usize {
        self.size[0] * self.size[1]
    }

    fn judge(&mut self, map: &mut [f32]) -> Result<f64, AnomalyError> {
        check_length("anomaly map", map.len(), self.positions())?;
        for field in &mut self.fields {
            field.treat()?;
        }
        self.enlarged
            .average(&self.fields, &self.map.sources, self.map.standardised, map)?;
        self.last_smoothing.apply(map)?;

        self.selection.clear();
        match self.image.sources[..] {
            [source] => {
                let field = find(&self.fields, source)?;
                self.selection
                    .extend_from_slice(field.values(self.image.standardised));
            }
            _ => {
                self.selection.resize(map.len(), 0.0);
                self.enlarged.average(
                    &self.fields,
                    &self.image.sources,
                    self.image.standardised,
                    &mut self.selection,
                )?;
            }
        }
        self.image.aggregation.score(&mut self.selection)
    }

    /// The map of a source for the last frame, smoothed, in the source's own resolution; z where
    /// `standardised`.
    ///
    /// # Errors
    /// A source that the scoring does not list.
    pub fn source_map(
        &self,
        source: Source,
        standardised: bool,
    ) -> Result<([usize; 2], &[f32]), AnomalyError> {
        let field = find(&self.fields, source)?;
        Ok((field.evidence.shape(), field.values(standardised)))
    }

    /// Which sources speak against a part of the last frame, the strongest first: `[x, y, width,
    /// height]` in pixels of the tensor. Sources without statistics are left out.
    pub fn shares(&self, part: [usize; 4]) -> Vec<Share> {
        let [rows, columns] = self.size;
        let mut shares: Vec<Share> = self
            .fields
            .iter()
            .filter(|field| !field.z.is_empty())
            .map(|field| {
                let [height, width] = field.evidence.shape();
                let span = |from: usize, length: usize, of: usize, side: usize| {
                    let first = (from * side / of).min(side - 1);
                    first..((from + length) * side).div_ceil(of).clamp(first + 1, side)
                };
                let across = span(part[0], part[2], columns, width);
                let z = span(part[1], part[3], rows, height)
                    .flat_map(|y| &field.z[y * width..][across.clone()])
                    .copied()
                    .fold(f32::MIN, f32::max);
                Share {
                    source: field.evidence.source(),
                    z,
                    share: 0.0,
                }
            })
            .collect();
        let sum: f32 = shares.iter().map(|share| share.z.max(0.0)).sum();
        for share in &mut shares {
            share.share = if sum > 0.0 {
                share.z.max(0.0) / sum
            } else {
                0.0
            };
        }
        shares.sort_by(|a, b| b.z.total_cmp(&a.z));
        shares
    }
}

fn find(fields: &[Field], source: Source) -> Result<&Field, AnomalyError> {
    fields
        .iter()
        .find(|field| field.evidence.source() == source)
        .ok_or_else(|| AnomalyError::Scoring(format!("source `{source}` is not computed")))
}

impl Field {
    fn new(
        settings: &SourceSettings,
        spec: &VaeSpec,
        graphs: GraphShapes,
        statistics: &BTreeMap<Source, Array3<f32>>,
    ) -> Result<Self, AnomalyError> {
        let evidence = EvidenceMap::new(settings.source, spec, graphs)?;
        let [height, width] = evidence.shape();
        // The setting is in pixels of the tensor, the map may be coarser.
        let smoothing = settings.smoothing * height as f32 / spec.height as f32;
        let standardisation = match (&settings.statistics, statistics.get(&settings.source)) {
            (None, _) => None,
            (Some(file), None) => {
                return Err(AnomalyError::Scoring(format!(
                    "the statistics {file} of source `{}` are missing",
                    settings.source
                )));
            }
            (Some(_), Some(array)) => {
                let found = Standardisation::from_array(array.view())?;
                check_length(
                    "statistics of the anomaly maps: rows",
                    found.height(),
                    height,
                )?;
                check_length(
                    "statistics of the anomaly maps: columns",
                    found.width(),
                    width,
                )?;
                Some(found)
            }
        };
        Ok(Self {
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
            evidence,
        })
    }

    fn treat(&mut self) -> Result<(), AnomalyError> {
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

/// Brings maps to the tensor's size.
#[derive(Debug)]
struct Enlarged {
    resizer: Resizer,
    /// Rows and columns.
    size: [usize; 2],
    values: Vec<f32>,
}

impl Enlarged {
    fn new(size: [usize; 2]) -> Self {
        Self {
            resizer: Resizer::new(),
            size,
            values: vec![0.0; size[0] * size[1]],
        }
    }

    /// The mean of the sources' maps in the tensor's size.
    fn average(
        &mut self,
        fields: &[Field],
        sources: &[Source],
        standardised: bool,
        out: &mut [f32],
    ) -> Result<(), AnomalyError> {
        out.fill(0.0);
        let share = 1.0 / sources.len() as f32;
        for &source in sources {
            let field = find(fields, source)?;
            let mut values = field.values(standardised);
            if field.evidence.shape() != self.size {
                self.enlarge(values, field.evidence.shape());
                values = &self.values;
            }
            for (out, value) in out.iter_mut().zip(values) {
                *out += share * value;
            }
        }
        Ok(())
    }

    /// Linear interpolation between the centres of cells, level beyond the outermost ones.
    fn enlarge(&mut self, values: &[f32], [height, width]: [usize; 2]) {
        let [rows, columns] = self.size;
        let source = TypedImageRef::<F32>::from_buffer(
            width as u32,
            height as u32,
            bytemuck::cast_slice(values),
        )
        .expect("a map has as many values as its shape says");
        let mut target = TypedImage::<F32>::from_buffer(
            columns as u32,
            rows as u32,
            bytemuck::cast_slice_mut(&mut self.values),
        )
        .expect("the buffer was made in this size");
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
        self.resizer
            .resize_typed(&source, &mut target, &options)
            .expect("without cropping the source, there is nothing to fail");
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;
    use crate::{
        anomaly::Aggregation,
        vae::{Latent, Likelihood},
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
            Source::Residual,
            smoothing,
            Some("statistics.npy".into()),
            Aggregation::Maximum,
        )
    }

    fn scorer(scoring: &Scoring, array: Array3<f32>) -> Result<Scorer, AnomalyError> {
        let statistics = BTreeMap::from([(Source::Residual, array)]);
        let graphs = GraphShapes {
            head: Some([1, 1]),
            distance: Some([1, 2]),
        };
        Scorer::new(scoring, &spec(), graphs, &statistics)
    }

    fn statistics() -> Array3<f32> {
        array![[[1.0, 1.0], [0.0, 2.0]], [[0.5, 1.0], [2.0, 0.25]]]
    }

    /// Residuals over σ: 2, 0, 4, 1.
    fn observed() -> Observed<'static> {
        Observed {
            input: &[1.0, 0.0, 3.0, 0.5],
            reconstruction: &[0.0, 0.0, 1.0, 0.0],
            head: &[-3.0],
            distance: &[10.0, 20.0],
            ..Observed::default()
        }
    }

    #[test]
    fn the_whole_way_by_hand() {
        let mut scorer = scorer(&residual_z(0.0), statistics()).unwrap();
        let mut map = [0.0; 4];
        let score = scorer.score(&observed(), &mut map).unwrap();
        assert_eq!(map, [2.0, -1.0, 2.0, -4.0]);
        assert_eq!(score, 2.0);
        let bad = Observed {
            input: &[f32::NAN; 4],
            ..observed()
        };
        assert!(matches!(
            scorer.score(&bad, &mut map),
            Err(AnomalyError::NotFinite { index: 0, .. })
        ));
    }

    #[test]
    fn smoothing_comes_before_standardisation() {
        let flat = array![[[1.0, 1.0], [1.0, 1.0]], [[0.5, 0.5], [0.5, 0.5]]];
        let mut scorer = scorer(&residual_z(50.0), flat).unwrap();
        let mut map = [0.0; 4];
        scorer.score(&observed(), &mut map).unwrap();
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
                sources: vec![Source::Features],
                standardised: false,
                aggregation: Aggregation::Total,
            },
            map: MapScore {
                sources: vec![Source::Residual, Source::Head],
                standardised: false,
                smoothing: 0.0,
            },
            sources: vec![
                plain(Source::Residual),
                plain(Source::Head),
                plain(Source::Features),
            ],
        };
        let mut scorer = scorer(&scoring, statistics()).unwrap();
        let mut map = [0.0; 4];
        assert_eq!(scorer.score(&observed(), &mut map).unwrap(), 30.0);
        // The mean of 2, 0, 4, 1 and of −3 everywhere.
        assert_eq!(map, [-0.5, -1.5, 0.5, -1.0]);
        assert_eq!(
            scorer.source_map(Source::Features, false).unwrap(),
            ([1, 2], &[10.0, 20.0][..])
        );
    }

    #[test]
    fn several_sources_make_one_score_in_the_tensors_size() {
        let mut scoring = residual_z(0.0);
        scoring.sources.push(SourceSettings {
            source: Source::Features,
            smoothing: 0.0,
            statistics: None,
        });
        scoring.image.standardised = false;
        scoring.image.sources.push(Source::Features);
        let mut scorer = scorer(&scoring, statistics()).unwrap();
        let mut map = [0.0; 4];
        // (2 + 10)/2, (0 + 20)/2, (4 + 10)/2, (1 + 20)/2.
        assert_eq!(scorer.score(&observed(), &mut map).unwrap(), 10.5);
    }

    #[test]
    fn shares_name_what_speaks_against_a_part() {
        let mut scoring = residual_z(0.0);
        scoring.sources.push(SourceSettings {
            source: Source::Features,
            smoothing: 0.0,
            statistics: Some("features.npy".into()),
        });
        let maps = BTreeMap::from([
            (Source::Residual, statistics()),
            (Source::Features, array![[[4.0, 5.0]], [[1.0, 5.0]]]),
        ]);
        let graphs = GraphShapes {
            head: None,
            distance: Some([1, 2]),
        };
        let mut scorer = Scorer::new(&scoring, &spec(), graphs, &maps).unwrap();
        scorer.score(&observed(), &mut [0.0; 4]).unwrap();
        let shares = scorer.shares([0, 0, 1, 1]);
        assert_eq!(
            shares[0],
            Share {
                source: Source::Features,
                z: 6.0,
                share: 0.75
            }
        );
        assert_eq!(
            shares[1],
            Share {
                source: Source::Residual,
                z: 2.0,
                share: 0.25
            }
        );
        // Lower right: z = −4 and 3.
        let shares = scorer.shares([1, 1, 1, 1]);
        assert_eq!((shares[0].z, shares[0].share), (3.0, 1.0));
        assert_eq!((shares[1].z, shares[1].share), (-4.0, 0.0));
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
        assert!(broken(|s| s.map.sources = vec![Source::Head]).contains("not among the sources"));
        assert!(broken(|s| s.sources[0].statistics = None).contains("has no statistics"));
        assert!(broken(|s| s.map.sources.push(Source::Residual)).contains("twice"));
        assert!(broken(|s| s.sources.push(s.sources[0].clone())).contains("listed twice"));
        assert!(broken(|s| s.map.smoothing = -1.0).contains("smoothing"));
    }
}
