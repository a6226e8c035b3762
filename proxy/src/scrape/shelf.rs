//! Sheets that are shared by whoever asks for the same at about the same time, and of which there are few at a time.
//!
//! ```text
//! one is being made, or was made within `keep` ─► shared
//! else there is a place ─────────────────────────► made
//! else the sheet that was untouched for longest ─► its readers end, and it gives its place
//!      too many wait for a place already ─────────► busy, at once
//! ```

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _, Shared};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::AbortOnDropHandle;

use super::sheet::Sheet;
use super::{Failure, Format, PATIENCE};

/// Keys that may wait for a place while all places are taken. Each holds what was asked for, and anybody can make up keys.
const WAITING: usize = 4;

/// What came of making a sheet.
pub(super) type Outcome = Result<Arc<Sheet>, Arc<Failure>>;

type Making = Shared<BoxFuture<'static, Outcome>>;

/// Sheets, by what was asked for.
#[derive(Debug)]
pub(super) struct Shelf<K> {
    keep: Duration,
    /// Keys that are under way or kept at most.
    most: usize,
    places: Arc<Semaphore>,
    sheets: Mutex<Sheets<K>>,
}

#[derive(Debug)]
struct Sheets<K> {
    last: u64,
    shared: Vec<Entry<K>>,
    /// Those that have a place.
    alive: Vec<Weak<Sheet>>,
}

#[derive(Debug)]
struct Entry<K> {
    key: K,
    number: u64,
    outcome: Making,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    UnderWay,
    /// Until this forgets it.
    Kept(#[expect(dead_code, reason = "ends when it is dropped")] AbortOnDropHandle<()>),
}

impl<K: Clone + PartialEq + Send + 'static> Shelf<K> {
    /// With so many places; sheets are shared for so long.
    pub(super) fn new(places: usize, keep: Duration) -> Arc<Self> {
        Arc::new(Self {
            keep,
            most: places + WAITING,
            places: Arc::new(Semaphore::new(places)),
            sheets: Mutex::new(Sheets {
                last: 0,
                shared: Vec::new(),
                alive: Vec::new(),
            }),
        })
    }

    /// The sheet for this key: one that is there, or what `make` makes. It is made to its end, whoever waits for it: somebody
    /// who asks and goes away again and again must not have it begun each time.
    pub(super) async fn get<F>(self: &Arc<Self>, key: &K, make: impl FnOnce() -> F) -> Outcome
    where
        F: Future<Output = Result<(Format, Vec<u8>), Failure>> + 'static,
    {
        let shared = {
            let sheets = self.sheets.lock();
            let entry = sheets.shared.iter().find(|entry| entry.key == *key);
            entry.map(|entry| entry.outcome.clone())
        };
        match shared {
            Some(outcome) => outcome.await,
            None => self.begin(key, make()).map_err(Arc::new)?.await,
        }
    }

    fn begin<F>(self: &Arc<Self>, key: &K, make: F) -> Result<Making, Failure>
    where
        F: Future<Output = Result<(Format, Vec<u8>), Failure>> + 'static,
    {
        let mut sheets = self.sheets.lock();
        if !sheets.make_room(self.most) {
            return Err(Failure::Busy);
        }
        sheets.last += 1;
        let number = sheets.last;
        let owner = Arc::clone(self);
        let task = tokio::task::spawn_local(async move {
            // An entry must not stay under way for ever.
            let ended = AssertUnwindSafe(owner.make(number, make)).catch_unwind().await;
            let outcome = ended.unwrap_or(Err(Failure::Busy)).map_err(Arc::new);
            owner.made(number, &outcome);
            outcome
        });
        let outcome = task
            .map(|made| made.unwrap_or_else(|_| Err(Arc::new(Failure::Busy))))
            .boxed()
            .shared();
        sheets.shared.push(Entry {
            key: key.clone(),
            number,
            outcome: outcome.clone(),
            stage: Stage::UnderWay,
        });
        Ok(outcome)
    }

    /// Keeps what came of it for those who ask shortly after. That others were in the way says nothing about the next time.
    fn made(self: &Arc<Self>, number: u64, outcome: &Outcome) {
        let busy = matches!(outcome, Err(failure) if matches!(**failure, Failure::Busy));
        if busy || self.keep.is_zero() {
            return self.forget(number);
        }
        let owner = Arc::clone(self);
        let forgets = AbortOnDropHandle::new(tokio::task::spawn_local(async move {
            tokio::time::sleep(owner.keep).await;
            owner.forget(number);
        }));
        let mut sheets = self.sheets.lock();
        if let Some(entry) = sheets.shared.iter_mut().find(|entry| entry.number == number) {
            entry.stage = Stage::Kept(forgets);
        }
    }

    async fn make<F>(&self, number: u64, make: F) -> Result<Arc<Sheet>, Failure>
    where
        F: Future<Output = Result<(Format, Vec<u8>), Failure>>,
    {
        let place = self.place().await?;
        let (format, text) = make.await?;
        let sheet = Arc::new(Sheet::new(number, format, text, place));
        let mut sheets = self.sheets.lock();
        sheets.alive.retain(|one| one.strong_count() > 0);
        sheets.alive.push(Arc::downgrade(&sheet));
        Ok(sheet)
    }

    async fn place(&self) -> Result<OwnedSemaphorePermit, Failure> {
        let places = Arc::clone(&self.places);
        if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
            return Ok(place);
        }
        self.displace();
        let place = tokio::time::timeout(PATIENCE, places.acquire_owned()).await;
        place.map_err(|_| Failure::Busy)?.map_err(|_| Failure::Busy)
    }

    /// Takes its place from the sheet that nobody has taken anything of for longest.
    fn displace(&self) {
        let slowest = {
            let sheets = self.sheets.lock();
            let alive = sheets.alive.iter().filter_map(Weak::upgrade);
            alive.max_by_key(|sheet| sheet.untouched())
        };
        if let Some(sheet) = slowest {
            sheet.end_readers();
            self.forget(sheet.number);
        }
    }

    fn forget(&self, number: u64) {
        self.sheets.lock().shared.retain(|entry| entry.number != number);
    }
}

impl<K> Sheets<K> {
    /// Whether there is room for one more key. What was kept for longest gives way; what is under way does not.
    fn make_room(&mut self, most: usize) -> bool {
        if self.shared.len() < most {
            return true;
        }
        let mut entries = self.shared.iter();
        let oldest = entries.position(|entry| matches!(entry.stage, Stage::Kept(_)));
        oldest.map(|oldest| self.shared.remove(oldest)).is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use tokio::runtime::{LocalOptions, LocalRuntime};
    use tokio_util::sync::CancellationToken;

    use super::*;

    const KEEP: Duration = Duration::from_secs(1);

    /// Runs it in a runtime whose time passes when nothing else is to do.
    fn paused(test: impl Future<Output = ()>) {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime: LocalRuntime = builder
            .enable_all()
            .start_paused(true)
            .build_local(LocalOptions::default())
            .unwrap();
        runtime.block_on(test);
    }

    async fn sheet(shelf: &Arc<Shelf<u32>>, key: u32) -> Arc<Sheet> {
        let made = || async { Ok((Format::Text, b"page".to_vec())) };
        shelf.get(&key, made).await.unwrap()
    }

    #[test]
    fn s35_who_asks_at_the_same_time_or_shortly_after_shares_one_sheet() {
        paused(async {
            let (shelf, made) = (Shelf::new(2, KEEP), Rc::new(Cell::new(0)));
            let ask = || {
                let (shelf, made) = (Arc::clone(&shelf), Rc::clone(&made));
                async move {
                    let render = || async move {
                        made.set(made.get() + 1);
                        tokio::time::sleep(KEEP).await;
                        Ok((Format::Text, Vec::new()))
                    };
                    shelf.get(&1, render).await.unwrap()
                }
            };
            let (one, other) = tokio::join!(ask(), ask());
            tokio::time::sleep(KEEP / 2).await;
            let later = ask().await;
            assert!(Arc::ptr_eq(&one, &other) && Arc::ptr_eq(&one, &later));
            tokio::time::sleep(KEEP).await;
            assert!(!Arc::ptr_eq(&one, &ask().await));
            assert_eq!(made.get(), 2);
        });
    }

    #[test]
    fn s35_an_unread_sheet_is_given_up_after_its_time() {
        paused(async {
            let shelf = Shelf::new(2, KEEP);
            drop(sheet(&shelf, 1).await);
            assert_eq!(shelf.places.available_permits(), 1);
            tokio::time::sleep(2 * KEEP).await;
            assert_eq!(shelf.places.available_permits(), 2);
        });
    }

    #[test]
    fn s35_the_sheet_that_is_read_least_gives_its_place_to_another() {
        paused(async {
            let shelf = Shelf::new(2, Duration::ZERO);
            let [slow, fast] = [(); 2].map(|()| CancellationToken::new());
            let first = sheet(&shelf, 1).await.read(fast.clone());
            let second = sheet(&shelf, 2).await.read(slow.clone());
            tokio::time::sleep(KEEP).await;
            first.takes();
            let ends = async {
                slow.cancelled().await;
                drop(second);
            };
            let (third, ()) = tokio::join!(sheet(&shelf, 3), ends);
            assert!(!fast.is_cancelled());
            assert_eq!(&third.text[..], b"page");
        });
    }

    #[test]
    fn s35_somebody_who_keeps_its_place_is_not_waited_for_without_end() {
        paused(async {
            let shelf = Shelf::new(1, Duration::ZERO);
            let _kept = sheet(&shelf, 1).await;
            let refused = shelf.get(&2, || async { Ok((Format::Text, Vec::new())) }).await;
            assert_eq!(refused.unwrap_err().outcome(), "busy");
        });
    }

    /// Asks for keys that nobody else asked for, and goes away at once.
    async fn flood<F>(shelf: &Arc<Shelf<u32>>, make: impl Fn() -> F) -> Vec<Option<Outcome>>
    where
        F: Future<Output = Result<(Format, Vec<u8>), Failure>> + 'static,
    {
        let mut got = Vec::new();
        for key in 1_000..3_000 {
            got.push(shelf.get(&key, &make).now_or_never());
            tokio::task::yield_now().await;
            assert!(shelf.sheets.lock().shared.len() <= 2 + WAITING);
        }
        got
    }

    #[test]
    fn s35_made_up_keys_are_refused_at_once_while_as_many_are_under_way_as_may_be() {
        paused(async {
            let shelf = Shelf::new(2, KEEP);
            let got = flood(&shelf, std::future::pending).await;
            let refused =
                |got: &Option<Outcome>| matches!(got, Some(Err(failure)) if failure.outcome() == "busy");
            assert!(
                got[..2 + WAITING].iter().all(Option::is_none),
                "they are made, or wait"
            );
            assert!(got[2 + WAITING..].iter().all(refused));
        });
    }

    #[test]
    fn s35_what_is_kept_gives_way_to_another_key() {
        paused(async {
            let shelf = Shelf::new(2, KEEP);
            let got = flood(&shelf, || async { Err(Failure::TimedOut) }).await;
            assert!(got.iter().all(Option::is_none), "none is refused");
            sheet(&shelf, 1).await;
        });
    }

    #[test]
    fn s35_a_panic_takes_no_room_for_good() {
        paused(async {
            let shelf = Shelf::new(2, KEEP);
            let refused = shelf.get(&1, || async { panic!("on purpose") }).await;
            assert_eq!(refused.unwrap_err().outcome(), "busy");
            assert!(shelf.sheets.lock().shared.is_empty());
        });
    }

    #[test]
    fn s35_busy_is_said_to_nobody_who_asks_later() {
        paused(async {
            let shelf = Shelf::new(1, Duration::from_hours(1));
            let kept = sheet(&shelf, 1).await;
            let refused = shelf.get(&2, || async { Ok((Format::Text, Vec::new())) }).await;
            assert_eq!(refused.unwrap_err().outcome(), "busy");
            drop(kept);
            assert_eq!(&sheet(&shelf, 2).await.text[..], b"page");
        });
    }
}
