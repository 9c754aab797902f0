//! Pictures from standard input.

use std::{
    fs::File,
    time::{Duration, Instant},
};

use super::{
    Arrival, Source, SourceError, SourceSettings, picture_stream::PictureStream, splitter::Splitter,
};
use crate::Frame;

/// Pictures that another program writes into ours.
pub(super) struct StandardInput {
    name: String,
    pictures: PictureStream,
    live: bool,
    timeout: Option<Duration>,
    last: Instant,
}

impl StandardInput {
    pub(super) fn open(
        name: &str,
        splitter: Splitter,
        settings: &SourceSettings,
    ) -> Result<Self, SourceError> {
        use std::io::IsTerminal;

        let stdin = std::io::stdin();
        if stdin.is_terminal() {
            return Err(SourceError::Impossible {
                source_name: name.to_owned(),
                problem: "standard input is a terminal; pipe frames into it".to_owned(),
            });
        }
        let input = rustix::io::dup(&stdin).map_err(|error| SourceError::Impossible {
            source_name: name.to_owned(),
            problem: format!("cannot read standard input: {error}"),
        })?;
        let file = File::from(input);
        Ok(Self {
            name: name.to_owned(),
            pictures: PictureStream::new(name, file, splitter, settings),
            live: settings.live == Some(true),
            timeout: settings.timeout.map(|timeout| timeout.0),
            last: Instant::now(),
        })
    }
}

impl Source for StandardInput {
    fn read(&mut self, frame: &mut Frame) -> Result<Arrival, SourceError> {
        let arrival = self.pictures.read(frame)?;
        match (arrival, self.timeout) {
            (Arrival::Frame, _) => self.last = Instant::now(),
            (Arrival::Nothing, Some(timeout)) if self.last.elapsed() > timeout => {
                return Err(SourceError::Lost {
                    source_name: self.name.clone(),
                    problem: format!("no frame for {}", humantime::format_duration(timeout)),
                });
            }
            _ => {}
        }
        Ok(arrival)
    }

    fn is_live(&self) -> bool {
        self.live
    }
}
