//! Commits on a thread of their own, each with its answer.
//!
//! librdkafka answers an asynchronous commit through a callback that rdkafka does not register, so
//! a failure would go unseen. A synchronous commit on its own thread neither blocks the polling nor
//! hides a failure.

use parking_lot::{Condvar, Mutex, MutexGuard};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaError as LibraryError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use wedcache_model::failpoint;

use super::super::topic_ids;
use super::context::GroupContext;
use super::offsets::Commit;
use super::partition::PartitionState;
use super::state::MemberState;

pub(super) type Commits = Vec<(Arc<PartitionState>, Commit)>;

/// The interval at which the cluster is asked for the topics' ids.
const ASK_TOPICS_EVERY: Duration = Duration::from_secs(2);
/// The longest time for one such request; commits wait behind it.
const ASK_TOPICS_TIMEOUT: Duration = Duration::from_secs(2);

/// The longest time for which a rebalance waits for a commit that is on its way.
pub(super) const CLEAR_TIMEOUT: Duration = Duration::from_secs(5);

/// The queue between the poll thread and the committing thread. It holds one list of commits: the
/// next one is only put in when the last one has its answer.
#[derive(Debug, Default)]
pub(super) struct CommitQueue {
    queued: Mutex<Queued>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Queued {
    waiting: Option<Commits>,
    on_its_way: bool,
    closed: bool,
}

impl CommitQueue {
    /// Returns true if the next commits can be put in.
    pub(super) fn has_room(&self) -> bool {
        let queued = self.lock();
        queued.waiting.is_none() && !queued.on_its_way
    }

    pub(super) fn put(&self, commits: Commits) {
        if commits.is_empty() {
            return;
        }
        self.lock().waiting = Some(commits);
        self.changed.notify_all();
    }

    /// Takes back what was not sent yet and waits for what is on its way, so that no earlier commit
    /// can follow the next one. Returns false if the deadline came first.
    pub(super) fn clear(&self, deadline: Instant) -> bool {
        let mut queued = self.lock();
        for (partition, _) in queued.waiting.take().into_iter().flatten() {
            partition.commit_failed();
        }
        let left = deadline.saturating_duration_since(Instant::now());
        self.changed
            .wait_while_for(&mut queued, |queued| queued.on_its_way, left);
        !queued.on_its_way
    }

    /// Ends [`run`] after the commits that it is sending.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    fn next(&self, wait: Duration) -> NextCommits {
        let idle = |queued: &mut Queued| queued.waiting.is_none() && !queued.closed;
        let mut queued = self.lock();
        self.changed.wait_while_for(&mut queued, idle, wait);
        if queued.closed {
            return NextCommits::Closed;
        }
        let commits = queued.waiting.take();
        queued.on_its_way = commits.is_some();
        commits.map_or(NextCommits::None, NextCommits::Some)
    }

    fn done(&self) {
        self.lock().on_its_way = false;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Queued> {
        self.queued.lock()
    }
}

/// The answer of the queue to the committing thread.
enum NextCommits {
    Some(Commits),
    /// Nothing was put in during the wait.
    None,
    Closed,
}

/// Runs the committing thread: sends what is put into the queue until that is closed, and asks at
/// intervals for the topics' ids.
pub(super) fn run(state: &MemberState, consumer: &BaseConsumer<GroupContext>) {
    let mut asked = Instant::now();
    loop {
        let wait = ASK_TOPICS_EVERY.saturating_sub(asked.elapsed());
        match state.commits.next(wait) {
            NextCommits::Closed => return,
            NextCommits::None => {}
            NextCommits::Some(commits) => {
                failpoint::pass("before-commit");
                state.commit(consumer, &commits);
                state.commits.done();
            }
        }
        if asked.elapsed() >= ASK_TOPICS_EVERY {
            asked = Instant::now();
            ask_topics(state, consumer);
        }
    }
}

fn ask_topics(state: &MemberState, consumer: &BaseConsumer<GroupContext>) {
    let topics: Vec<&str> = state.topics.iter().map(String::as_str).collect();
    match topic_ids::ask(consumer.client(), &topics, ASK_TOPICS_TIMEOUT) {
        Ok(ids) => {
            state.log.answered();
            state.put_topic_ids(ids);
        }
        Err(error) => {
            let code = LibraryError::AdminOp(error.code());
            state.log.explains(&code, "ask for the ids of topics");
            tracing::debug!(%error, "cannot ask for the topics' ids");
        }
    }
}

impl MemberState {
    /// Commits and waits for the answer; after a failure the partitions offer their state again.
    /// Returns true if all is committed.
    pub(super) fn commit(
        &self,
        consumer: &BaseConsumer<GroupContext>,
        commits: &[(Arc<PartitionState>, Commit)],
    ) -> bool {
        if commits.is_empty() {
            return true;
        }
        let mut list = TopicPartitionList::with_capacity(commits.len());
        let mut truncated = 0;
        for (partition, commit) in commits {
            truncated += u64::from(commit.truncated);
            let mut element = list.add_partition(&partition.topic, partition.index);
            // Once only: a second `set_metadata` on one element leaks the first.
            element.set_metadata(&commit.metadata);
            if let Err(error) = element.set_offset(Offset::Offset(commit.next_offset)) {
                tracing::error!(topic = %partition.topic, partition = partition.index, %error, "cannot commit an offset");
            }
        }
        let result = consumer.commit(&list, CommitMode::Sync);
        self.count(|c| {
            c.commits_truncated += truncated;
            let failed = u64::from(result.is_err());
            c.commit_failures += failed;
            c.commits += 1 - failed;
        });
        let Err(error) = result else {
            self.log.answered();
            return true;
        };
        if self.log.explains(&error, "commit offsets") {
            tracing::debug!(%error, "commit failed; it will be repeated");
        } else {
            tracing::warn!(%error, partitions = commits.len(), "commit failed; it will be repeated");
        }
        for (partition, _) in commits {
            partition.commit_failed();
        }
        false
    }
}
