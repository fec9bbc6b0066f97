//! The requests on the wire: how many there are, and those that only a faulty client sends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use homing::{Batch, params};
use homing_proto::v1 as proto;
use homing_proto::v1::database_client::DatabaseClient;
use homing_rpc::Dispatch;
use tokio::time::Instant;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use crate::fixture::{NewUser, PATIENCE, World, recorded, region};

const INT8: u32 = 20;
const TEXT: u32 = 25;
const NULL: &[u8] = &[255; 4];

/// Counts the requests of each method that are served on this thread.
#[derive(Clone, Default)]
struct Served {
    execute: Arc<AtomicU32>,
    prepare: Arc<AtomicU32>,
}

impl<S: tracing::Subscriber> Layer<S> for Served {
    fn on_new_span(&self, attributes: &tracing::span::Attributes<'_>, _: &tracing::span::Id, _: Context<'_, S>) {
        struct Path<'a>(&'a Served);
        impl tracing::field::Visit for Path<'_> {
            fn record_debug(&mut self, _: &tracing::field::Field, _: &dyn std::fmt::Debug) {}
            fn record_str(&mut self, field: &tracing::field::Field, value: &str) {
                match (field.name(), value) {
                    ("path", "/homing.v1.Database/Execute" | "/homing.v1.Database/ExecuteOnce") => {
                        self.0.execute.fetch_add(1, Ordering::SeqCst)
                    }
                    ("path", "/homing.v1.Database/Prepare") => self.0.prepare.fetch_add(1, Ordering::SeqCst),
                    _ => 0,
                };
            }
        }
        attributes.record(&mut Path(self));
    }
}

#[tokio::test]
async fn batch_is_one_request() {
    let served = Served::default();
    let subscriber = tracing::Dispatch::new(tracing_subscriber::registry().with(served.clone()));
    // With one subscriber only, tracing asks the first thread that comes whether spans are of interest, and the threads
    // of the other tests have no subscriber.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    // For this thread, on which all tasks of this test run.
    let _counting = tracing::dispatcher::set_default(&subscriber);
    let world = World::shared().await;
    let (repo, reports) = recorded(&world.syd.repo());
    for steps in [1, 2, 10, 100] {
        let before = served.execute.load(Ordering::SeqCst);
        let mut batch = Batch::new();
        let mut last = batch.insert("0", NewUser::named(&format!("{steps}"))).unwrap();
        for number in 1..steps {
            let name = params![format!("{steps} {number}"), last.column("id")];
            let sql = "insert into users (name, age) values ($1, $2::bigint) returning id, name, age";
            let row = batch.query_one(number.to_string(), sql, name).unwrap();
            batch.expect_rows(&row, 1).unwrap();
            let older = "select id, name, age from users where id = $1";
            let _ = batch.query(format!("{number} again"), older, params![row.column("id")]).unwrap();
            last = batch.insert(format!("{number} more"), NewUser::named(&format!("{steps} {number} more"))).unwrap();
        }
        repo.batch(&batch).await.unwrap();
        let requests = served.execute.load(Ordering::SeqCst) - before;
        println!("{} steps: {requests} request, {} attempt", batch.len(), reports.last().attempts);
        assert_eq!((requests, reports.last().attempts), (1, 1));
    }
    assert_eq!(served.prepare.load(Ordering::SeqCst), 0, "the replica here knows the types");
}

fn statement(sql: &str, parameter_types: &[u32], column_types: &[u32]) -> proto::Statement {
    proto::Statement {
        sql: sql.into(),
        parameter_types: parameter_types.to_vec(),
        parameters: NULL.repeat(parameter_types.len()).into(),
        column_types: column_types.to_vec(),
        ..proto::Statement::default()
    }
}

#[tokio::test]
async fn dangling_references_fail_before_running() {
    let world = World::shared().await;
    let insert = statement("insert into users (name) values ('Ada') returning id, name", &[], &[INT8, TEXT]);
    let reference = |parameter, statement, column| proto::Reference { parameter, statement, column };
    let referring = |references: &[proto::Reference], values: usize| proto::Statement {
        references: references.to_vec(),
        parameters: NULL.repeat(values).into(),
        ..statement("select $1::bigint", &[INT8], &[INT8])
    };
    let script = proto::Statement { simple: true, ..statement("select 1", &[], &[]) };
    let expecting = proto::Statement { expected_rows: Some(1), ..insert.clone() };
    let table = [
        ("later", vec![insert.clone(), referring(&[reference(0, 2, 0)], 2), insert.clone()]),
        ("itself", vec![insert.clone(), referring(&[reference(0, 1, 0)], 2)]),
        ("none", vec![insert.clone(), referring(&[reference(0, u32::MAX, 0)], 2)]),
        ("no such column", vec![insert.clone(), referring(&[reference(0, 0, 2)], 2)]),
        ("no such parameter", vec![insert.clone(), referring(&[reference(1, 0, 0)], 2)]),
        ("another type", vec![insert.clone(), referring(&[reference(0, 0, 1)], 2)]),
        ("one value too few", vec![insert.clone(), referring(&[reference(0, 0, 0)], 1)]),
        ("one value too many", vec![insert.clone(), referring(&[reference(0, 0, 0)], 3)]),
        ("a script", vec![insert.clone(), script]),
        ("rows expected as an old build would not notice", vec![expecting]),
    ];
    for (what, statements) in table {
        let request = proto::ExecuteRequest { statements, ..proto::ExecuteRequest::default() };
        let dispatch = Dispatch::new(Instant::now() + PATIENCE);
        let send = |channel| {
            let request = request.clone();
            async move { DatabaseClient::new(channel).execute(request).await }
        };
        let refused = world.syd.repo().rpc_client().dispatch(&region("iad"), dispatch, send).await;
        let error = refused.map(|answer| answer.response).unwrap_err();
        assert!(error.is_bad_arguments(), "{what}: {error:?}");
        assert_eq!(world.users_on_primary().await, 0, "{what}");
    }
}
