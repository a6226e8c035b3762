//! A watch of one object by its name.

use futures::StreamExt as _;
use futures::stream::BoxStream;
use kube::Api;
use kube::runtime::watcher::{self, Event};

use crate::watch_backoff::{WATCH_TIMEOUT, paced};

/// One object by its name: as it is, whenever it changes, and `None` when it is gone.
pub(super) fn one<K>(api: Api<K>, name: &str) -> BoxStream<'static, Option<K>>
where
    K: kube::Resource + Clone + serde::de::DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let only = watcher::Config::default()
        .timeout(WATCH_TIMEOUT)
        .fields(&format!("metadata.name={name}"));
    let mut listed = None;
    paced(watcher::watcher(api, only))
        .filter_map(move |event| {
            let seen = match event {
                Ok(Event::Apply(object)) => Some(Some(object)),
                Ok(Event::Delete(_)) => Some(None),
                Ok(Event::Init) => {
                    listed = None;
                    None
                }
                Ok(Event::InitApply(object)) => {
                    listed = Some(object);
                    None
                }
                Ok(Event::InitDone) => Some(listed.take()),
                Err(error) => {
                    tracing::debug!(%error, "watch of one object");
                    None
                }
            };
            std::future::ready(seen)
        })
        .boxed()
}
