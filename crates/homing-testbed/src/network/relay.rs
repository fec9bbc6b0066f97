//! A network link in user space, between one listener and one server.
//!
//! Each relay is one task on the network's thread, with one more task for each connection; see
//! `relay/task.rs`.

mod conditions;
mod connection;
mod pump;
mod stage;
mod task;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::sync::{mpsc, oneshot, watch};

use self::conditions::{Direction, LinkConditions};
use self::connection::Targets;
pub use self::stage::CallStage;
use self::stage::NextReset;
use self::task::{Command, RelayTask};
use crate::error::{Error, Result};
use crate::network::port::Port;
use crate::network::thread::network;

/// A TCP relay that behaves like a network link to one server. A test changes its latency, jitter
/// and cuts while it runs.
///
/// ```no_run
/// # async fn example(server: std::net::SocketAddr) -> homing_testbed::Result<()> {
/// use std::time::Duration;
/// use homing_testbed::{Cut, Relay};
///
/// let relay = Relay::start(server)?;
/// relay.set_round_trip(Duration::from_millis(200));
/// // … connect to relay.address() …
/// relay.cut(Cut::Blackhole).await;
/// // … nothing arrives, and both ends notice nothing …
/// relay.heal().await?;
/// # Ok(())
/// # }
/// ```
///
/// # What is modelled
///
/// - Bytes arrive in order. Each byte arrives half a round trip after it was sent, plus up to the
///   jitter.
/// - Opening a connection takes a round trip. The system answers the client's handshake at once, so
///   the relay holds back the first bytes: as on a real link, a client has the answer to its request
///   two round trips after it began to connect.
/// - A close and a reset travel like bytes, in order with them.
/// - Up to 4 MiB are under way in each direction, then the sender has to wait. At a latency of 100 ms
///   each way this carries 40 MB/s. The relay does not limit the bandwidth in any other way.
/// - While the link is cut with [`Cut::Blackhole`], the relay keeps the bytes and delivers them once
///   it is healed. TCP's retransmissions would have the same effect, but with a back-off. New
///   connections seem to open, and stay silent.
///
/// Timers have a granularity of a millisecond: a byte is never early, and at most two milliseconds
/// late. Without latency and jitter the relay uses no timer.
///
/// The relay is a handle that is cheap to clone. When the last clone is dropped, the relay ends and
/// resets its connections. It runs on a thread of this crate, not on the caller's runtime.
#[derive(Clone, Debug)]
pub struct Relay {
    address: SocketAddr,
    targets: Targets,
    conditions: watch::Sender<LinkConditions>,
    resets: NextReset,
    commands: mpsc::Sender<Command>,
    connections: watch::Receiver<usize>,
}

/// A way to interrupt a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cut {
    /// A partition: bytes stop, and connections stay open, so that neither end notices.
    Blackhole,
    /// A [`Blackhole`](Self::Blackhole) in one direction: what clients send does not arrive, and what the server sends does.
    /// No connection can be opened.
    BlackholeToServer,
    /// The same in the other direction: what the server sends does not arrive, and what clients send does.
    BlackholeToClient,
    /// Connections are reset, and new connections are refused.
    Reset,
}

impl Relay {
    /// Starts a relay to `target` on a free port of 127.0.0.1, without latency.
    ///
    /// # Errors
    ///
    /// An I/O error if no port is free. No predicate holds for it.
    pub fn start(target: SocketAddr) -> Result<Self> {
        Self::run(Port::reserve()?, Arc::new([target.to_string()]))
    }

    /// Starts a relay that listens on `address`, or on a free port if the port is 0, without latency.
    ///
    /// Each target is a `host:port`. A connection goes to the first target that accepts it. Host
    /// names are looked up again for each connection. A target that is not a `host:port` counts as
    /// one that does not answer.
    ///
    /// # Errors
    ///
    /// - [`is_misuse`](Error::is_misuse) without a target.
    /// - An I/O error, for which no predicate holds, if the relay cannot listen on the address.
    pub fn listen<T: Into<String>>(address: SocketAddr, targets: impl IntoIterator<Item = T>) -> Result<Self> {
        let targets: Targets = targets.into_iter().map(Into::into).collect();
        if targets.is_empty() {
            return Err(Error::misuse(format!("the relay on {address} has no target; give at least one")));
        }
        Self::run(Port::fixed(address)?, targets)
    }

    fn run(port: Port, targets: Targets) -> Result<Self> {
        let address = port.address();
        let conditions = watch::Sender::new(LinkConditions::default());
        let (commands, receiver) = mpsc::channel(QUEUE_CAPACITY);
        let (count, connections) = watch::channel(0);
        let _guard = network().enter();
        let resets = NextReset::default();
        let task = RelayTask::new(port, targets.clone(), conditions.clone(), resets.clone(), count, receiver)
            .map_err(|error| Error::io(format!("cannot start a relay on {address}"), error))?;
        network().spawn(task.run());
        Ok(Self { address, targets, conditions, resets, commands, connections })
    }

    /// Returns the address of the relay. A client connects to it in place of the
    /// [`targets`](Self::targets).
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the servers at the other end, as `host:port`: the relay tries them in this order.
    pub fn targets(&self) -> &[String] {
        &self.targets
    }

    /// Returns the round trip time.
    pub fn round_trip(&self) -> Duration {
        self.conditions.borrow().one_way * 2
    }

    /// Sets the round trip time; each direction has half of it. Default: zero. Applies to bytes that
    /// are sent from now on, and none of them overtakes an earlier one.
    pub fn set_round_trip(&self, round_trip: Duration) {
        self.conditions.send_modify(|conditions| conditions.one_way = round_trip / 2);
    }

    /// Sets the jitter: the latency of each direction grows by a random time from zero to `jitter`,
    /// evenly distributed. Default: zero. Applies to bytes that are sent from now on.
    pub fn set_jitter(&self, jitter: Duration) {
        self.conditions.send_modify(|conditions| conditions.jitter = jitter);
    }

    /// Interrupts the link until [`heal`](Self::heal). The cut is in force when this returns.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the cut may or may not happen.
    pub async fn cut(&self, cut: Cut) {
        match cut {
            Cut::Blackhole => self.silence(&[Direction::ToServer, Direction::ToClient]),
            Cut::BlackholeToServer => self.silence(&[Direction::ToServer]),
            Cut::BlackholeToClient => self.silence(&[Direction::ToClient]),
            Cut::Reset => self.ask(Command::Close).await,
        }
    }

    fn silence(&self, directions: &[Direction]) {
        self.conditions.send_modify(|conditions| {
            directions.iter().for_each(|direction| conditions.blackhole[*direction as usize] = true);
        });
    }

    /// Ends every interruption. Does nothing on a link without one.
    ///
    /// # Errors
    ///
    /// An I/O error if the relay cannot listen on its port again. This cannot happen on Linux. No
    /// predicate holds for it.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the link may or may not be healed.
    pub async fn heal(&self) -> Result<()> {
        self.conditions.send_modify(|conditions| conditions.blackhole = [false; 2]);
        self.resets.clear();
        let opened = self.ask(Command::Open).await;
        let address = self.address;
        opened.map_err(|error| Error::io(format!("cannot listen on {address} again"), error))
    }

    /// Resets every connection once. Clients may connect again at once.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the connections may or may not be reset.
    pub async fn drop_connections(&self) {
        self.ask(Command::DropConnections).await;
    }

    /// Resets the connection of the next call, when it has got to this stage. Other connections stay. A later call of this method
    /// replaces an earlier one, and [`heal`](Self::heal) takes it back.
    ///
    /// What arrives at once counts as a call if it has at least 64 bytes. The frames with which HTTP/2 keeps a connection in order
    /// are smaller, and so are those of PostgreSQL's replication.
    pub fn reset_next_call(&self, stage: CallStage) {
        self.resets.set(stage);
    }

    /// Returns the number of connections, as a value that can be watched. A connection counts from
    /// the moment the relay accepts it until both of its sides are closed.
    pub fn connections(&self) -> watch::Receiver<usize> {
        self.connections.clone()
    }

    /// Sends a command to the task and waits until it has been carried out.
    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> T {
        let (reply, answer) = oneshot::channel();
        let sent = self.commands.send(command(reply)).await;
        sent.expect("the task ends after its last handle");
        answer.await.expect("the task answers every command")
    }
}

/// Enough: tests send commands one after the other, and wait for each.
const QUEUE_CAPACITY: usize = 8;
