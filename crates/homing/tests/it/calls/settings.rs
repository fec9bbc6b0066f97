//! Settings that are local to the calls of a handle: row-level security, and nothing left behind on a pooled connection.

use std::fmt::Write as _;

use homing::error::SqlState;
use homing::transaction::{Isolation, TransactionOptions};
use homing::{Batch, Config, Context, Entity, Insert, Node, Repo, params};

use super::tenants::give_up_after;
use crate::fixture::{Servers, World, in_iad};

#[derive(Debug, PartialEq, Entity)]
#[entity(table = "notes")]
struct Note {
    #[entity(key)]
    id: i64,
    tenant: String,
    text: String,
}

#[derive(Debug, Insert)]
#[insert(into = Note)]
struct NewNote {
    text: String,
}

fn note(text: impl ToString) -> NewNote {
    NewNote { text: text.to_string() }
}

#[homing::remote]
async fn write_down(context: Context, text: String) -> homing::Result<i64> {
    Ok(context.repo().insert(&note(text)).await?.id)
}

#[homing::remote(transactional)]
async fn whose(context: Context) -> homing::Result<(Option<String>, String)> {
    let repo = context.repo();
    Ok((repo.setting("app.tenant").map(ToOwned::to_owned), tenant(repo).await))
}

#[homing::remote]
async fn nobodys(context: Context) -> homing::Result<String> {
    Ok(tenant(&context.repo().without_settings()?).await)
}

/// A database whose policies show each tenant its own notes, and nodes that connect as a role that they hold for.
struct Secured {
    world: World,
    role: String,
    iad: Node,
    syd: Node,
    /// A node in `syd` without a replica.
    far: Node,
}

impl Secured {
    async fn start(pool_size: usize) -> Self {
        let servers = Servers::shared().await;
        let world = servers.world().await;
        let role = format!("app_{}", world.database);
        let mut script = format!("create role {role} login;");
        for schema in ["public", "branch"] {
            write!(
                script,
                "create schema if not exists {schema};
                 grant usage on schema {schema} to {role};
                 create table {schema}.notes (
                     id bigserial primary key, tenant text not null default current_setting('app.tenant'), text text
                 );
                 alter table {schema}.notes enable row level security;
                 create policy own on {schema}.notes using (tenant = nullif(current_setting('app.tenant', true), ''));
                 grant all on {schema}.notes, {schema}.notes_id_seq to {role};"
            )
            .unwrap();
        }
        world.primary.batch_execute(&script).await.unwrap();
        servers.replica.caught_up_with(&servers.primary).await.unwrap();
        let start = |mut config: Config| {
            let as_role = |url: String| url.replace("postgres@", &format!("{role}@"));
            config.database_url = config.database_url.map(as_role);
            config.replica_url = config.replica_url.map(as_role);
            config.pool_size = pool_size;
            Node::with_config(config).register(write_down).register(whose).register(nobodys).start()
        };
        let iad = start(servers.primary_config(&world.database)).await.unwrap();
        let syd = start(servers.replica_config(&world.database, in_iad(iad.local_addr()))).await.unwrap();
        let far = world.node_without_replica(in_iad(iad.local_addr())).await;
        Self { world, role, iad, syd, far }
    }

    fn repos(&self) -> [Repo; 3] {
        [self.iad.repo(), self.syd.repo(), self.far.repo()]
    }

    async fn replicate(&self) {
        let servers = Servers::shared().await;
        servers.replica.caught_up_with(&servers.primary).await.unwrap();
    }
}

/// The tenant that a statement sees, empty for none.
async fn tenant(repo: &Repo) -> String {
    let sql = "select coalesce(current_setting('app.tenant', true), '')";
    repo.query_one(sql, &[]).await.unwrap().get(0)
}

async fn texts(repo: &Repo) -> Vec<String> {
    repo.all::<Note>("order by id", &[]).await.unwrap().into_iter().map(|note| note.text).collect()
}

#[tokio::test]
async fn every_call_has_the_setting() {
    let secured = Secured::start(1).await;
    for (number, plain) in secured.repos().into_iter().enumerate() {
        let value = format!("{number}'s \"tenant\" \\ / ? & = %; drop table notes -- é");
        let repo = plain.with_setting("App.Tenant", &value).unwrap();
        assert_eq!(repo.setting("app.tenant"), Some(&*value));
        assert_eq!(plain.setting("app.tenant"), None);

        let stored = repo.insert(&note(1)).await.unwrap();
        assert_eq!(stored.tenant, value);
        assert_eq!(repo.get::<Note>(stored.id).await.unwrap().as_ref(), Some(&stored));
        repo.execute("insert into notes (text) values ($1)", &[&"2"]).await.unwrap();
        repo.batch_execute("insert into notes (text) values ('3')").await.unwrap();
        repo.batch_execute("begin; commit; insert into notes (text) values ('4')").await.unwrap();
        assert_eq!(repo.insert_all(&[note(5), note(6)]).await.unwrap()[1].tenant, value);
        let mut batch = Batch::new();
        let added = batch.insert("added", note(7)).unwrap();
        let read = batch.query("read", "select tenant from notes where id = $1", params![added.column("id")]).unwrap();
        let results = repo.batch(&batch).await.unwrap();
        assert_eq!(results.get(&read)[0].get::<_, String>(0), value);
        write_down::call(&repo, "8".into()).await.unwrap();
        assert_eq!(whose::call(&repo).await.unwrap(), (Some(value.clone()), value.clone()));
        assert_eq!(nobodys::call(&repo).await.unwrap(), "");
        let in_transaction = async |tx: Repo| {
            tx.insert(&note(9)).await?;
            let nested = |nested: Repo| async move {
                nested.insert(&note("undone")).await?;
                Err::<(), _>(homing::Error::failed("no"))
            };
            tx.transaction(nested).await.unwrap_err();
            tx.batch_execute("insert into notes (text) values ('10')").await?;
            let mut rows = tx.stream("select tenant from notes", &[]).await?;
            assert_eq!(rows.next().await.unwrap()?.get::<_, String>(0), tenant(&tx).await);
            assert!(tx.with_setting("app.tenant", "another").unwrap_err().is_misuse());
            Ok(tenant(&tx).await)
        };
        assert_eq!(repo.transaction(in_transaction).await.unwrap(), value);
        let serializable = TransactionOptions::default().with_isolation(Isolation::Serializable);
        for options in [TransactionOptions::read_only(), serializable] {
            let seen = repo.transaction_with(options, async |tx| Ok((tenant(&tx).await, texts(&tx).await.len()))).await;
            assert_eq!(seen.unwrap(), (value.clone(), 10), "{options:?}");
        }
        let mut rows = repo.stream_all::<Note>("order by id", &[]).await.unwrap();
        let mut streamed = Vec::new();
        while let Some(row) = rows.next().await {
            streamed.push(row.unwrap().text);
        }
        let numbers: Vec<_> = (1..=10).map(|number| number.to_string()).collect();
        assert_eq!((streamed, texts(&repo).await), (numbers.clone(), numbers));

        let branch = repo.with_schema("branch").unwrap();
        assert_eq!(texts(&branch).await, Vec::<String>::new());
        assert_eq!(branch.insert(&note("in the branch")).await.unwrap().tenant, value);
        assert_eq!(texts(&branch).await, ["in the branch"]);
        assert_eq!(branch.transaction(async |tx| Ok(texts(&tx).await)).await.unwrap(), ["in the branch"]);
        assert_eq!(tenant(&branch.without_settings().unwrap()).await, "");

        assert_eq!((tenant(&plain).await, texts(&plain).await), (String::new(), Vec::new()));
        assert_eq!(plain.count::<Note>("", &[]).await.unwrap(), 0);
        assert_eq!(plain.execute("update notes set text = 'stolen'", &[]).await.unwrap(), 0);
        assert!(plain.insert(&note("nobody's")).await.is_err());
    }
}

/// Calls of two tenants and of nobody on the same connections, with errors and dropped calls in between.
#[tokio::test]
async fn tenants_never_see_each_other() {
    const CALLS: usize = 10_000;
    let secured = Secured::start(2).await;
    let work = |repo: Repo, name: &'static str| async move {
        let mut written = 0;
        for number in 0..CALLS / 6 {
            match number % 50 {
                0 => drop(repo.insert(&note(number)).await.unwrap()),
                10 => drop(repo.execute("insert into notes (text) values ($1)", &[&"raw"]).await.unwrap()),
                20 => {
                    let body = async |tx: Repo| tx.insert(&note(number)).await;
                    assert_eq!(repo.transaction(body).await.unwrap().tenant, name);
                }
                30 => drop(write_down::call(&repo, "called".into()).await.unwrap()),
                40 => repo.batch_execute("insert into notes (text) values ('script')").await.unwrap(),
                5 => drop(repo.query("select 1 / (random() * 0)::int", &[]).await.unwrap_err()),
                15 => drop(repo.execute("insert into notes (tenant) values ('stolen')", &[]).await.unwrap_err()),
                polls @ 25..=29 => {
                    let read = repo.query("select tenant from notes, pg_sleep(0.001)", &[]);
                    give_up_after((polls - 25) * 3 + number / 50 % 3, read).await;
                }
                35 => give_up_after(number / 50 % 12, repo.execute("update notes set text = text", &[])).await,
                _ => {
                    let sql = "select distinct tenant, current_setting('app.tenant') from notes";
                    for row in repo.query(sql, &[]).await.unwrap() {
                        assert_eq!((row.get::<_, &str>(0), row.get::<_, &str>(1)), (name, name), "call {number}");
                    }
                    continue;
                }
            }
            written += usize::from(number % 10 == 0);
        }
        written
    };
    let nobody = |repo: Repo| async move {
        for number in 0..CALLS / 6 {
            assert_eq!(tenant(&repo).await, "", "call {number}");
            assert_eq!(repo.count::<Note>("", &[]).await.unwrap(), 0);
        }
    };
    let [iad, syd, _] = secured.repos();
    let of = |repo: &Repo, name: &'static str| work(repo.session().with_setting("app.tenant", name).unwrap(), name);
    let (a, b, c, d, (), ()) = tokio::join!(
        of(&iad, "one"),
        of(&iad, "two"),
        of(&syd, "one"),
        of(&syd, "two"),
        nobody(iad.session()),
        nobody(syd.session())
    );
    let sql =
        "select count(*) filter (where tenant = 'one'), count(*) filter (where tenant = 'two'), count(*) from notes";
    let row = secured.world.primary.query_one(sql, &[]).await.unwrap();
    let counts = [0, 1, 2].map(|column| usize::try_from(row.get::<_, i64>(column)).unwrap());
    assert_eq!(counts, [a + c, b + d, a + b + c + d]);
}

#[tokio::test]
async fn values_share_one_prepared_statement() {
    let secured = Secured::start(1).await;
    for plain in secured.repos() {
        let prepared = async |number: u32| -> i64 {
            let repo = plain.with_setting("app.tenant", number).unwrap();
            texts(&repo).await;
            repo.query_one("select count(*) from pg_prepared_statements", &[]).await.unwrap().get(0)
        };
        let first = prepared(0).await;
        for number in 1..20 {
            assert_eq!(prepared(number).await, first);
        }
    }
}

#[tokio::test]
async fn refused_value_runs_nothing() {
    let secured = Secured::start(1).await;
    for plain in secured.repos() {
        let own = plain.with_setting("app.tenant", "one").unwrap();
        for (name, value) in [("role", "nobody known"), ("role", "postgres"), ("work_mem", "much")] {
            let repo = own.with_setting(name, value).unwrap();
            let is_refused = |error: homing::Error| {
                let codes = [&SqlState::INVALID_PARAMETER_VALUE, &SqlState::INSUFFICIENT_PRIVILEGE];
                assert!(error.is_rejected() && codes.contains(&error.code().unwrap()), "{name} {value}: {error:?}");
            };
            is_refused(repo.query("select 1", &[]).await.unwrap_err());
            is_refused(repo.insert(&note("x")).await.unwrap_err());
            is_refused(repo.insert_all(&[note("x"), note("y")]).await.unwrap_err());
            is_refused(repo.batch_execute("insert into notes (text) values ('x')").await.unwrap_err());
            is_refused(repo.stream("select 1", &[]).await.unwrap_err());
            is_refused(repo.transaction(async |tx| tx.insert(&note("x")).await).await.unwrap_err());
            let read_only = TransactionOptions::read_only();
            is_refused(repo.transaction_with(read_only, async |tx| tx.query("select 1", &[]).await).await.unwrap_err());
            let error = write_down::call(&repo, "x".into()).await.unwrap_err();
            assert!(error.is_function_failed() || error.is_rejected(), "{error:?}");
        }
        assert_eq!(texts(&own).await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn time_limit_is_a_setting() {
    let secured = Secured::start(1).await;
    for plain in secured.repos() {
        let repo = plain.with_setting("statement_timeout", "50ms").unwrap();
        for sql in ["select pg_sleep(74)", "insert into notes (text) select 'x' from pg_sleep(74)"] {
            let error = repo.query(sql, &[]).await.unwrap_err();
            assert!(error.is_rejected() && error.code() == Some(&SqlState::QUERY_CANCELED), "{error:?}");
        }
        let limit = plain.query_one("select current_setting('statement_timeout')", &[]).await.unwrap();
        assert_eq!(limit.get::<_, String>(0), "0");
    }
}

/// The role of the connections may do nothing by itself, not even use the schema.
#[tokio::test]
async fn role_is_a_setting() {
    let secured = Secured::start(1).await;
    let role = &secured.role;
    // From PostgreSQL 16 on, the attribute is the default of the grants after it.
    let script = format!(
        "create role tenant_{role}; alter role {role} noinherit; grant tenant_{role} to {role};
         create schema hidden; grant usage on schema hidden to tenant_{role};
         create table hidden.things (id int); grant all on hidden.things to tenant_{role}"
    );
    secured.world.primary.batch_execute(&script).await.unwrap();
    secured.replicate().await;
    for plain in secured.repos() {
        let repo = plain.with_setting("role", format!("tenant_{role}")).unwrap().with_schema("hidden").unwrap();
        repo.execute("insert into things values ($1)", &[&1]).await.unwrap();
        let row = repo.query_one("select current_user::text, count(*) from things", &[]).await.unwrap();
        assert_eq!(row.get::<_, String>(0), format!("tenant_{role}"));
        let inside = repo.transaction(async |tx| {
            tx.execute("insert into things values ($1)", &[&2]).await?;
            tx.query_one("select current_user", &[]).await
        });
        assert_eq!(inside.await.unwrap().get::<_, String>(0), format!("tenant_{role}"));
        let denied = plain.query("select * from hidden.things", &[]).await.unwrap_err();
        assert_eq!(denied.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{denied:?}");
        let user = plain.query_one("select current_user", &[]).await.unwrap();
        assert_eq!(user.get::<_, String>(0), *role);
    }
}

#[tokio::test]
async fn transaction_takes_local_settings() {
    let secured = Secured::start(1).await;
    // Notes at the commit whether the commit flushes.
    secured
        .world
        .primary
        .batch_execute(
            "create table commits (synchronous text); grant all on commits to public;
             create function at_commit() returns trigger language plpgsql as $$
             begin insert into commits values (current_setting('synchronous_commit')); return null; end $$;
             create constraint trigger at_commit after insert on notes deferrable initially deferred
             for each row execute function at_commit()",
        )
        .await
        .unwrap();
    secured.replicate().await;
    for (number, plain) in secured.repos().into_iter().enumerate() {
        let (name, value) = ("app.tenant", number.to_string());
        let body = async |tx: Repo| {
            tx.query("select set_config($1, $2, true)", &[&name, &value]).await?;
            tx.insert(&note("mine")).await?;
            tx.execute("set local lock_timeout = '7s'", &[]).await?;
            let row = tx.query_one("select current_setting('lock_timeout'), count(*) from notes", &[]).await?;
            assert_eq!((row.get::<_, String>(0), row.get::<_, i64>(1)), ("7s".to_owned(), 1));
            for sql in ["select set_config($1, $2, false)", "select set_config($1, $2, $3)"] {
                let error = tx.query(sql, &[&name, &value, &true]).await.unwrap_err();
                assert!(error.is_misuse() && error.to_string().contains("third argument"), "{error}");
            }
            let off = "select set_config($1, 'off', true)";
            tx.query(off, &[&"synchronous_commit"]).await?;
            Ok(())
        };
        plain.transaction(body).await.unwrap();
        assert_eq!(tenant(&plain).await, "");
        let own = plain.with_setting(name, &value).unwrap();
        assert_eq!(texts(&own).await, ["mine"]);
        let snapshot = async |tx: Repo| {
            tx.query("select set_config($1, $2, true)", &[&name, &value]).await?;
            Ok(texts(&tx).await)
        };
        assert_eq!(plain.transaction_with(TransactionOptions::read_only(), snapshot).await.unwrap(), ["mine"]);
        let error = plain.query("select set_config($1, $2, true)", &[&name, &value]).await.unwrap_err();
        assert!(error.is_misuse() && error.to_string().contains("with_setting"), "{error}");
    }
    let commits = secured.world.primary.query("select distinct synchronous from commits", &[]).await.unwrap();
    assert_eq!(commits.iter().map(|row| row.get::<_, &str>(0)).collect::<Vec<_>>(), ["on"]);
}
