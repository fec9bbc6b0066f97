//! How fresh a read is: as the local replica, as the session, or as the primary.

mod by_transaction;
mod failover;
mod lag;
mod positions;
mod synchronous;
mod tokens;
mod unchanged;

use std::time::Duration;

use homing::database::{Database, Role};
use homing::report::AnsweredBy;
use homing::{Consistency, OnLag, Options, Repo, Wait};
use homing_testbed::wait_until;

use crate::fixture::{NewUser, Servers, User, World, are_places, recorded, start};

const SHORT: Duration = Duration::from_millis(200);

/// A world whose replica has paused its replay.
async fn paused() -> (Servers, World) {
    let servers = Servers::start(&[]).await;
    let world = servers.world().await;
    servers.replica.pause_replay().await.unwrap();
    (servers, world)
}

async fn sees(repo: &Repo, name: &str) -> bool {
    let [by_entity, by_sql] = [
        repo.exists::<User>("where name = $1", &[&name]).await.unwrap(),
        !repo.query("select 1 from users where name = $1", &[&name]).await.unwrap().is_empty(),
    ];
    assert_eq!(by_entity, by_sql, "{name}");
    by_entity
}

/// Each row: the options, whether a session sees its own write, whether it sees a commit of another session, and whether
/// the primary answers.
#[tokio::test]
async fn consistency_decides_what_reads_see() {
    use Consistency::{Eventual, Global, Session};
    let (_servers, world) = paused().await;
    world.iad.repo().insert(&NewUser::named("of somebody else")).await.unwrap();
    let table = [
        (Eventual, Wait::Now, false, false, false),
        (Eventual, Wait::AtNextRead, false, false, false),
        (Eventual, Wait::Never, false, false, false),
        (Session, Wait::Never, false, false, false),
        (Session, Wait::Now, true, true, true),
        (Session, Wait::AtNextRead, true, true, true),
        (Global, Wait::Now, true, true, true),
        (Global, Wait::AtNextRead, true, true, true),
        (Global, Wait::Never, true, true, true),
    ];
    for (line, (consistency, wait, own, others, asks_primary)) in table.into_iter().enumerate() {
        let options = Options::default().with_consistency(consistency).with_wait(wait).with_replay_timeout(SHORT);
        let (repo, reports) = recorded(&world.syd.repo().with_options(options));
        let name = format!("own {line}");
        repo.insert(&NewUser::named(&name)).await.unwrap();
        assert_eq!(sees(&repo, &name).await, own, "{options:?}");
        assert_eq!(sees(&repo, "of somebody else").await, others, "{options:?}");
        assert_eq!(reports.last().answered_by != AnsweredBy::Local, asks_primary, "{options:?}");
    }
}

#[tokio::test]
async fn eventual_read_ignores_lag() {
    let (_servers, world) = paused().await;
    let strict = world.syd.repo().with_on_lag(OnLag::Fail).with_wait(Wait::AtNextRead).with_replay_timeout(SHORT);
    let (repo, reports) = recorded(&strict);
    repo.insert(&NewUser::named("Ada")).await.unwrap();
    assert!(repo.count::<User>("", &[]).await.unwrap_err().is_not_sent());
    let eventual = repo.with_consistency(Consistency::Eventual);
    assert_eq!(eventual.count::<User>("", &[]).await.unwrap(), 0);
    let report = reports.last();
    assert_eq!(report.answered_by, AnsweredBy::Local);
    assert!(report.stages.replay_wait < SHORT);
}

#[tokio::test]
async fn global_read_binds_session() {
    let (servers, world) = paused().await;
    let (repo, reports) = recorded(&world.syd.repo().with_replay_timeout(SHORT));
    assert!(!sees(&repo, "Ada").await);
    let ada = world.iad.repo().insert(&NewUser::named("Ada")).await.unwrap();
    let global = repo.with_consistency(Consistency::Global);
    assert_eq!(global.get::<User>(ada.id).await.unwrap().as_ref(), Some(&ada));
    assert_eq!(reports.last().attempts, 1);
    // A session sees again, from any server, the rows that it has seen once.
    assert_eq!(repo.get::<User>(ada.id).await.unwrap().as_ref(), Some(&ada));
    assert!(matches!(reports.last().answered_by, AnsweredBy::Peer(_)));
    assert!(!sees(&repo.session(), "Ada").await);

    servers.replica.resume_replay().await.unwrap();
    servers.replica.caught_up_with(&servers.primary).await.unwrap();
    assert_eq!(repo.get::<User>(ada.id).await.unwrap(), Some(ada));
    assert_eq!(reports.last().answered_by, AnsweredBy::Local);
}

/// A read in raw SQL that the primary answered binds the session as well, even with `Wait::Never`.
#[tokio::test]
async fn raw_read_of_primary_binds_session() {
    let (_servers, world) = paused().await;
    world.iad.repo().insert(&NewUser::named("Ada")).await.unwrap();
    let repo = world.syd.repo().with_wait(Wait::Never).with_replay_timeout(SHORT);
    assert!(!sees(&repo, "Ada").await);
    let sql = "select name from users";
    assert_eq!(repo.with_consistency(Consistency::Global).query(sql, &[]).await.unwrap().len(), 1);
    assert_eq!(repo.query(sql, &[]).await.unwrap().len(), 1);
}

#[tokio::test]
async fn primary_reads_are_global() {
    let world = World::shared().await;
    for consistency in [Consistency::Eventual, Consistency::Session, Consistency::Global] {
        let (repo, reports) = recorded(&world.iad.repo().with_consistency(consistency));
        let name = format!("{consistency:?}");
        world.iad.repo().insert(&NewUser::named(&name)).await.unwrap();
        assert!(sees(&repo, &name).await);
        assert_eq!(reports.last().answered_by, AnsweredBy::Local);
    }
}

#[tokio::test]
async fn handles_inherit_options_of_node() {
    let (servers, world) = paused().await;
    world.iad.repo().insert(&NewUser::named("Ada")).await.unwrap();
    let peers = world.peers();
    let mut config = servers.replica_config(&world.database, peers);
    config.options = Options::default().with_consistency(Consistency::Global);
    let node = start(config).await.unwrap();
    assert!(sees(&node.repo(), "Ada").await);
    assert!(sees(&node.repo().session().clone(), "Ada").await);
    assert!(!sees(&node.repo().with_consistency(Consistency::Eventual), "Ada").await);
}

/// A session asks for the position of what it has read only if a call needs the position.
#[tokio::test]
async fn reads_do_not_ask_tracker() {
    let world = World::shared().await;
    // A replica of its own: the node probes those in its list while it reads from them.
    let url = Servers::shared().await.replica.database_url(&world.database);
    let database = Database::connect(homing_postgres::Config::new(url, Role::Replica)).await.unwrap();
    let repo = Repo::new(world.syd.repo().rpc_client().clone(), database, Options::default());
    let trackers = "select count(*) from pg_stat_activity where application_name = 'homing-tracker'
                    and datname = current_database()";
    let none = async || world.replica.query_one(trackers, &[]).await.unwrap().get::<_, i64>(0) == 0;
    for _ in 0..10 {
        repo.count::<User>("", &[]).await.unwrap();
        repo.query("select 1", &[]).await.unwrap();
    }
    // A session that reads from the primary alone has no replica to ask.
    let global = repo.session().with_consistency(Consistency::Global);
    global.count::<User>("", &[]).await.unwrap();
    global.token().await.unwrap();
    assert!(none().await);
    if !are_places() {
        return; // the primary is asked
    }
    repo.token().await.unwrap();
    let asked = async || {
        repo.count::<User>("", &[]).await.unwrap();
        repo.token().await.unwrap();
        !none().await
    };
    wait_until("a token asks for a position", asked).await;
}
