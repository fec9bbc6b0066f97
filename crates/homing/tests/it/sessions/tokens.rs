//! Sessions that continue on another node.

use std::time::Duration;

use homing::report::AnsweredBy;
use homing::{DatabaseConfig, Error, Node, OnLag, Secret, Token};
use homing_testbed::Postgres;
use tokio::time::timeout;

use crate::fixture::{NewUser, PATIENCE, SECRET, Servers, User, World, config, in_iad, recorded, start};

const SHORT: Duration = Duration::from_millis(200);

/// A world with a second replica, and a node next to it.
struct Three {
    servers: Servers,
    world: World,
    other: Postgres,
    ams: Node,
}

impl Three {
    async fn start() -> Self {
        let servers = Servers::start(&[]).await;
        let world = servers.world().await;
        let options = Postgres::options().with_name("ams").with_max_connections(300);
        let other = options.start_replica_of(&servers.primary).await.unwrap();
        other.caught_up_with(&servers.primary).await.unwrap();
        let mut config = config("ams");
        config.replica_url = Some(other.database_url(&world.database));
        config.discover = std::sync::Arc::new(world.peers());
        let ams = start(config).await.unwrap();
        Self { servers, world, other, ams }
    }
}

fn is_refused(error: &Error) -> bool {
    error.is_token_refused() && error.is_not_sent() && !error.is_misuse()
}

#[tokio::test]
async fn token_shows_write_on_other_node() {
    let three = Three::start().await;
    three.other.pause_replay().await.unwrap();
    let writer = three.world.syd.repo();
    let user = writer.insert(&NewUser::named("Ada")).await.unwrap();
    let token = writer.token().await.unwrap().to_string();
    assert!(token.len() < 200, "{token}");

    let (there, reports) = recorded(&three.ams.repo().with_replay_timeout(SHORT));
    let holder = there.with_token(&token).unwrap();
    assert_eq!(holder.get::<User>(user.id).await.unwrap().as_ref(), Some(&user));
    assert!(matches!(reports.last().answered_by, AnsweredBy::Peer(_)));
    assert_eq!(there.get::<User>(user.id).await.unwrap(), None, "a stranger");
    assert_eq!(reports.last().answered_by, AnsweredBy::Local);
    let strict = there.with_on_lag(OnLag::Fail).with_token(&token).unwrap();
    assert!(strict.get::<User>(user.id).await.unwrap_err().is_not_sent());

    let patient = there.with_replay_timeout(PATIENCE).with_token(token).unwrap();
    let waiting = tokio::spawn(async move { patient.get::<User>(user.id).await });
    three.other.resume_replay().await.unwrap();
    let user = timeout(PATIENCE, waiting).await.unwrap().unwrap().unwrap();
    assert_eq!(user.unwrap().name, "Ada");
    assert_eq!(reports.last().answered_by, AnsweredBy::Local);
}

/// The session wrote nothing, but the other node must show it at least what it has read.
#[tokio::test]
async fn token_carries_what_was_read() {
    let three = Three::start().await;
    three.other.pause_replay().await.unwrap();
    let user = three.world.iad.repo().insert(&NewUser::named("Ada")).await.unwrap();
    three.servers.replica.caught_up_with(&three.servers.primary).await.unwrap();

    let reader = three.world.syd.repo();
    let before = reader.token().await.unwrap();
    assert_eq!(reader.get::<User>(user.id).await.unwrap().as_ref(), Some(&user));
    let after = reader.token().await.unwrap();
    let there = three.ams.repo().with_replay_timeout(SHORT);
    assert_eq!(there.with_token(&before).unwrap().get::<User>(user.id).await.unwrap(), None);
    assert_eq!(there.with_token(&after).unwrap().get::<User>(user.id).await.unwrap().as_ref(), Some(&user));

    // The replica of this read is gone when the token is made: the primary has seen as much.
    let reader = three.world.syd.repo();
    assert_eq!(reader.get::<User>(user.id).await.unwrap().as_ref(), Some(&user));
    three.servers.replica.kill().await.unwrap();
    let token = reader.token().await.unwrap();
    assert_eq!(there.with_token(&token).unwrap().get::<User>(user.id).await.unwrap(), Some(user));
}

#[tokio::test]
async fn forged_token_is_refused() {
    let world = World::shared().await;
    let repo = world.syd.repo();
    repo.insert(&NewUser::named("Ada")).await.unwrap();
    let token = repo.token().await.unwrap();
    assert_eq!(token.as_str().parse::<Token>().unwrap(), token);
    assert!(!format!("{token:?}").contains(token.as_str()));

    let swapped: String = token.as_str().chars().rev().collect();
    let long = "A".repeat(100_000);
    for forged in ["", "A", "null", &token.as_str()[1..], &token.as_str()[..50], &swapped, &long, "%00", "Ä\0"] {
        let error = repo.with_token(forged).unwrap_err();
        assert!(is_refused(&error), "{forged}: {error:?}");
        assert!(error.to_string().len() < 400);
    }

    let mut other = Servers::shared().await.replica_config(&world.database, world.peers());
    other.secret = Some(Secret::new("another-secret-of-the-tests-as-long").unwrap());
    let other = start(other).await.unwrap();
    let error = other.repo().with_token(&token).unwrap_err();
    assert!(is_refused(&error) && error.to_string().contains("HOMING_SECRET"), "{error}");
}

/// As while the key is changed: in between nodes have both.
#[tokio::test]
async fn token_key_is_apart_from_the_secret() {
    let [old, new] = ["an-old-key-of-the-tokens-of-tests", "a-new-key-of-the-tokens-of-tests"];
    let (servers, world) = (Servers::shared().await, World::shared().await);
    let node = async |keys: &[&str], secret: Option<&str>| {
        let mut config = servers.primary_config(&world.database);
        config.token_key = Some(Secret::new(keys.join(",")).unwrap());
        config.secret = secret.map(|secret| Secret::new(secret).unwrap());
        start(config).await.unwrap()
    };
    let nodes = [
        node(&[old], Some(SECRET)).await,
        node(&[new, old], Some("another-secret-of-the-tests-as-long")).await,
        node(&[new], None).await,
    ];
    let user = nodes[0].repo().insert(&NewUser::named("Ada")).await.unwrap();
    for (maker, accepted) in [(0, [true, true, false]), (1, [false, true, true]), (2, [false, true, true])] {
        let repo = nodes[maker].repo();
        repo.get::<User>(user.id).await.unwrap();
        let token = repo.token().await.unwrap();
        assert_eq!(token.as_str().len(), 87);
        assert_eq!([0, 1, 2].map(|node| nodes[node].repo().with_token(&token).is_ok()), accepted, "{maker}");
        let error = world.iad.repo().with_token(&token).unwrap_err();
        assert!(is_refused(&error) && error.to_string().contains("HOMING_TOKEN_KEY"), "{error}");
    }
    let of_the_secret = world.iad.repo().token().await.unwrap();
    let error = nodes[0].repo().with_token(&of_the_secret).unwrap_err();
    assert!(is_refused(&error) && error.to_string().contains("HOMING_TOKEN_KEY"), "{error}");
}

#[tokio::test]
async fn without_secret_tokens_stay_local() {
    let world = World::shared().await;
    let mut nodes = Vec::new();
    for _ in 0..2 {
        let mut config = Servers::shared().await.primary_config(&world.database);
        config.secret = None;
        nodes.push(start(config).await.unwrap());
    }
    let repo = nodes[0].repo();
    repo.insert(&NewUser::named("Ada")).await.unwrap();
    let token = repo.token().await.unwrap();
    assert_eq!(nodes[1].repo().with_token(&token).unwrap().count::<User>("", &[]).await.unwrap(), 1);
    assert!(is_refused(&world.iad.repo().with_token(&token).unwrap_err()));
    let of_a_network_node = world.iad.repo().token().await.unwrap();
    assert!(is_refused(&repo.with_token(&of_a_network_node).unwrap_err()));
}

#[tokio::test]
async fn token_of_other_cluster_is_refused() {
    let (world, others) = (World::shared().await, Servers::start(&[]).await);
    let foreign = others.world().await;
    let repo = foreign.syd.repo();
    repo.insert(&NewUser::named("Ada")).await.unwrap();
    let token = repo.token().await.unwrap();

    for node in [&world.iad, &world.syd] {
        let error = node.repo().with_token(&token).unwrap_err();
        assert!(is_refused(&error) && error.to_string().contains("cluster"), "{error}");
    }
    // A node without a replica, and one whose replica has never answered, learn of the cluster from a read.
    let mut without = Servers::shared().await.replica_config(&world.database, world.peers());
    without.replica_url = None;
    let mut down = without.clone();
    down.replica_url = Some("postgres://127.0.0.1:1/app".into());
    for config in [without, down] {
        let node = start(config).await.unwrap();
        let repo = node.repo().with_token(&token).unwrap().with_replay_timeout(SHORT);
        let error = repo.count::<User>("", &[]).await.unwrap_err();
        assert!(is_refused(&error) && error.to_string().contains("cluster"), "{error:?}");
        assert_eq!(node.repo().count::<User>("", &[]).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn token_needs_all_its_databases() {
    let servers = Servers::shared().await;
    let (world, second) = (servers.world().await, servers.world().await);
    let mut nodes = Vec::new();
    for _ in 0..2 {
        let analytics = DatabaseConfig::new().with_database_url(servers.primary.database_url(&second.database));
        nodes.push(start(servers.primary_config(&world.database).with_database("analytics", analytics)).await.unwrap());
    }
    let peers = in_iad(nodes[0].local_addr());
    let analytics = DatabaseConfig::new().with_replica_url(servers.replica.database_url(&second.database));
    let away = servers.replica_config(&world.database, peers).with_database("analytics", analytics);
    let away = start(away).await.unwrap();

    let repo = nodes[1].repo();
    repo.insert(&NewUser::named("Ada")).await.unwrap();
    let grace = repo.with_database("analytics").unwrap().insert(&NewUser::named("Grace")).await.unwrap();
    let token = repo.token().await.unwrap();
    assert!(token.as_str().len() < 200);

    let there = away.repo().with_token(&token).unwrap();
    assert_eq!(there.count::<User>("", &[]).await.unwrap(), 1);
    assert_eq!(there.with_database("analytics").unwrap().get::<User>(grace.id).await.unwrap(), Some(grace));
    let error = world.syd.repo().with_token(&token).unwrap_err();
    assert!(is_refused(&error) && error.to_string().contains("analytics"), "{error}");
}

#[tokio::test]
async fn import_keeps_later_position() {
    let three = Three::start().await;
    let writer = three.world.syd.repo();
    let old = writer.token().await.unwrap();
    writer.insert(&NewUser::named("Ada")).await.unwrap();
    let early = writer.token().await.unwrap();
    three.other.caught_up_with(&three.servers.primary).await.unwrap();
    three.other.pause_replay().await.unwrap();
    writer.insert(&NewUser::named("Grace")).await.unwrap();
    let late = writer.token().await.unwrap();

    let there = three.ams.repo().with_replay_timeout(SHORT);
    for (tokens, expected) in
        [([&old, &early], 1), ([&early, &late], 2), ([&late, &early], 2), ([&late, &old], 2), ([&early, &old], 1)]
    {
        let repo = there.with_token(tokens[0]).unwrap().with_token(tokens[1]).unwrap();
        assert_eq!(repo.count::<User>("", &[]).await.unwrap(), expected);
        assert_eq!(there.count::<User>("", &[]).await.unwrap(), 1);
    }
}

/// The token is of the timeline before the failover.
#[tokio::test]
async fn token_survives_failover() {
    let servers = Servers::start(&[]).await;
    let world = servers.world().await;
    let repo = world.syd.repo();
    let ada = repo.insert(&NewUser::named("Ada")).await.unwrap();
    let token = repo.token().await.unwrap();
    world.iad.shutdown().await;
    servers.primary.kill().await.unwrap();
    servers.replica.promote().await.unwrap();

    let grace = world.syd.repo().insert(&NewUser::named("Grace")).await.unwrap();
    let (repo, reports) = recorded(&world.syd.repo().with_token(&token).unwrap());
    assert_eq!(repo.get::<User>(ada.id).await.unwrap(), Some(ada));
    assert_eq!(reports.last().answered_by, AnsweredBy::Local);
    assert_eq!(repo.get::<User>(grace.id).await.unwrap().as_ref(), Some(&grace));
    let token = repo.token().await.unwrap();
    assert_eq!(world.syd.repo().with_token(&token).unwrap().get::<User>(grace.id).await.unwrap(), Some(grace));
}
