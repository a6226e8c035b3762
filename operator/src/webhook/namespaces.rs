//! Namespaces that the watch does not show as the API server must see them: made or changed a moment ago.
//!
//! The API server asks about pods of Namespaces that have joined the mesh. Where the watch says otherwise, it may be behind,
//! and a pod that was left alone for that would run without its sidecar. So the API server is asked, by anybody who reaches
//! this port: few times at once, and once for all who wait for the same answer. An answer is never older than its question,
//! so nothing is remembered.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared, WeakShared};
use parking_lot::Mutex;
use smilax_core::admission::Network;
use tokio::time::timeout;

use super::budget::Busy;
use crate::cluster_view::{ClusterView, NamespaceView};
use crate::places::{NoPlace, Places, Size};

/// Questions under way at once, by source.
const QUESTIONS: Size = Size {
    all: 8,
    of_one: 4,
    patience: Duration::from_secs(1),
};
/// Time for an answer, out of what the API server waits for a webhook.
const ANSWER_TIME: Duration = Duration::from_secs(2);
/// Questions of one source about one Namespace: the next is sent when the one before is answered.
const OF_A_NAME: Size = Size {
    all: u16::MAX as u32,
    of_one: 1,
    patience: ANSWER_TIME,
};
/// Longest name of a Namespace: a label of DNS.
const LONGEST_NAME: usize = 63;

type Key = (Network, String);
type Newest = Result<Option<NamespaceView>, Busy>;
type Question = BoxFuture<'static, Newest>;

/// What asks the API server.
pub(super) struct Namespaces {
    queues: Arc<Queues>,
    open: Open,
}

/// What a question waits for before it is sent, and whom it is sent to.
struct Queues {
    view: Arc<dyn ClusterView>,
    names: Places<Key>,
    sources: Places<Network>,
}

/// Questions that were not sent yet. Others may join them.
type Open = Arc<Mutex<HashMap<Key, WeakShared<Question>>>>;

impl fmt::Debug for Namespaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Namespaces").finish_non_exhaustive()
    }
}

impl Namespaces {
    pub(super) fn new(view: Arc<dyn ClusterView>) -> Self {
        Self {
            queues: Arc::new(Queues {
                view,
                names: Places::new(OF_A_NAME),
                sources: Places::new(QUESTIONS),
            }),
            open: Arc::default(),
        }
    }

    /// What the API server says of a Namespace now; `None` if it does not answer, or there is none.
    pub(super) async fn newest(&self, source: Network, name: &str) -> Newest {
        if !may_exist(name) {
            return Ok(None);
        }
        let question = self.question((source, name.to_owned()));
        question.await
    }

    /// The question that was not sent yet, or a new one.
    fn question(&self, key: Key) -> Shared<Question> {
        let mut open = self.open.lock();
        if let Some(question) = open.get(&key).and_then(WeakShared::upgrade) {
            return question;
        }
        let door = Door {
            open: Arc::clone(&self.open),
            key: key.clone(),
        };
        let question = ask(Arc::clone(&self.queues), door);
        let question = question.boxed().shared();
        if let Some(weak) = question.downgrade() {
            open.insert(key, weak);
        }
        question
    }
}

async fn ask(queues: Arc<Queues>, door: Door) -> Newest {
    let (source, name) = door.key.clone();
    let places = async {
        let of_name = queues.names.take(door.key.clone(), 1).await?;
        Ok((of_name, queues.sources.take(source, 1).await?))
    };
    let places = places.await;
    // Whoever asks from now on may know of what this answer does not show.
    drop(door);
    let _places = places.map_err(|NoPlace| Busy)?;
    let answer = timeout(ANSWER_TIME, queues.view.fetch_namespace(&name)).await;
    Ok(answer.ok().flatten())
}

/// While it is held, a question can be joined.
struct Door {
    open: Open,
    key: Key,
}

impl Drop for Door {
    fn drop(&mut self) {
        self.open.lock().remove(&self.key);
    }
}

/// Whether a Namespace can have this name (RFC 1123).
fn may_exist(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !name.is_empty() && name.len() <= LONGEST_NAME && name.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use futures::future::{join, join_all};
    use smilax_compiler::model::Target;

    use super::*;

    const ANSWER: Duration = Duration::from_millis(100);

    /// Answers after [`ANSWER`].
    #[derive(Default)]
    struct Slow(Mutex<Asked>);

    #[derive(Clone, Copy, Default)]
    struct Asked {
        all: usize,
        under_way: usize,
        most_at_once: usize,
    }

    impl ClusterView for Slow {
        fn namespace(&self, _: &str) -> Option<NamespaceView> {
            None
        }

        fn target_warnings(&self, _: &Target) -> Vec<String> {
            Vec::new()
        }

        fn fetch_namespace<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Option<NamespaceView>> {
            let mut asked = self.0.lock();
            asked.all += 1;
            asked.under_way += 1;
            asked.most_at_once = asked.most_at_once.max(asked.under_way);
            async move {
                tokio::time::sleep(ANSWER).await;
                self.0.lock().under_way -= 1;
                let name = name.to_owned();
                Some(NamespaceView {
                    name,
                    ..NamespaceView::default()
                })
            }
            .boxed()
        }
    }

    struct Fixture {
        view: Arc<Slow>,
        namespaces: Namespaces,
    }

    impl Fixture {
        fn new() -> Self {
            let view = Arc::new(Slow::default());
            let namespaces = Namespaces::new(Arc::clone(&view) as Arc<dyn ClusterView>);
            Self { view, namespaces }
        }

        fn asked(&self) -> Asked {
            *self.view.0.lock()
        }

        /// So many questions at once, each about a Namespace of its own; how many were answered.
        async fn ask(&self, of: u8, count: usize) -> usize {
            let names: Vec<_> = (0..count).map(|number| format!("ns-{number}")).collect();
            let answers = names.iter().map(|name| self.namespaces.newest(source(of), name));
            let answers = join_all(answers).await;
            answers
                .iter()
                .filter(|answer| matches!(answer, Ok(Some(_))))
                .count()
        }
    }

    fn source(number: u8) -> Network {
        Network::of([10, 0, 0, number].into())
    }

    #[tokio::test(start_paused = true)]
    async fn s42_one_question_is_sent_for_all_who_wait_for_its_answer() {
        let fixture = Fixture::new();
        let newest = || fixture.namespaces.newest(source(1), "shop");
        let answers = join_all((0..100).map(|_| newest())).await;
        assert!(
            answers
                .iter()
                .all(|answer| answer.clone().unwrap().unwrap().name == "shop")
        );
        // That of the first, and one for all who came after it was sent.
        assert_eq!(fixture.asked().all, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn s42_an_answer_is_never_older_than_its_question() {
        let fixture = Fixture::new();
        let later = async {
            tokio::time::sleep(ANSWER / 2).await;
            fixture.namespaces.newest(source(1), "shop").await
        };
        let (first, second) = join(fixture.namespaces.newest(source(1), "shop"), later).await;
        assert!(first.is_ok() && second.is_ok());
        assert_eq!(fixture.asked().all, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn s42_few_questions_are_under_way_at_once_and_fewer_of_one_source() {
        let fixture = Fixture::new();
        assert_eq!(fixture.ask(1, 20).await, 20);
        assert_eq!(fixture.asked().most_at_once, 4);
        join_all((1..=4).map(|source| fixture.ask(source, 20))).await;
        assert_eq!(fixture.asked().most_at_once, 8);
    }

    #[tokio::test(start_paused = true)]
    async fn s42_a_source_that_asks_without_end_keeps_no_other_waiting() {
        let fixture = Fixture::new();
        let (crowd, other) = join(fixture.ask(1, 1000), async {
            tokio::time::sleep(ANSWER / 2).await;
            let answer = tokio::time::timeout(2 * ANSWER, fixture.ask(2, 1));
            answer.await.unwrap()
        })
        .await;
        assert_eq!(other, 1);
        assert!(crowd < 1000, "who waits for too long is told to come back");
    }

    #[tokio::test(start_paused = true)]
    async fn s42_questions_that_nobody_waits_for_any_more_leave_no_trace() {
        let fixture = Fixture::new();
        let given_up = tokio::time::timeout(ANSWER / 2, fixture.ask(1, 20)).await;
        assert!(given_up.is_err());
        assert!(fixture.namespaces.open.lock().is_empty());
        assert_eq!(fixture.ask(2, 4).await, 4);
    }

    #[tokio::test]
    async fn s42_a_name_that_no_namespace_can_have_is_asked_for_by_nobody() {
        let fixture = Fixture::new();
        let long = "a".repeat(64);
        for name in ["", "../secrets", "Shop", "a/b", "a.b", &long] {
            assert!(
                fixture
                    .namespaces
                    .newest(source(1), name)
                    .await
                    .unwrap()
                    .is_none()
            );
        }
        assert_eq!(fixture.asked().all, 0);
    }
}
