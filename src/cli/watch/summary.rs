//! What is said at the end.

use edge_vae::stream::record::Tally;

/// Counts of sources and sinks, and percentiles of the stages.
pub(super) fn lines(tally: &Tally) -> Vec<String> {
    let seconds = tally.seconds.max(1e-9);
    let mut lines: Vec<String> = tally
        .sources
        .iter()
        .map(|source| {
            let left = source.captured - source.dropped - source.judged;
            let left = match left {
                0 => String::new(),
                _ => format!("; {left} came after the last that was wanted"),
            };
            format!(
                "{}: {} captured, {} dropped, {} unreadable; {} judged ({:.1}/s): {} normal, {} \
                 anomalous, {} invalid; {} events; reopened {} times{left}",
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
    lines.extend(tally.sinks.iter().map(|sink| {
        format!(
            "{}: {} messages, {} failed, {} frames dropped",
            sink.name, sink.taken, sink.failed, sink.dropped
        )
    }));
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
