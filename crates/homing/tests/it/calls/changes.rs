//! Changes of one row beside those of others, in both regions.

use futures_util::future::{BoxFuture, join_all};
use homing::built::Begin;
use homing::sea_query::{Expr, ExprTrait};
use homing::{Batch, Conflict, Context, Entity, Error, Insert, Node, Repo, Update};

use crate::fixture::{PATIENCE, Servers, World, recorded};

#[derive(Debug, Clone, PartialEq, Entity)]
#[entity(table = "docs")]
struct Doc {
    #[entity(key)]
    id: i64,
    title: String,
    body: Option<String>,
    #[entity(version)]
    version: i32,
}

#[derive(Debug, Insert)]
#[insert(into = Doc)]
struct NewDoc {
    title: String,
}

#[derive(Debug, Default, Update)]
#[update(of = Doc)]
struct Edit<'a> {
    title: Option<&'a str>,
    body: Option<Option<&'a str>>,
}

#[derive(Debug, Update)]
#[update(of = Doc)]
struct Checked {
    #[update(version)]
    seen: i32,
    body: String,
}

#[derive(Debug, Update)]
#[update(of = Doc)]
struct Wrong {
    #[update(column = "version")]
    count: i32,
}

const TABLE: &str = "create table docs (id bigserial primary key, title text not null unique, body text,
    version int not null default 1)";

async fn world() -> World {
    let world = World::shared().await;
    world.syd.repo().batch_execute(TABLE).await.unwrap();
    world
}

impl World {
    async fn doc(&self, node: &Node, title: &str) -> Doc {
        node.repo().insert(&NewDoc { title: title.into() }).await.unwrap()
    }

    /// Changes a row as another caller does, and counts its version.
    async fn change_behind(&self, doc: &Doc) {
        let sql = "update docs set body = 'theirs', version = version + 1 where id = $1";
        self.primary.execute(sql, &[&doc.id]).await.unwrap();
    }

    /// The row as it is on the primary: its title, its body and its version.
    async fn stored(&self, id: i64) -> (String, Option<String>, i32) {
        let row = self.primary.query_one("select title, body, version from docs where id = $1", &[&id]).await.unwrap();
        (row.get(0), row.get(1), row.get(2))
    }
}

/// Makes a call by itself, and in a transaction that is committed whatever the call returns.
async fn both_ways<T: Send + 'static>(
    node: &Node,
    call: impl Fn(Repo) -> BoxFuture<'static, T> + Send + Sync,
) -> [T; 2] {
    let alone = call(node.repo()).await;
    let call = &call;
    let within = node.repo().transaction(|tx| async move { Ok(call(tx).await) }).await;
    [alone, within.unwrap()]
}

/// A call that changes a row as its caller has read it.
type Call = fn(Repo, Doc) -> BoxFuture<'static, homing::Result<Doc>>;

fn assert_outdated(error: &Error) {
    assert!(error.is_outdated() && error.is_rejected() && !error.is_not_found(), "{error:?}");
    assert!(!error.fate().may_have_written());
}

#[tokio::test]
async fn update_columns_spares_the_others() {
    let world = world().await;
    for (region, node) in world.both() {
        let doc = world.doc(node, region).await;
        let id = doc.id;
        world.change_behind(&doc).await;
        let renamed = format!("{region}!");
        let title = renamed.clone();
        let edited = both_ways(node, move |repo| {
            let title = title.clone();
            Box::pin(
                async move { repo.update_columns(id, &Edit { title: Some(&title), ..Edit::default() }).await.unwrap() },
            )
        });
        let [first, second] = edited.await;
        let expected = Doc { id, title: renamed.clone(), body: Some("theirs".into()), version: 3 };
        assert_eq!((first, second.version), (expected, 4));
        assert_eq!(node.repo().get::<Doc>(id).await.unwrap(), Some(second));

        // No change at all, and then NULL.
        let same = node.repo().update_columns(id, &Edit::default()).await.unwrap();
        assert_eq!((same.version, same.body.as_deref()), (4, Some("theirs")));
        node.repo().update_columns(id, &Edit { body: Some(None), ..Edit::default() }).await.unwrap();
        assert_eq!(world.stored(id).await, (renamed, None, 5));

        for error in both_ways(node, |repo| {
            Box::pin(async move { repo.update_columns(-1, &Edit { title: Some("x"), body: None }).await.unwrap_err() })
        })
        .await
        {
            assert!(error.is_not_found() && error.is_rejected() && !error.is_outdated(), "{error:?}");
        }
    }
}

#[tokio::test]
async fn outdated_change_writes_nothing() {
    let world = world().await;
    for (region, node) in world.both() {
        let doc = world.doc(node, region).await;
        world.change_behind(&doc).await;
        let theirs = (region.to_owned(), Some("theirs".to_owned()), 2);
        let calls: [Call; 3] = [
            |repo, doc| Box::pin(async move { repo.update(&doc).await }),
            |repo, doc| Box::pin(async move { repo.delete(&doc).await }),
            |repo, doc| {
                let edit = Checked { seen: doc.version, body: "mine".into() };
                Box::pin(async move { repo.update_columns(doc.id, &edit).await })
            },
        ];
        for call in calls {
            for error in both_ways(node, |repo| call(repo, doc.clone())).await {
                assert_outdated(&error.unwrap_err());
            }
            assert_eq!(world.stored(doc.id).await, theirs, "{region}");
            let missing = Doc { id: -1, ..doc.clone() };
            for error in both_ways(node, |repo| call(repo, missing.clone())).await {
                let error = error.unwrap_err();
                assert!(error.is_not_found() && error.is_rejected() && !error.is_outdated(), "{error:?}");
            }
        }
        // With what is stored now, each of them succeeds and counts.
        let (repo, reports) = recorded(&node.repo());
        let doc = repo.reload(&doc).await.unwrap();
        let doc = repo.update(&Doc { body: Some("mine".into()), ..doc }).await.unwrap();
        assert_eq!((doc.version, reports.count()), (3, 2));
        let doc = repo.update_columns(doc.id, &Checked { seen: 3, body: "ours".into() }).await.unwrap();
        assert_outdated(&repo.delete(&Doc { version: 3, ..doc.clone() }).await.unwrap_err());
        assert_eq!(reports.count(), 4, "a call is reported once");
        assert_eq!(repo.delete(&doc).await.unwrap(), doc);
        assert!(repo.update(&doc).await.unwrap_err().is_not_found());
    }
}

/// The entity comes from a replica that does not show the other change yet.
#[tokio::test]
async fn read_of_lagging_replica_is_outdated() {
    let servers = Servers::start(&[]).await;
    let world = servers.world().await;
    world.syd.repo().batch_execute(TABLE).await.unwrap();
    let doc = world.doc(&world.syd, "shared").await;
    servers.replica.pause_replay().await.unwrap();
    world.change_behind(&doc).await;

    let repo = world.syd.repo().session().with_replay_timeout(std::time::Duration::from_millis(200));
    let read = repo.get::<Doc>(doc.id).await.unwrap().unwrap();
    assert_eq!(read, doc, "the replica is not that far");
    assert_outdated(&repo.update(&Doc { title: "mine".into(), ..read.clone() }).await.unwrap_err());
    // The same session reads what it has to know for the next attempt.
    let read = repo.reload(&read).await.unwrap();
    assert_eq!((read.version, read.body.as_deref()), (2, Some("theirs")));
    repo.update(&Doc { title: "mine".into(), ..read }).await.unwrap();
    assert_eq!(world.stored(doc.id).await, ("mine".into(), Some("theirs".into()), 3));
    servers.replica.resume_replay().await.unwrap();
}

#[tokio::test]
async fn concurrent_changes_are_all_kept() {
    const CALLERS: usize = 24;
    let world = world().await;
    let doc = world.doc(&world.iad, "counted").await;
    let append = async |node: &Node| {
        let repo = node.repo().session().with_call_timeout(PATIENCE);
        loop {
            // A new session may be sooner than the replica.
            let Some(read) = repo.get::<Doc>(doc.id).await.unwrap() else { continue };
            let body = Some(format!("{}x", read.body.as_deref().unwrap_or_default()));
            match repo.update(&Doc { body, ..read }).await {
                Ok(_) => return,
                Err(error) => assert_outdated(&error),
            }
        }
    };
    let nodes = [&world.iad, &world.syd];
    join_all((0..CALLERS).map(|caller| append(nodes[caller % 2]))).await;
    let (_, body, version) = world.stored(doc.id).await;
    assert_eq!((body.unwrap().len(), version), (CALLERS, CALLERS as i32 + 1));
}

#[tokio::test]
async fn outdated_step_undoes_its_batch() {
    let world = world().await;
    for (region, node) in world.both() {
        let doc = world.doc(node, region).await;
        let other = world.doc(node, &format!("{region} 2")).await;
        world.change_behind(&doc).await;
        let steps: [fn(&mut Batch<'static>, &'static Doc) -> homing::Result<()>; 3] = [
            |batch, doc| batch.update("doc", doc).map(drop),
            |batch, doc| batch.delete("doc", doc).map(drop),
            |batch, doc| batch.update_columns("doc", doc.id, Checked { seen: 1, body: "mine".into() }).map(drop),
        ];
        let outdated: &Doc = Box::leak(Box::new(doc.clone()));
        for step in steps {
            let mut batch = Batch::new();
            batch.update_columns("other", other.id, Edit { title: Some("changed"), body: None }).unwrap();
            step(&mut batch, outdated).unwrap();
            for error in both_ways_of(node, &batch).await {
                assert_outdated(&error);
                assert_eq!(error.step(), Some("doc"));
            }
        }
        assert_eq!(world.stored(other.id).await, (other.title.clone(), None, 1));

        let mut batch = Batch::new();
        let edited = batch.update_columns("edit", doc.id, Edit { body: Some(None), title: None }).unwrap();
        let updated = batch.update_with("update", &other, [("body", "new".into())]).unwrap();
        let results = node.repo().batch(&batch).await.unwrap();
        assert_eq!((results.get(&edited).version, results.get(&updated).version), (3, 2));
        let refused = Batch::new().update_with("count", outdated, [("version", 7.into())]).unwrap_err();
        assert!(refused.is_misuse(), "{refused:?}");
        let missing = batch.update_columns("missing", -1, Edit { title: Some("x"), body: None });
        missing.unwrap();
        let error = node.repo().batch(&batch).await.unwrap_err();
        assert!(error.step() == Some("update") && error.is_outdated(), "the second time: {error:?}");
    }
}

async fn both_ways_of(node: &Node, batch: &Batch<'_>) -> [Error; 2] {
    let alone = node.repo().batch(batch).await.unwrap_err();
    let within = node.repo().transaction(|tx| async move { Ok(tx.batch(batch).await.map(drop)) }).await;
    [alone, within.unwrap().unwrap_err()]
}

#[tokio::test]
async fn every_entity_call_counts_the_version() {
    let world = world().await;
    for (region, node) in world.both() {
        let (repo, doc) = (node.repo(), world.doc(node, region).await);
        let upsert = Conflict::on(["id"]).update(["title"]);
        let same = repo.insert_or_update(&SameDoc { id: doc.id, title: "a".into() }, &upsert).await.unwrap();
        assert_eq!((same.id, same.version), (doc.id, 2));
        let all = repo.insert_or_update_all(&[SameDoc { id: doc.id, title: "b".into() }], &Conflict::on(["id"])).await;
        assert_eq!(all.unwrap()[0].version, 3);
        let sql = "from (values ('c', 9)) as other (title, version) where docs.id = $1";
        repo.update_all::<Doc>("title = other.title -- with a comment", sql, &[&doc.id]).await.unwrap();
        assert_eq!(world.stored(doc.id).await.2, 4);
        let built = Doc::update().value("title", region).and_where(Expr::col("id").eq(doc.id)).take();
        assert_eq!(repo.update_all_built(&built).await.unwrap(), 1);
        assert_eq!(world.stored(doc.id).await.2, 5);

        let misuses = [
            repo.update_columns(doc.id, &Wrong { count: 1 }).await.unwrap_err(),
            repo.insert_or_update(&Versioned { id: doc.id, version: 1 }, &upsert_of("version")).await.unwrap_err(),
        ];
        for error in misuses {
            assert!(error.is_misuse() && error.to_string().contains("is the version of docs"), "{error:?}");
        }
    }
}

#[derive(Debug, PartialEq, Entity)]
#[entity(table = "filing.docs")]
struct Filed {
    #[entity(key)]
    id: i64,
    title: String,
    #[entity(version, column = "Version")]
    version: i64,
}

#[derive(Debug, Insert)]
#[insert(into = Filed)]
struct NewFiled {
    id: i64,
    title: &'static str,
}

#[tokio::test]
async fn version_may_be_in_another_schema() {
    let world = World::shared().await;
    let script = "create schema filing;
        create table filing.docs (id bigint primary key, title text not null, \"Version\" bigint not null default 1)";
    world.syd.repo().batch_execute(script).await.unwrap();
    for (id, (_, node)) in (1..).zip(world.both()) {
        let (repo, new) = (node.repo(), NewFiled { id, title: "a" });
        let filed = repo.insert(&new).await.unwrap();
        let filed = repo.update(&filed).await.unwrap();
        let again = repo.insert_or_update(&new, &Conflict::on(["id"])).await.unwrap();
        assert_eq!((filed.version, again.version), (2, 3));
        assert_eq!(repo.update_all::<Filed>("title = 'b'", "where id = $1", &[&id]).await.unwrap(), 1);
        let built = Filed::update().value("title", "c").and_where(Expr::col("id").eq(id)).take();
        assert_eq!(repo.update_all_built(&built).await.unwrap(), 1);
        let filed = repo.reload(&filed).await.unwrap();
        assert_eq!(filed, Filed { id, title: "c".into(), version: 5 });
        assert_outdated(&repo.delete(&again).await.unwrap_err());
        repo.delete(&filed).await.unwrap();
    }
}

fn upsert_of(column: &str) -> Conflict {
    Conflict::on(["id"]).update([column])
}

#[derive(Debug, Insert)]
#[insert(into = Doc)]
struct SameDoc {
    id: i64,
    title: String,
}

#[derive(Debug, Insert)]
#[insert(into = Doc)]
struct Versioned {
    id: i64,
    version: i32,
}

/// A trigger that keeps a row as it is makes no entity outdated.
#[tokio::test]
async fn kept_row_is_not_outdated() {
    let world = world().await;
    let docs = [world.doc(&world.iad, "iad").await, world.doc(&world.syd, "syd").await];
    let script = "create function keep() returns trigger language plpgsql as $$ begin return null; end $$;
        create trigger keep before update or delete on docs for each row execute function keep();";
    world.primary.batch_execute(script).await.unwrap();
    for ((_, node), doc) in world.both().into_iter().zip(docs) {
        for error in both_ways(node, |repo| {
            let doc = doc.clone();
            Box::pin(async move { repo.update(&doc).await.unwrap_err() })
        })
        .await
        {
            assert!(error.is_not_found() && error.is_rejected() && !error.is_outdated(), "{error:?}");
        }
    }
}

/// Renames a document as its caller has read it.
#[homing::remote(transactional)]
async fn rename(context: Context, id: i64, seen: i32) -> homing::Result<()> {
    context.repo().update_columns(id, &Edit { title: Some("renamed"), ..Edit::default() }).await?;
    context.repo().update_columns(id, &Checked { seen, body: "mine".into() }).await?;
    Ok(())
}

#[tokio::test]
async fn function_tells_that_it_was_outdated() {
    let servers = Servers::shared().await;
    let world = world().await;
    let node = Node::with_config(servers.primary_config(&world.database)).register(rename).start().await.unwrap();
    let doc = world.doc(&world.iad, "function").await;
    let syd = servers.replica_node(&world.database, crate::fixture::in_iad(node.local_addr())).await;
    for repo in [node.repo(), syd.repo()] {
        assert_outdated(&rename::call(&repo, doc.id, 1).await.unwrap_err());
        assert_eq!(world.stored(doc.id).await.2, 1, "all of it is rolled back");
    }
    rename::call(&syd.repo(), doc.id, 2).await.unwrap();
    assert_eq!(world.stored(doc.id).await.2, 3);
}
