//! How much of a budget of minutes is left for training.

use std::time::Instant;

use crate::options::Budget;

/// How the time of a command is shared between training and what follows it.
struct TimeParams {
    /// Share that is kept for what follows training, at least: export, fit of the candidates,
    /// selection and calibration took up to a quarter of twenty minutes on two processors.
    reserve: f64,
    /// Share that training has in any case: with less the network is of no use.
    least: f64,
    /// Share of the training's time that a VAE over features takes after it.
    feature_vae: f64,
    /// The optimiser's part of a step, which is not in the timed trial steps.
    optimiser: f64,
}

const PARAMS: TimeParams = TimeParams {
    reserve: 0.25,
    least: 0.2,
    feature_vae: 0.3,
    optimiser: 0.1,
};

/// The time of one call of the command.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    /// What ends the run.
    pub budget: Budget,
    /// When the command began.
    pub began: Instant,
    /// Seconds trained before this call.
    pub earlier: f64,
    /// Seconds that what follows training takes, roughly; 0 where that is not known.
    pub afterwards: f64,
}

impl Clock {
    /// Seconds left for training; infinite where time does not end the run.
    pub(super) fn seconds_left(&self) -> f64 {
        match self.budget {
            Budget::Minutes(minutes) => {
                let whole = 60.0 * minutes;
                let left = (whole - self.afterwards) / (1.0 + PARAMS.feature_vae);
                let training = left.min(whole * (1.0 - PARAMS.reserve));
                let training = training.max(whole * PARAMS.least);
                training - self.earlier - self.began.elapsed().as_secs_f64()
            }
            Budget::Epochs(_) | Budget::Steps(_) => f64::INFINITY,
        }
    }

    /// Steps that there is time for when the gradients of each take `seconds`.
    pub(super) fn steps_left(&self, seconds: f64) -> u64 {
        (self.seconds_left() / ((1.0 + PARAMS.optimiser) * seconds)).max(0.0) as u64
    }

    /// Minutes that what follows training takes, where training can't leave so many of `minutes`.
    pub(super) fn overrun(&self, minutes: f64) -> Option<f64> {
        let most = 60.0 * minutes * (1.0 - PARAMS.least);
        (self.afterwards > most).then_some(self.afterwards / 60.0)
    }
}
