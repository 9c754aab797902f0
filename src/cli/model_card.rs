//! What a model is, in rows for people.

use edge_vae::{
    bundle::Manifest,
    calibration::Calibration,
    preprocess::Colour,
    scoring::{Aggregation, ImageScore, MapScore},
    vae::{Latent, Likelihood},
};

/// Names and values: shapes, scoring, calibration, training.
pub(crate) fn rows(
    manifest: &Manifest,
    calibration: Option<&Calibration>,
) -> Vec<(&'static str, String)> {
    let card = &manifest.card;
    let mut rows = vec![("input", input(manifest))];
    match &manifest.vae {
        Some(vae) => {
            rows.push(("latent", latent(vae.latent)));
            rows.push(("likelihood", likelihood(vae.likelihood)));
        }
        None => rows.push((
            "VAE",
            "none: the model judges by features, and reconstructs nothing".to_owned(),
        )),
    }
    match &manifest.scoring {
        Some(scoring) => {
            rows.push(("score", score(&scoring.image)));
            rows.push(("map", map(&scoring.map)));
            let sources = scoring.sources.iter();
            rows.extend(sources.map(|s| ("source", format!("{}: {}", s.name, s.reads))));
        }
        None => rows.push((
            "scoring",
            "none: the model encodes, reconstructs and samples, and scores nothing".to_owned(),
        )),
    }
    match calibration {
        None => rows.push(("calibration", "none, so there is no threshold".to_owned())),
        Some(calibration) => {
            rows.push(("calibration", calibration.statement()));
            rows.push((
                "threshold",
                format!(
                    "{:.4} for scores, {:.4} for regions of the anomaly map",
                    calibration.threshold, calibration.map_threshold
                ),
            ));
            if let Some(band) = calibration.review {
                rows.push((
                    "review",
                    format!(
                        "normal frames above {:.4}, for a rate of {}",
                        band.threshold, band.rate
                    ),
                ));
            }
            let when = calibration.date.as_deref().unwrap_or("with the training");
            let of_groups = match (calibration.groups(), calibration.folds) {
                (Some(groups), _) => format!(" of {groups} groups"),
                (None, Some(folds)) => format!(" in {folds} folds"),
                (None, None) => String::new(),
            };
            rows.push((
                "calibrated",
                match calibration.unguaranteed {
                    true => format!("{when}, without a guarantee"),
                    false => format!(
                        "{when}, on {} frames{of_groups}{}, for a false-alarm rate of {}",
                        calibration.scores.len(),
                        match calibration.trimmed {
                            0 => String::new(),
                            trimmed => format!(" without the {trimmed} that looked least normal"),
                        },
                        calibration.false_alarm_rate
                    ),
                },
            ));
        }
    }
    rows.push((
        "trained on",
        format!(
            "{}: {} frames, and {} for validation, {} held out",
            card.dataset, card.train_frames, card.validation_frames, card.calibration_frames
        ),
    ));
    if let Some(adaptation) = &manifest.adaptation {
        rows.push((
            "adapted",
            format!(
                "{}, to {} accepted frames so far, from {}",
                adaptation.date, adaptation.frames, adaptation.from
            ),
        ));
    }
    rows.push((
        "training",
        format!(
            "preset {}, seed {}, {} steps in {:.0} s, by {}",
            card.preset, card.seed, card.steps, card.seconds, card.trainer
        ),
    ));
    rows.push(("parameters", card.parameters.to_string()));
    let metrics = card.figures.iter();
    rows.extend(metrics.map(|(name, value)| ("metric", format!("{name} = {value}"))));
    rows
}

fn input(manifest: &Manifest) -> String {
    let settings = &manifest.preprocess;
    let colour = match settings.colour {
        Colour::Grey => "grey",
        Colour::Rgb => "RGB",
    };
    let crop = settings.crop.map_or_else(String::new, |crop| {
        format!(
            ", crop {}-{} × {}-{} of the frame",
            crop.left, crop.right, crop.top, crop.bottom
        )
    });
    let mask = settings.mask.as_ref().map_or("", |_| ", masked");
    let tiles = settings.tiles.map_or_else(String::new, |tiles| {
        format!(
            ", tiles of a canvas of {}×{} pixels",
            tiles.width, tiles.height
        )
    });
    let exposure = settings.exposure.map_or_else(String::new, |exposure| {
        format!(", exposure normalised to a median of {}", exposure.target)
    });
    let contrast = settings.contrast.map_or_else(String::new, |contrast| {
        format!(", local contrast normalised to {}", contrast.target)
    });
    format!(
        "{}×{} pixels, {colour}{crop}{mask}{tiles}{exposure}{contrast}",
        settings.width, settings.height
    )
}

fn latent(latent: Latent) -> String {
    match latent {
        Latent::Vector { length } => format!("vector of {length}"),
        Latent::Map {
            channels,
            height,
            width,
        } => format!(
            "map of {channels}×{height}×{width}, {} dimensions",
            latent.dimensions()
        ),
    }
}

fn score(image: &ImageScore) -> String {
    let what = match image.aggregation {
        Aggregation::Maximum => "highest value".to_owned(),
        Aggregation::TopFraction { fraction } => {
            format!("mean of the highest {} %", (1e4 * fraction).round() / 1e2)
        }
        Aggregation::Total => "sum".to_owned(),
    };
    format!("{what} of {}", sources(&image.sources, image.standardised))
}

fn map(map: &MapScore) -> String {
    sources(&map.sources, map.standardised)
}

fn sources(sources: &[String], standardised: bool) -> String {
    let unit = if standardised {
        ", in standard deviations of normal frames at each location"
    } else {
        ""
    };
    format!("{}{unit}", sources.join(" + "))
}

fn likelihood(likelihood: Likelihood) -> String {
    match likelihood {
        Likelihood::Bernoulli => "Bernoulli".to_owned(),
        Likelihood::Gaussian { sigma } => {
            format!("Gaussian with standard deviation {sigma}")
        }
        Likelihood::GaussianLearned => "Gaussian with learned variance".to_owned(),
    }
}
