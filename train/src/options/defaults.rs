//! The options of a run whose user asks for nothing.

use edge_vae::{preprocess::ResizeFilter, vae::Likelihood};

use super::{
    Augmentation, BackboneOptions, Budget, CalibrationChoice, FitOptions, HeadOptions, Preset,
    Score, Size, TileChoice,
};

/// Importance-weighted samples that a run of a Bernoulli model at 28×28 ends with: nats of digits
/// improve up to five, more only take time.
pub(super) const SMALL_SAMPLES: usize = 5;

impl FitOptions {
    /// The options of a run of `preset`.
    pub fn defaults(preset: Preset) -> Self {
        let common = Self {
            preset,
            size: Size::Auto,
            head: preset.detects().then(HeadOptions::default),
            latent: None,
            likelihood: Likelihood::GaussianLearned,
            colour: None,
            crop: None,
            bits: None,
            max_pixels: None,
            exclude: None,
            mask: None,
            tiles: TileChoice::Auto,
            denoise: None,
            // Averages what a pixel covers, so nothing between sampling points is lost.
            filter: ResizeFilter::Area,
            exposure: true,
            contrast: true,
            class: None,
            // The time of a coffee; most sets improve little after it.
            budget: Budget::Minutes(20.0),
            batch: preset.batch(),
            shards: 1,
            learning_rate: 2e-3,
            weight_decay: 1e-4,
            clip: 1.0,
            // Runs of minutes have some thousand steps: the average spans two hundred of them.
            average: 0.995,
            beta: 1.0,
            kl_warm_up: 0.3,
            free_bits: 0.0,
            importance_samples: 1,
            // At the end alone, since its steps take K times as long.
            importance_share: 0.15,
            augmentation: Augmentation {
                flip_horizontal: true,
                flip_vertical: true,
                // What cameras and fixtures do: parts lie a little askew, lamps age.
                shift: 0.03,
                zoom: 0.12,
                rotation: 2.0,
                brightness: 0.15,
                gamma: 0.3,
                binarise: false,
            },
            // Of forty validations in a run.
            patience: 12,
            seed: 0,
            false_alarm_rate: 0.01,
            calibration: CalibrationChoice::Auto,
            group_by: None,
            score: Score::Auto,
            backbone: Some(BackboneOptions {
                path: None,
                maps: Vec::new(),
                normalise: None,
            }),
        };
        match preset {
            Preset::Tiny => Self {
                size: Size::Budget(preset.usual_side()),
                tiles: TileChoice::Off,
                ..common
            },
            Preset::Edge | Preset::Balanced | Preset::Best => common,
            // Digits and stamps: frames are many, small, centred and of one exposure, steps are
            // short, and the pretrained backbone sees nothing at this size.
            Preset::Small28 => Self {
                tiles: TileChoice::Off,
                exposure: false,
                contrast: false,
                budget: Budget::Epochs(40.0),
                average: 0.999,
                kl_warm_up: 0.1,
                augmentation: Augmentation {
                    flip_horizontal: false,
                    flip_vertical: false,
                    shift: 0.0,
                    zoom: 0.0,
                    rotation: 0.0,
                    brightness: 0.0,
                    gamma: 0.0,
                    binarise: false,
                },
                backbone: None,
                ..common
            },
        }
    }
}
