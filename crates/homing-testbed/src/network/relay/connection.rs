//! One connection through a relay, from the accepted client to the end of both directions.

use std::{pin::pin, sync::Arc, time::Duration};

use tokio::{
    io::Interest,
    net::TcpStream,
    sync::watch,
    task::yield_now,
    time::{Instant, sleep, timeout},
};

use super::{
    conditions::LinkConditions,
    pump::{Broken, Pump},
};

/// Where a connection may go, as `host:port`: to the first that takes it.
pub(super) type Targets = Arc<[String]>;

/// Relays `client` to one of `targets` until both sides have closed. When the future is dropped before,
/// both are reset.
pub(super) async fn relay(client: TcpStream, targets: Targets, mut conditions: watch::Receiver<LinkConditions>) {
    let begun = Instant::now();
    let mut client = Side::new(client);
    let one_way = conditions.borrow().one_way;

    // The client's handshake arrives, and is answered or refused.
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
        // On a real link the client would know of the connection after a round trip, its first
        // bytes would arrive after one and a half, and so would its word that lets the server
        // speak first.
        let earliest = begun + one_way * 3;
        let mut up = Pump::new(from_client, to_server, earliest, conditions.clone());
        let mut down = Pump::new(from_server, to_client, earliest + one_way, conditions.clone());
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

/// Goes on with the other direction when the first has ended.
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
        // The sender learns of it after the latency; until then, its bytes are still welcome.
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

/// A timer of no time would still take up to a millisecond.
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

/// Waits until bytes flow.
async fn healed(conditions: &mut watch::Receiver<LinkConditions>) -> Waited {
    if !conditions.borrow().blackhole {
        return Waited::No;
    }
    // An error says that the relay is gone, and this future is about to be.
    let _ = conditions.wait_for(|conditions| !conditions.blackhole).await;
    Waited::Yes
}

/// A socket that is reset when it is dropped, unless it has been closed in order.
struct Side {
    socket: TcpStream,
    closed_in_order: bool,
}

impl Side {
    fn new(socket: TcpStream) -> Self {
        // Fails on a socket that is broken already, which its pump will find out.
        let _ = socket.set_nodelay(true);
        Self { socket, closed_in_order: false }
    }

    /// Whether a client that waited for an interrupted link has given up. On a real link it would
    /// not have got its connection, so nothing it sent may be delivered.
    async fn has_left(&self) -> bool {
        // Lets the system say what has happened meanwhile.
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

/// The servers are near, whatever the link pretends: one that takes longer, or whose name does, is away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
