//! [`Pauses`], the pauses between two questions for what became of a write.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// The pauses between two questions for what became of a write. Each is twice as long as the one before, up to a limit.
#[derive(Debug)]
pub(crate) struct Pauses {
    next: Duration,
    deadline: Instant,
}

impl Pauses {
    pub(crate) fn until(deadline: Instant) -> Self {
        Self { next: FIRST, deadline }
    }

    /// Pauses. Returns false at once if there is no time for another question.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub(crate) async fn pause(&mut self) -> bool {
        if Instant::now() + self.next >= self.deadline {
            return false;
        }
        sleep(self.next).await;
        self.next = LONGEST.min(self.next * 2);
        true
    }
}

/// The peers and the primary that are there are asked within one question, so a pause waits for others.
const FIRST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_until_the_deadline() {
        let began = Instant::now();
        let mut pauses = Pauses::until(began + Duration::from_millis(600));
        let mut ended = Vec::new();
        while pauses.pause().await {
            ended.push(began.elapsed().as_millis());
        }
        assert_eq!(ended, [10, 30, 70, 150, 310, 560]);
    }
}
