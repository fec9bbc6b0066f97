//! Every call of the `Repo`, in one program that gives the same result in every region.
//!
//! [`tour`] makes one kind of call after the other and records the results. In the primary region all of them run on the
//! local database. In any other region the same lines read from the local replica and write to the distant primary;
//! `tests/regions.rs` shows that the results are equal.

// Below the default of 128: applications that nest their futures deeper than this one compile too.
#![recursion_limit = "80"]

use std::time::Duration;

use homing::built::Begin;
use homing::replicas::Measure;
use homing::sea_query::{Expr, ExprTrait, Order};
use homing::transaction::TransactionOptions;
use homing::{
    Aggregate, Batch, Conflict, Consistency, Context, Entity, Error, FromRow, Insert, NodeBuilder, OnLag, Repo, Result,
    Update, Wait, params,
};
use serde_json::{Value, json};
use uuid::Uuid;

#[derive(Debug, Clone, PartialEq, Entity)]
#[entity(table = "accounts")]
struct Account {
    #[entity(key)]
    id: Uuid,
    owner: String,
    balance: i64,
    #[entity(column = "about")]
    profile: Option<Value>,
    #[entity(read_only)]
    initial: String,
    #[entity(version)]
    changes: i32,
}

#[derive(Debug, Clone, Insert)]
#[insert(into = Account)]
struct NewAccount {
    id: Uuid,
    owner: String,
    balance: i64,
    #[insert(column = "about")]
    profile: Option<Value>,
}

#[derive(Debug, Entity)]
#[entity(table = "transfers")]
struct Transfer {
    #[entity(key)]
    id: i64,
    sender: Uuid,
    amount: i64,
    tags: Vec<String>,
}

#[derive(Debug, Insert)]
#[insert(into = Transfer)]
struct NewTransfer {
    amount: i64,
    tags: Vec<String>,
}

/// The columns to change; `None` leaves a column as it is.
#[derive(Debug, Default, Update)]
#[update(of = Account)]
struct EditAccount {
    balance: Option<i64>,
    #[update(column = "about")]
    profile: Option<Option<Value>>,
}

/// A row of a join.
#[derive(Debug, FromRow)]
#[expect(dead_code, reason = "the notes show it")]
struct Sent {
    owner: String,
    amount: Option<i64>,
    #[from_row(column = "tags")]
    labels: Option<Vec<String>>,
}

/// Pays interest to every account. Either all of it is committed, or nothing.
#[homing::remote(transactional)]
async fn pay_interest(ctx: Context, percent: i64) -> Result<u64> {
    ctx.repo().update_all::<Account>("balance = balance + balance * $1 / 100", "where balance > 0", &[&percent]).await
}

/// Returns the same result however often it is called.
#[homing::remote(idempotent)]
async fn richest(ctx: Context, above: i64, prefix: Option<String>) -> Result<Vec<String>> {
    let prefix = format!("{}%", prefix.unwrap_or_default());
    let sql = "where balance > $1 and owner like $2 order by balance desc, owner";
    let accounts = ctx.repo().all::<Account>(sql, &[&above, &prefix]).await?;
    Ok(accounts.into_iter().map(|account| account.owner).collect())
}

/// Registers the functions that the tour calls.
pub fn register(node: NodeBuilder) -> NodeBuilder {
    node.register(pay_interest).register(richest)
}

/// Creates the tables, once for the application and once for a tenant.
///
/// # Errors
///
/// See [`Error`].
pub async fn migrate(repo: &Repo) -> Result<()> {
    const TABLES: &str = "
        create table if not exists accounts (
            id uuid primary key, owner text not null unique, balance bigint not null check (balance >= 0), about jsonb,
            initial text generated always as (left(owner, 1)) stored, changes int not null default 1);
        create table if not exists transfers (
            id bigserial primary key, sender uuid not null references accounts, amount bigint not null,
            tags text[] not null)";
    repo.batch_execute(TABLES).await?;
    repo.batch_execute("create schema if not exists tenant_7").await?;
    repo.with_schema("tenant_7")?.batch_execute(TABLES).await?;
    if repo.database_names().any(|name| name == "analytics") {
        repo.with_database("analytics")?
            .batch_execute("create table if not exists visits (path text not null)")
            .await?;
    }
    Ok(())
}

/// Makes the whole tour, starting with empty tables. The lines are the same in every region.
///
/// # Errors
///
/// See [`Error`]. None is expected.
pub async fn tour(repo: &Repo) -> Result<Vec<String>> {
    let mut notes = Notes::default();
    repo.batch_execute("truncate accounts, transfers restart identity").await?;
    entities(repo, &mut notes).await?;
    many_rows(repo, &mut notes).await?;
    built(repo, &mut notes).await?;
    raw_sql(repo, &mut notes).await?;
    transactions(repo, &mut notes).await?;
    batches(repo, &mut notes).await?;
    functions(repo, &mut notes).await?;
    consistency(repo, &mut notes).await?;
    replicas(repo, &mut notes).await?;
    tenants(repo, &mut notes).await?;
    databases(repo, &mut notes).await?;
    Ok(notes.0)
}

/// Calls for one row.
async fn entities(repo: &Repo, notes: &mut Notes) -> Result<()> {
    let ada = repo.insert(&account("Ada", 100)).await?;
    notes.add("insert", &ada);
    notes.add("get", repo.get::<Account>(ada.id).await?);
    notes.add("get_by", repo.get_by::<Account>(&[("owner", &"Ada")]).await?);
    let older = repo.update(&Account { balance: 110, ..ada.clone() }).await?;
    notes.add("update", (older.balance, older.changes));
    let outdated = repo.update(&Account { balance: 0, ..ada.clone() }).await.expect_err("it is refused");
    notes.add("an outdated update", (outdated.is_outdated(), outdated.is_rejected()));
    let edit = EditAccount { profile: Some(None), ..EditAccount::default() };
    notes.add("update_columns", repo.update_columns(ada.id, &edit).await?);
    notes.add("reload", repo.reload(&ada).await?.balance);
    let again = NewAccount { balance: 120, ..account("Ada", 0) };
    notes.add("insert_or_update", repo.insert_or_update(&again, &Conflict::on(["owner"]).update(["balance"])).await?);
    let kept = repo.insert_or_update(&again, &Conflict::on(["owner"]).update_nothing()).await?;
    notes.add("insert_or_update, nothing", kept.balance);
    let taken = repo.insert(&account("Ada", 1)).await.expect_err("it is refused");
    notes.add("a duplicate", (taken.is_rejected(), taken.db().and_then(|error| error.constraint().map(str::to_owned))));
    let both = [NewAccount { balance: 130, ..account("Ada", 0) }, account("Bob", 1)];
    let both = repo.insert_or_update_all(&both, &Conflict::on(["owner"]).update(["balance"])).await?;
    notes.add("insert_or_update_all", both.iter().map(|account| account.balance).collect::<Vec<_>>());
    notes.add("delete", (repo.delete(&both[0]).await?.owner, repo.delete(&both[1]).await?.owner));
    let gone = repo.reload(&ada).await.expect_err("it is refused");
    notes.add("reload of what is gone", gone.is_not_found());
    Ok(())
}

/// Calls for many rows.
async fn many_rows(repo: &Repo, notes: &mut Notes) -> Result<()> {
    let new: Vec<_> = (0..50).map(|number| account(&format!("user {number:02}"), number * 10)).collect();
    notes.add("insert_all", repo.insert_all(&new).await?.len());
    notes.add("one", repo.one::<Account>("where owner = $1", &[&"user 07"]).await?.balance);
    notes.add("all", repo.all::<Account>("where balance < $1 order by owner", &[&30_i64]).await?.len());
    notes.add("exists", repo.exists::<Account>("where balance = 490", &[]).await?);
    notes.add("count", repo.count::<Account>("", &[]).await?);
    let sum: Option<i64> = repo.aggregate::<Account, _>(Aggregate::sum("balance"), "", &[]).await?;
    let mean: Option<f64> = repo.aggregate::<Account, _>(Aggregate::avg("balance"), "", &[]).await?;
    let least: Option<i64> = repo.aggregate::<Account, _>(Aggregate::min("balance"), "", &[]).await?;
    let most: Option<i64> = repo.aggregate::<Account, _>(Aggregate::max("balance"), "", &[]).await?;
    notes.add("aggregate", (sum, mean, least, most));
    let updated = repo.update_all::<Account>("balance = balance + $1", "where owner < $2", &[&1_i64, &"user 10"]);
    notes.add("update_all", updated.await?);
    notes.add("delete_all", repo.delete_all::<Account>("where balance > $1", &[&400_i64]).await?);
    let (mut rows, mut read) = (repo.stream_all::<Account>("order by owner", &[]).await?, Vec::new());
    while let Some(row) = rows.next().await {
        read.push(row?.owner);
    }
    notes.add("stream_all", (read.len(), read.first(), read.last()));
    Ok(())
}

/// Calls with conditions that sea-query builds.
async fn built(repo: &Repo, notes: &mut Notes) -> Result<()> {
    let poor = || Account::select().and_where(Expr::col("balance").lt(20)).order_by("owner", Order::Desc).take();
    notes.add("all_built", repo.all_built::<Account>(&poor()).await?.len());
    notes.add("count_built", repo.count_built(&poor()).await?);
    let raise = Account::update().value("balance", 12).and_where(Expr::col("owner").eq("user 01")).take();
    notes.add("update_all_built", repo.update_all_built(&raise).await?);
    let last = Account::delete().and_where(Expr::col("owner").eq("user 39")).take();
    notes.add("delete_all_built", repo.delete_all_built(&last).await?);
    Ok(())
}

async fn raw_sql(repo: &Repo, notes: &mut Notes) -> Result<()> {
    let rows = repo.query("select owner, balance from accounts where balance < $1 order by owner", &[&15_i64]).await?;
    notes.add("query", rows.iter().map(|row| (row.get("owner"), row.get("balance"))).collect::<Vec<(String, i64)>>());
    let sql = "select t.tags, a.owner, t.amount from accounts a left join transfers t on t.sender = a.id
        where a.owner = $1";
    notes.add("query_as", repo.query_as::<Sent>(sql, &[&"user 03"]).await?);
    notes.add(
        "query_one_as",
        repo.query_one_as::<Account>("select * from accounts where owner = 'user 02'", &[]).await?,
    );
    notes.add("query_one", repo.query_one("select max(owner) from accounts", &[]).await?.get::<_, String>(0));
    notes.add("query_opt", repo.query_opt("select 1 from accounts where owner = $1", &[&"nobody"]).await?.is_none());
    notes.add(
        "execute",
        repo.execute("update accounts set about = $1 where owner = 'user 01'", &[&json!({"a": [1]})]).await?,
    );
    // A write that looks like a read: PostgreSQL says that it writes.
    let sql = "select setval('transfers_id_seq', 41), nextval('transfers_id_seq')";
    notes.add("a read that writes", repo.query_one(sql, &[]).await?.get::<_, i64>(1));
    let mut rows = repo.stream("select generate_series(1, 10000)::bigint", &[]).await?;
    let mut sum = 0;
    while let Some(row) = rows.next().await {
        sum += row?.get::<_, i64>(0);
    }
    notes.add("stream", sum);
    let unknown = repo.query("select colour from accounts", &[]).await.expect_err("it is refused");
    notes.add("an unknown column", unknown.code().map(|code| code.code().to_owned()));
    notes.add("a wrong type", repo.query("select $1::bigint", &[&"one"]).await.expect_err("it is refused").is_misuse());
    Ok(())
}

async fn transactions(repo: &Repo, notes: &mut Notes) -> Result<()> {
    let left = repo.transaction(|tx| async move {
        let from = tx.one::<Account>("where owner = 'user 20'", &[]).await?;
        let from = tx.update(&Account { balance: from.balance - 50, ..from }).await?;
        // A savepoint: a failure inside changes nothing outside.
        let refused =
            tx.transaction(|inner| async move { inner.execute("update accounts set balance = -1", &[]).await });
        assert!(tx.in_transaction() && refused.await.is_err());
        tx.execute("update accounts set balance = balance + 50 where owner = 'user 21'", &[]).await?;
        Ok(from.balance)
    });
    notes.add("transaction", left.await?);
    let rolled_back: Result<()> = repo
        .transaction(|tx| async move {
            tx.delete_all::<Account>("", &[]).await?;
            Err(Error::failed("on second thoughts"))
        })
        .await;
    notes.add(
        "a rollback",
        (rolled_back.expect_err("it is refused").to_string(), repo.count::<Account>("", &[]).await?),
    );
    let snapshot = repo.transaction_with(TransactionOptions::read_only(), |tx| async move {
        let counted = tx.count::<Account>("", &[]).await?;
        let refused = tx.delete_all::<Account>("", &[]).await.expect_err("it is refused");
        Ok((counted, refused.is_misuse()))
    });
    notes.add("a snapshot", snapshot.await?);
    Ok(())
}

async fn batches(repo: &Repo, notes: &mut Notes) -> Result<()> {
    let (grace, transfer) = (account("Grace", 500), NewTransfer { amount: 5, tags: vec!["gift".into(), "ä".into()] });
    let mut batch = Batch::new();
    let author = batch.insert("sender", &grace)?;
    let sent = batch.insert_with("transfer", &transfer, [("sender", author.column("id"))])?;
    let debit = "update accounts set balance = balance - $1 where id = $2";
    let debited = batch.execute("debit", debit, params![5_i64, author.column("id")])?;
    let done = repo.batch(&batch).await?;
    let transfer = done.get(&sent);
    notes.add("batch", (transfer.id, transfer.sender == grace.id, &transfer.tags, *done.get(&debited)));
    let kay = account("Kay", 1);
    let mut batch = Batch::new();
    batch.insert("kay", &kay)?;
    batch.execute("overdraw", "update accounts set balance = -1 where owner = 'Kay'", params![])?;
    let failed = repo.batch(&batch).await.expect_err("it is refused");
    notes.add("a failed step", (failed.step().map(str::to_owned), repo.get::<Account>(kay.id).await?.is_none()));
    Ok(())
}

async fn functions(repo: &Repo, notes: &mut Notes) -> Result<()> {
    notes.add("call", pay_interest::call(repo, 10).await?);
    notes.add("rpc_and_wait", repo.rpc_and_wait::<Vec<String>>("richest", (400, Some("user"))).await?);
    notes.add("rpc", repo.rpc::<u64>("pay_interest", &0).await?);
    notes.add("call with an optional argument", richest::call(repo, 500, None).await?);
    notes.add("an unknown function", repo.rpc::<()>("fly", ()).await.expect_err("it is refused").is_unknown_function());
    Ok(())
}

/// Shows that a session sees its own writes with any consistency and any wait.
async fn consistency(repo: &Repo, notes: &mut Notes) -> Result<()> {
    for consistency in [Consistency::Session, Consistency::Global] {
        let repo = repo.session().with_consistency(consistency).with_wait(Wait::AtNextRead).with_on_lag(OnLag::Fail);
        repo.execute("update accounts set balance = balance + 1 where owner = 'Grace'", &[]).await?;
        notes.add("a session", repo.one::<Account>("where owner = 'Grace'", &[]).await?.balance);
    }
    let one = repo.session();
    one.execute("update accounts set balance = 7 where owner = 'Grace'", &[]).await?;
    let token = one.token().await?;
    let other = repo.session().with_token(token.as_str())?;
    notes.add("a token", other.one::<Account>("where owner = 'Grace'", &[]).await?.balance);
    notes.add("a forged token", repo.with_token(format!("{token}A")).expect_err("it is refused").is_token_refused());
    repo.with_consistency(Consistency::Eventual).query("select 1", &[]).await?;
    Ok(())
}

async fn replicas(repo: &Repo, notes: &mut Notes) -> Result<()> {
    let status = repo.replicas().status();
    let nearest = repo.replica(status[0].name.as_ref())?;
    notes.add("replica", nearest.count::<Account>("where balance = 7", &[]).await?);
    let measured = repo.measure_reads(&Measure::default().with_time(Duration::from_millis(20))).await?;
    notes.add("measure_reads", !measured.rows.is_empty());
    notes.add("an unknown replica", repo.replica("atlantis").expect_err("it is refused").is_misuse());
    Ok(())
}

async fn tenants(repo: &Repo, notes: &mut Notes) -> Result<()> {
    let tenant = repo.with_schema("tenant_7")?;
    tenant.delete_all::<Account>("", &[]).await?;
    tenant.insert(&account("Grace", 1)).await?;
    notes.add("a tenant", (tenant.count::<Account>("", &[]).await?, richest::call(&tenant, 0, None).await?));
    notes.add("the others", repo.one::<Account>("where owner = 'Grace'", &[]).await?.balance);
    notes.add(
        "no schema",
        repo.with_schema("nowhere")?.query("select 1", &[]).await.expect_err("it is refused").is_rejected(),
    );
    notes.add(
        "a quoted name",
        repo.with_schema("a\"b")?.query("select 1", &[]).await.expect_err("it is refused").is_rejected(),
    );
    Ok(())
}

async fn databases(repo: &Repo, notes: &mut Notes) -> Result<()> {
    let Ok(analytics) = repo.with_database("analytics") else {
        return Ok(());
    };
    analytics.batch_execute("truncate visits").await?;
    analytics.execute("insert into visits (path) values ($1)", &[&"/"]).await?;
    notes.add("another database", analytics.query_one("select count(*) from visits", &[]).await?.get::<_, i64>(0));
    Ok(())
}

/// Returns an account whose key follows from its name, so that it is the same in all regions.
fn account(owner: &str, balance: i64) -> NewAccount {
    let bytes = owner.bytes().fold(0_u128, |id, byte| id << 8 | u128::from(byte));
    let profile = owner.starts_with('A').then(|| json!({ "likes": ["engines", null, 1.5], "deep": { "er": true } }));
    NewAccount { id: Uuid::from_u128(bytes), owner: owner.to_owned(), balance, profile }
}

/// The results, line by line.
#[derive(Default)]
struct Notes(Vec<String>);

impl Notes {
    fn add(&mut self, call: &str, found: impl std::fmt::Debug) {
        self.0.push(format!("{call}: {found:?}"));
    }
}
