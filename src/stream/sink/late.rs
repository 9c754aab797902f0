//! A sink whose disk takes nothing when it is to be opened: frames are judged all the same, and it
//! is opened when the disk does.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{
    super::control::ControlHandle, EventFilter, Message, Sink, SinkError, SinkSettings, SinkStatus,
    Wants,
};

/// Time between attempts.
const RETRY: Duration = Duration::from_secs(1);

/// Events and the like that are held until then, without their frames; of more, the oldest are
/// lost.
const MOST_HELD: usize = 10_000;

/// Opens a sink, or what will open it when the disk lets it.
///
/// # Errors
/// [`SinkError::Setting`].
pub(in crate::stream) fn open_or_wait<S: SinkSettings>(
    settings: &S,
) -> Result<Box<dyn Sink>, SinkError> {
    match settings.open() {
        Err(error @ SinkError::Unavailable { .. }) => Ok(Box::new(Late {
            name: settings.describe(),
            settings: settings.clone(),
            sink: None,
            handle: None,
            trouble: Some(error),
            tried: Instant::now(),
            held: VecDeque::new(),
            lost: 0,
            frames: 0,
        })),
        opened => opened,
    }
}

struct Late<S> {
    name: String,
    settings: S,
    /// Once it could be opened.
    sink: Option<Box<dyn Sink>>,
    handle: Option<ControlHandle>,
    /// Why it could not be opened, until that was reported.
    trouble: Option<SinkError>,
    tried: Instant,
    held: VecDeque<Message>,
    /// Messages that were given up.
    lost: u64,
    /// Frames that came until then.
    frames: u64,
}

impl<S: SinkSettings> Late<S> {
    /// Opens the sink, and gives it what was held.
    fn open(&mut self) -> Result<(), SinkError> {
        if let Some(trouble) = self.trouble.take() {
            return Err(trouble);
        }
        if self.tried.elapsed() < RETRY {
            return Ok(());
        }
        self.tried = Instant::now();
        let mut sink = self.settings.open()?;
        if let Some(handle) = &self.handle {
            sink.control(handle);
        }
        sink.missed(self.frames);
        let mut taken = Ok(());
        for message in self.held.drain(..) {
            taken = taken.and(give(&mut *sink, &message));
        }
        self.sink = Some(sink);
        taken
    }

    fn hold(&mut self, message: &Message) {
        let message = match message {
            Message::Frame(_) => {
                self.frames += 1;
                return;
            }
            Message::Tally(_) => return,
            // The frame is too large to be held.
            Message::Event { record, .. } => Message::Event {
                record: record.clone(),
                frame: None,
            },
            other => other.clone(),
        };
        if self.held.len() == MOST_HELD {
            self.held.pop_front();
            self.lost += 1;
        }
        self.held.push_back(message);
    }
}

/// Gives a message to a sink that wants it: what it wants was not known to the pipeline.
fn give(sink: &mut dyn Sink, message: &Message) -> Result<(), SinkError> {
    let wants = sink.wants();
    let is_wanted = match message {
        Message::Frame(_) => wants.frames,
        Message::Event { record, .. } => wants.events.takes(record.class),
        _ => true,
    };
    if is_wanted {
        sink.take(message)
    } else {
        Ok(())
    }
}

impl<S: SinkSettings> Sink for Late<S> {
    fn name(&self) -> &str {
        &self.name
    }

    /// Everything: what the sink wants is known when it is open.
    fn wants(&self) -> Wants {
        Wants {
            frames: true,
            events: EventFilter::All,
            maps: true,
            every_frame: true,
            durable: true,
        }
    }

    fn control(&mut self, handle: &ControlHandle) {
        self.handle = Some(handle.clone());
    }

    fn take(&mut self, message: &Message) -> Result<(), SinkError> {
        if self.sink.is_none() {
            let opened = self.open();
            if self.sink.is_none() {
                self.hold(message);
                return opened;
            }
        }
        match &mut self.sink {
            Some(sink) => give(&mut **sink, message),
            None => Ok(()),
        }
    }

    fn status(&self) -> Option<SinkStatus> {
        let Some(sink) = &self.sink else {
            return Some(SinkStatus {
                failing: true,
                waiting: self.held.len() as u64,
                lost: self.lost,
                peer: None,
            });
        };
        sink.status()
    }

    fn idle(&mut self) -> Result<(), SinkError> {
        match &mut self.sink {
            Some(sink) => sink.idle(),
            None => self.open(),
        }
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        if self.sink.is_none() {
            self.tried = Instant::now().checked_sub(RETRY).unwrap_or(self.tried);
            self.open()?;
        }
        self.sink.as_mut().map_or(Ok(()), |sink| sink.finish())
    }
}
