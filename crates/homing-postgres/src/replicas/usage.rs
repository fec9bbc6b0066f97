//! [`Usage`], whether reads are being made. A replica is probed only after a read.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Whether the replica set is in use. Reads are counted in it, and the task compares the count with that of a server's last
/// probe.
#[derive(Debug, Default)]
pub(super) struct Usage {
    /// How many reads have chosen a server.
    reads: AtomicU64,
    /// The number of callers that follow the state of the replicas.
    followers: AtomicUsize,
    /// Whether the task is waiting for the next read.
    resting: AtomicBool,
    wanted: Notify,
}

impl Usage {
    /// Notes a read.
    pub(super) fn touch(&self) {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.wake();
    }

    /// Keeps the replica set in use until the returned guard is dropped.
    pub(super) fn follow(&self) -> Follower<'_> {
        self.followers.fetch_add(1, Ordering::SeqCst);
        self.wake();
        Follower(self)
    }

    /// Returns how many reads were made so far.
    pub(super) fn reads(&self) -> u64 {
        self.reads.load(Ordering::SeqCst)
    }

    /// Tells whether a server has to be probed whose last probe began when `probed` reads had been made: a read was made
    /// since, or a caller follows the replicas.
    pub(super) fn wants_probe(&self, probed: Option<u64>) -> bool {
        self.followers.load(Ordering::SeqCst) > 0 || probed != Some(self.reads())
    }

    /// Tells whether one of these servers has to be probed. If there are any, and none has to be, the next read wakes the task.
    pub(super) fn wants_any_probe(&self, probed: &[Option<u64>]) -> bool {
        self.resting.store(!probed.is_empty(), Ordering::SeqCst);
        let is_wanted = probed.iter().any(|probed| self.wants_probe(*probed));
        if is_wanted {
            self.resting.store(false, Ordering::SeqCst);
        }
        is_wanted
    }

    /// Waits for the next read after [`wants_any_probe`](Self::wants_any_probe) returned false.
    ///
    /// Cancel safe: a wake-up that is not seen is kept.
    pub(super) async fn wanted(&self) {
        self.wanted.notified().await;
    }

    fn wake(&self) {
        if self.resting.load(Ordering::SeqCst) && self.resting.swap(false, Ordering::SeqCst) {
            self.wanted.notify_one();
        }
    }
}

#[derive(Debug)]
pub(super) struct Follower<'a>(&'a Usage);

impl Drop for Follower<'_> {
    fn drop(&mut self) {
        self.0.followers.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::poll;

    use super::*;

    #[tokio::test]
    async fn read_wants_one_probe() {
        let usage = Usage::default();
        let mut probed = Some(usage.reads());
        assert!(!usage.wants_any_probe(&[probed]));
        let mut wanted = Box::pin(usage.wanted());
        assert!(poll!(&mut wanted).is_pending());
        usage.touch();
        assert!(poll!(&mut wanted).is_ready());
        assert!(usage.wants_any_probe(&[probed]));
        usage.touch();
        probed = Some(usage.reads());
        assert!(!usage.wants_any_probe(&[probed]));
        assert!(usage.wants_any_probe(&[probed, Some(0)]), "another server was not probed since");
        assert!(usage.wants_any_probe(&[None]), "a read could not be answered");
    }

    #[tokio::test]
    async fn read_without_replicas_wakes_no_task() {
        let usage = Usage::default();
        assert!(!usage.wants_any_probe(&[]));
        usage.touch();
        assert!(poll!(&mut Box::pin(usage.wanted())).is_pending());
    }

    #[tokio::test]
    async fn followers_keep_replicas_in_use() {
        let usage = Usage::default();
        let follower = usage.follow();
        assert!(usage.wants_any_probe(&[Some(0)]));
        drop(follower);
        assert!(!usage.wants_any_probe(&[Some(0)]));
    }
}
