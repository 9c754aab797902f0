//! Which training frames are odd: all ranked by scores of models that had not seen them, and a test
//! that names those which the others do not explain.
//!
//! A conformal p-value can't tell here: among n frames the highest has 1/n, whatever it scores. So
//! the upper tail is extrapolated from its own lower part. Above the median, scores are taken to
//! fall off at least as fast as an exponential, which holds where the hazard rate does not fall
//! (Barlow & Proschan: Statistical theory of reliability and life testing, 1975, chapter 4), as
//! that of a normal distribution. The highest c frames are censored, so that they do not make
//! themselves look usual. Of the m others above the median M, the highest is s₁. With the total
//! time on test T = Σ (sᵢ − M) + c (s₁ − M), T/σ has the distribution Gamma(m) (Epstein & Sobel:
//! Life testing, Journal of the American Statistical Association 48, 1953), and so
//!
//! ```text
//! p(s) = (share above the median) · (1 + (s − M) / T)^−m
//! ```
//!
//! is exact for an exponential tail and an upper bound for a lighter one. Frames are named at a
//! false discovery rate (Benjamini & Hochberg: Controlling the false discovery rate, Journal of the
//! Royal Statistical Society B 57, 1995).

use std::{fmt, path::Path};

use anyhow::{Context, Result, bail};
use edge_vae::{read_text_bounded, replace_file};
use serde::{Deserialize, Serialize};

/// How odd frames are named.
#[derive(Clone, Copy, Debug)]
struct RankingParams {
    /// Share of the frames, the highest, that the tail is not estimated by. More defects among
    /// training frames than these are beyond what a test within one set can tell.
    censored: f64,
    /// Of the frames that are named, this share at most is as usual as the others, on average. One
    /// in twenty costs a person little, who looks at each.
    false_discoveries: f64,
}

const PARAMS: RankingParams = RankingParams {
    censored: 0.1,
    false_discoveries: 0.05,
};

/// Where the scores of a [`Ranking`] come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScoredBy {
    /// Each frame by a model of the others: all frames.
    OutOfFold,
    /// By a model that they were held out from: a part of the frames.
    HeldOut,
    /// By the model itself, which may have been trained on them.
    Model,
}

impl fmt::Display for ScoredBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OutOfFold => "each scored by a model of the others",
            Self::HeldOut => "scored by a model that they were held out from",
            Self::Model => "scored by the model, which may have been trained on them",
        })
    }
}

/// A normal frame in its place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RankedFrame {
    /// From 1, the highest score first.
    pub rank: usize,
    /// Its name in the data set: what `--exclude` takes.
    pub frame: String,
    /// Its raw score.
    pub score: f64,
    /// Probability of this score or a higher one, judging by the other frames.
    pub p_value: f64,
    /// Whether it is named as odd.
    pub suspicious: bool,
}

/// Normal frames, the oddest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ranking {
    /// Of this record.
    pub schema_version: u32,
    /// The model that was made of them.
    pub model_id: String,
    /// Name of the data set.
    pub dataset: String,
    /// Where the scores come from.
    pub scored_by: ScoredBy,
    /// Of the suspicious frames, this share at most is usual, on average.
    pub false_discovery_rate: f64,
    /// The frames.
    pub frames: Vec<RankedFrame>,
}

/// File of a run's folder with its [`Ranking`].
pub const RANKING: &str = "training-frames.json";

const SCHEMA_VERSION: u32 = 1;

/// Longest ranking that is read, in bytes: a million frames.
const MOST_BYTES: u64 = 256 << 20;

impl Ranking {
    /// Ranks frames by their names and scores.
    pub fn of(
        model_id: &str,
        dataset: &str,
        scored_by: ScoredBy,
        scores: Vec<(String, f64)>,
    ) -> Self {
        let mut scores = scores;
        scores.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let descending: Vec<f64> = scores.iter().map(|(_, score)| *score).collect();
        let p_values = p_values(&descending);
        let named = discoveries(&p_values);
        let each = scores.into_iter().zip(p_values).zip(1..);
        Self {
            schema_version: SCHEMA_VERSION,
            model_id: model_id.to_owned(),
            dataset: dataset.to_owned(),
            scored_by,
            false_discovery_rate: PARAMS.false_discoveries,
            frames: each
                .map(|(((frame, score), p_value), rank)| RankedFrame {
                    rank,
                    frame,
                    score,
                    p_value,
                    suspicious: rank <= named,
                })
                .collect(),
        }
    }

    /// Reads the [`RANKING`] of a run's folder; `None` where there is none.
    ///
    /// # Errors
    /// A file that is no ranking.
    pub fn read(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(RANKING);
        if !path.exists() {
            return Ok(None);
        }
        let name = path.display();
        let text =
            read_text_bounded(&path, MOST_BYTES).with_context(|| format!("{name}: cannot read"))?;
        let ranking: Self = serde_json::from_str(&text)
            .with_context(|| format!("{name}: no ranking of training frames; train again"))?;
        if ranking.schema_version != SCHEMA_VERSION {
            bail!(
                "{name}: schema {} is not the one that this program reads, {SCHEMA_VERSION}",
                ranking.schema_version
            );
        }
        Ok(Some(ranking))
    }

    /// Writes the [`RANKING`] of a run's folder.
    ///
    /// # Errors
    /// A file that can't be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let path = folder.join(RANKING);
        let text = serde_json::to_string_pretty(self)? + "\n";
        replace_file(&path, text.as_bytes())
            .with_context(|| format!("{}: cannot write", path.display()))
    }

    /// The frames that are named as odd.
    pub fn suspicious(&self) -> impl Iterator<Item = &RankedFrame> {
        self.frames.iter().filter(|frame| frame.suspicious)
    }
}

/// Of scores in descending order: the probability of each or a higher one.
fn p_values(descending: &[f64]) -> Vec<f64> {
    let n = descending.len();
    let above = n / 2;
    let censored = (PARAMS.censored * n as f64).ceil() as usize;
    let Some(median) = descending.get(above) else {
        return Vec::new();
    };
    let excess: Vec<f64> = descending[..above].iter().map(|s| s - median).collect();
    let observed = excess.get(censored..).unwrap_or_default();
    let highest = observed.first().copied().unwrap_or(0.0);
    let time_on_test = observed.iter().sum::<f64>() + censored as f64 * highest;
    let share = above as f64 / n as f64;
    let p_value =
        |excess: f64| share * (1.0 + excess / time_on_test).powi(-(observed.len() as i32));
    // Nothing is known of a tail of equal scores.
    let is_known = time_on_test > 0.0;
    let of_tail = excess
        .iter()
        .map(|&excess| if is_known { p_value(excess) } else { share });
    // Below the median the plain share of the frames will do.
    let others = (above..n).map(|rank| (rank + 1) as f64 / n as f64);
    of_tail.chain(others).collect()
}

/// How many of ascending p-values are discoveries at [`RankingParams::false_discoveries`].
fn discoveries(ascending: &[f64]) -> usize {
    let n = ascending.len() as f64;
    let limit = |rank: usize| PARAMS.false_discoveries * rank as f64 / n;
    let mut ranks = (1..=ascending.len()).rev();
    ranks
        .find(|&rank| ascending[rank - 1] <= limit(rank))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_distr::{Distribution, Exp1, LogNormal, StandardNormal};
    use rand_pcg::Pcg64;

    use super::*;

    fn ranking(scores: &[f64]) -> Ranking {
        let named = scores.iter().enumerate();
        let named = named.map(|(number, score)| (format!("{number}.png"), *score));
        Ranking::of("part-1", "frames", ScoredBy::OutOfFold, named.collect())
    }

    #[test]
    fn the_p_value_is_exact_for_an_exponential_tail() {
        // Of new scores, not of those that the tail was estimated by.
        let mut random = Pcg64::seed_from_u64(5);
        let mut below = 0;
        let trials = 4000;
        for _ in 0..trials {
            let mut scores: Vec<f64> = (0..60).map(|_| Exp1.sample(&mut random)).collect();
            let new: f64 = Exp1.sample(&mut random);
            scores.sort_by(|a, b| b.total_cmp(a));
            let p_values = p_values(&scores);
            // The highest frame whose p-value is at most 5 % begins where a new one's does.
            let least = scores.iter().zip(&p_values).filter(|(_, p)| **p <= 0.05);
            let least = least.map(|(score, _)| *score).fold(f64::INFINITY, f64::min);
            below += usize::from(new >= least);
        }
        // The border lies within one spacing of 5 %; four standard deviations.
        let share = below as f64 / f64::from(trials);
        assert!((0.025..0.06).contains(&share), "{share}");
    }

    #[test]
    fn clean_sets_name_hardly_anything() {
        let mut random = Pcg64::seed_from_u64(6);
        for (n, sets) in [(8, 400), (40, 400), (300, 200)] {
            let normal = |random: &mut Pcg64| StandardNormal.sample(random);
            // Skewed, as means of the highest values of a map are.
            let skewed = LogNormal::new(0.0, 0.15).unwrap();
            let mut with = [0, 0];
            for _ in 0..sets {
                let scores: Vec<f64> = (0..n).map(|_| normal(&mut random)).collect();
                with[0] += usize::from(ranking(&scores).suspicious().next().is_some());
                let scores: Vec<f64> = (0..n).map(|_| skewed.sample(&mut random)).collect();
                with[1] += usize::from(ranking(&scores).suspicious().next().is_some());
            }
            assert!(with.iter().all(|&with| with * 20 <= sets), "{n}: {with:?}");
        }
    }

    #[test]
    fn planted_frames_are_named_also_where_they_are_many() {
        let mut random = Pcg64::seed_from_u64(7);
        for (n, planted) in [(30, 1), (40, 4), (300, 3), (300, 30)] {
            let mut scores: Vec<f64> = (planted..n)
                .map(|_| StandardNormal.sample(&mut random))
                .collect();
            scores.extend((0..planted).map(|number| 12.0 + number as f64));
            let ranking = ranking(&scores);
            let named: Vec<f64> = ranking.suspicious().map(|frame| frame.score).collect();
            assert!(named.len() >= planted, "{n} {planted}: {named:?}");
            assert!(named[..planted].iter().all(|score| *score >= 12.0));
            assert!(named.len() <= planted + 1, "{n} {planted}: {named:?}");
        }
    }

    #[test]
    fn odd_sets_are_ranked_all_the_same() {
        assert_eq!(ranking(&[]).frames, []);
        assert_eq!(ranking(&[1.0]).suspicious().count(), 0);
        assert_eq!(ranking(&[2.0; 30]).suspicious().count(), 0);
        let equal_but_one = [[2.0; 29].as_slice(), &[9.0]].concat();
        let ranked = ranking(&equal_but_one);
        assert_eq!(ranked.frames[0].frame, "29.png");
        let p_values: Vec<f64> = ranked.frames.iter().map(|frame| frame.p_value).collect();
        assert!(p_values.is_sorted() && p_values[29] == 1.0, "{p_values:?}");
    }

    #[test]
    fn a_ranking_survives_its_file() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Ranking::read(folder.path()).unwrap(), None);
        let ranking = ranking(&[0.1, 1.0 / 3.0, 7e9]);
        ranking.write(folder.path()).unwrap();
        assert_eq!(Ranking::read(folder.path()).unwrap(), Some(ranking));
        std::fs::write(folder.path().join(RANKING), "{}").unwrap();
        let said = format!("{:#}", Ranking::read(folder.path()).unwrap_err());
        assert!(said.contains("training-frames.json: no ranking"), "{said}");
    }
}
