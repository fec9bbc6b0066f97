//! One connection through a relay, from the accepted client to the end of both directions.
//!
//! The relay's task spawns one task for each connection, which owns both sockets. It ends when both
//! directions have ended, or when the relay's task aborts it; then both sides are reset.

use std::{pin::pin, sync::Arc, time::Duration};

use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout};

use super::conditions::{Direction, LinkConditions};
use super::pump::{Broken, Pump};
use super::stage::{NextReset, Way};

/// The servers behind a relay, as `host:port`. A connection goes to the first that accepts it.
pub(super) type Targets = Arc<[String]>;

/// Relays `client` to one of `targets` until both sides have closed. If the future is dropped
/// earlier, both sides are reset.
pub(super) async fn relay(
    client: TcpStream,
    targets: Targets,
    mut conditions: watch::Receiver<LinkConditions>,
    resets: NextReset,
) {
    let begun = Instant::now();
    let mut client = Side::new(client);
    let one_way = conditions.borrow().one_way;

    // The client's handshake arrives at the server, which accepts or refuses it.
    pass(one_way).await;
    if healed(&mut conditions).await == Waited::Yes && client.has_left().await {
        return;
    }
    let Some(server) = connect(&targets).await else {
        pass(one_way).await;
        healed(&mut conditions).await;
        return;
    };
    let mut server = Side::new(server);

    let ended = {
        let (from_client, to_client) = client.socket.split();
        let (from_server, to_server) = server.socket.split();
        // On a real link the client knows of the connection after one round trip. Its first bytes
        // arrive after one and a half, and so does the ACK after which a server may speak first.
        let earliest = begun + one_way * 3;
        let up = Way::new(Direction::ToServer, conditions.clone(), resets.clone());
        let down = Way::new(Direction::ToClient, conditions.clone(), resets);
        let mut up = Pump::new(from_client, to_server, earliest, up);
        let mut down = Pump::new(from_server, to_client, earliest + one_way, down);
        both(up.run(), down.run(), &mut conditions).await
    };
    client.closed_in_order = ended.is_ok();
    server.closed_in_order = ended.is_ok();
}

async fn connect(targets: &[String]) -> Option<TcpStream> {
    for target in targets {
        if let Ok(Ok(server)) = timeout(CONNECT_TIMEOUT, TcpStream::connect(target)).await {
            return Some(server);
        }
    }
    None
}

/// Runs both directions to their ends.
async fn both(
    up: impl Future<Output = Result<(), Broken>>,
    down: impl Future<Output = Result<(), Broken>>,
    conditions: &mut watch::Receiver<LinkConditions>,
) -> Result<(), Broken> {
    let (mut up, mut down) = (pin!(up), pin!(down));
    tokio::select! {
        ended = &mut up => rest(ended, down, conditions).await,
        ended = &mut down => rest(ended, up, conditions).await,
    }
}

/// Runs the other direction after the first one has ended.
async fn rest(
    first: Result<(), Broken>,
    other: impl Future<Output = Result<(), Broken>>,
    conditions: &mut watch::Receiver<LinkConditions>,
) -> Result<(), Broken> {
    let mut other = pin!(other);
    let (broken, other) = match first {
        Err(broken) => (broken, Some(other)),
        Ok(()) => match other.as_mut().await {
            Err(broken) => (broken, None),
            Ok(()) => return Ok(()),
        },
    };
    if broken == Broken::Receiver {
        // The sender learns of it after the latency. Until then the relay still takes its bytes.
        let one_way = conditions.borrow().one_way;
        let told = pass(one_way);
        match other {
            Some(other) => drop(tokio::join!(timeout(one_way, other), told)),
            None => told.await,
        }
        healed(conditions).await;
    }
    Err(broken)
}

/// Sleeps. A timer of zero would still take up to a millisecond.
async fn pass(time: Duration) {
    if !time.is_zero() {
        sleep(time).await;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waited {
    No,
    Yes,
}

/// Waits until the link is not a blackhole.
async fn healed(conditions: &mut watch::Receiver<LinkConditions>) -> Waited {
    if !conditions.borrow().is_half_open() {
        return Waited::No;
    }
    // On an error the relay is gone, and this future is about to be dropped.
    let _ = conditions.wait_for(|conditions| !conditions.is_half_open()).await;
    Waited::Yes
}

/// A socket. Its drop resets it, unless it was closed in order.
struct Side {
    socket: TcpStream,
    closed_in_order: bool,
}

impl Side {
    fn new(socket: TcpStream) -> Self {
        // Fails on a socket that is broken already, which its pump will notice.
        let _ = socket.set_nodelay(true);
        Self { socket, closed_in_order: false }
    }

    /// Returns whether a client that waited for an interrupted link has given up. On a real link it
    /// would not have got its connection, so nothing that it sent may be delivered.
    async fn has_left(&self) -> bool {
        // The runtime first takes note of what has happened to the socket meanwhile.
        yield_now().await;
        let ready = timeout(Duration::ZERO, self.socket.ready(Interest::READABLE)).await;
        matches!(ready, Ok(Ok(ready)) if ready.is_read_closed())
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        if !self.closed_in_order {
            // Fails on a socket that is reset already.
            let _ = self.socket.set_zero_linger();
        }
    }
}

/// The servers are on this machine or near it, however long the link is. One that takes longer to
/// look up or to connect to counts as away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
