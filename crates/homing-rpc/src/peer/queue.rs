//! Where requests wait for room while all peers are full.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tokio::time::{self, Instant};

/// The requests to a region that its peers refused because they had no room. Each answer to another request says that a
/// place is free, so it wakes one of them, the longest waiting first.
#[derive(Debug)]
pub(crate) struct Queue {
    places: Semaphore,
    max_waiting: usize,
    freed: Notify,
}

/// The queue is full.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Queue {
    /// Returns a queue for so many requests; further ones are refused.
    pub(crate) fn new(max_waiting: usize) -> Arc<Self> {
        let max_waiting = max_waiting.min(Semaphore::MAX_PERMITS);
        Arc::new(Self { places: Semaphore::new(max_waiting), max_waiting, freed: Notify::new() })
    }

    /// Waits until there may be room: an answer has arrived, or `pause` is over, because other callers' requests may have
    /// ended meanwhile.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub(crate) async fn wait(&self, pause: Duration, deadline: Instant) -> Result<(), Full> {
        let _place = self.places.try_acquire().map_err(|_| Full)?;
        let until = deadline.min(Instant::now() + pause);
        let _ = time::timeout_at(until, self.freed.notified()).await;
        Ok(())
    }

    /// Says that an answer has arrived.
    pub(crate) fn answered(&self) {
        // A permit that is kept for a later request would only make it try too early.
        if self.places.available_permits() < self.max_waiting {
            self.freed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[tokio::test(start_paused = true)]
    async fn answer_wakes_longest_waiting() {
        let (queue, deadline) = (Queue::new(2), Instant::now() + HOUR);
        queue.answered();
        let mut first = Box::pin(queue.wait(HOUR, deadline));
        assert_eq!(first.as_mut().now_or_never(), None);
        let mut second = Box::pin(queue.wait(HOUR, deadline));
        assert_eq!(second.as_mut().now_or_never(), None);
        queue.answered();
        assert_eq!(second.as_mut().now_or_never(), None);
        assert_eq!(first.now_or_never(), Some(Ok(())));
    }

    #[tokio::test(start_paused = true)]
    async fn wait_ends_after_pause_or_deadline() {
        let (queue, began) = (Queue::new(1), Instant::now());
        queue.wait(Duration::from_secs(2), began + HOUR).await.unwrap();
        assert_eq!(began.elapsed().as_secs(), 2);
        queue.wait(HOUR, began + Duration::from_secs(3)).await.unwrap();
        assert_eq!(began.elapsed().as_secs(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn full_queue_refuses() {
        let (queue, deadline) = (Queue::new(10), Instant::now() + HOUR);
        let mut waiting: Vec<_> = (0..10).map(|_| Box::pin(queue.wait(HOUR, deadline))).collect();
        assert!(waiting.iter_mut().all(|wait| wait.as_mut().now_or_never().is_none()));
        assert_eq!(queue.wait(HOUR, deadline).now_or_never(), Some(Err(Full)));
        waiting.pop();
        assert_eq!(queue.wait(HOUR, deadline).now_or_never(), None);
    }
}
