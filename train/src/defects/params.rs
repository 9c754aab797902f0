//! Numbers that all kinds of defects share.

/// See the fields. Changes are stated for pictures of level 1 ([`Self::median`]).
#[derive(Clone, Copy, Debug)]
pub(super) struct DefectParams {
    /// A channel of a pixel that differs by more has changed: five steps of 8 bits, above noise.
    pub tolerance: f32,
    /// Least mean change of the changed pixels: what an eye finds.
    pub least_mean: f32,
    /// Fewest changed pixels: fewer are noise of a sensor.
    pub least_pixels: usize,
    /// Largest share of changed pixels: beyond, it is another picture, not a defect of this one.
    pub most_changed: f32,
    /// Side from which on holes in a mask are closed within 7×7 pixels; below within 3×3, which are
    /// as much of a small picture.
    pub large_side: usize,
    /// Median for which amplitudes are stated: that of a well exposed frame.
    pub median: f32,
    /// Range of the factor of amplitudes: darker pictures hide less in noise, brighter ones clip.
    pub levels: [f32; 2],
    /// Samples from which the level is found: a quantile to a percent.
    pub level_samples: usize,
    /// Coherence of the gradients above which streaks have a direction.
    pub coherent: f32,
    /// Attempts at the first defect of a picture, and at the second: an even picture shows few.
    pub attempts: usize,
    /// Attempts after which another kind is drawn.
    pub attempts_of_kind: usize,
    /// Factors by which sizes vary.
    pub sizes: [f32; 2],
    /// Side of a picture from which on sizes are what they are said to be, in pixels: what the
    /// networks are trained on.
    pub side: f32,
    /// How sizes go with smaller sides: less than in proportion, since the strokes of a digit are
    /// wide for its size.
    pub size_exponent: f32,
}

pub(super) const PARAMS: DefectParams = DefectParams {
    tolerance: 0.02,
    least_mean: 0.03,
    least_pixels: 3,
    most_changed: 0.6,
    large_side: 64,
    median: 0.4,
    levels: [0.3, 1.25],
    level_samples: 4096,
    coherent: 0.25,
    attempts: 30,
    attempts_of_kind: 5,
    sizes: [0.7, 1.5],
    side: 128.0,
    size_exponent: 0.7,
};
