//! Servers, clients, and a relay between them that can be cut.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use homing_rpc::{
    BoxFuture, CallContext, Discover, Error, FunctionError, NodeConfig, Refusal, Region, Registry, Resolution, Result,
    Rpc, Secret, Server, ServerBuilder, ServerHandle, StaticPeers, Topology,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The time limit for things that should happen soon: long enough for a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(60);

pub(crate) const ANY_PORT: &str = "127.0.0.1:0";

pub(crate) fn region(name: &str) -> Region {
    Region::new(name).unwrap()
}

pub(crate) fn secret() -> Secret {
    Secret::new("a-secret-that-is-long-enough-for-tests").unwrap()
}

/// A node in region `name`, with `iad` as the primary region.
pub(crate) fn topology(name: &str) -> Topology {
    Topology::new(region(name), region("iad"))
}

pub(crate) fn config(name: &str) -> NodeConfig {
    config_of(topology(name))
}

/// The settings of a node with the secret and the functions of these tests.
pub(crate) fn config_of(topology: Topology) -> NodeConfig {
    let functions = functions(topology.region().as_str());
    NodeConfig::new(topology).with_secret(secret()).with_functions(Arc::new(functions))
}

pub(crate) fn server(name: &str) -> ServerBuilder {
    server_of(config(name))
}

/// A server that offers these functions.
pub(crate) fn offering(name: &str, functions: Registry) -> ServerBuilder {
    server_of(config(name).with_functions(Arc::new(functions)))
}

pub(crate) fn server_of(config: NodeConfig) -> ServerBuilder {
    Server::builder(config).listen(ANY_PORT.parse().unwrap())
}

/// A server in the region.
pub(crate) async fn serve(name: &str) -> ServerHandle {
    server(name).start().await.unwrap()
}

/// Returns the reasons for which the server has refused connections, with their numbers.
pub(crate) fn refused(server: &ServerHandle) -> Vec<(Refusal, u64)> {
    server.refusals().counts().filter(|(_, count)| *count > 0).collect()
}

/// A client in `syd`, which finds these addresses in `iad`.
pub(crate) fn client(addresses: &[SocketAddr]) -> Rpc {
    client_with(StaticPeers::none().with_region(region("iad"), addresses.iter().copied()))
}

pub(crate) fn client_with(discover: impl Discover) -> Rpc {
    Rpc::new(config("syd"), Arc::new(discover))
}

/// The functions that every node of these tests offers.
pub(crate) fn functions(region: &str) -> Registry {
    let region = region.to_owned();
    let mut registry = Registry::new();
    registry.register_fn("add", |_, (a, b): (i64, i64)| async move { Ok::<_, FunctionError>(a + b) }).unwrap();
    registry.register_fn("echo", |_, (text,): (String,)| async move { Ok::<_, FunctionError>(text) }).unwrap();
    let place = move |_, ()| std::future::ready(Ok::<_, FunctionError>(region.clone()));
    registry.register_fn("place", place).unwrap();
    registry.register_fn("greet", greet).unwrap();
    registry.register_fn("scope", scope).unwrap();
    registry.register_fn("fail", fail).unwrap();
    registry
        .register_fn("long", |_, (bytes,): (usize,)| async move { Ok::<_, FunctionError>("x".repeat(bytes)) })
        .unwrap();
    registry.register_fn("trace", trace).unwrap();
    registry
}

/// Returns the scope of the call; refuses the scope "elsewhere".
async fn scope(context: CallContext, (): ()) -> Result<String, FunctionError> {
    match context.scope() {
        "elsewhere" => Err(FunctionError::refused(homing_rpc::Reason::UnknownDatabase, "not here")),
        scope => Ok(scope.to_owned()),
    }
}

async fn greet(_: CallContext, (name, title): (String, Option<String>)) -> Result<String, FunctionError> {
    Ok(format!("{} {name}", title.unwrap_or_else(|| "Dear".into())))
}

async fn fail(_: CallContext, (message,): (String,)) -> Result<(), FunctionError> {
    Err(FunctionError::with_details(message, homing_rpc::Details::new("example.Details", "details")))
}

async fn trace(context: CallContext, (): ()) -> Result<(String, String), FunctionError> {
    Ok((context.trace().trace_id(), context.caller().to_string()))
}

/// Waits for a future that should complete soon.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(SOON, future).await {
        Ok(value) => value,
        Err(_) => panic!("not in time: {what}"),
    }
}

/// Addresses that a test changes.
#[derive(Clone, Debug)]
pub(crate) struct Addresses(Arc<State>);

#[derive(Debug)]
struct State {
    answers: Mutex<BTreeMap<Region, Option<Vec<SocketAddr>>>>,
    incomplete: AtomicBool,
    ttl: Duration,
    asked: watch::Sender<usize>,
}

impl Addresses {
    /// Answers that are valid for as short as possible.
    pub(crate) fn new() -> Self {
        Self::with_ttl(Duration::ZERO)
    }

    pub(crate) fn with_ttl(ttl: Duration) -> Self {
        Self(Arc::new(State {
            answers: Mutex::default(),
            incomplete: AtomicBool::new(false),
            ttl,
            asked: watch::Sender::new(0),
        }))
    }

    /// Sets the answer from now on; `None` is an error.
    pub(crate) fn set(&self, name: &str, answer: Option<Vec<SocketAddr>>) {
        self.0.answers.lock().unwrap().insert(region(name), answer);
    }

    /// Says of answers from now on whether addresses may be missing.
    pub(crate) fn set_incomplete(&self, incomplete: bool) {
        self.0.incomplete.store(incomplete, Ordering::SeqCst);
    }

    /// Waits until discovery was asked this many more times.
    pub(crate) async fn asked(&self, more: usize) {
        let target = *self.0.asked.borrow() + more;
        soon("look-up", self.0.asked.subscribe().wait_for(|asked| *asked >= target)).await.unwrap();
    }
}

impl Discover for Addresses {
    fn resolve<'a>(&'a self, region: &'a Region) -> BoxFuture<'a, Result<Resolution>> {
        Box::pin(async move {
            self.0.asked.send_modify(|asked| *asked += 1);
            match self.0.answers.lock().unwrap().get(region).cloned().flatten() {
                Some(addresses) => {
                    let resolution = Resolution::new(addresses, self.0.ttl);
                    Ok(if self.0.incomplete.load(Ordering::SeqCst) { resolution.incomplete() } else { resolution })
                }
                None => Err(broken()),
            }
        })
    }

    fn regions(&self) -> BoxFuture<'_, Result<Vec<Region>>> {
        Box::pin(async { Ok(self.0.answers.lock().unwrap().keys().cloned().collect()) })
    }
}

/// An error of a name service that is broken; this crate's errors have no public constructors.
fn broken() -> Error {
    Region::new("the name service is broken").unwrap_err()
}

/// A TCP relay in front of a server.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    control: watch::Sender<Link>,
    connections: watch::Receiver<usize>,
    refused: watch::Receiver<usize>,
    _tasks: JoinSet<()>,
}

/// The behaviour of a relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    Open,
    /// Connections are reset, and new ones closed at once.
    Cut,
    /// Nothing that the client sends arrives; it gets these bytes as an answer.
    Answer(Vec<u8>),
    /// Nothing arrives, and neither end is told.
    Hole,
}

impl Relay {
    pub(crate) async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind(ANY_PORT).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (control, link) = watch::channel(Link::Open);
        let (count, connections) = watch::channel(0);
        let (refuse, refused) = watch::channel(0);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut relays = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                if *link.borrow() == Link::Cut {
                    refuse.send_modify(|refused| *refused += 1);
                } else {
                    relays.spawn(relay(stream, target, link.clone(), count.clone()));
                }
            }
        });
        Self { address, control, connections, refused, _tasks: tasks }
    }

    pub(crate) fn set(&self, link: Link) {
        self.control.send_replace(link);
    }

    /// Waits until this many more connections were closed at once.
    pub(crate) async fn refused(&self, more: usize) {
        let mut refused = self.refused.clone();
        let target = *refused.borrow() + more;
        soon("attempts to connect", refused.wait_for(|refused| *refused >= target)).await.unwrap();
    }

    /// Waits until this many connections are open.
    pub(crate) async fn connections(&self, count: usize) {
        let mut connections = self.connections.clone();
        soon("connections", connections.wait_for(|open| *open == count)).await.unwrap();
    }
}

async fn relay(mut client: TcpStream, target: SocketAddr, link: watch::Receiver<Link>, count: watch::Sender<usize>) {
    let Ok(mut server) = TcpStream::connect(target).await else { return };
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    count.send_modify(|count| *count += 1);
    let (mut up, mut down) = (vec![0; 65536], vec![0; 65536]);
    let now = || link.borrow().clone();
    loop {
        let moved = tokio::select! {
            read = client.read(&mut up) => match (read, now()) {
                (Ok(bytes @ 1..), Link::Open) => server.write_all(&up[..bytes]).await,
                (Ok(1..), Link::Answer(answer)) => client.write_all(&answer).await,
                (_, Link::Hole) => break hole(link.clone()).await,
                _ => break,
            },
            read = server.read(&mut down) => match (read, now()) {
                (_, Link::Hole) => break hole(link.clone()).await,
                (Ok(bytes @ 1..), _) => client.write_all(&down[..bytes]).await,
                _ => break,
            },
            () = cut(link.clone()) => break,
        };
        if moved.is_err() {
            break;
        }
    }
    count.send_modify(|count| *count -= 1);
}

/// Waits until the link is no longer a hole.
async fn hole(mut link: watch::Receiver<Link>) {
    let _ = link.wait_for(|link| *link != Link::Hole).await;
}

async fn cut(mut link: watch::Receiver<Link>) {
    let _ = link.wait_for(|link| *link == Link::Cut).await;
}
