//! The list, in order of preference.

use edge_vae::scoring::Aggregation;

use super::{Candidate, MapSource, Variant};
use crate::{
    features::{
        FeatureDensity, Features, SamplingParams,
        density::{ComponentSubset, DensityKind},
    },
    options::Score,
};

/// Means of the largest values of a map: between its maximum, which noise decides, and a mean over
/// so much that small defects vanish in it.
const LARGEST: &[Aggregation] = &[
    Aggregation::TopFraction { fraction: 0.005 },
    Aggregation::TopFraction { fraction: 0.02 },
    Aggregation::Maximum,
    Aggregation::TopFraction { fraction: 0.05 },
    Aggregation::TopFraction { fraction: 0.002 },
];

/// What the field means by likelihood and divergence of a frame.
const SUM: &[Aggregation] = &[Aggregation::Total];

/// Of maps that are as fine as the tensor.
const OF_PIXELS: &[f32] = &[1.0 / 64.0, 1.0 / 128.0, 1.0 / 32.0];

/// Of maps whose values are of a neighbourhood already.
const NONE: &[f32] = &[0.0];

/// An image score of the largest values.
const fn largest(score: Score, standardised: bool) -> Variant {
    Variant {
        score,
        auto: true,
        standardised,
        aggregations: LARGEST,
    }
}

const FEATURES: &[Variant] = &[
    largest(Score::Features, false),
    largest(Score::Features, true),
];
const FEATURES_VAE: &[Variant] = &[
    largest(Score::FeaturesVae, false),
    largest(Score::FeaturesVae, true),
];
const FINE_FEATURES: &[Variant] = &[
    largest(Score::FineFeatures, false),
    largest(Score::FineFeatures, true),
];
const RESIDUAL_FEATURES: &[Variant] = &[
    largest(Score::ResidualZ, false),
    largest(Score::ResidualZ, true),
];

/// What the entries have unless they say otherwise.
const USUAL: Candidate = Candidate {
    name: "",
    source: MapSource::FEATURES,
    density: None,
    of_whole_frames: true,
    of_tiles: false,
    beside_backbone: true,
    smoothings: NONE,
    variants: FEATURES,
};

const fn over(
    features: Features,
    kind: DensityKind,
    sampling: &'static SamplingParams,
) -> Option<FeatureDensity> {
    Some(FeatureDensity {
        features,
        kind,
        sampling,
    })
}

const MIXTURE: DensityKind = DensityKind::Mixture(ComponentSubset::All);

/// A density over patch features.
const fn patch(name: &'static str, kind: DensityKind) -> Candidate {
    Candidate {
        name,
        density: over(Features::Patch, kind, &SamplingParams::PATCH),
        ..USUAL
    }
}

/// A density over fine-scale features.
const fn fine(name: &'static str, kind: DensityKind) -> Candidate {
    Candidate {
        name,
        source: MapSource::FINE_FEATURES,
        density: over(Features::Fine, kind, &SamplingParams::FINE),
        variants: FINE_FEATURES,
        ..USUAL
    }
}

/// Prototypes of whole frames.
const fn prototypes(name: &'static str, smoothing: f32) -> Candidate {
    let kind = DensityKind::Prototypes { smoothing };
    Candidate {
        name,
        density: over(Features::Frame, kind, &SamplingParams::PATCH),
        ..USUAL
    }
}

/// All candidates, the preferred first: of two that separate alike the earlier is taken. Before
/// what needs the decoder comes what does without. Before what looks anywhere comes what looks in
/// place: a part that is missing or lies elsewhere is among real defects and not among synthetic
/// ones.
pub static CANDIDATES: [Candidate; 19] = [
    patch(
        "patch features, per-location Gaussian",
        DensityKind::PerLocation(ComponentSubset::All),
    ),
    patch(
        "patch features, per-location Gaussian, leading components",
        DensityKind::PerLocation(ComponentSubset::Leading),
    ),
    patch(
        "patch features, per-location Gaussian, least-varying components",
        DensityKind::PerLocation(ComponentSubset::LeastVarying),
    ),
    patch(
        "patch features, local-neighbourhood minimum",
        DensityKind::LocalNeighbourhood(ComponentSubset::All),
    ),
    patch(
        "patch features, local-neighbourhood minimum, least-varying components",
        DensityKind::LocalNeighbourhood(ComponentSubset::LeastVarying),
    ),
    fine(
        "fine-scale features, per-location Gaussian",
        DensityKind::PerLocation(ComponentSubset::All),
    ),
    fine(
        "fine-scale features, per-location Gaussian, least-varying components",
        DensityKind::PerLocation(ComponentSubset::LeastVarying),
    ),
    Candidate {
        of_tiles: true,
        ..patch("patch features, global mixture", MIXTURE)
    },
    Candidate {
        variants: FEATURES_VAE,
        ..patch("patch features, VAE", DensityKind::Vae)
    },
    Candidate {
        name: "patch features, global mixture, full rotation",
        density: over(Features::Patch, MIXTURE, &SamplingParams::ROTATED),
        of_tiles: true,
        ..USUAL
    },
    Candidate {
        of_tiles: true,
        ..fine("fine-scale features, global mixture", MIXTURE)
    },
    prototypes("prototypes of smoothed frames", 1.0 / 28.0),
    prototypes("prototypes of frames", 0.0),
    Candidate {
        name: "residual features, per-location Gaussian",
        source: MapSource::RESIDUAL_FEATURES,
        density: over(
            Features::Residual,
            DensityKind::PerLocation(ComponentSubset::All),
            &SamplingParams::RESIDUAL,
        ),
        beside_backbone: false,
        variants: RESIDUAL_FEATURES,
        ..USUAL
    },
    Candidate {
        name: "residual features, global mixture",
        source: MapSource::RESIDUAL_FEATURES,
        density: over(Features::Residual, MIXTURE, &SamplingParams::RESIDUAL),
        of_whole_frames: false,
        of_tiles: true,
        beside_backbone: false,
        variants: RESIDUAL_FEATURES,
        ..USUAL
    },
    Candidate {
        name: "head",
        source: MapSource::HEAD,
        of_tiles: true,
        smoothings: &[0.0, 1.0 / 64.0],
        variants: &[largest(Score::Head, false), largest(Score::Head, true)],
        ..USUAL
    },
    Candidate {
        name: "residual",
        source: MapSource::RESIDUAL,
        of_tiles: true,
        smoothings: OF_PIXELS,
        variants: &[
            // How large a residual is depends on the place more than on what is wrong.
            Variant {
                auto: false,
                ..largest(Score::Residual, false)
            },
            largest(Score::ResidualZ, true),
        ],
        ..USUAL
    },
    Candidate {
        name: "likelihood",
        source: MapSource::LIKELIHOOD,
        of_tiles: true,
        smoothings: OF_PIXELS,
        variants: &[
            Variant {
                aggregations: SUM,
                ..largest(Score::Likelihood, false)
            },
            largest(Score::LikelihoodZ, true),
        ],
        ..USUAL
    },
    Candidate {
        name: "latent divergence",
        source: MapSource::LATENT,
        of_tiles: true,
        variants: &[Variant {
            aggregations: SUM,
            ..largest(Score::Latent, false)
        }],
        ..USUAL
    },
];
