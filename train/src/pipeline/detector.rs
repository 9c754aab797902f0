//! From a trained network to a detector: candidates are fitted, one is selected and fitted to all
//! frames that it may see.

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow};
use edge_vae::{
    bundle::write_npy,
    dataset::{Sample, Split},
    model::{FeatureExtractorSettings, GraphSettings},
    scoring::Scoring,
    vae::VaeSpec,
};
use ndarray::Array3;

use super::models::{Graph, HEAD};
use crate::{
    calibration::{self, Folds},
    candidates::{self, Candidate, MapSource, Member},
    data::{equivalent_side, is_shared},
    features::{Features, FitData, ModelPool},
    options::Score,
    selection::{self, CandidateMaps, Canvas, Fold, MapStatistics, Selection, SelectionParams},
};

pub use crate::selection::ScoreComparison;

/// File of the bundle with the graph of the residual features ([`crate::export::residual`]).
pub(super) const RESIDUAL: &str = "residual.onnx";

/// What a bundle adds to encoder, decoder and head.
#[derive(Debug)]
pub(super) struct FittedDetector {
    /// The backbone, where a graph reads its features.
    pub backbone: Option<FeatureExtractorSettings>,
    /// The graphs that score, map and sources need.
    pub graphs: Vec<GraphSettings>,
    /// How map and score are computed.
    pub scoring: Scoring,
    /// Statistics by source.
    pub statistics: BTreeMap<String, Array3<f32>>,
    /// Files that the scoring names, but for the head's and the backbone's graph.
    pub files: BTreeMap<String, Vec<u8>>,
    /// For the model card.
    pub metrics: BTreeMap<String, f64>,
    /// Whether the anomaly map is made of the folds' distances alone.
    pub map_is_out_of_fold: bool,
}

/// The candidates that were compared, and what was selected among them and fitted again.
#[derive(Debug)]
pub(super) struct FittedCandidates {
    /// By the splits that were selected on, in their order.
    compared: Vec<Fold>,
    selection: Selection,
    /// What score and map need, and maps that only explain, with their statistics.
    members: Vec<Member>,
    statistics: Vec<MapStatistics>,
    /// Where all frames were fitted to: out-of-fold distances of each.
    pub folds: Option<Folds>,
    /// What was selected on: synthetic defects are drawn on their validation frames.
    pub selected_on: Vec<Split>,
}

/// What a detector is fitted with.
#[derive(Clone, Copy)]
pub(super) struct Fitting<'a> {
    pub score: Score,
    /// Whether what is selected may be fitted to all frames, each scored by a density of the
    /// others.
    pub may_fold: bool,
    pub data: &'a FitData<'a>,
    /// Shapes of the VAE, where there is one.
    pub vae: Option<&'a VaeSpec>,
    /// Models with every graph that is there.
    pub pool: &'a ModelPool<'a>,
    /// The graph of the residual features, which the models have as [`RESIDUAL`].
    pub residual: Option<&'a [u8]>,
    pub backbone: Option<&'a FeatureExtractorSettings>,
    pub params: &'a SelectionParams,
}

impl Fitting<'_> {
    /// Fits and compares all candidates; reports what was selected, and why.
    ///
    /// # Errors
    /// A score that the model does not have, Ctrl-C, values that are not finite.
    pub(super) fn fit(&self) -> Result<FittedCandidates> {
        let splits = self.cross_validation();
        if !splits.is_empty() {
            self.data.reporter.line(format_args!(
                "{} frames are few to select by: selection in {} folds of all but those that are \
                 held out",
                self.data.split.validation.len(),
                splits.len()
            ));
        }
        let (mut fitted, compared) = self.fit_candidates(&splits, &[])?;
        let selection = self.select(&compared)?;
        let members = fitted.pop().context("no split to fit candidates on")?;
        let folded = self.may_be_folded(&selection, &members);
        let (mut members, mut statistics) = match (&compared[..], splits.is_empty()) {
            ([fold], true) => members
                .into_iter()
                .zip(fold.statistics.iter().cloned())
                .filter(|(m, _)| m.density.is_none() || selection.uses(m.candidate))
                .unzip(),
            _ => self.refit(members, &selection, folded)?,
        };
        let folds = match folded {
            Some(_) => Some(self.fold(&selection, &mut members, &mut statistics)?),
            None => None,
        };
        Ok(FittedCandidates {
            compared,
            selection,
            members,
            statistics,
            folds,
            selected_on: match splits.is_empty() {
                true => vec![self.data.split.clone()],
                false => splits,
            },
        })
    }

    /// Fits and compares the candidates that `first` lacks, since its models had no VAE; what
    /// [`Self::fit`] makes, and in less time where the selection stays.
    ///
    /// # Errors
    /// As [`Self::fit`].
    pub(super) fn complete(&self, first: FittedCandidates) -> Result<FittedCandidates> {
        let splits = self.cross_validation();
        let known: Vec<_> = first.compared.iter().flat_map(Fold::candidates).collect();
        let (mut fitted, more) = self.fit_candidates(&splits, &known)?;
        let mut own = fitted.pop().context("no split to fit candidates on")?;
        if own.is_empty() {
            return Ok(first);
        }
        let statistics = match (&more[..], splits.is_empty()) {
            ([fold], true) => fold.statistics.clone(),
            _ => Vec::new(),
        };
        let pairs = first.compared.into_iter().zip(more);
        let compared: Vec<Fold> = pairs.map(|(known, more)| known.with(more)).collect();
        let selection = self.select(&compared)?;
        if !selection.agrees_with(&first.selection) {
            return self.fit();
        }
        let explains = |member: &Member| member.density.is_none();
        let statistics: Vec<MapStatistics> = match splits.is_empty() {
            true => {
                let each = own.iter().zip(statistics);
                each.filter(|(member, _)| explains(member))
                    .map(|(_, of)| of)
                    .collect()
            }
            false => {
                let explaining: Vec<Member> = own.iter().filter(|m| explains(m)).cloned().collect();
                self.maps_of(&explaining)?.statistics(self.params)?
            }
        };
        own.retain(explains);
        Ok(FittedCandidates {
            compared,
            selection,
            members: first.members.into_iter().chain(own).collect(),
            statistics: first.statistics.into_iter().chain(statistics).collect(),
            folds: first.folds,
            selected_on: first.selected_on,
        })
    }

    /// The maps of some candidates.
    fn maps_of<'b>(&'b self, members: &'b [Member]) -> Result<CandidateMaps<'b>> {
        CandidateMaps::new(members, self.data, self.pool, self.vae)
    }

    /// What every candidate makes of the synthetic validation set and of the frames `test`, without
    /// any refit.
    ///
    /// # Errors
    /// As [`Self::fit`], and a test frame that can't be read.
    pub(super) fn compare(&self, test: &[Sample]) -> Result<Vec<ScoreComparison>> {
        let splits = self.cross_validation();
        let (fitted, synthetic) = self.fit_candidates(&splits, &[])?;
        let members = fitted.first().context("no split to fit candidates on")?;
        let maps = self.maps_of(members)?;
        let real = Fold {
            statistics: maps.statistics(self.params)?,
            samples: maps.of_samples(&selection::real_samples(test, self.data)?)?,
        };
        selection::compare(&synthetic, &[real], self.params)
    }

    /// The splits that are selected by, where validation frames are few.
    fn cross_validation(&self) -> Vec<Split> {
        let has_backbone = self.pool.has_backbone();
        let is_frozen = has_backbone && candidates::reads(self.score, Features::Patch, true);
        if !is_frozen {
            return Vec::new();
        }
        let FitData { split, groups, .. } = *self.data;
        selection::cross_validation(split, groups, self.params)
    }

    /// The candidates that are not `known` fitted on each of `splits`, or on the data's own where
    /// there are none, and what they make of its synthetic validation set; none where all are
    /// known.
    fn fit_candidates(
        &self,
        splits: &[Split],
        known: &[&'static Candidate],
    ) -> Result<(Vec<Vec<Member>>, Vec<Fold>)> {
        let own = std::slice::from_ref(self.data.split);
        let splits = if splits.is_empty() { own } else { splits };
        let fitted = candidates::fit(self.score, self.data, splits, self.pool, known)?;
        if fitted.iter().all(Vec::is_empty) {
            return Ok((fitted, Vec::new()));
        }
        let of_split = |(split, members): (_, &Vec<Member>)| {
            let data = FitData {
                split,
                ..*self.data
            };
            let maps = CandidateMaps::new(members, &data, self.pool, self.vae)?;
            let samples = selection::validation_set(&data, splits.len())?;
            Ok(Fold {
                statistics: maps.statistics(self.params)?,
                samples: maps.of_samples(&samples)?,
            })
        };
        let folds = splits.iter().zip(&fitted).map(of_split);
        let folds = folds.collect::<Result<_>>()?;
        Ok((fitted, folds))
    }

    /// Selects score and map by what the candidates make of synthetic validation sets.
    fn select(&self, folds: &[Fold]) -> Result<Selection> {
        let size = self.data.layout.tiles().canvas_size();
        let valid = self.data.layout.interior(size);
        let [_, height, width] = self.data.preprocess.shape();
        let canvas = Canvas {
            size,
            valid: valid.as_ref().map(|valid| valid.cells()),
            side: equivalent_side([height, width]),
        };
        let all_maps = self.score == Score::Auto;
        let selection = selection::select(folds, canvas, all_maps, self.params)?;
        selection::report(
            self.score,
            &selection,
            folds,
            self.params,
            self.data.reporter,
        );
        Ok(selection)
    }

    /// The selected candidate, where it may be fitted in folds.
    fn may_be_folded(
        &self,
        selection: &Selection,
        members: &[Member],
    ) -> Option<&'static Candidate> {
        let scores = members
            .iter()
            .find(|m| *m.candidate == *selection.image_candidate);
        let scores = scores.filter(|_| self.may_fold)?;
        let Some(obstacle) = calibration::obstacle(scores, self.data) else {
            return Some(scores.candidate);
        };
        if !is_shared(self.data.split) {
            self.data.reporter.line(format_args!(
                "the threshold will come from the {} frames that are held out: {obstacle}",
                self.data.split.calibration.len()
            ));
        }
        None
    }

    /// What was selected by cross-validation, fitted to all training frames, but for what will be
    /// `folded`.
    fn refit(
        &self,
        members: Vec<Member>,
        selection: &Selection,
        folded: Option<&Candidate>,
    ) -> Result<(Vec<Member>, Vec<MapStatistics>)> {
        let used = |m: &Member| m.density.is_none() || selection.uses(m.candidate);
        let (as_they_are, again): (Vec<Member>, Vec<Member>) = members
            .into_iter()
            .filter(used)
            .partition(|m| m.density.is_none() || folded == Some(m.candidate));
        let own = std::slice::from_ref(self.data.split);
        let fitted = candidates::fit_densities(&again, self.data, own, self.pool)?;
        let mut members: Vec<Member> = fitted.into_iter().flatten().collect();
        members.extend(as_they_are);
        let statistics = self.maps_of(&members)?.statistics(self.params)?;
        Ok((members, statistics))
    }

    /// Fits the selected candidate to all frames, in folds.
    fn fold(
        &self,
        selection: &Selection,
        members: &mut [Member],
        statistics: &mut [MapStatistics],
    ) -> Result<Folds> {
        let candidate = selection.image_candidate;
        let place = members.iter().position(|m| *m.candidate == *candidate);
        let place = place.context("the selected candidate was not fitted")?;
        let standardised = selection.image.standardised
            || (selection.map.standardised && selection.map_uses(candidate));
        let in_folds = calibration::fit_in_folds(
            &members[place],
            &statistics[place],
            standardised,
            self.data,
            self.pool,
            self.params,
        )?;
        members[place].density = Some(in_folds.density);
        statistics[place] = in_folds.statistics;
        Ok(in_folds.folds)
    }

    /// The files and settings of what was selected. Graphs that score, map and sources do without
    /// are not in its scoring, and so cost no frame any time.
    ///
    /// # Errors
    /// Statistics of frames whose maps do not differ, and a graph that can't be made.
    pub(super) fn detector(&self, fitted: &FittedCandidates) -> Result<FittedDetector> {
        let FittedCandidates {
            selection,
            members,
            statistics,
            folds,
            ..
        } = fitted;
        let is_tiled = self.data.tiles() > 1;
        let selected = selection::scoring(selection, statistics, is_tiled)?;
        let (scoring, statistics) = (selected.scoring, selected.statistics);
        let mut files = BTreeMap::new();
        let mut graphs = Vec::new();
        let mut reads = Vec::new();
        for member in members.iter().filter(|m| selection.uses(m.candidate)) {
            let Some(density) = &member.density else {
                continue;
            };
            let (name, source) = (member.candidate.graph_file(), member.candidate.source);
            let onnx = density.to_onnx(source.name, source.tensor())?;
            files.insert(name.clone(), onnx);
            graphs.push(GraphSettings::of_distances(name));
            reads.extend(member.candidate.features());
        }
        if let Some(residual) = self
            .residual
            .filter(|_| reads.contains(&Features::Residual))
        {
            files.insert(RESIDUAL.to_owned(), residual.to_vec());
            graphs.insert(0, GraphSettings::new(RESIDUAL));
        }
        let used = members.iter().filter(|m| selection.uses(m.candidate));
        let is_of_backbone = |m: &Member| m.candidate.is_of_backbone(self.backbone.is_some());
        let backbone = self
            .backbone
            .filter(|_| used.into_iter().any(is_of_backbone));
        let is_source = |source: MapSource| scoring.sources.iter().any(|s| s.name == source.name);
        // The network's own patch features are in part the head's.
        let own_features = backbone.is_none() && reads.contains(&Features::Patch);
        let has_head = self.pool.shapes().get(MapSource::HEAD.tensor()).is_some();
        if has_head && (own_features || is_source(MapSource::HEAD)) {
            graphs.insert(0, GraphSettings::new(HEAD));
        }
        for (source, array) in &statistics {
            let values: Vec<f32> = array.iter().copied().collect();
            let name = selection::statistics_file(source);
            let file = write_npy(array.shape(), &values)
                .map_err(|problem| anyhow!("cannot lay out {name}: {problem}"))?;
            files.insert(name, file);
        }
        let of_folds = folds.as_ref().map(Folds::source);
        Ok(FittedDetector {
            map_is_out_of_fold: of_folds.is_some_and(|source| scoring.map.sources == [source.name]),
            backbone: backbone.cloned(),
            graphs,
            scoring,
            statistics,
            files,
            metrics: metrics(selection),
        })
    }
}

/// How well the selected score and map do on the synthetic validation set, for the model card.
fn metrics(selection: &Selection) -> BTreeMap<String, f64> {
    let images = selection.images.iter().filter(|row| row.selected);
    let images = images.map(|row| ("synthetic-image-AUROC", row.all.auroc));
    let maps = selection.maps.iter().filter(|row| row.selected);
    let maps = maps.flat_map(|row| {
        [
            ("synthetic-pixel-AUROC", row.metrics.auroc),
            ("synthetic-pixel-AUPRO", row.metrics.aupro),
        ]
    });
    let all = images.chain(maps);
    all.map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The graphs of `settings` among the detector's `files` and the network's `head`.
pub(super) fn graphs_of<'a>(
    settings: &'a [GraphSettings],
    files: &'a BTreeMap<String, Vec<u8>>,
    head: Option<&'a [u8]>,
) -> Result<Vec<Graph<'a>>> {
    let graph = |settings: &'a GraphSettings| {
        let name = &settings.file;
        let own = files.get(name).map(Vec::as_slice);
        let graph = own.or(head.filter(|_| name == HEAD));
        Ok((
            name.as_str(),
            graph.with_context(|| format!("{name} was not made"))?,
        ))
    };
    settings.iter().map(graph).collect()
}
