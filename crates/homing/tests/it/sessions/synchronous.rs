//! Synchronous replication: a commit whose wait was cancelled is not replicated, and says so.

use std::time::Duration;

use homing::{Error, Repo};

use crate::fixture::{NewUser, Servers, User};

fn assert_not_replicated<T: std::fmt::Debug>(written: Result<T, Error>) -> Error {
    let error = written.unwrap_err();
    assert!(error.is_committed() && error.is_not_replicated(), "{error:?}");
    error
}

#[tokio::test]
async fn unreplicated_commit_is_never_ok() {
    let servers = Servers::start(&[]).await;
    let world = servers.world().await;
    for (region, node) in world.both() {
        let repo = node.repo().with_call_timeout(Duration::from_secs(1));
        let new = |name: &str| NewUser::named(&format!("{name} {region}"));
        servers.primary.reconfigure(&[("synchronous_standby_names", "nobody")]).await.unwrap();
        let mut error = assert_not_replicated(repo.insert(&new("Ada")).await);
        let ada: User = error.take_value().unwrap();
        assert_not_replicated(repo.execute("update users set age = 7 where id = $1", &[&ada.id]).await);
        assert_not_replicated(repo.batch_execute("update users set age = 8").await);
        assert_not_replicated(repo.update(&User { age: Some(9), ..ada }).await);
        let within = |tx: Repo| async move { tx.insert(&new("Grace")).await };
        let mut error = assert_not_replicated(repo.transaction(within).await);
        assert!(error.take_value::<User>().is_some());
        // What writes nothing has nothing to wait for.
        assert!(repo.delete(&User { id: -1, name: "Nobody".into(), age: None }).await.unwrap_err().is_rejected());

        servers.primary.reconfigure(&[("synchronous_standby_names", "")]).await.unwrap();
        assert_eq!(repo.execute("delete from users", &[]).await.unwrap(), 2, "{region}");
        repo.transaction(|tx| async move { tx.execute("update users set age = 1", &[]).await }).await.unwrap();
    }
}
