//! How often an interactive transaction goes to the primary and back, counted where it arrives.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use homing::database::{Database, Role};
use homing::transaction::TransactionOptions;
use homing::{Repo, Secret, Topology};
use homing_rpc::{NodeConfig, Server, ServerHandle};
use http_body::Frame;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Bytes, Service, http};
use tonic::server::NamedService;

use crate::fixture::{NewUser, PATIENCE, SECRET, Servers, User, in_iad, region};

/// A service that counts the messages it receives. It answers each one before the client sends the next, so the messages
/// are the round trips.
#[derive(Clone)]
struct Counted<S> {
    service: S,
    messages: Arc<AtomicUsize>,
}

impl<S: NamedService> NamedService for Counted<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Counted<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let messages = Arc::clone(&self.messages);
        Box::pin(self.service.call(request.map(|body| Body::new(CountedBody { body, messages }))))
    }
}

struct CountedBody {
    body: Body,
    messages: Arc<AtomicUsize>,
}

impl http_body::Body for CountedBody {
    type Data = Bytes;
    type Error = tonic::Status;

    /// A message of a few bytes is one frame.
    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && frame.data_ref().is_some_and(|data| !data.is_empty())
        {
            self.messages.fetch_add(1, Ordering::Relaxed);
        }
        frame
    }
}

/// A node in `syd` that has not run any statement yet, and the messages that arrive in `iad`.
async fn counted(database: &str) -> (homing::Node, ServerHandle, Arc<AtomicUsize>) {
    let servers = Servers::shared().await;
    let config = homing_postgres::Config::new(servers.primary.database_url(database), Role::Primary);
    let primary = Database::connect(config).await.unwrap();
    let messages = Arc::new(AtomicUsize::new(0));
    let service = Counted {
        service: homing_postgres::Databases::new().with("", primary.clone()).unwrap().service(usize::MAX),
        messages: Arc::clone(&messages),
    };
    let config = NodeConfig::new(Topology::new(region("iad"), region("iad"))).with_secret(Secret::new(SECRET).unwrap());
    let iad = Server::builder(config).listen(([127, 0, 0, 1], 0).into()).service(service).start().await.unwrap();
    let peers = in_iad([iad.local_addr()]);
    (servers.replica_node(database, peers).await, iad, messages)
}

async fn ten_statements(tx: &Repo) -> homing::Result<()> {
    for number in 0..4 {
        tx.insert(&NewUser::named(&format!("user {number} {}", rand_name(tx).await))).await?;
    }
    tx.execute("update users set age = 7", &[]).await?;
    tx.all::<User>("order by id", &[]).await.map(drop)
}

async fn rand_name(tx: &Repo) -> i64 {
    tx.query_one("select count(*) from users", &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn n_statements_take_n_plus_one() {
    let world = Servers::shared().await.world().await;
    let (syd, _iad, messages) = counted(&world.database).await;
    syd.repo().transaction(|tx| async move { ten_statements(&tx).await }).await.unwrap();
    assert_eq!(
        messages.swap(0, Ordering::Relaxed),
        11,
        "the beginning rides with the first one, and nothing was known"
    );

    syd.repo()
        .transaction(|tx| async move {
            tx.transaction(|inner| async move { ten_statements(&inner).await }).await?;
            tx.transaction(|inner| async move { inner.execute("delete from users", &[]).await }).await
        })
        .await
        .unwrap();
    assert_eq!(messages.swap(0, Ordering::Relaxed), 12, "savepoints ride along");

    syd.repo().transaction(|tx| async move { tx.transaction(|_| async { Ok(()) }).await }).await.unwrap();
    assert_eq!(messages.swap(0, Ordering::Relaxed), 0);

    syd.repo()
        .transaction(|tx| async move {
            tx.execute("create table notes (id int)", &[]).await?;
            tx.execute("insert into notes values ($1)", &[&1]).await?;
            tx.execute("insert into notes values ($1)", &[&2]).await
        })
        .await
        .unwrap();
    assert_eq!(messages.swap(0, Ordering::Relaxed), 5, "only the primary can tell the types of what is new");
}

/// Other statements than a transaction keeps the types of come and go.
#[tokio::test]
async fn used_statement_keeps_its_types() {
    let world = Servers::shared().await.world().await;
    let (syd, _iad, messages) = counted(&world.database).await;
    let options = TransactionOptions::default().with_time_limit(PATIENCE);
    let statements = |tx: Repo| async move {
        tx.execute("create table notes (id int)", &[]).await?;
        tx.query("select id from notes", &[]).await?;
        for number in 1..=300 {
            tx.query(&format!("select {number} from notes"), &[]).await?;
            tx.query("select id from notes", &[]).await?;
        }
        Ok(())
    };
    syd.repo().transaction_with(options, statements).await.unwrap();
    // The table, 301 statements with a question for their types, 300 without, and the commit.
    assert_eq!(messages.load(Ordering::Relaxed), 1 + 301 * 2 + 300 + 1);
}
