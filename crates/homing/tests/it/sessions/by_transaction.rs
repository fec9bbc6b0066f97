//! Databases that refuse the functions that tell places in the log: positions are the ids of transactions.

use futures_util::future::join_all;
use homing::position::PositionKind;
use homing::report::AnsweredBy;
use homing::transaction::TransactionOptions;
use homing::{Consistency, OnLag, Repo, Wait};
use homing_testbed::wait_until;
use tokio::time::timeout;

use crate::fixture::{NewUser, PATIENCE, Servers, User, World, count_users, in_iad, recorded, start, wait_until_true};

/// What a database lacks.
#[derive(Debug, Clone, Copy)]
enum Lacking {
    /// The role may not call the functions that tell places in the log.
    Places,

    /// Nor those that tell of the cluster, of timelines and of the WAL receiver, and it may write no message to the log.
    All,

    /// The functions fail as on Amazon Aurora.
    Aurora,
}

impl Lacking {
    /// Returns what makes a database lack them. A function of PostgreSQL is found by its name, and the one in its place fails.
    fn sql(self) -> String {
        let revoke = |names: &str| {
            format!(
                "do $$ declare function regprocedure; begin
                     for function in select oid::regprocedure from pg_proc
                         where pronamespace = 'pg_catalog'::regnamespace and proname ~ '{names}' loop
                         execute format('revoke execute on function %s from public', function);
                     end loop;
                 end $$"
            )
        };
        match self {
            Self::Places => revoke("^pg_(current_wal|last_|wal|ls_wal|switch_wal)"),
            Self::All => {
                revoke("^pg_(current_wal|last_|wal|ls_wal|switch_wal|control_|stat_get_wal|logical_emit_message)")
            }
            Self::Aurora => AURORA.to_owned(),
        }
    }

    /// Returns a database with a node in each region, whose role is no superuser.
    async fn world(self, servers: &Servers) -> World {
        let mut world = servers.world().await;
        world.primary.batch_execute(&self.sql()).await.unwrap();
        let role = format!("of_{}", world.database);
        let grants = format!(
            "create role {role} login; grant all on all tables in schema public to {role};
             grant all on all sequences in schema public to {role}"
        );
        world.primary.batch_execute(&grants).await.unwrap();
        servers.replica.caught_up_with(&servers.primary).await.unwrap();
        let of_role = |url: Option<String>| url.map(|url| url.replace("://postgres@", &format!("://{role}@")));
        let mut config = servers.primary_config(&world.database);
        config.database_url = of_role(config.database_url);
        world.iad = start(config).await.unwrap();
        let mut config = servers.replica_config(&world.database, in_iad(world.iad.local_addr()));
        config.replica_url = of_role(config.replica_url);
        world.syd = start(config).await.unwrap();
        world
    }
}

async fn insert_at_once(repo: &Repo, prefix: &str, count: usize) {
    let users: Vec<_> = (0..count).map(|number| NewUser::named(&format!("{prefix} {number}"))).collect();
    for inserted in join_all(users.iter().map(|user| repo.insert(user))).await {
        inserted.unwrap();
    }
}

#[tokio::test]
async fn reads_see_writes_without_places() {
    let servers = Servers::shared().await;
    for lacking in [Lacking::Places, Lacking::All, Lacking::Aurora] {
        let world = lacking.world(servers).await;
        let (repo, reports) = recorded(&world.syd.repo().with_on_lag(OnLag::Fail));
        for number in 0..20 {
            let user = repo.insert(&NewUser::named(&format!("user {number}"))).await.unwrap();
            assert!(reports.last().position.unwrap().is_by_transaction(), "{lacking:?}");
            assert_eq!(repo.get::<User>(user.id).await.unwrap(), Some(user));
            assert_eq!(reports.last().answered_by, AnsweredBy::Local);
        }
        // More than a session keeps positions of.
        for (at_once, expected) in [(10, 30), (40, 70)] {
            insert_at_once(&repo, &format!("{at_once} at once"), at_once).await;
            assert_eq!(count_users(&repo).await, expected, "{lacking:?}");
            assert_eq!(reports.last().answered_by, AnsweredBy::Local);
        }
        repo.transaction(|tx| async move { tx.insert(&NewUser::named("in a transaction")).await }).await.unwrap();
        assert_eq!(count_users(&repo).await, 71);
        repo.batch_execute("insert into users (name) values ('in a script')").await.unwrap();
        assert_eq!(count_users(&repo).await, 72);
        repo.rpc_and_wait::<u64>("import", &["by a function"]).await.unwrap();
        assert_eq!(count_users(&repo).await, 73);
        repo.execute("delete from users where name = 'nobody'", &[]).await.unwrap();
        let mut copy = repo.copy_in("copy users (name) from stdin").await.unwrap();
        copy.send("by a copy\n").await.unwrap();
        copy.finish().await.unwrap();
        assert_eq!(count_users(&repo).await, 74);
        let status = &repo.replicas().status()[0];
        assert_eq!((status.lag_bytes, status.lag.is_some()), (None, true), "{lacking:?}");
    }
}

/// What the primary shows is on the replica when the session reads there, whether the log is flushed or not.
#[tokio::test]
async fn reads_of_primary_bind_without_places() {
    let servers = Servers::start(&[("wal_writer_delay", "10s"), ("autovacuum", "off")]).await;
    for lacking in [Lacking::Places, Lacking::Aurora] {
        let world = lacking.world(&servers).await;
        let mut expected = 0;
        for kind in ["count", "stream", "snapshot", "token", "next to it"] {
            let write = format!("set synchronous_commit = off; insert into users (name) values ('{kind}')");
            world.primary.batch_execute(&write).await.unwrap();
            expected += 1;
            let (repo, reports) = recorded(&world.syd.repo().with_on_lag(OnLag::Fail));
            let global = repo.with_consistency(Consistency::Global);
            match kind {
                "count" => assert_eq!(count_users(&global).await, expected),
                "stream" => {
                    let mut rows = global.stream("select count(*) from users", &[]).await.unwrap();
                    assert_eq!(rows.next().await.unwrap().unwrap().get::<_, i64>(0), expected);
                }
                "snapshot" => {
                    let read = async |tx: Repo| Ok(count_users(&tx).await);
                    let seen = global.transaction_with(TransactionOptions::read_only(), read).await.unwrap();
                    assert_eq!(seen, expected);
                }
                "token" => assert_eq!(
                    count_users(&global.with_token(world.iad.repo().token().await.unwrap()).unwrap()).await,
                    expected
                ),
                _ => {
                    let reader = world.iad.repo();
                    assert_eq!(count_users(&reader).await, expected);
                    let reader = repo.with_token(reader.token().await.unwrap()).unwrap();
                    assert_eq!(count_users(&reader).await, expected, "{lacking:?}");
                    continue;
                }
            }
            if kind != "token" {
                assert_eq!(count_users(&repo).await, expected, "{lacking:?} {kind}");
                assert_eq!(reports.last().answered_by, AnsweredBy::Local, "{lacking:?} {kind}");
            }
        }
    }
}

/// Both of two writes at the same time have to be there, although neither stands for the other.
#[tokio::test]
async fn paused_replica_is_waited_for() {
    let servers = Servers::start(&[]).await;
    for lacking in [Lacking::Places, Lacking::All, Lacking::Aurora] {
        let world = lacking.world(&servers).await;
        let repo = world.syd.repo().with_on_lag(OnLag::Fail);
        repo.insert(&NewUser::named("Ada")).await.unwrap();
        servers.replica.pause_replay().await.unwrap();
        insert_at_once(&repo.with_wait(Wait::AtNextRead), "at once", 2).await;
        let impatient = repo.with_replay_timeout(std::time::Duration::from_millis(50));
        let error = impatient.session().with_token(repo.token().await.unwrap()).unwrap().count::<User>("", &[]).await;
        assert!(error.unwrap_err().is_not_sent(), "{lacking:?}: nothing stale");
        let (patient, database) = (repo.with_replay_timeout(PATIENCE), repo.database().unwrap());
        let waiting = tokio::spawn(async move { count_users(&patient).await });
        wait_until("the read waits", async || database.tracker().waiting() == 2).await;
        servers.replica.resume_replay().await.unwrap();
        assert_eq!(timeout(PATIENCE, waiting).await.unwrap().unwrap(), 3, "{lacking:?}");
    }
}

#[tokio::test]
async fn token_by_transaction_binds_other_nodes() {
    let servers = Servers::start(&[]).await;
    let world = Lacking::All.world(&servers).await;
    let (here, there) = (world.iad.repo(), world.syd.repo().with_replay_timeout(PATIENCE));
    servers.replica.pause_replay().await.unwrap();
    here.insert(&NewUser::named("Ada")).await.unwrap();
    let reader = there.with_token(here.token().await.unwrap()).unwrap();
    let database = reader.database().unwrap();
    let waiting = tokio::spawn(async move { count_users(&reader).await });
    wait_until("the read waits", async || database.tracker().waiting() == 1).await;
    servers.replica.resume_replay().await.unwrap();
    assert_eq!(timeout(PATIENCE, waiting).await.unwrap().unwrap(), 1);
    there.insert(&NewUser::named("Grace")).await.unwrap();
    assert_eq!(count_users(&here.with_token(there.token().await.unwrap()).unwrap()).await, 2);
}

/// After a failover, the ids of lost transactions are given to others.
#[tokio::test]
async fn lost_transaction_is_told_from_later_one() {
    let servers = Servers::start(&[]).await;
    let world = Lacking::Places.world(&servers).await;
    let (here, there) = (world.iad.repo(), world.syd.repo());
    here.insert(&NewUser::named("Ada")).await.unwrap();
    let kept = here.token().await.unwrap();
    there.insert(&NewUser::named("Bea")).await.unwrap();
    let waited_for = there.token().await.unwrap();
    // What the primary commits from now on does not reach the replica.
    servers.replica.reconfigure(&[("primary_conninfo", "")]).await.unwrap();
    wait_until_true(&world.replica, "select not exists (select from pg_stat_wal_receiver)").await;
    here.insert(&NewUser::named("Grace")).await.unwrap();
    let lost = here.token().await.unwrap();
    world.iad.shutdown().await;
    servers.primary.kill().await.unwrap();
    servers.replica.promote().await.unwrap();
    for number in 0..20 {
        // They take the id of the lost one.
        there.insert(&NewUser::named(&format!("user {number}"))).await.unwrap();
    }
    for token in [&kept, &waited_for] {
        let session = world.syd.repo().with_token(token).unwrap();
        assert_eq!(session.count::<User>("where name in ('Ada', 'Bea')", &[]).await.unwrap(), 2);
    }
    let session = world.syd.repo().with_token(&lost).unwrap();
    let error = session.count::<User>("", &[]).await.unwrap_err();
    assert!(error.is_history_lost(), "{error:?}");
    assert_eq!(count_users(&session).await, 22, "it goes on");
}

/// A fleet in which one half tells positions in another way than the other half.
#[tokio::test]
async fn kinds_of_positions_can_be_mixed() {
    let servers = Servers::start(&[]).await;
    let kinds = [PositionKind::Lsn, PositionKind::Transaction];
    for (of_primary, of_replica) in [(kinds[0], kinds[1]), (kinds[1], kinds[0])] {
        let world = servers.world().await;
        let mut config = servers.primary_config(&world.database);
        config.replica_settings.positions = Some(of_primary);
        let iad = start(config).await.unwrap();
        let mut config = servers.replica_config(&world.database, in_iad(iad.local_addr()));
        config.replica_settings.positions = Some(of_replica);
        let syd = start(config).await.unwrap();
        let (repo, reports) = recorded(&syd.repo());
        for number in 1..=10 {
            repo.insert(&NewUser::named(&format!("user {number}"))).await.unwrap();
            assert_eq!(count_users(&repo).await, number);
            // The id of a write is told by both.
            assert_eq!(reports.last().answered_by, AnsweredBy::Local, "{of_primary}");
        }
        servers.replica.pause_replay().await.unwrap();
        world.primary.batch_execute("insert into users (name) values ('Ada')").await.unwrap();
        assert_eq!(count_users(&repo.with_consistency(Consistency::Global)).await, 11);
        let impatient = repo.with_replay_timeout(std::time::Duration::from_millis(50));
        assert_eq!(count_users(&impatient).await, 11, "{of_primary}: nothing stale");
        assert!(reports.last().answered_by.peer().is_some());
        servers.replica.resume_replay().await.unwrap();
        assert_eq!(count_users(&repo).await, 11);
    }
}

/// The functions that Aurora does not support, under their names, and the function by which it is known.
/// <https://github.com/DataDog/integrations-core/issues/6399>
const AURORA: &str = "
    set allow_system_table_mods = on;
    update pg_proc set proname = 'of_postgresql_' || proname
        where pronamespace = 'pg_catalog'::regnamespace
            and proname ~ '^pg_(current_wal|last_wal|walfile|ls_wal|control_|stat_get_wal_receiver)';
    do $$ declare function text; begin
        foreach function in array array[
            'pg_current_wal_flush_lsn() returns pg_lsn', 'pg_current_wal_insert_lsn() returns pg_lsn',
            'pg_current_wal_lsn() returns pg_lsn', 'pg_last_wal_receive_lsn() returns pg_lsn',
            'pg_last_wal_replay_lsn() returns pg_lsn', 'pg_walfile_name(pg_lsn) returns text',
            'pg_control_system() returns table (system_identifier bigint)',
            'pg_control_checkpoint() returns table (timeline_id int, checkpoint_lsn pg_lsn)',
            'pg_control_recovery() returns table (min_recovery_end_timeline int, min_recovery_end_lsn pg_lsn)',
            'pg_stat_get_wal_receiver() returns table (pid int, status text, received_tli int)'
        ] loop
            execute format(
                'create function pg_catalog.%s language plpgsql as
                 $f$ begin raise ''Function %s is currently not supported for Aurora'' using errcode = ''0A000''; end $f$',
                function, split_part(function, ' ', 1));
        end loop;
    end $$;
    create function pg_catalog.aurora_version() returns text language sql as $$ select '15.4.2' $$;
    reset allow_system_table_mods;";
