//! All kinds of calls that send SQL to the primary.

use homing::{Batch, Consistency, Repo, params};

use crate::fixture::{NewUser, User};

/// The results of all kinds of calls that send SQL to the primary, with their names.
pub(super) async fn calls_with_sql(repo: &Repo) -> Vec<(&'static str, homing::Result<()>)> {
    let global = repo.with_consistency(Consistency::Global);
    let new = NewUser::named("Mallory");
    let mut batch = Batch::new();
    batch.execute("step", "insert into users (name) values ($1)", params!["Peggy"]).unwrap();
    vec![
        ("get", global.get::<User>(1).await.map(drop)),
        ("query", global.query("select id, name from users", &[]).await.map(drop)),
        ("stream", global.stream("select id from users", &[]).await.map(drop)),
        ("copy_out", global.copy_out("copy users to stdout").await.map(drop)),
        ("insert", repo.insert(&new).await.map(drop)),
        ("update", repo.execute("update users set age = 1", &[]).await.map(drop)),
        ("writing query", repo.query("insert into users (name) values ('Trudy') returning id", &[]).await.map(drop)),
        ("script", repo.batch_execute("insert into users (name) values ('Eve'); delete from users").await),
        ("batch", repo.batch(&batch).await.map(drop)),
        ("vacuum", repo.execute("vacuum users", &[]).await.map(drop)),
        (
            "transaction",
            repo.transaction(|tx| async move { tx.insert(&NewUser::named("Oscar")).await }).await.map(drop),
        ),
        ("copy_in", repo.copy_in("copy users (name) from stdin").await.map(drop)),
    ]
}
