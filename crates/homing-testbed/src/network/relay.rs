//! A network link in user space, between one listener and one server.

mod conditions;
mod connection;
mod pump;
mod task;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::sync::{mpsc, oneshot, watch};

use self::{
    conditions::LinkConditions,
    connection::Targets,
    task::{Command, RelayTask},
};
use crate::{
    error::{Error, Result},
    network::{port::Port, thread::network},
};

/// A TCP relay that behaves like a network link to one server: with latency, jitter and cuts that
/// can be changed while it runs.
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
/// // … nothing arrives, nobody is told …
/// relay.heal().await?;
/// # Ok(())
/// # }
/// ```
///
/// # What is modelled
///
/// - Each byte arrives half the round trip after it was sent, plus up to the jitter, in order.
/// - Opening a connection takes a round trip. The system answers the client's handshake at once,
///   so the relay holds back the first bytes instead: a request is answered two round trips after
///   the client began to connect, as on a real link.
/// - An orderly close and a reset travel like bytes, in order with them.
/// - Up to 4 MiB are under way in each direction, then the sender has to wait. At 200 ms this
///   carries 40 MB/s. There is no other limit to the bandwidth.
/// - While the link is a [`Cut::Blackhole`], bytes are kept rather than lost and arrive once it is
///   healed, as TCP's retransmissions would bring about, but without their back-off. New
///   connections seem to open, and stay silent.
///
/// Timers have a granularity of a millisecond: a byte is never early and up to two milliseconds
/// late. Without latency and jitter no timer is involved.
///
/// The relay is a cheap handle to clone; it ends, resetting its connections, when the last clone
/// is dropped. It runs on a thread of this crate, not on the caller's runtime.
#[derive(Clone, Debug)]
pub struct Relay {
    address: SocketAddr,
    targets: Targets,
    conditions: watch::Sender<LinkConditions>,
    commands: mpsc::Sender<Command>,
    connections: watch::Receiver<usize>,
}

/// How a link is interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cut {
    /// Bytes stop, connections stay, and nobody is told: a partition.
    Blackhole,
    /// Connections are reset and new ones refused.
    Reset,
}

impl Relay {
    /// Starts a relay to `target` on a free port of 127.0.0.1, without latency.
    ///
    /// # Errors
    ///
    /// If no port can be had.
    pub fn start(target: SocketAddr) -> Result<Self> {
        Self::run(Port::reserve()?, Arc::new([target.to_string()]))
    }

    /// Starts a relay on this address, without latency. Each connection goes to the first of the targets that takes it;
    /// they are `host:port`, and a host's name is looked up for each connection. What is no
    /// `host:port` counts as a host that is away.
    ///
    /// With port 0 the relay gets a free one.
    ///
    /// # Errors
    ///
    /// If the address cannot be listened on, or there is no target.
    pub fn listen<T: Into<String>>(address: SocketAddr, targets: impl IntoIterator<Item = T>) -> Result<Self> {
        let targets: Targets = targets.into_iter().map(Into::into).collect();
        if targets.is_empty() {
            return Err(Error::misuse(format!("the relay on {address} has no target")));
        }
        Self::run(Port::fixed(address)?, targets)
    }

    fn run(port: Port, targets: Targets) -> Result<Self> {
        let address = port.address();
        let conditions = watch::Sender::new(LinkConditions::default());
        let (commands, receiver) = mpsc::channel(QUEUE_CAPACITY);
        let (count, connections) = watch::channel(0);
        let _guard = network().enter();
        let task = RelayTask::new(port, targets.clone(), conditions.clone(), count, receiver)
            .map_err(|error| Error::io(format!("cannot start a relay on {address}"), error))?;
        network().spawn(task.run());
        Ok(Self { address, targets, conditions, commands, connections })
    }

    /// Where to connect to instead of one of [`targets`](Self::targets).
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The server at the other end, as `host:port`, and those in whose place it is.
    pub fn targets(&self) -> &[String] {
        &self.targets
    }

    /// The latency there and back.
    pub fn round_trip(&self) -> Duration {
        self.conditions.borrow().one_way * 2
    }

    /// Sets the latency there and back; each direction has half. Default: none. Applies to what is
    /// sent from now on; a byte does not overtake those before it.
    pub fn set_round_trip(&self, round_trip: Duration) {
        self.conditions.send_modify(|conditions| conditions.one_way = round_trip / 2);
    }

    /// Sets the most that chance adds to each direction's latency, evenly distributed. Default:
    /// none. Applies to what is sent from now on.
    pub fn set_jitter(&self, jitter: Duration) {
        self.conditions.send_modify(|conditions| conditions.jitter = jitter);
    }

    /// Interrupts the link until [`heal`](Self::heal). In force when this returns.
    ///
    /// # Cancel safety
    ///
    /// The cut may or may not happen when the future is dropped.
    pub async fn cut(&self, cut: Cut) {
        match cut {
            Cut::Blackhole => self.conditions.send_modify(|conditions| conditions.blackhole = true),
            Cut::Reset => self.ask(Command::Close).await,
        }
    }

    /// Ends every interruption. Nothing happens without one.
    ///
    /// # Errors
    ///
    /// If the port cannot be listened on again, which cannot happen on Linux.
    ///
    /// # Cancel safety
    ///
    /// The link may or may not be healed when the future is dropped.
    pub async fn heal(&self) -> Result<()> {
        self.conditions.send_modify(|conditions| conditions.blackhole = false);
        let opened = self.ask(Command::Open).await;
        let address = self.address;
        opened.map_err(|error| Error::io(format!("cannot listen on {address} again"), error))
    }

    /// Resets every connection once; new ones may be opened at once.
    ///
    /// # Cancel safety
    ///
    /// The connections may or may not be reset when the future is dropped.
    pub async fn drop_connections(&self) {
        self.ask(Command::DropConnections).await;
    }

    /// How many connections there are, followed as it changes. A connection counts from the
    /// moment the relay has accepted it until both of its sides have been closed.
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

/// Commands are sent by tests, one after the other.
const QUEUE_CAPACITY: usize = 8;
