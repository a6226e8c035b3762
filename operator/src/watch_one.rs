//! A watch of one object by its name.

use futures::StreamExt as _;
use futures::stream::BoxStream;
use kube::Api;
use kube::runtime::watcher::{self, Event};

use crate::watch_backoff::{WATCH_TIMEOUT, paced};

/// One object by its name: as it is, whenever it changes, and `None` when it is gone.
pub(crate) fn one<K>(api: Api<K>, name: &str) -> BoxStream<'static, Option<K>>
where
    K: kube::Resource + Clone + serde::de::DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let only = watcher::Config::default()
        .timeout(WATCH_TIMEOUT)
        .fields(&format!("metadata.name={name}"));
    let mut seen = Seen { listed: None };
    paced(watcher::watcher(api, only))
        .filter_map(move |event| {
            let known = match event {
                Ok(event) => seen.take(event),
                Err(error) => {
                    tracing::debug!(%error, "watch of one object");
                    Known::NotYet
                }
            };
            std::future::ready(match known {
                Known::NotYet => None,
                Known::There(object) => Some(Some(object)),
                Known::Gone => Some(None),
            })
        })
        .boxed()
}

/// What an event says of the object.
#[derive(Debug, PartialEq, Eq)]
enum Known<K> {
    /// Nothing: a list is under way.
    NotYet,
    /// It exists.
    There(K),
    /// It does not exist.
    Gone,
}

/// What events say of one object.
struct Seen<K> {
    /// From the list that is under way.
    listed: Option<K>,
}

impl<K> Seen<K> {
    /// What becomes known with `event`. The end of a list without the object says that it is gone: nobody else tells what
    /// was deleted while the watch was broken.
    fn take(&mut self, event: Event<K>) -> Known<K> {
        match event {
            Event::Apply(object) => Known::There(object),
            Event::Delete(_) => Known::Gone,
            Event::Init => {
                self.listed = None;
                Known::NotYet
            }
            Event::InitApply(object) => {
                self.listed = Some(object);
                Known::NotYet
            }
            Event::InitDone => self.listed.take().map_or(Known::Gone, Known::There),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(events: impl IntoIterator<Item = Event<u8>>) -> Vec<Known<u8>> {
        let mut seen = Seen { listed: None };
        let known = events.into_iter().map(|event| seen.take(event));
        known.filter(|known| *known != Known::NotYet).collect()
    }

    #[test]
    fn an_object_is_told_once_it_was_listed_and_whenever_it_changes() {
        let events = [Event::Init, Event::InitApply(1), Event::InitDone, Event::Apply(2)];
        assert_eq!(told(events), [Known::There(1), Known::There(2)]);
    }

    #[test]
    fn an_object_that_is_deleted_is_told_as_gone() {
        assert_eq!(
            told([Event::Apply(1), Event::Delete(1)]),
            [Known::There(1), Known::Gone]
        );
    }

    #[test]
    fn an_object_that_went_while_the_watch_was_broken_is_told_as_gone() {
        let events = [Event::Apply(1), Event::Init, Event::InitDone];
        assert_eq!(told(events), [Known::There(1), Known::Gone]);
    }

    #[test]
    fn a_list_that_broke_off_says_nothing() {
        let events = [Event::Init, Event::InitApply(1), Event::Init, Event::InitDone];
        assert_eq!(told(events), [Known::Gone]);
    }
}
