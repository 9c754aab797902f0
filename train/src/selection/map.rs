//! The anomaly map: which maps show best where synthetic defects are.

use anyhow::{Context as _, Result};
use edge_vae::{
    image::GaussianSmoothing,
    metrics::PixelScores,
    scoring::{MapScore, Mean},
};
use ndarray::Array2;
use rayon::prelude::*;

use super::{
    Canvas, Fold, ImageRow, Label, MapStatistics, SampleMaps, SelectionParams, candidates_of,
};

/// How well a map shows where synthetic defects are.
#[derive(Clone, Debug, PartialEq)]
pub struct MapRow {
    /// For people.
    pub name: String,
    /// Of the defects' pixels.
    pub metrics: PixelMetrics,
    /// What is taken off their mean.
    pub penalty: f64,
    /// Whether it was selected.
    pub selected: bool,
}

/// How well a map separates the pixels of synthetic defects, 0–1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PixelMetrics {
    /// AUROC of all pixels: large defects decide.
    pub auroc: f64,
    /// AUPRO up to a false-positive rate of 30 %: small defects count as much as large ones.
    pub aupro: f64,
}

impl PixelMetrics {
    /// What maps are selected by.
    fn mean(self) -> f64 {
        0.5 * (self.auroc + self.aupro)
    }
}

/// A map of one candidate, or of two.
#[derive(Clone, Debug)]
pub(super) struct Map {
    /// Places of the candidates.
    pub(super) members: Vec<usize>,
    /// How their maps become one.
    pub(super) score: MapScore,
}

/// What maps are compared on.
pub(super) struct Compared<'a> {
    pub(super) folds: &'a [Fold],
    /// Of each candidate, in tensor pixels.
    pub(super) smoothings: &'a [f32],
    pub(super) canvas: Canvas<'a>,
    pub(super) params: &'a SelectionParams,
}

impl Compared<'_> {
    fn statistics(&self) -> &[MapStatistics] {
        candidates_of(self.folds)
    }

    /// The table of all maps, the best first, and the selected one.
    pub(super) fn select(&self, image: &ImageRow, all: bool) -> Result<(Vec<MapRow>, Map)> {
        let candidates = self.candidates(image, all);
        let measured = candidates
            .into_par_iter()
            .map(|map| self.best_smoothing(map));
        let mut measured = measured.collect::<Result<Vec<(Map, PixelMetrics)>>>()?;
        let row = |(map, metrics): &(Map, PixelMetrics)| MapRow {
            name: self.name(map),
            metrics: *metrics,
            penalty: self.penalty(map, image),
            selected: false,
        };
        let mut rows: Vec<MapRow> = measured.iter().map(row).collect();
        let values = rows.iter().map(|row| row.metrics.mean() - row.penalty);
        let selected = self.params.within_tie(&values.collect::<Vec<_>>());
        let selected = *selected.first().context("no map to select from")?;
        rows[selected].selected = true;
        rows.sort_by(|a, b| b.metrics.mean().total_cmp(&a.metrics.mean()));
        Ok((rows, measured.swap_remove(selected).0))
    }

    /// The maps that are considered, the preferred first: products of the score's distance and
    /// another, whose finer one shows where small defects are; the score's own map; others, and the
    /// mean of both. Without `all`, the score's own only.
    fn candidates(&self, image: &ImageRow, all: bool) -> Vec<Map> {
        let own = image.candidate;
        let statistics = self.statistics();
        let map = |members: &[usize], standardised, mean| Map {
            members: members.to_vec(),
            score: MapScore {
                sources: members
                    .iter()
                    .map(|&member| statistics[member].candidate.source.name.to_owned())
                    .collect(),
                standardised,
                mean,
                smoothing: 0.0,
            },
        };
        let plain = map(&[own], image.standardised, Mean::Arithmetic);
        if !all {
            return vec![plain];
        }
        let is_one_cell = self.statistics()[own].is_one_cell();
        let is_distance = |place: usize| self.statistics()[place].candidate.is_distance();
        let (mut products, mut others) = (Vec::new(), Vec::new());
        if !is_one_cell {
            others.push(plain.clone());
            others.push(map(&[own], !image.standardised, Mean::Arithmetic));
        }
        for other in (0..self.statistics().len()).filter(|&place| self.may_join(own, place)) {
            if is_distance(own) && is_distance(other) {
                products.push(map(&[own, other], false, Mean::Geometric));
            }
            others.push(map(&[other], true, Mean::Arithmetic));
            if !is_one_cell {
                others.push(map(&[own, other], true, Mean::Arithmetic));
            }
        }
        products.extend(others);
        if products.is_empty() {
            // Without a VAE only prototypes of whole frames, which have no places, see digits.
            products.push(plain);
        }
        products
    }

    /// Whether a candidate's map may join or replace that of the score: it has places, and is not
    /// made by the same graph.
    fn may_join(&self, own: usize, other: usize) -> bool {
        let [own, other] = [own, other].map(|place| &self.statistics()[place]);
        own.candidate.source != other.candidate.source && !other.is_one_cell()
    }

    /// What is taken off for synthetic training, in the mean of both, and for a network that has to
    /// run for the map and not for the score.
    fn penalty(&self, map: &Map, image: &ImageRow) -> f64 {
        let members = || map.members.iter().map(|&member| &self.statistics()[member]);
        let trained = members().filter(|member| member.trained_on_defects).count();
        let score = &self.statistics()[image.candidate];
        let needs_more = members().any(|member| member.needs_vae != score.needs_vae);
        self.params.synthetic_training_penalty * trained as f64 / map.members.len() as f64
            + if needs_more {
                self.params.latency_penalty
            } else {
                0.0
            }
    }

    fn name(&self, map: &Map) -> String {
        let names = map
            .members
            .iter()
            .map(|&m| self.statistics()[m].candidate.name);
        let names: Vec<&str> = names.collect();
        match (map.score.mean, map.score.standardised) {
            (Mean::Geometric, _) => names.join(" × "),
            (Mean::Arithmetic, true) => names.join(" + ") + ", standardised",
            (Mean::Arithmetic, false) => names.join(" + "),
        }
    }

    /// A map with the first final smoothing that is within a tie of the best.
    fn best_smoothing(&self, map: Map) -> Result<(Map, PixelMetrics)> {
        let mut tried = Vec::new();
        for share in self.params.map_smoothings {
            let mut map = map.clone();
            map.score.smoothing = share * self.canvas.side;
            let metrics = self.pixel_metrics(&map)?;
            tried.push((map, metrics));
        }
        let values: Vec<f64> = tried.iter().map(|(_, metrics)| metrics.mean()).collect();
        let first = self.params.within_tie(&values).first().copied();
        Ok(tried.swap_remove(first.context("a map without smoothings")?))
    }

    /// What makes the map of a sample of `fold`, in the canvas's size, without its last smoothing.
    fn joined<'b>(
        &'b self,
        fold: &'b Fold,
        map: &'b Map,
    ) -> Result<impl FnMut(&SampleMaps) -> Result<Vec<f32>> + 'b> {
        let MapScore {
            mean, standardised, ..
        } = map.score;
        let of_member = |&member: &usize| {
            let statistics = &fold.statistics[member];
            let post = statistics.post_processing(self.smoothings[member], standardised)?;
            Ok((member, statistics.shape, post))
        };
        let members = map.members.iter().map(of_member);
        let mut members = members.collect::<Result<Vec<_>>>()?;
        let [rows, columns] = self.canvas.size;
        Ok(move |sample: &SampleMaps| {
            let share = 1.0 / members.len() as f32;
            let mut values = vec![0.0; rows * columns];
            for (member, shape, post) in &mut members {
                let of_member = post.apply(&sample.maps[*member])?;
                let each = nearest(&of_member, *shape, [rows, columns]);
                for (out, value) in values.iter_mut().zip(each) {
                    *out += share * mean.term(value);
                }
            }
            for out in &mut values {
                *out = mean.of_terms(*out);
            }
            Ok(values)
        })
    }

    fn pixel_metrics(&self, map: &Map) -> Result<PixelMetrics> {
        let size = self.canvas.size;
        let mut last = GaussianSmoothing::new(size[1], size[0], map.score.smoothing)?;
        let blocks = Blocks {
            size,
            side: self.params.pixel_stride,
        };
        let valid = self.canvas.valid.map(|valid| blocks.any(valid));
        let mut pixels = PixelScores::new(2);
        for fold in self.folds {
            let mut joined = self.joined(fold, map)?;
            for sample in &fold.samples {
                let mask = match &sample.label {
                    Label::Normal => None,
                    Label::Defect(mask) => Some(blocks.any(mask)),
                    Label::Shape => continue,
                };
                let mut values = joined(sample)?;
                last.apply(&mut values)?;
                pixels.add_within(
                    usize::from(mask.is_some()),
                    blocks.middles(&values).view(),
                    mask.as_ref().map(|mask| mask.view()),
                    valid.as_ref().map(|valid| valid.view()),
                )?;
            }
        }
        let all = pixels.evaluate(None).all;
        Ok(all.map_or(PixelMetrics::default(), |metrics| PixelMetrics {
            auroc: metrics.auroc.value,
            aupro: metrics.aupro.value,
        }))
    }
}

/// Square blocks of pixels.
struct Blocks {
    /// Rows and columns of the pixels.
    size: [usize; 2],
    /// Of a block, in pixels.
    side: usize,
}

impl Blocks {
    fn shape(&self) -> [usize; 2] {
        self.size.map(|side| side.div_ceil(self.side))
    }

    /// Whether any pixel of a block is set: a crack stays one region.
    fn any(&self, pixels: &[bool]) -> Array2<bool> {
        let mut blocks = Array2::from_elem(self.shape(), false);
        for (row, pixels) in pixels.chunks_exact(self.size[1]).enumerate() {
            for (column, &pixel) in pixels.iter().enumerate() {
                blocks[[row / self.side, column / self.side]] |= pixel;
            }
        }
        blocks
    }

    /// The pixels in the middle of the blocks.
    fn middles(&self, pixels: &[f32]) -> Array2<f32> {
        let middle = |block: usize, side: usize| {
            let first = block * self.side;
            first.midpoint((first + self.side).min(side) - 1)
        };
        let [rows, columns] = self.size;
        Array2::from_shape_fn(self.shape(), |(y, x)| {
            pixels[middle(y, rows) * columns + middle(x, columns)]
        })
    }
}

/// A map in the canvas's size; which interpolation is used hardly matters for comparing maps.
fn nearest<'a>(
    values: &'a [f32],
    [height, width]: [usize; 2],
    [rows, columns]: [usize; 2],
) -> impl Iterator<Item = f32> + 'a {
    (0..rows * columns).map(move |place| {
        let (y, x) = (place / columns, place % columns);
        values[(y * height / rows) * width + x * width / columns]
    })
}
