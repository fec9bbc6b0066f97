//! The examples in both regions.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use homing::{Config, Repo};
use tokio::task::JoinSet;

use crate::examples::lost_updates::{self, Form};
use crate::examples::{batch, databases, fates, named_replica, sea_query, static_peers, tenant, transaction};
use crate::fixture::{Stage, start_node};

#[tokio::test]
async fn transfer_is_done_or_undone() {
    let stage = Stage::shared(transaction::SCHEMA).await;
    for (repo, left) in stage.repos().iter().zip([70, 40]) {
        assert_eq!(transaction::transfer(repo, "Ada", "Bob", 30).await.unwrap(), left);
        let no_account = transaction::transfer(repo, "Ada", "Eve", 30).await.unwrap_err();
        assert!(no_account.is_not_found() && no_account.is_rejected(), "{no_account}");
        assert!(transaction::transfer(repo, "Ada", "Bob", 1000).await.unwrap_err().is_rejected());
        let balance = repo.query_one("select balance from accounts where owner = 'Ada'", &[]).await.unwrap();
        assert_eq!(balance.get::<_, i64>(0), left);
    }
}

#[tokio::test]
async fn batch_stores_all_or_nothing() {
    let stage = Stage::shared(batch::SCHEMA).await;
    for repo in stage.repos() {
        let author = batch::publish(&repo, "Ada", &["Notes", "More notes"]).await.unwrap();
        let books = "select count(*) from books where author_id = $1";
        assert_eq!(repo.query_one(books, &[&author]).await.unwrap().get::<_, i64>(0), 2);
        let refused = batch::publish(&repo, "Bob", &["Notes", ""]).await.unwrap_err();
        assert_eq!((refused.is_rejected(), refused.step()), (true, Some("")));
        let bob = "select count(*) from authors where name = 'Bob'";
        assert_eq!(repo.query_one(bob, &[]).await.unwrap().get::<_, i64>(0), 0);
    }
}

#[tokio::test]
async fn one_node_uses_two_databases() {
    let stage = Stage::shared("").await;
    let analytics = format!("{}_analytics", stage.database);
    stage.world.primary().create_database(&analytics).await.unwrap();
    let (primary, replica) = (stage.world.primary(), stage.replica());
    replica.caught_up_with(primary).await.unwrap();
    let iad = static_peers::virginia(stage.secret(), primary.database_url(&stage.database), loopback()).unwrap();
    let iad = start_node(databases::with_analytics(iad, &primary.database_url(&analytics))).await;
    let url = Some(replica.database_url(&stage.database));
    let syd = static_peers::sydney(stage.secret(), url, iad.local_addr().as_slice()).unwrap();
    let syd = start_node(databases::with_analytics(syd, &replica.database_url(&analytics))).await;
    databases::migrate(&syd.repo()).await.unwrap();
    assert_eq!(databases::order(&iad.repo(), "lamp").await.unwrap(), 1);
    let repo = syd.repo();
    assert_eq!(databases::order(&repo, "lamp").await.unwrap(), 2);
    let orders = "select count(*) from orders";
    assert_eq!(repo.query_one(orders, &[]).await.unwrap().get::<_, i64>(0), 2);
}

#[tokio::test]
async fn tenants_do_not_meet() {
    let stage = Stage::shared("").await;
    for (repo, [one, two]) in stage.repos().iter().zip([["a", "b"], ["quoted \" name", "with space"]]) {
        tenant::create_tenant(repo, one).await.unwrap();
        tenant::create_tenant(repo, two).await.unwrap();
        assert_eq!(tenant::invoice(repo, one, 20).await.unwrap(), Some(20));
        assert_eq!(tenant::invoice(repo, one, 20).await.unwrap(), Some(40));
        assert_eq!(tenant::invoice(repo, two, 1).await.unwrap(), Some(1));
        assert_eq!(tenant::invoice(repo, "nobody", 1).await.unwrap(), None);
    }
}

#[tokio::test]
async fn report_reads_from_named_replica() {
    let stage = Stage::shared(named_replica::SCHEMA).await;
    let insert = "insert into measurements values ('attic', 21.5), ('attic', 22), ('cellar', 9)";
    stage.syd.repo().execute(insert, &[]).await.unwrap();
    let mut config = Config::local(stage.world.primary().database_url(&stage.database));
    config.replica_url = Some(format!("reports={}", stage.replica().database_url(&stage.database)));
    let node = start_node(config).await;
    let (repo, replica) = observed(&node.repo());
    let counted = named_replica::report(&repo, "reports").await.unwrap();
    assert_eq!(counted, [("attic".to_owned(), 2), ("cellar".to_owned(), 1)]);
    assert_eq!(*replica.lock().unwrap(), [Some("reports".to_owned())]);
    assert!(named_replica::report(&repo, "none").await.unwrap_err().is_misuse());
}

#[tokio::test]
async fn seat_has_one_guest() {
    let stage = Stage::shared(fates::SCHEMA).await;
    for (repo, seat) in stage.repos().iter().zip(7..) {
        assert!(fates::reserve(repo, seat, "Ada").await.unwrap());
        assert!(!fates::reserve(repo, seat, "Bob").await.unwrap());
        assert!(fates::reserve(repo, seat, "Ada").await.unwrap(), "a repeated call");
    }
}

#[tokio::test]
async fn no_update_is_lost() {
    let stage = Stage::shared(lost_updates::SCHEMA).await;
    let [iad, syd] = &stage.repos();
    let mut appending = JoinSet::new();
    for repo in [iad, syd].repeat(4) {
        let repo = repo.session();
        appending.spawn(async move { lost_updates::append(&repo, 1, "line").await });
    }
    for appended in appending.join_all().await {
        assert!(appended.unwrap().body.ends_with("line\n"));
    }
    let now = iad.query_one("select body, version from articles", &[]).await.unwrap();
    assert_eq!((now.get::<_, &str>("body"), now.get::<_, i32>("version")), (&*"line\n".repeat(8), 9));
    let form = |body: &str, seen| Form { body: body.into(), seen };
    let saved = lost_updates::save(syd, 1, &form("mine", 9)).await.unwrap().unwrap();
    assert_eq!((&*saved.body, saved.version), ("mine", 10));
    let now = lost_updates::save(iad, 1, &form("theirs", 9)).await.unwrap().unwrap_err();
    assert_eq!((&*now.body, now.version), ("mine", 10));
}

#[tokio::test]
async fn search_ignores_empty_conditions() {
    let stage = Stage::shared(sea_query::SCHEMA).await;
    for repo in stage.repos() {
        for (city, highest_price, found) in [
            (None, None, &[300, 400, 900][..]),
            (Some("Oslo"), None, &[400, 900]),
            (None, Some(400), &[300, 400]),
            (Some("Oslo"), Some(400), &[400]),
            (Some("' or true --"), None, &[]),
        ] {
            let houses = sea_query::search(&repo, city, highest_price).await.unwrap();
            assert_eq!(houses.iter().map(|house| house.price).collect::<Vec<_>>(), found);
        }
    }
}

#[tokio::test]
async fn static_peers_forward_to_virginia() {
    let stage = Stage::shared("create table notes (text text not null)").await;
    let config = static_peers::sydney(stage.secret(), None, stage.iad.local_addr().as_slice()).unwrap();
    let node = start_node(config).await;
    assert_eq!(node.repo().execute("insert into notes values ('far')", &[]).await.unwrap(), 1);
    let read = stage.iad.repo().query_one("select text from notes", &[]).await.unwrap();
    assert_eq!(read.get::<_, String>(0), "far");
}

fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// Returns the handle, and the names of the replicas that answer its calls.
fn observed(repo: &Repo) -> (Repo, Arc<Mutex<Vec<Option<String>>>>) {
    let replicas = Arc::<Mutex<Vec<_>>>::default();
    let sink = Arc::clone(&replicas);
    let repo = repo.with_observer(move |report| {
        sink.lock().unwrap().push(report.replica.as_ref().map(ToString::to_string));
    });
    (repo, replicas)
}
