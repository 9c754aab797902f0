//! The events of one class at one source, and the frames to show with them.

use std::sync::Arc;

use super::{
    event::{EventRule, Events, FrameVerdict, RunId},
    record::{EventClass, EventPhase, EventRecord},
    sink::ScoredFrame,
};

/// An event that began or ended, and the frame to show with it.
pub(super) struct EventNotice {
    pub(super) record: EventRecord,
    pub(super) frame: Option<Arc<ScoredFrame>>,
}

/// Events of one class, and the worst frame of the open one.
pub(super) struct EventTracker {
    events: Events,
    worst: Option<Arc<ScoredFrame>>,
}

impl EventTracker {
    pub(super) fn new(
        class: EventClass,
        rule: EventRule,
        (source, model_id): (&str, &str),
        run: &RunId,
    ) -> Self {
        Self {
            events: Events::new(class, rule, source, model_id, run),
            worst: None,
        }
    }

    /// Takes in the next frame. What is returned is to be given its frames by
    /// [`Self::with_frames`].
    pub(super) fn observe(&mut self, verdict: &FrameVerdict) -> Vec<EventRecord> {
        self.events.observe(verdict)
    }

    /// The id of the open event.
    pub(super) fn open_id(&self) -> Option<&str> {
        self.events.open_id()
    }

    /// Ends the open event, if there is one.
    pub(super) fn finish(&mut self, why: &str) -> Option<EventNotice> {
        let record = self.events.finish(why)?;
        Some(self.with_worst(record))
    }

    /// Goes on by another rule or model, and ends the open event, if there is one.
    pub(super) fn replace(
        &mut self,
        rule: EventRule,
        model_id: &str,
        why: &str,
    ) -> Option<EventNotice> {
        let record = self.events.replace(rule, model_id, why)?;
        Some(self.with_worst(record))
    }

    /// An event that ended, with its worst frame.
    fn with_worst(&mut self, record: EventRecord) -> EventNotice {
        EventNotice {
            record,
            frame: self.worst.take(),
        }
    }

    /// Gives each event the frame to show with it: what opened it, or its worst.
    pub(super) fn with_frames(
        &mut self,
        scored: &Arc<ScoredFrame>,
        records: Vec<EventRecord>,
    ) -> Vec<EventNotice> {
        let mut notices = Vec::with_capacity(records.len());
        for record in records {
            notices.push(match record.phase {
                EventPhase::Closed => self.with_worst(record),
                EventPhase::Open => {
                    self.worst = Some(Arc::clone(scored));
                    EventNotice {
                        record,
                        frame: self.worst.clone(),
                    }
                }
            });
        }
        let worst = self.events.worst_frame();
        if worst.is_some_and(|number| number == scored.record.frame_number) {
            self.worst = Some(Arc::clone(scored));
        }
        notices
    }
}
