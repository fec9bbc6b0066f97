//! What callers and logs learn of functions that fail.

use std::fmt::{self, Debug, Display};
use std::sync::{Arc, Mutex};

use homing::{Context, Error, Repo};
use serde::{Deserialize, Serialize};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber, span};
use tracing_subscriber::layer::{self, Layer, SubscriberExt};

use super::functions::node_with;
use crate::fixture::{NewUser, User, World};

/// The spans and events of Homing on this thread, on which all tasks of a test run: a level, and `name=value` for each
/// field.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<(Level, String)>>>);

impl Lines {
    /// Records until the guards are dropped.
    fn record() -> (Self, impl Sized) {
        let lines = Self::default();
        let subscriber = tracing::Dispatch::new(tracing_subscriber::registry().with(lines.clone()));
        // With one subscriber only, tracing asks the first thread that comes whether spans are of interest, and the
        // threads of the other tests have no subscriber.
        let second = tracing::Dispatch::new(tracing_subscriber::registry());
        let guard = tracing::dispatcher::set_default(&subscriber);
        (lines, (guard, second))
    }

    fn with(&self, text: &str) -> Vec<(Level, String)> {
        self.0.lock().unwrap().iter().filter(|(_, line)| line.contains(text)).cloned().collect()
    }
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.push_str(&format!(" {}={value:?}", field.name()));
    }
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_new_span(&self, span: &span::Attributes<'_>, _: &span::Id, _: layer::Context<'_, S>) {
        let mut line = Line(span.metadata().name().to_owned());
        span.record(&mut line);
        self.0.lock().unwrap().push((*span.metadata().level(), line.0));
    }

    fn on_event(&self, event: &Event<'_>, _: layer::Context<'_, S>) {
        if event.metadata().target().starts_with("homing") {
            let mut line = Line(String::new());
            event.record(&mut line);
            self.0.lock().unwrap().push((*event.metadata().level(), line.0));
        }
    }
}

#[homing::remote]
async fn pay(_: Context, amount: i64) -> homing::Result<()> {
    let error = Error::failed(format!("account 12 has 20 of {amount} EUR"));
    Err(error.with_client_message("there is not enough money"))
}

#[homing::remote(transactional)]
async fn pay_or_nothing(context: Context, amount: i64) -> homing::Result<()> {
    context.repo().execute("select 1", &[]).await?;
    let error = Error::failed(format!("account 12 has 20 of {amount} EUR"));
    Err(error.with_client_message("there is not enough money"))
}

#[tokio::test]
async fn client_message_crosses_the_hop() {
    let world = World::shared().await;
    let (iad, syd) = node_with(&world, |iad| iad.register(pay).register(pay_or_nothing)).await;
    for repo in [iad.repo(), syd] {
        for error in [pay::call(&repo, 50).await.unwrap_err(), pay_or_nothing::call(&repo, 50).await.unwrap_err()] {
            assert_eq!(error.client_message(), "there is not enough money");
            assert!(error.to_string().contains("account 12 has 20 of 50 EUR"), "{error}");
        }
    }
}

#[homing::remote]
async fn broken(_: Context) -> homing::Result<()> {
    panic!("a bug")
}

#[homing::remote(transactional)]
async fn broken_within(_: Context) -> homing::Result<()> {
    panic!("a bug")
}

#[tokio::test]
async fn failed_function_leaves_one_line() {
    let (lines, _recording) = Lines::record();
    let world = World::shared().await;
    let (_iad, syd) = node_with(&world, |iad| iad.register(pay).register(broken).register(broken_within)).await;
    pay::call(&syd, 50).await.unwrap_err();
    let [(level, line)] = &lines.with("function failed")[..] else { panic!("{:?}", lines.with("function")) };
    assert_eq!(*level, Level::INFO);
    for part in ["function=\"pay\"", "caller=syd", "elapsed=", "error=\"account 12 has 20 of 50 EUR\"", "trace_id="] {
        assert!(line.contains(part), "{part} in {line}");
    }
    broken::call(&syd).await.unwrap_err();
    broken_within::call(&syd).await.unwrap_err();
    let panicked = lines.with("function panicked");
    assert_eq!(panicked.len(), 2, "{:?}", lines.with("function"));
    for (level, line) in panicked {
        assert!(level == Level::WARN && line.contains("a bug"), "{line}");
    }
}

#[tokio::test]
async fn debug_lines_hold_sql_without_values() {
    let (lines, _recording) = Lines::record();
    let world = World::shared().await;
    let repo = world.syd.repo();
    let user = repo.insert(&NewUser::named("a secret")).await.unwrap();
    let named = repo.transaction(|tx| async move {
        tx.execute("update users set age = $2 where name = $1", &[&"a secret", &40]).await?;
        tx.get::<User>(user.id).await
    });
    named.await.unwrap();
    // On the node that was called, and on the one that ran it.
    for part in
        ["homing.repo operation=\"insert\" sql=\"insert into", "execute sql=\"insert into", "step sql=\"update users"]
    {
        assert_eq!(lines.with(part).first().map(|(level, _)| *level), Some(Level::DEBUG), "{part}");
    }
    for part in ["message=call ended elapsed=", "message=executed elapsed="] {
        assert!(!lines.with(part).is_empty(), "{part}");
    }
    assert!(lines.with("a secret").is_empty(), "{:?}", lines.with("a secret"));
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum TransferError {
    NotEnough { missing: i64 },
}

impl Display for TransferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the transfer is refused")
    }
}

impl From<TransferError> for Error {
    fn from(error: TransferError) -> Self {
        Self::failed_with(&error)
    }
}

/// Writes, and then fails with an error of its own.
async fn write_and_refuse(repo: &Repo, name: &str) -> homing::Result<u64> {
    repo.insert(&NewUser::named(name)).await?;
    Err(TransferError::NotEnough { missing: 5 })?
}

#[homing::remote(transactional)]
async fn transfer(context: Context, name: String) -> homing::Result<u64> {
    write_and_refuse(context.repo(), &name).await
}

#[homing::remote]
async fn transfer_in_steps(context: Context, name: String) -> homing::Result<u64> {
    write_and_refuse(context.repo(), &name).await
}

/// Passes on the error of the function that it calls.
#[homing::remote]
async fn transfer_later(context: Context, name: String) -> homing::Result<u64> {
    transfer::call(context.repo(), name).await
}

#[tokio::test]
async fn own_error_rolls_back_and_travels() {
    let world = World::shared().await;
    let register = |iad: homing::NodeBuilder| {
        iad.register(transfer).register(transfer_in_steps).register(transfer_later).register(pay)
    };
    let (iad, syd) = node_with(&world, register).await;
    for repo in [iad.repo(), syd] {
        let region = repo.region().to_string();
        let refused = Some(TransferError::NotEnough { missing: 5 });
        let stored = async |name: String| repo.get_by::<User>(&[("name", &name)]).await.unwrap().is_some();

        let name = format!("all or nothing in {region}");
        let error = transfer::call(&repo, name.clone()).await.unwrap_err();
        assert!(error.is_rejected(), "{error}");
        assert_eq!(error.failure(), refused);
        assert!(error.to_string().ends_with("the transfer is refused"), "{error}");
        let error = repo.rpc_and_wait::<u64>("transfer", &name).await.unwrap_err();
        assert_eq!(error.failure(), refused);
        let error = transfer_later::call(&repo, name.clone()).await.unwrap_err();
        assert!(error.is_function_failed(), "{error}");
        assert_eq!(error.failure(), refused);
        let error = repo.transaction(|tx| async move { write_and_refuse(&tx, "closure").await }).await.unwrap_err();
        assert_eq!(error.failure(), refused);
        assert!(!stored(name).await && !stored("closure".into()).await);

        let name = format!("in steps in {region}");
        let error = transfer_in_steps::call(&repo, name.clone()).await.unwrap_err();
        assert!(error.is_function_failed(), "{error}");
        assert_eq!(error.failure(), refused);
        assert!(stored(name).await);

        assert_eq!(pay::call(&repo, 50).await.unwrap_err().failure::<TransferError>(), None);
        assert_eq!(repo.query("selec", &[]).await.unwrap_err().failure::<TransferError>(), None);
    }
}
