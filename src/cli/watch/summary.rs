//! What stands at the end.

use edge_vae::stream::record::{PeerTally, SinkTally, Tally};

/// Counts of sources and sinks, and percentiles of the stages.
pub(super) fn lines(tally: &Tally) -> Vec<String> {
    let seconds = tally.seconds.max(1e-9);
    let mut lines: Vec<String> = tally
        .sources
        .iter()
        .map(|source| {
            let skipped = match source.skipped {
                0 => String::new(),
                skipped => format!(", {skipped} skipped while it was paused"),
            };
            let left = source.captured - source.dropped - source.skipped - source.judged;
            let left = match left {
                0 => String::new(),
                _ => format!("; {left} came after the last that was wanted"),
            };
            let review = match source.review {
                0 => String::new(),
                frames => format!(
                    ", {} for review of {frames} normal frames",
                    source.review_events
                ),
            };
            format!(
                "{}: {} captured, {} dropped, {} unreadable{skipped}; {} judged ({:.1}/s): {} \
                 normal, {} anomalous, {} invalid; {} events{review}; reopened {} times{left}",
                source.name,
                source.captured,
                source.dropped,
                source.unreadable,
                source.judged,
                source.judged as f64 / seconds,
                source.normal,
                source.anomalous,
                source.invalid,
                source.events,
                source.reconnects,
            )
        })
        .collect();
    lines.extend(tally.sinks.iter().map(sink_line));
    if tally.late > 0 {
        lines.push(format!("{} frames were late", tally.late));
    }
    if tally.sources.iter().all(|source| source.judged == 0) {
        return lines;
    }
    lines.push(format!(
        "{:<8} {:>9} {:>9} {:>9} {:>9}",
        "ms", "p50", "p95", "p99", "max"
    ));
    lines.extend(tally.stages.iter().map(|stage| {
        format!(
            "{:<8} {:>9.2} {:>9.2} {:>9.2} {:>9.2}",
            stage.stage, stage.p50, stage.p95, stage.p99, stage.max
        )
    }));
    lines
}

fn sink_line(sink: &SinkTally) -> String {
    let mut line = format!(
        "{}: {} messages, {} failed, {} frames dropped",
        sink.name, sink.taken, sink.failed, sink.dropped
    );
    if let Some(PeerTally { delivered, refused }) = sink.peer {
        line += &format!("; {delivered} delivered, {refused} refused");
    }
    for (count, what) in [(sink.waiting, "wait for the next run"), (sink.lost, "lost")] {
        if count > 0 {
            line += &format!(", {count} {what}");
        }
    }
    line
}

/// What will never arrive, in words; `None` where all did or waits.
pub(super) fn losses(tally: &Tally) -> Option<String> {
    let lost = tally.sinks.iter().filter_map(|sink| {
        let refused = sink.peer.unwrap_or_default().refused;
        let count = sink.lost + refused;
        (count > 0).then(|| format!("{}: {count} messages were not delivered", sink.name))
    });
    let lost: Vec<String> = lost.collect();
    (!lost.is_empty()).then(|| lost.join("; "))
}
