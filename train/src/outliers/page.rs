//! `review`: one page with the ranked frames, on which a person keeps or excludes each.

use std::{
    collections::{BTreeSet, HashMap},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use edge_vae::{
    bundle::Bundle,
    dataset::{Dataset, DatasetOptions, Sample},
    render::{Page, PageText},
    replace_file,
};

use super::{Judge, RankedFrame, Ranking, ScoredBy};
use crate::{data::read_exclude, reporter::Reporter};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// One call of `review`.
#[derive(Debug)]
pub struct ReviewJob {
    /// The training frames.
    pub dataset: PathBuf,
    /// Class of an IDX data set.
    pub class: Option<u8>,
    /// The bundle that was made of them.
    pub model: Bundle,
    /// The page.
    pub out: PathBuf,
    /// Frames on the page, the oddest first; suspicious ones are there in any case.
    pub count: usize,
    /// A list of an earlier review, which goes on.
    pub exclude: Option<PathBuf>,
}

/// A frame on the page.
struct Shown<'a> {
    ranked: &'a RankedFrame,
    /// Addresses of frame and map.
    pictures: [String; 2],
    is_small: bool,
    is_excluded: bool,
}

/// Writes the page.
///
/// # Errors
/// A model, frames, a list or a file that can't be used.
pub fn review(job: &ReviewJob, reporter: &Reporter) -> Result<()> {
    let mut judge = Judge::open(&job.model)?;
    let options = DatasetOptions {
        class: job.class,
        decode: judge.decode_options().with_room(),
    };
    let dataset = Dataset::open(&job.dataset, &options)?;
    let list = job.exclude.as_deref();
    let excluded = list.map(|list| read_exclude(&dataset, list)).transpose()?;
    let mut excluded: BTreeSet<String> = excluded.into_iter().flatten().collect();
    let samples: HashMap<&str, &Sample> = dataset
        .train
        .iter()
        .map(|sample| (sample.name(), sample))
        .collect();
    let ranking = ranking(&mut judge, job.model.path(), &dataset, reporter)?;
    let count = job.count.max(ranking.suspicious().count());
    let mut shown = Vec::new();
    let mut bar = reporter.bar(count.min(ranking.frames.len()), "frames drawn");
    for (done, ranked) in ranking.frames.iter().take(count).enumerate() {
        bar.set(done);
        let Some(sample) = samples.get(ranked.frame.as_str()) else {
            reporter.line(format_args!("{}: is no longer there", ranked.frame));
            continue;
        };
        let looked = judge
            .look(sample)
            .and_then(|seen| Ok((seen.data_uris()?, seen.is_small)));
        match looked {
            Ok((pictures, is_small)) => shown.push(Shown {
                ranked,
                pictures,
                is_small,
                is_excluded: excluded.remove(&ranked.frame),
            }),
            Err(error) => reporter.line(format_args!("left out: {error:#}")),
        }
    }
    drop(bar);
    if shown.is_empty() {
        bail!("{}: no frame can be shown", job.dataset.display());
    }
    let html = html(&ranking, &shown, &excluded)?;
    replace_file(&job.out, html.as_bytes())
        .with_context(|| format!("{}: cannot write", job.out.display()))?;
    reporter.line(format_args!(
        "{}: {} of {} frames, {}, {} of them unlike the others",
        job.out.display(),
        shown.len(),
        ranking.frames.len(),
        ranking.scored_by,
        ranking.suspicious().count()
    ));
    Ok(())
}

/// The ranking that `fit` wrote, where it covers all frames, else one by the model's own scores.
fn ranking(
    judge: &mut Judge,
    model: &Path,
    dataset: &Dataset,
    reporter: &Reporter,
) -> Result<Ranking> {
    let of_fit = judge.ranking_of_fit(model)?;
    let is_whole = |ranking: &Ranking| {
        ranking.scored_by == ScoredBy::OutOfFold && ranking.dataset == dataset.name
    };
    match of_fit.filter(is_whole) {
        Some(ranking) => Ok(ranking),
        None => judge.rank(&dataset.name, &dataset.train, reporter),
    }
}

/// The page; `elsewhere` are excluded frames that are not on it.
fn html(ranking: &Ranking, shown: &[Shown], elsewhere: &BTreeSet<String>) -> Result<String> {
    let all = ranking.frames.len();
    let suspicious = ranking.suspicious().count();
    let heading = format!("Training frames of {}", ranking.model_id);
    let mut page = Page::open(&heading, STYLE);
    page.push(format_args!(
        "<h1>{}</h1>\n<p class=\"lead\">The {} of {all} normal frames in “{}” that are least \
         like the others, {}.</p>\n",
        PageText(&heading),
        shown.len(),
        PageText(&ranking.dataset),
        ranking.scored_by
    ));
    page.push(format_args!(
        "<p>Frames that stand out, at a false discovery rate of {} %: {suspicious}. Left the \
         frame, right its anomaly map. Exclude what is no good part; keep what is normal and \
         rare, or add more of its kind.</p>\n",
        100.0 * ranking.false_discovery_rate
    ));
    page.push(format_args!(
        "<p class=\"keys\"><kbd>←</kbd> <kbd>→</kbd> <kbd>↑</kbd> <kbd>↓</kbd> go to a frame, \
         <kbd>x</kbd> exclude, <kbd>k</kbd> keep, <kbd>u</kbd> undecided</p>\n<div \
         class=\"bar\"><span id=\"counts\" role=\"status\"></span><button \
         id=\"download\">Download exclude.txt</button></div>\n<noscript><p class=\"wrong\">This \
         page needs JavaScript to keep your decisions.</p></noscript>\n"
    ));
    let elsewhere = serde_json::to_string(elsewhere)?;
    page.push(format_args!(
        "<div class=\"gallery\" id=\"frames\" data-model=\"{}\" data-dataset=\"{}\" \
         data-elsewhere=\"{}\">\n",
        PageText(&ranking.model_id),
        PageText(&ranking.dataset),
        PageText(&elsewhere)
    ));
    for shown in shown {
        let ranked = shown.ranked;
        let class = if shown.is_small {
            " class=\"small\""
        } else {
            ""
        };
        let mark = match ranked.suspicious {
            true => " · <span class=\"wrong\">stands out</span>",
            false => "",
        };
        let name = PageText(&ranked.frame);
        page.push(format_args!(
            "<figure tabindex=\"0\" data-frame=\"{name}\" data-decision=\"{}\"><div \
             class=\"pair\"><img{class} alt=\"frame\" src=\"{}\"><img{class} alt=\"anomaly map\" \
             src=\"{}\"></div><figcaption><strong>{}.</strong> score {:.4} · p {:.2e}{mark}<br>\
             {name}</figcaption><div class=\"buttons\"><button data-to=\"exclude\">Exclude\
             </button><button data-to=\"keep\">Keep</button></div></figure>\n",
            if shown.is_excluded { "exclude" } else { "" },
            shown.pictures[0],
            shown.pictures[1],
            ranked.rank,
            ranked.score,
            ranked.p_value,
        ));
    }
    page.push("</div>\n");
    Ok(page.close(SCRIPT))
}
