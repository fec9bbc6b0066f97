//! One direction of a connection.

use std::{collections::VecDeque, future::pending, io};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time::{Instant, sleep_until};

use super::stage::{Passage, Way};

/// Carries bytes from one socket to another, with the latency of the link.
#[derive(Debug)]
pub(super) struct Pump<'a> {
    from: ReadHalf<'a>,
    to: WriteHalf<'a>,
    way: Way,
    /// The earliest arrival of the next byte. It never decreases, which keeps the bytes in order.
    earliest: Instant,
    under_way: VecDeque<Parcel>,
    /// The bytes in `under_way`.
    bytes: usize,
    buffer: Box<[u8]>,
    /// Whether `from` may still send.
    open: bool,
}

/// A reset ended a direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// The receiver's socket is broken, and the sender does not know yet.
    Receiver,
    /// The sender's socket was reset, and the reset has just arrived; or the link resets both.
    Sender,
}

#[derive(Debug)]
struct Parcel {
    due: Instant,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Bytes(Vec<u8>),
    /// The sender closes this direction.
    End,
    /// The sender's socket was reset.
    Reset,
}

impl<'a> Pump<'a> {
    pub(super) fn new(from: ReadHalf<'a>, to: WriteHalf<'a>, earliest: Instant, way: Way) -> Self {
        let buffer = vec![0; CHUNK].into_boxed_slice();
        let under_way = VecDeque::new();
        Self { from, to, way, earliest, under_way, bytes: 0, buffer, open: true }
    }

    /// Carries bytes until the sender's close has arrived, or until either socket breaks.
    pub(super) async fn run(&mut self) -> Result<(), Broken> {
        loop {
            while let Some(content) = self.take_due() {
                match content {
                    Content::Bytes(bytes) => deliver(&self.way, &mut self.to, &bytes).await?,
                    Content::End => return self.to.shutdown().await.or(Err(Broken::Receiver)),
                    Content::Reset => return Err(Broken::Sender),
                }
            }
            let may_read = self.open && self.bytes < MAX_UNDER_WAY;
            let next = self.next_due();
            tokio::select! {
                read = self.from.read(&mut self.buffer), if may_read => self.send(read).await?,
                () = until(next) => {}
                // On an error the relay is gone, and this future is about to be dropped.
                _ = self.way.conditions.changed() => {}
            }
        }
    }

    /// Takes the next content if it has arrived.
    fn take_due(&mut self) -> Option<Content> {
        if self.next_due()? > Instant::now() {
            return None;
        }
        let content = self.under_way.pop_front()?.content;
        if let Content::Bytes(bytes) = &content {
            self.bytes -= bytes.len();
        }
        Some(content)
    }

    /// Returns when the next content arrives. `None` if nothing is under way, or in a blackhole.
    fn next_due(&self) -> Option<Instant> {
        if self.way.is_silent() {
            return None;
        }
        self.under_way.front().map(|parcel| parcel.due)
    }

    /// Puts under way what was read.
    async fn send(&mut self, read: io::Result<usize>) -> Result<(), Broken> {
        let now = Instant::now();
        let (delay, blackhole) = {
            let conditions = self.way.conditions.borrow();
            (conditions.delay(), conditions.is_silent(self.way.direction))
        };
        let due = self.earliest.max(now + delay);
        self.earliest = due;
        let content = match read {
            // A link without latency needs no copy and no timer.
            Ok(length) if length > 0 && due <= now && self.under_way.is_empty() && !blackhole => {
                return deliver(&self.way, &mut self.to, &self.buffer[..length]).await;
            }
            Ok(length) if length > 0 => Content::Bytes(self.buffer[..length].to_vec()),
            Ok(_) => Content::End,
            Err(_) => Content::Reset,
        };
        match &content {
            Content::Bytes(bytes) => self.bytes += bytes.len(),
            Content::End | Content::Reset => self.open = false,
        }
        self.under_way.push_back(Parcel { due, content });
        Ok(())
    }
}

/// Hands bytes to the receiver, unless the link is to be reset now.
async fn deliver(way: &Way, to: &mut WriteHalf<'_>, bytes: &[u8]) -> Result<(), Broken> {
    let passed = match way.passage(bytes.len()) {
        Passage::Whole => return to.write_all(bytes).await.or(Err(Broken::Receiver)),
        Passage::Reset { after } => after,
    };
    to.write_all(&bytes[..passed]).await.or(Err(Broken::Receiver))?;
    Err(Broken::Sender)
}

async fn until(next: Option<Instant>) {
    match next {
        Some(due) => sleep_until(due).await,
        None => pending().await,
    }
}

/// As much as one read of a socket returns on a fast machine.
const CHUNK: usize = 64 * 1024;

/// Bandwidth times delay of a link that copies a database in reasonable time: 40 MB/s at 100 ms.
const MAX_UNDER_WAY: usize = 4 * 1024 * 1024;
