//! A text that many readers are sent, and that exists once for all of them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Format;

/// What was rendered. Its place is free when the last reader is done with it.
#[derive(Debug)]
pub struct Sheet {
    /// Form that it is written in.
    pub format: Format,
    /// Its text.
    pub text: Bytes,
    pub(super) number: u64,
    readers: Mutex<Readers>,
    _place: OwnedSemaphorePermit,
}

#[derive(Debug)]
struct Readers {
    /// When one of them last took some of it.
    progress: Instant,
    last: u64,
    ends: Vec<(u64, CancellationToken)>,
}

/// Somebody who is sent a sheet.
#[derive(Debug)]
pub struct Reader {
    sheet: Arc<Sheet>,
    number: u64,
}

impl Sheet {
    pub(super) fn new(number: u64, format: Format, mut text: Vec<u8>, place: OwnedSemaphorePermit) -> Self {
        text.shrink_to_fit();
        Self {
            format,
            text: text.into(),
            number,
            readers: Mutex::new(Readers {
                progress: Instant::now(),
                last: 0,
                ends: Vec::new(),
            }),
            _place: place,
        }
    }

    /// One more reader, whose connection ends with `end`.
    pub fn read(self: &Arc<Self>, end: CancellationToken) -> Reader {
        let mut readers = self.readers.lock();
        readers.last += 1;
        let number = readers.last;
        readers.ends.push((number, end));
        Reader {
            sheet: Arc::clone(self),
            number,
        }
    }

    /// For how long no reader has taken any of it.
    pub(super) fn untouched(&self) -> Duration {
        self.readers.lock().progress.elapsed()
    }

    /// Ends the connections of all readers.
    pub(super) fn end_readers(&self) {
        for (_, end) in self.readers.lock().ends.drain(..) {
            end.cancel();
        }
    }
}

impl Reader {
    /// It has taken some of the text.
    pub fn takes(&self) {
        self.sheet.readers.lock().progress = Instant::now();
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut readers = self.sheet.readers.lock();
        readers.ends.retain(|(number, _)| *number != self.number);
    }
}
