//! A sink of one's own: here one that counts the events of each hour of the day.
//!
//! ```text
//! cargo run --example custom_sink -- 'synth://surface?defects=0.05&count=200'
//! ```

use std::{collections::BTreeMap, fmt::Display, path::Path};

use edge_vae::{
    Detector, DetectorOptions,
    stream::{
        Configuration, Host, Plan, SinkConfig, SourceEntry,
        record::{EventPhase, Tally},
        run,
        sink::{Message, Sink, SinkError, Wants},
    },
};

#[derive(Default)]
struct Hours(BTreeMap<String, u64>);

impl Sink for Hours {
    fn name(&self) -> &str {
        "hours"
    }

    fn wants(&self) -> Wants {
        // Events only; frames come only where they are wanted.
        Wants::default()
    }

    fn take(&mut self, message: &Message) -> Result<(), SinkError> {
        if let Message::Event { record, .. } = message
            && record.phase == EventPhase::Open
        {
            // 2026-01-31T12:00:00.000Z
            let hour = record.first.timestamp.get(..13).unwrap_or_default();
            *self.0.entry(hour.to_owned()).or_default() += 1;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        for (hour, events) in &self.0 {
            println!("{hour}  {events} events");
        }
        Ok(())
    }
}

/// Lets the pipeline run until its source ends.
struct Patient;

impl Host for Patient {
    fn stop(&mut self) -> bool {
        false
    }

    fn change(&mut self) -> Option<Result<Plan, String>> {
        None
    }

    fn alive(&mut self) {}

    fn tally(&mut self, _tally: &Tally) {}

    fn note(&mut self, text: &dyn Display) {
        eprintln!("{text}");
    }
}

fn main() -> anyhow::Result<()> {
    let uri = std::env::args()
        .nth(1)
        .unwrap_or("synth://surface?defects=0.05&count=100".to_owned());
    let configuration = Configuration {
        sources: vec![SourceEntry::new(uri)],
        ..Configuration::default()
    };
    let plan = Plan {
        detector: Detector::open(Path::new("models/surface"), &DetectorOptions::default())?,
        successor: None,
        sources: configuration.sources()?,
        sinks: vec![SinkConfig {
            key: "hours".to_owned(),
            open: Box::new(|| Ok(Box::new(Hours::default()))),
        }],
        control: configuration.control.clone(),
        options: configuration.options()?,
    };
    let summary = run(plan, &mut Patient)?;
    println!("{} frames judged", summary.tally.sources[0].judged);
    Ok(())
}
