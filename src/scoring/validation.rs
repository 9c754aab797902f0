//! Whether a scoring contradicts itself.

use super::{Mean, Scoring, ScoringError, SourceSettings};
use crate::{image::GaussianSmoothing, vae::VaeSpec};

impl Scoring {
    /// Checks what a manifest may say, but for statistics and graphs, which
    /// [`Scorer::new`](super::Scorer::new) checks.
    ///
    /// # Errors
    /// A setting outside of its domain; a source that is listed twice, or used and not listed; a
    /// standardised source without statistics; one that reads what only a VAE makes, of a model
    /// without one, whose tensors have this height and width.
    pub fn validate(
        &self,
        [height, width]: [usize; 2],
        vae: Option<&VaeSpec>,
    ) -> Result<(), ScoringError> {
        let wrong = |message: String| Err(ScoringError::Contradiction(message));
        self.image.aggregation.validate()?;
        GaussianSmoothing::new(width, height, self.map.smoothing)?;
        for (
            place,
            SourceSettings {
                name,
                reads,
                smoothing,
                ..
            },
        ) in self.sources.iter().enumerate()
        {
            GaussianSmoothing::new(width, height, *smoothing)?;
            if vae.is_none() && reads.is_of_vae() {
                return wrong(format!(
                    "source `{name}` reads {reads}, which only a VAE makes"
                ));
            }
            if name.is_empty() {
                return wrong("a source has no name".to_owned());
            }
            if self.sources[..place]
                .iter()
                .any(|other| other.name == *name)
            {
                return wrong(format!("source `{name}` is listed twice"));
            }
        }
        if self.map.mean == Mean::Geometric && self.map.standardised {
            return wrong(
                "the map asks for a geometric mean of z, which may be negative".to_owned(),
            );
        }
        for (user, sources, standardised) in [
            ("image", &self.image.sources, self.image.standardised),
            ("map", &self.map.sources, self.map.standardised),
        ] {
            if sources.is_empty() {
                return wrong(format!("{user} names no source"));
            }
            for (place, source) in sources.iter().enumerate() {
                if sources[..place].contains(source) {
                    return wrong(format!("{user} names `{source}` twice"));
                }
                let Some(settings) = self.sources.iter().find(|s| s.name == *source) else {
                    return wrong(format!(
                        "{user} names `{source}`, which is not among the sources"
                    ));
                };
                if standardised && settings.statistics.is_none() {
                    return wrong(format!(
                        "{user} asks for standardised `{source}`, which has no statistics"
                    ));
                }
            }
        }
        Ok(())
    }
}
