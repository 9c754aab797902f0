//! Randomness without state: every stream of random numbers is a function of the seed, what it is
//! for, and a counter. A resumed run therefore draws what an undisturbed one would have drawn.

use rand::SeedableRng;
use rand_pcg::Pcg64;

/// What a stream of random numbers is for; each purpose has streams of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Initial weights; the counter is the parameter's index.
    Weights = 1,
    /// Order of the frames; the counter is the epoch.
    Order = 2,
    /// Augmentation and binarisation of one frame; the counter is steps × batch + place.
    Augment = 3,
    /// Noise of the reparameterisation of one frame; the counter is that of [`Purpose::Augment`].
    Noise = 4,
    /// Noise and binarisation of one frame in validation, which sees the same draws each time.
    Validate = 5,
    /// Choice of feature vectors and of the first centres of a mixture; the counter is the frame,
    /// beyond all frames the number of components.
    Features = 6,
    /// Whether a frame gets a defect, which one, and of which donor; the counter is that of
    /// [`Purpose::Augment`].
    Defect = 7,
    /// Samples of the synthetic validation set; the counter numbers them.
    SyntheticValidation = 16,
    /// Augmented samples of the training frames for densities; the counter is the frame × 2³² + the
    /// sample's number.
    AugmentedSample = 17,
    /// Frames of a step of the VAE over features, and its noise; the counter is the step.
    FeatureVae = 18,
    /// Which frames make a fold; one stream.
    Folds = 19,
}

/// The stream for `purpose` and `counter` under `seed`.
pub fn stream(seed: u64, purpose: Purpose, counter: u64) -> Pcg64 {
    let mut state = split_mix(seed ^ 0x6564_6765_2d76_6165);
    state = split_mix(state ^ purpose as u64);
    Pcg64::seed_from_u64(split_mix(state ^ counter))
}

/// The finaliser of SplitMix64 (Steele, Lea & Flood 2014): neighbouring counters give unrelated
/// seeds.
fn split_mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;

    #[test]
    fn streams_repeat_and_differ() {
        let draw = |seed, purpose, counter| stream(seed, purpose, counter).next_u64();
        assert_eq!(draw(1, Purpose::Order, 2), draw(1, Purpose::Order, 2));
        let others = [
            draw(2, Purpose::Order, 2),
            draw(1, Purpose::Noise, 2),
            draw(1, Purpose::Order, 3),
        ];
        assert!(!others.contains(&draw(1, Purpose::Order, 2)));
    }
}
