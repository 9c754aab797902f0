//! From a trained network to a proved and calibrated bundle.

use std::{collections::BTreeMap, path::Path, sync::atomic::AtomicBool};

use anyhow::{Context, Result, bail};
use candle_core::Device;
use edge_vae::{
    InferenceSession, Model,
    backend::{BackendKind, Engine, EngineOptions},
    bundle::{BundleWriter, DECODER, ENCODER, ModelCard},
    calibration::{Calibration, ReferenceFrame, ReferenceStatistics},
    dataset::{Sample, Split},
    preprocess::{CanvasLayout, PreprocessSettings, Preprocessor},
    runtime::{GoldenCheck, GoldenValues},
    scoring::{ScoreSource, Scorer},
    vae::{Vae, VaeSpec},
};

use super::{
    agreement::{self, Graphs},
    golden, graphs, residual,
    second_network::SecondNetwork,
};
use crate::{
    data::{Frames, MASK},
    detection,
    nn::Snapshot,
    options::Golden,
    reporter::Reporter,
    vae::{Network, State},
};

/// A trained network and all that its bundle is made of.
#[derive(Debug)]
pub struct Export<'a> {
    /// Name of the data set.
    pub dataset: &'a str,
    /// Structure.
    pub network: &'a Network,
    /// Values to export.
    pub values: &'a Snapshot,
    /// The run that made them.
    pub state: &'a State,
    /// From frame to tensor.
    pub preprocess: &'a PreprocessSettings,
    /// PNG of the mask that it names.
    pub mask: Option<&'a [u8]>,
    /// Prepared, normalised frames.
    pub frames: &'a Frames,
    /// Their tiles, and where to look.
    pub layout: &'a CanvasLayout,
    /// Where they came from.
    pub samples: &'a [&'a Sample],
    /// Which of them served what.
    pub split: &'a Split,
    /// The number of each frame's group.
    pub groups: &'a [usize],
    /// The golden frame.
    pub golden: &'a Golden,
    /// A second network, whose features are compared.
    pub second_network: Option<&'a SecondNetwork>,
    /// Where the network was trained.
    pub device: &'a Device,
    /// Set by Ctrl-C.
    pub interrupted: &'a AtomicBool,
    /// Says what was found.
    pub reporter: &'a Reporter,
}

/// File of the bundle with the head's graph.
const HEAD: &str = "head.onnx";
/// Frames on which graphs and network are compared.
const COMPARED: usize = 8;
/// Tolerance of distances, anomaly map and score, in standard deviations.
const MAP_TOLERANCE: f64 = 1e-2;

impl Export<'_> {
    /// Exports the graphs, compares them with the trained network, fits the detector and the threshold, by
    /// the runtime's own code but for the distances of folds, which are compared with the graph's,
    /// and writes the bundle.
    ///
    /// # Errors
    /// A disagreement above [`agreement::TOLERANCE`], and files that can't be written.
    pub fn write(&self, out: &Path) -> Result<()> {
        let spec = self.network.spec().clone();
        let name = model_name(out);
        let encoder = graphs::encoder(self.network, self.values, &name)?;
        let decoder = graphs::decoder(self.network, self.values, &name)?;
        let head = match self.network.head() {
            Some(_) => Some(graphs::head(self.network, self.values, &name)?),
            None => None,
        };
        let engine = Engine::open(&EngineOptions {
            backend: Some(BackendKind::Tract),
            ..EngineOptions::default()
        })?;
        let vae = || {
            Ok::<_, anyhow::Error>(Vae::new(
                spec.clone(),
                engine.load(&encoder, ENCODER, 1)?,
                engine.load(&decoder, DECODER, 1)?,
            )?)
        };
        let loaded_head = || {
            head.as_ref()
                .map(|head| engine.load(head, HEAD, 1))
                .transpose()
        };

        // A tile in the middle rather than a corner, which a mask may leave out.
        let middle = self.layout.tiles().count() / 2;
        let compared: Vec<Vec<f32>> = self
            .split
            .calibration
            .iter()
            .take(COMPARED)
            .filter_map(|&index| self.layout.tiles().cut(middle, self.frames.get(index)))
            .collect();
        let compared: Vec<&[f32]> = compared.iter().map(Vec::as_slice).collect();
        let worst = agreement::prove(
            self.network,
            &self.network.parameters(0, self.device)?,
            self.values,
            &mut Graphs {
                vae: vae()?,
                head: loaded_head()?,
            },
            &compared,
            self.device,
        )?;
        eprintln!(
            "exported; {} differs from training by at most {worst:.1e}",
            engine.description()
        );

        let material = detection::Material {
            frames: self.frames,
            layout: self.layout,
            samples: self.samples,
            preprocess: self.preprocess,
            mask: self.mask,
            split: self.split,
            groups: self.groups,
            in_folds: self.state.options.may_fold(),
            steps: self.state.step,
            seed: self.state.options.seed,
            interrupted: self.interrupted,
            reporter: self.reporter,
        };
        let observer = |graphs: &[(&str, &[u8])], with_backbone: bool| {
            let backbone = self.second_network.filter(|_| with_backbone);
            let backbone = backbone
                .map(|network| network.load(&engine, &spec, &self.preprocess.normalise))
                .transpose()?;
            let mut observer = Model::new(vae()?, backbone);
            for (name, graph) in graphs {
                observer.push(name, engine.load(graph, name, 1)?)?;
            }
            Ok(observer)
        };
        let wanted = self.state.options.score;
        let has_backbone = self.second_network.is_some();
        let compares_reconstructions = wanted.compares_reconstructions(has_backbone);
        let residual = compares_reconstructions
            .then(|| residual::onnx(&spec, &name))
            .flatten();
        let given = detection::Graphs {
            head: head.is_some().then_some(HEAD),
            residual: residual.as_deref(),
            backbone: self.second_network.map(|network| &network.settings),
        };
        let seen = [(HEAD, &head), (detection::RESIDUAL, &residual)];
        let seen = seen.map(|(name, graph)| Some((name, graph.as_deref()?)));
        let seen: Vec<_> = seen.into_iter().flatten().collect();
        let detector = detection::fit(wanted, &material, &spec, given, || observer(&seen, true))?;
        let names = &detector.scoring.graphs;
        let judging = names.iter().map(|name| {
            let own = detector.files.get(name).or(head.as_ref());
            let graph = own.with_context(|| format!("{name} was not made"))?;
            Ok((name.as_str(), graph.as_slice()))
        });
        let judging: Vec<(&str, &[u8])> = judging.collect::<Result<_>>()?;
        let with_head = judging.iter().any(|(name, _)| *name == HEAD);
        let judged = || observer(&judging, true);

        let calibration = match &detector.folds {
            Some(folds) => {
                self.prove_distances(folds, judged()?)?;
                // Their distances are at hand.
                let mut rest = judging.clone();
                rest.retain(|(name, _)| *name != detection::graph_of(folds.source()));
                let of_backbone = [detection::FEATURES, detection::DETAILS];
                let needs_backbone = rest.iter().any(|(name, _)| of_backbone.contains(name));
                self.calibrate(&material, &spec, &detector, || {
                    observer(&rest, needs_backbone)
                })?
            }
            None => self.calibrate(&material, &spec, &detector, judged)?,
        };
        let observer = judged()?;
        let shapes = observer.graph_shapes();
        let mut scorer = Scorer::new(
            &detector.scoring,
            &spec,
            self.layout,
            shapes,
            &detector.statistics,
        )?;
        let first = self.split.calibration.first();
        let (frame_png, frame) = self.golden.frame(
            first.map(|&index| self.samples[index]),
            spec.width.max(spec.height),
        )?;
        let preprocessor = Preprocessor::with_mask(self.preprocess.clone(), self.mask)?;
        let mut session = InferenceSession::new(preprocessor, observer, engine.description());
        let golden = GoldenValues::compute(&frame, &mut session, Some(&mut scorer))?;
        let golden_npz = golden.to_npz(&spec, shapes, self.layout.tiles().canvas_size())?;

        let mut files = detector.files;
        files.extend([
            (ENCODER.to_owned(), encoder),
            (DECODER.to_owned(), decoder),
            (golden::FRAME.to_owned(), frame_png),
            (golden::VALUES.to_owned(), golden_npz),
        ]);
        files.extend(self.mask.map(|mask| (MASK.to_owned(), mask.to_vec())));
        files.extend(
            head.filter(|_| with_head)
                .map(|head| (HEAD.to_owned(), head)),
        );
        if let (Some(network), Some(_)) = (self.second_network, &detector.scoring.backbone) {
            files.insert(network.settings.file.clone(), network.onnx.clone());
        }
        let writer = BundleWriter {
            name,
            preprocess: self.preprocess.clone(),
            vae: spec,
            scoring: Some(detector.scoring),
            calibration: Some(calibration),
            golden: edge_vae::bundle::Golden {
                frame: golden::FRAME.to_owned(),
                expected: golden::VALUES.to_owned(),
                score: golden.score,
                tolerance: agreement::TOLERANCE,
                map_tolerance: MAP_TOLERANCE,
            },
            card: self.card(worst, detector.figures),
            files,
        };
        let mut bundle = writer.finish()?;
        GoldenCheck::verify(&bundle, &engine)?;
        bundle.save(out)?;
        eprintln!("{}: {}", out.display(), bundle.manifest().model_id);
        Ok(())
    }

    /// Compares distances of the model that gave the folds' scores with those of the bundle's graph.
    ///
    /// # Errors
    /// A difference above [`MAP_TOLERANCE`].
    fn prove_distances(&self, folds: &detection::Folds, mut graph: Model) -> Result<()> {
        for (frame, expected) in folds.compared() {
            let input = self.frames.get(frame);
            graph.run(input)?;
            let observed = graph.outputs(input);
            let found = match folds.source() {
                ScoreSource::Details => observed.detail_distance,
                _ => observed.distance,
            };
            let differences = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
            let worst = f64::from(differences.fold(0.0, f32::max));
            if found.len() != expected.len() || worst > MAP_TOLERANCE {
                bail!(
                    "{}: distances of {} differ from the fitted ones by {worst:.1e}, more than \
                     {MAP_TOLERANCE}: such features can't be calibrated in folds, give \
                     --calibration held-out",
                    self.samples[frame].name(),
                    detection::graph_of(folds.source())
                );
            }
        }
        Ok(())
    }

    /// Scores of the calibration frames, or of all where there are folds, the threshold from them, and what
    /// calibration frames look like.
    fn calibrate(
        &self,
        material: &detection::Material,
        spec: &VaeSpec,
        detector: &detection::Detector,
        observer: impl FnMut() -> Result<Model>,
    ) -> Result<Calibration> {
        let held_out = &self.split.calibration;
        let judged = match &detector.folds {
            Some(folds) => folds.frames(),
            None => held_out.clone(),
        };
        let mut seen = Vec::new();
        let mut frames = judged.iter();
        detection::score(
            material,
            &judged,
            spec,
            detector,
            observer,
            |score, divergence, map| {
                let maximum = f64::from(map.iter().copied().fold(f32::MIN, f32::max));
                seen.extend(
                    frames
                        .next()
                        .map(|&frame| (frame, score, divergence, maximum)),
                );
            },
        )?;
        seen.sort_by_key(|(frame, ..)| *frame);
        let scores = seen.iter().map(|(_, score, ..)| *score).collect();
        let unseen = |(frame, ..): &&(usize, f64, f64, f64)| held_out.binary_search(frame).is_ok();
        let divergences: Vec<f64> = seen.iter().filter(unseen).map(|seen| seen.2).collect();
        let (of_maxima, maxima): (Vec<usize>, Vec<f64>) = seen
            .iter()
            // The network has seen the others.
            .filter(|seen| detector.only_distances || unseen(seen))
            .map(|&(frame, .., maximum)| (self.groups[frame], maximum))
            .unzip();
        let groups: Vec<usize> = seen.iter().map(|(frame, ..)| self.groups[*frame]).collect();
        let wanted = self.state.options.false_alarm_rate;
        let (mut calibration, attained) = match &detector.folds {
            Some(folds) => {
                let folds = u32::try_from(folds.count())?;
                let groups = Some([&groups[..], &of_maxima]);
                Calibration::fit_folds(scores, maxima, groups, folds, wanted)?
            }
            None => Calibration::fit_attainable(scores, maxima, Some(&groups), wanted)?,
        };
        if let Some(rate) = attained {
            eprintln!(
                "warning: calibrated for a false-alarm rate of {rate:.4} instead of {wanted}: {} \
                 cannot promise less",
                match calibration.groups() {
                    Some(groups) => format!("{groups} groups of calibration frames"),
                    None => format!("{} calibration frames", calibration.scores.len()),
                }
            );
        }
        eprintln!("{}", calibration.statement());
        calibration.reference = self.conditions(&divergences);
        if calibration.reference.is_none() {
            eprintln!(
                "warning: calibration frames can't be read any more: the bundle will not know what \
                 they look like"
            );
        }
        Ok(calibration)
    }

    /// What the calibration frames look like, before any preprocessing; `None` where one of them
    /// can't be read again.
    fn conditions(&self, divergences: &[f64]) -> Option<ReferenceStatistics> {
        let conditions: Option<Vec<ReferenceFrame>> = self
            .split
            .calibration
            .iter()
            .zip(divergences)
            .map(|(&index, &divergence)| {
                let frame = self.samples[index].frame().ok()?;
                Some(ReferenceFrame::of(&frame, divergence))
            })
            .collect();
        let held_out = self.split.calibration.iter();
        let groups: Vec<usize> = held_out.map(|&frame| self.groups[frame]).collect();
        ReferenceStatistics::of(&conditions?, Some(&groups))
    }

    fn card(&self, worst: f64, detection: BTreeMap<String, f64>) -> ModelCard {
        let state = self.state;
        let mut figures = detection;
        figures.insert("export-largest-difference".to_owned(), worst);
        let best = state.records.iter().find(|r| r.step == state.best_step);
        if let Some(record) = best {
            figures.insert("validation-nll-nats".to_owned(), record.validation_nll);
            figures.insert("validation-kl-nats".to_owned(), record.validation_kl);
            if let Some(head) = record.head {
                let name = "validation-synthetic-auroc".to_owned();
                figures.insert(name, head.validation_auroc);
            }
            if let Some(bound) = record.validation_bound {
                figures.insert("validation-bound-nats".to_owned(), bound);
            }
        }
        ModelCard {
            dataset: self.dataset.to_owned(),
            train_frames: self.split.train.len(),
            validation_frames: self.split.validation.len(),
            calibration_frames: self.split.calibration.len(),
            preset: state.options.preset.name().to_owned(),
            seed: state.options.seed,
            steps: state.best_step,
            seconds: state.seconds.round(),
            parameters: parameters(self.values),
            trainer: format!("edge-vae-train {}", env!("CARGO_PKG_VERSION")),
            figures,
        }
    }
}

/// Number of trained values, without the running statistics.
fn parameters(values: &Snapshot) -> usize {
    values
        .0
        .iter()
        .filter(|(name, _)| !name.contains(".running_"))
        .map(|(_, t)| t.elem_count())
        .sum()
}

/// The model's name out of the bundle's: what [`BundleWriter`] accepts of it.
fn model_name(out: &Path) -> String {
    let stem = out.file_name().unwrap_or_default().to_string_lossy();
    let name: String = stem
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || "._-".contains(*c))
        .take(64)
        .collect();
    let name = name.trim_start_matches('.');
    if name.is_empty() {
        "model".to_owned()
    } else {
        name.to_owned()
    }
}
