//! Feature vectors of many frames: in memory as far as there is room, the rest in a file.

use std::{
    borrow::Cow,
    fs::File,
    io::{Read, Seek, SeekFrom, Write},
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::{Context, Result};
use edge_vae::create_folder;

/// Memory for the vectors of all stores that are made with it or with clones of it.
#[derive(Clone, Debug)]
pub struct Room(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Bytes that are left.
    left: AtomicUsize,
    /// Where the files with the rest lie.
    folder: PathBuf,
}

impl Room {
    /// Of so many bytes; what they do not hold lies in `folder`.
    pub fn new(bytes: usize, folder: PathBuf) -> Self {
        Self(Arc::new(Shared {
            left: AtomicUsize::new(bytes),
            folder,
        }))
    }

    /// Bytes that are not taken.
    pub fn left(&self) -> u64 {
        self.0.left.load(Ordering::Relaxed) as u64
    }

    /// Takes `bytes`, where there are as many.
    fn take(&self, bytes: usize) -> bool {
        let less = |left: usize| left.checked_sub(bytes);
        let order = Ordering::Relaxed;
        self.0.left.fetch_update(order, order, less).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.0.left.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Default for Room {
    /// As much as there is.
    fn default() -> Self {
        // Half of what can be counted, since what is given back is added.
        Self::new(usize::MAX / 2, std::env::temp_dir())
    }
}

/// Values of frames, as many of each.
#[derive(Debug)]
pub struct Store {
    room: Room,
    /// Of the first frames; empty where they were taken out.
    held: Vec<Vec<f32>>,
    rest: Option<Rest>,
}

/// The frames after those in memory, one after the other.
#[derive(Debug)]
struct Rest {
    /// Without a name, so that it is gone when the process is.
    file: Mutex<File>,
    /// Bytes of a frame.
    length: usize,
    frames: usize,
}

impl Store {
    /// Without a frame, in such a room.
    pub fn new(room: &Room) -> Self {
        Self {
            room: room.clone(),
            held: Vec::new(),
            rest: None,
        }
    }

    /// Number of frames.
    pub fn frames(&self) -> usize {
        self.held.len() + self.rest.as_ref().map_or(0, |rest| rest.frames)
    }

    /// Adds a frame.
    ///
    /// # Errors
    /// A file that can't be written.
    pub fn push(&mut self, values: Vec<f32>) -> Result<()> {
        if self.rest.is_none() && self.room.take(size_of_val(&values[..])) {
            self.held.push(values);
            return Ok(());
        }
        let folder = &self.room.0.folder;
        let cannot = || {
            format!(
                "{}: cannot keep feature vectors there that the memory has no room for",
                folder.display()
            )
        };
        let rest = match &mut self.rest {
            Some(rest) => rest,
            None => self.rest.insert(Rest {
                file: Mutex::new(
                    create_folder(folder)
                        .and_then(|()| tempfile::tempfile_in(folder))
                        .with_context(cannot)?,
                ),
                length: size_of_val(&values[..]),
                frames: 0,
            }),
        };
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        let file = rest.file.get_mut().unwrap_or_else(PoisonError::into_inner);
        let end = SeekFrom::Start((rest.frames * rest.length) as u64);
        file.seek(end).with_context(cannot)?;
        file.write_all(&bytes).with_context(cannot)?;
        rest.frames += 1;
        Ok(())
    }

    /// The values of the frame `place`.
    ///
    /// # Errors
    /// A file that can't be read; no such frame.
    pub fn get(&self, place: usize) -> Result<Cow<'_, [f32]>> {
        if let Some(held) = self.held.get(place) {
            return Ok(Cow::Borrowed(held));
        }
        let rest = self.rest.as_ref().context("a frame that was not kept")?;
        let mut bytes = vec![0; rest.length];
        let start = SeekFrom::Start(((place - self.held.len()) * rest.length) as u64);
        {
            let mut file = rest.file.lock().unwrap_or_else(PoisonError::into_inner);
            let read = file.seek(start).and_then(|_| file.read_exact(&mut bytes));
            read.with_context(|| {
                let folder = self.room.0.folder.display();
                format!("{folder}: cannot read feature vectors that were kept there")
            })?;
        }
        let values = bytes.as_chunks().0.iter();
        Ok(values.map(|&value| f32::from_le_bytes(value)).collect())
    }

    /// The same, to be read only once: leaves no memory taken.
    ///
    /// # Errors
    /// Those of [`Self::get`].
    pub fn take(&mut self, place: usize) -> Result<Vec<f32>> {
        match self.held.get_mut(place) {
            Some(held) => {
                let values = std::mem::take(held);
                self.room.give_back(size_of_val(&values[..]));
                Ok(values)
            }
            None => Ok(self.get(place)?.into_owned()),
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let held = self.held.iter().map(|values| size_of_val(&values[..]));
        self.room.give_back(held.sum());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(number: usize) -> Vec<f32> {
        vec![number as f32, -0.5, f32::MIN_POSITIVE]
    }

    #[test]
    fn what_has_no_room_is_read_from_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let room = Room::new(2 * 12 + 5, folder.path().to_owned());
        let mut store = Store::new(&room);
        for number in 0..5 {
            store.push(frame(number)).unwrap();
        }
        assert_eq!((store.held.len(), store.frames()), (2, 5));
        for number in [4, 0, 2, 1, 3] {
            assert_eq!(*store.get(number).unwrap(), frame(number));
        }
        assert!(store.get(5).is_err());
        // Nobody else sees it, and nothing is left of it.
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);

        // What was taken out makes room for others.
        assert_eq!(store.take(1).unwrap(), frame(1));
        assert_eq!(store.take(3).unwrap(), frame(3));
        let mut other = Store::new(&room);
        other.push(frame(7)).unwrap();
        other.push(frame(8)).unwrap();
        assert_eq!((other.held.len(), other.frames()), (1, 2));
        drop((store, other));
        assert_eq!(room.left(), 2 * 12 + 5);
    }

    #[test]
    fn a_folder_that_can_not_be_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let folder = file.path().join("folder");
        let mut store = Store::new(&Room::new(0, folder.clone()));
        let error = store.push(frame(1)).unwrap_err();
        assert!(
            error.to_string().contains(&folder.display().to_string()),
            "{error}"
        );
    }
}
