//! [`Usage`], whether reads are being made. While none are made, no replica is probed.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// Whether the replica set is in use. Reads store a number in it, and the task reads that.
#[derive(Debug)]
pub(super) struct Usage {
    began: Instant,
    /// When a read last chose a replica: milliseconds since `began`, plus one. Zero before the first read.
    last: AtomicU64,
    /// The number of callers that follow the state of the replicas.
    followers: AtomicUsize,
    /// Whether the task is waiting for the next read.
    resting: AtomicBool,
    wanted: Notify,
}

impl Usage {
    pub(super) fn new() -> Self {
        Self {
            began: Instant::now(),
            last: AtomicU64::new(0),
            followers: AtomicUsize::new(0),
            resting: AtomicBool::new(false),
            wanted: Notify::new(),
        }
    }

    /// Notes a read.
    pub(super) fn touch(&self) {
        let millis = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
        self.last.store(millis + 1, Ordering::SeqCst);
        self.wake();
    }

    /// Keeps the replica set in use until the returned guard is dropped.
    pub(super) fn follow(&self) -> Follower<'_> {
        self.followers.fetch_add(1, Ordering::SeqCst);
        self.wake();
        Follower(self)
    }

    /// Tells whether reads were made within `linger`. If not, the next read wakes the task.
    pub(super) fn is_current(&self, linger: Duration) -> bool {
        self.resting.store(true, Ordering::SeqCst);
        let is_current = self.is_within(linger);
        if is_current {
            self.resting.store(false, Ordering::SeqCst);
        }
        is_current
    }

    /// Waits for the next read after [`is_current`](Self::is_current) returned false.
    ///
    /// Cancel safe: a wake-up that is not seen is kept.
    pub(super) async fn wanted(&self) {
        self.wanted.notified().await;
    }

    fn is_within(&self, linger: Duration) -> bool {
        if self.followers.load(Ordering::SeqCst) > 0 {
            return true;
        }
        match self.last.load(Ordering::SeqCst) {
            0 => false,
            last => self.began.elapsed() <= Duration::from_millis(last) + linger,
        }
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

    const LINGER: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn use_lingers_after_the_last_read() {
        let usage = Usage::new();
        assert!(!usage.is_current(LINGER));
        let mut wanted = Box::pin(usage.wanted());
        assert!(poll!(&mut wanted).is_pending());
        usage.touch();
        assert!(poll!(&mut wanted).is_ready());
        assert!(usage.is_current(LINGER));
        tokio::time::advance(LINGER / 2).await;
        assert!(usage.is_current(LINGER));
        tokio::time::advance(LINGER).await;
        assert!(!usage.is_current(LINGER));
    }

    #[tokio::test(start_paused = true)]
    async fn followers_keep_replicas_in_use() {
        let usage = Usage::new();
        let follower = usage.follow();
        tokio::time::advance(LINGER * 100).await;
        assert!(usage.is_current(LINGER));
        drop(follower);
        assert!(!usage.is_current(LINGER));
    }
}
