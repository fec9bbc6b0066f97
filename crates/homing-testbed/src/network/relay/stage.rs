//! Resets at a stage of a call, which a relay tells by the size and the direction of what arrives.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::conditions::{Direction, LinkConditions};

/// A stage of a call at which [`Relay::reset_next_call`](super::Relay::reset_next_call) resets its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallStage {
    /// The request has left the client, and nothing of it arrives at the server.
    BeforeRequest,
    /// The request has arrived at the server, and nothing of the answer has arrived at the client.
    AfterRequest,
    /// The server has answered, and nothing of the answer arrives at the client.
    BeforeAnswer,
    /// Half of the answer has arrived at the client.
    AmidAnswer,
}

impl CallStage {
    fn direction(self) -> Direction {
        match self {
            Self::BeforeRequest | Self::AfterRequest => Direction::ToServer,
            Self::BeforeAnswer | Self::AmidAnswer => Direction::ToClient,
        }
    }

    /// Returns how many of the bytes arrive.
    fn passed(self, bytes: usize) -> usize {
        match self {
            Self::BeforeRequest | Self::BeforeAnswer => 0,
            Self::AfterRequest => bytes,
            Self::AmidAnswer => bytes / 2,
        }
    }
}

/// The next reset of a relay. Its connections share it.
#[derive(Clone, Debug, Default)]
pub(super) struct NextReset(Arc<Mutex<Option<CallStage>>>);

impl NextReset {
    pub(super) fn set(&self, stage: CallStage) {
        *self.lock() = Some(stage);
    }

    pub(super) fn clear(&self) {
        *self.lock() = None;
    }

    /// Takes the stage if so many bytes in this direction are at it.
    fn take(&self, direction: Direction, bytes: usize) -> Option<CallStage> {
        self.lock().take_if(|stage| stage.direction() == direction && bytes >= MIN_BYTES)
    }

    fn lock(&self) -> MutexGuard<'_, Option<CallStage>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One direction of a connection, with what the link does to it.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) direction: Direction,
    pub(super) conditions: watch::Receiver<LinkConditions>,
    resets: NextReset,
}

impl Way {
    pub(super) fn new(direction: Direction, conditions: watch::Receiver<LinkConditions>, resets: NextReset) -> Self {
        Self { direction, conditions, resets }
    }

    pub(super) fn is_silent(&self) -> bool {
        self.conditions.borrow().is_silent(self.direction)
    }

    /// Returns what becomes of bytes that arrive now.
    pub(super) fn passage(&self, bytes: usize) -> Passage {
        match self.resets.take(self.direction, bytes) {
            None => Passage::Whole,
            Some(stage) => Passage::Reset { after: stage.passed(bytes) },
        }
    }
}

/// What becomes of bytes that arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passage {
    Whole,
    /// So many of them arrive, and then both ends are reset.
    Reset {
        after: usize,
    },
}

/// More than HTTP/2's frames PING, SETTINGS and WINDOW_UPDATE have, of which two may arrive at once, and less than the head of
/// any request or answer.
const MIN_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stage_passes_its_part() {
        for (stage, direction, after) in [
            (CallStage::BeforeRequest, Direction::ToServer, 0),
            (CallStage::AfterRequest, Direction::ToServer, 100),
            (CallStage::BeforeAnswer, Direction::ToClient, 0),
            (CallStage::AmidAnswer, Direction::ToClient, 50),
        ] {
            let resets = NextReset::default();
            let way = |direction| Way::new(direction, watch::Sender::default().subscribe(), resets.clone());
            resets.set(stage);
            let other = if direction == Direction::ToServer { Direction::ToClient } else { Direction::ToServer };
            assert_eq!(way(other).passage(100), Passage::Whole, "{stage:?}");
            assert_eq!(way(direction).passage(MIN_BYTES - 1), Passage::Whole, "{stage:?}");
            assert_eq!(way(direction).passage(100), Passage::Reset { after }, "{stage:?}");
            assert_eq!(way(direction).passage(100), Passage::Whole, "{stage:?}");
        }
    }
}
