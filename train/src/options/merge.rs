//! Overrides over a checkpoint over the defaults.

use anyhow::{Context, Result, bail};
use edge_vae::{
    preprocess::{Colour, Normalise, ResizeFilter},
    vae::Likelihood,
};

use super::{
    BackboneOptions, Budget, FitOptions, HeadOptions, Preset, Size, TileChoice,
    defaults::SMALL_SAMPLES,
    overrides::{ColourChoice, FeatureNormalise, FilterChoice, FitOverrides, Flip, Switch},
    parse::Features,
};

impl FitOverrides {
    /// The options of a new run; `usual` is the network where none is named.
    ///
    /// # Errors
    /// Flags that contradict each other.
    pub fn over_defaults(&self, usual: Preset) -> Result<FitOptions> {
        let mut options = FitOptions::defaults(self.preset.unwrap_or(usual));
        self.apply(&mut options)?;
        let small = options.preset.fixed_side().is_some();
        let plain = options.beta == 1.0 && options.free_bits == 0.0;
        let timed = matches!(options.budget, Budget::Minutes(_));
        let binary = options.likelihood == Likelihood::Bernoulli;
        if self.importance_samples.is_none() && small && plain && binary && !timed {
            options.importance_samples = SMALL_SAMPLES;
        }
        check(&options)?;
        Ok(options)
    }

    /// The options of a run that continues under these options of its checkpoint. Training may end
    /// otherwise and something else may decide; anything more would be another run.
    ///
    /// # Errors
    /// Other flags than those the checkpoint was made with.
    pub fn over_checkpoint(&self, kept: &FitOptions) -> Result<FitOptions> {
        let mut wanted = kept.clone();
        self.apply(&mut wanted)?;
        if wanted.size == Size::Auto {
            // `--size auto` has found one.
            wanted.size = kept.size;
        }
        let same = FitOptions {
            budget: kept.budget,
            score: kept.score,
            calibration: kept.calibration,
            ..wanted.clone()
        };
        if same != *kept {
            bail!(
                "the checkpoint was made with other flags ({}): resume with the same or with \
                 none; only budget, score and calibration may change",
                differences(&same, kept)?
            );
        }
        check(&wanted)?;
        Ok(wanted)
    }

    /// Puts what is named in place of what `options` hold.
    fn apply(&self, options: &mut FitOptions) -> Result<()> {
        fn set<T: Clone>(wanted: &Option<T>, place: &mut T) {
            if let Some(wanted) = wanted {
                place.clone_from(wanted);
            }
        }
        fn set_some<T: Clone>(wanted: &Option<T>, place: &mut Option<T>) {
            if wanted.is_some() {
                place.clone_from(wanted);
            }
        }
        set(&self.preset, &mut options.preset);
        set(&self.size, &mut options.size);
        if let Some(fixed) = options.preset.fixed_side()
            && options.size != Size::Auto
        {
            bail!(
                "--size: the network {0} takes {fixed}×{fixed} pixels: leave --size away, or \
                 give --preset edge, balanced or best",
                options.preset.name()
            );
        }
        self.apply_head(options)?;
        self.apply_backbone(options)?;
        set_some(&self.latent, &mut options.latent);
        set(&self.likelihood, &mut options.likelihood);
        options.augmentation.binarise = options.likelihood == Likelihood::Bernoulli;
        set_some(&self.colour.map(colour), &mut options.colour);
        set_some(&self.crop, &mut options.crop);
        set_some(&self.bits, &mut options.bits);
        set_some(&self.max_pixels, &mut options.max_pixels);
        set_some(&self.exclude, &mut options.exclude);
        set_some(&self.mask, &mut options.mask);
        set(&self.tiles, &mut options.tiles);
        if options.tiles == TileChoice::Auto && options.preset.fixed_side().is_some() {
            options.tiles = TileChoice::Off;
        }
        set_some(&self.denoise, &mut options.denoise);
        set(&self.filter.map(filter), &mut options.filter);
        set(&self.exposure.map(is_on), &mut options.exposure);
        set(&self.contrast.map(is_on), &mut options.contrast);
        set_some(&self.class, &mut options.class);
        set(&self.budget(), &mut options.budget);
        set(&self.batch.map(|n| n as usize), &mut options.batch);
        set(&self.shards.map(|n| n as usize), &mut options.shards);
        set(&self.learning_rate, &mut options.learning_rate);
        set(&self.weight_decay, &mut options.weight_decay);
        set(&self.clip, &mut options.clip);
        set(&self.average, &mut options.average);
        set(&self.beta, &mut options.beta);
        set(&self.kl_warm_up, &mut options.kl_warm_up);
        set(&self.free_bits, &mut options.free_bits);
        let samples = self.importance_samples.map(|n| n as usize);
        set(&samples, &mut options.importance_samples);
        set(&self.importance_share, &mut options.importance_share);
        let augmentation = &mut options.augmentation;
        if let Some(flip) = self.flip {
            augmentation.flip_horizontal = matches!(flip, Flip::Horizontal | Flip::Both);
            augmentation.flip_vertical = matches!(flip, Flip::Vertical | Flip::Both);
        }
        set(&self.shift, &mut augmentation.shift);
        set(&self.zoom, &mut augmentation.zoom);
        set(&self.rotation, &mut augmentation.rotation);
        set(&self.brightness, &mut augmentation.brightness);
        set(&self.gamma, &mut augmentation.gamma);
        set(&self.patience.map(|n| n as usize), &mut options.patience);
        set(&self.seed, &mut options.seed);
        set(&self.false_alarm_rate, &mut options.false_alarm_rate);
        set(&self.calibration, &mut options.calibration);
        set_some(&self.group_by, &mut options.group_by);
        set(&self.score, &mut options.score);
        Ok(())
    }

    fn apply_head(&self, options: &mut FitOptions) -> Result<()> {
        match self.head {
            None => {}
            Some(Switch::Off) => options.head = None,
            Some(Switch::On) if options.preset.detects() => {
                options.head.get_or_insert_with(HeadOptions::default);
            }
            Some(Switch::On) => bail!(
                "--head on: the network {} has no feature maps for a head: give --preset edge, \
                 balanced or best",
                options.preset.name()
            ),
        }
        if let Some(head) = &mut options.head {
            head.elbo = self.elbo_weight.unwrap_or(head.elbo);
            head.clean = self.clean_share.unwrap_or(head.clean);
            if let Some(weights) = self.head_weights {
                head.focal = weights.focal;
                head.dice = weights.dice;
                head.image = weights.image;
            }
        }
        Ok(())
    }

    fn apply_backbone(&self, options: &mut FitOptions) -> Result<()> {
        let maps = self.feature_maps.clone().unwrap_or_default();
        let normalise = self.feature_normalise;
        let path = match &self.features {
            None => return Ok(()),
            Some(Features::File(path)) => Some(path.clone()),
            Some(_) if !maps.is_empty() || normalise.is_some() => {
                bail!("--feature-maps and --feature-normalise are for --features FILE.onnx")
            }
            Some(Features::Own) => {
                options.backbone = None;
                return Ok(());
            }
            Some(Features::Pretrained) if options.preset.fixed_side().is_some() => bail!(
                "--features pretrained: the pretrained backbone sees nothing in frames of {}: give \
                 --preset edge, balanced or best, or --features own",
                options.preset.name()
            ),
            Some(Features::Pretrained) => None,
        };
        options.backbone = Some(BackboneOptions {
            normalise: match (&path, normalise) {
                (None, _) | (_, Some(FeatureNormalise::None)) => None,
                (_, None | Some(FeatureNormalise::Imagenet)) => Some(imagenet()),
            },
            maps,
            path,
        });
        Ok(())
    }
}

/// Refuses what can't be trained together.
fn check(options: &FitOptions) -> Result<()> {
    if options.shards > options.batch {
        bail!(
            "--shards: a step has {} frames, they can't be cut into {} parts: name fewer devices \
             or give a larger --batch",
            options.batch,
            options.shards
        );
    }
    if options.importance_samples > 1 {
        let what = "--importance-samples trains on a bound of its own";
        if options.beta != 1.0 || options.free_bits != 0.0 {
            bail!("{what}: leave --beta at 1 and --free-bits at 0");
        }
        if matches!(options.budget, Budget::Minutes(_)) {
            bail!(
                "{what}, whose steps take longer: give --epochs or --steps in place of --minutes"
            );
        }
    }
    Ok(())
}

/// The options that differ, with both values: `beta 3, was 1`.
fn differences(wanted: &FitOptions, kept: &FitOptions) -> Result<String> {
    let fields = |options: &FitOptions| match serde_json::to_value(options)? {
        serde_json::Value::Object(fields) => Ok(fields),
        other => bail!("options are no object but {other}"),
    };
    let kept = fields(kept).context("cannot compare the flags")?;
    let differing = fields(wanted)?.into_iter().filter_map(|(name, wanted)| {
        let kept = kept.get(&name).filter(|kept| **kept != wanted)?;
        Some(format!("{} {wanted}, was {kept}", name.replace('_', "-")))
    });
    Ok(differing.collect::<Vec<_>>().join("; "))
}

/// Mean and deviation of ImageNet's pictures (Deng et al. 2009), as models are trained with.
fn imagenet() -> Normalise {
    Normalise {
        mean: vec![0.485, 0.456, 0.406],
        std: vec![0.229, 0.224, 0.225],
    }
}

fn is_on(switch: Switch) -> bool {
    switch == Switch::On
}

fn colour(choice: ColourChoice) -> Colour {
    match choice {
        ColourChoice::Grey => Colour::Grey,
        ColourChoice::Rgb => Colour::Rgb,
    }
}

fn filter(choice: FilterChoice) -> ResizeFilter {
    match choice {
        FilterChoice::Area => ResizeFilter::Area,
        FilterChoice::Bilinear => ResizeFilter::Bilinear,
        FilterChoice::Cubic => ResizeFilter::Cubic,
        FilterChoice::Lanczos3 => ResizeFilter::Lanczos3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Score;

    #[test]
    fn a_resumed_run_may_end_otherwise_and_decide_by_something_else() {
        let first = FitOverrides {
            beta: Some(2.0),
            steps: Some(10),
            ..FitOverrides::default()
        };
        let kept = first.over_defaults(Preset::Edge).unwrap();
        assert_eq!(
            FitOverrides::default().over_checkpoint(&kept).unwrap(),
            kept
        );
        let other = FitOverrides {
            steps: Some(20),
            score: Some(Score::Latent),
            ..first.clone()
        };
        let wanted = other.over_checkpoint(&kept).unwrap();
        assert_eq!(wanted.budget, Budget::Steps(20));
        assert_eq!((wanted.score, wanted.beta), (Score::Latent, 2.0));
        let refused = FitOverrides {
            seed: Some(7),
            ..FitOverrides::default()
        };
        let error = refused.over_checkpoint(&kept).unwrap_err().to_string();
        assert!(error.contains("seed 7, was 0"), "{error}");
    }

    #[test]
    fn a_size_that_was_found_is_that_of_the_resumed_run() {
        let auto = FitOverrides {
            size: Some(Size::Auto),
            ..FitOverrides::default()
        };
        let mut kept = auto.over_defaults(Preset::Edge).unwrap();
        assert_eq!(kept.size, Size::Auto);
        kept.size = Size::Budget(512);
        assert_eq!(auto.over_checkpoint(&kept).unwrap().size, kept.size);
    }

    #[test]
    fn the_small_network_has_a_size_of_its_own_and_no_head() {
        let size = FitOverrides {
            size: Some(Size::Budget(128)),
            ..FitOverrides::default()
        };
        assert!(size.over_defaults(Preset::Small28).is_err());
        let head = FitOverrides {
            head: Some(Switch::On),
            ..FitOverrides::default()
        };
        assert!(head.over_defaults(Preset::Small28).is_err());
        let binary = FitOverrides {
            likelihood: Some(Likelihood::Bernoulli),
            ..FitOverrides::default()
        };
        let options = binary.over_defaults(Preset::Small28).unwrap();
        assert_eq!(options.importance_samples, SMALL_SAMPLES);
        assert!(options.augmentation.binarise && options.head.is_none());
        let timed = FitOverrides {
            minutes: Some(5.0),
            ..binary
        };
        let options = timed.over_defaults(Preset::Small28).unwrap();
        assert_eq!(options.importance_samples, 1);
    }
}
