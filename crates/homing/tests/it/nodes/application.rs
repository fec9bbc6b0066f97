//! What an application adds to its functions: its state, its errors, the region they run in.

use std::sync::atomic::{AtomicU32, Ordering};

use homing::{Context, Error, Fate, Node};

use crate::fixture::{NewUser, PATIENCE, Servers, User, World, config, count_users, in_iad, region};

struct Calls(AtomicU32);

#[homing::remote]
async fn counted(context: Context) -> homing::Result<u32> {
    let calls: &Calls = context.state()?;
    Ok(calls.0.fetch_add(1, Ordering::SeqCst) + context.state::<u32>()?)
}

#[homing::remote(transactional)]
async fn missing(context: Context) -> homing::Result<String> {
    context.repo().insert(&NewUser::named("Ada")).await?;
    context.state::<String>().cloned()
}

#[tokio::test]
async fn functions_share_state_of_their_node() {
    let world = World::shared().await;
    let iad = Node::with_config(Servers::shared().await.primary_config(&world.database));
    let iad = iad.with_state(Calls(AtomicU32::new(5))).with_state(100_u32).register(counted).register(missing);
    let iad = iad.start().await.unwrap();
    let syd = world.node_without_replica(in_iad([iad.local_addr().unwrap()])).await;
    assert_eq!(counted::call(&syd.repo()).await.unwrap(), 105);
    assert_eq!(counted::call(&iad.repo()).await.unwrap(), 106);
    let error = missing::call(&syd.repo()).await.unwrap_err();
    assert!(error.is_rejected() && error.to_string().contains("String"), "{error}");
    assert_eq!(world.users_on_primary().await, 0);
}

#[tokio::test]
async fn two_states_of_a_type_are_refused() {
    let error = Node::with_config(config("iad")).with_state(1_u8).with_state(2_u8).start().await.unwrap_err();
    assert!(error.is_configuration() && error.to_string().contains("u8"), "{error}");
}

/// Fails as the operating system, another crate and PostgreSQL do.
#[homing::remote]
async fn fails(context: Context, how: u8) -> anyhow::Result<()> {
    use anyhow::Context as _;

    match how {
        0 => drop(std::fs::read("/nonexistent").context("reading the list")?),
        1 => drop("many".parse::<u8>()?),
        _ => drop(
            context.repo().execute("insert into users (name) values ('Ada'), ('Ada')", &[]).await.context("storing")?,
        ),
    }
    Ok(())
}

#[homing::remote]
async fn fails_plainly(_: Context) -> homing::Result<()> {
    std::fs::read("/nonexistent")?;
    Ok(())
}

#[tokio::test]
async fn errors_of_other_crates_travel() {
    let world = World::shared().await;
    let iad = Node::with_config(Servers::shared().await.primary_config(&world.database));
    let iad = iad.register(fails).register(fails_plainly).start().await.unwrap();
    let syd = world.node_without_replica(in_iad([iad.local_addr().unwrap()])).await;
    let assert_failed = |error: Error, part: &str| {
        assert_eq!(error.fate(), Fate::FunctionFailed);
        assert!(error.to_string().contains(part), "{error}");
    };
    assert_failed(fails::call(&syd.repo(), 0).await.unwrap_err(), "reading the list: No such file");
    assert_failed(fails::call(&syd.repo(), 1).await.unwrap_err(), "invalid digit");
    let unique = fails::call(&syd.repo(), 2).await.unwrap_err();
    assert_eq!(unique.code(), Some(&homing::error::SqlState::UNIQUE_VIOLATION));
    assert_failed(unique, "storing: ");
    assert_failed(fails_plainly::call(&syd.repo()).await.unwrap_err(), "No such file");
}

/// Stores a user, in whichever region it runs, and returns that region.
#[homing::remote]
async fn store(context: Context, name: String) -> homing::Result<String> {
    context.repo().insert(&NewUser::named(&name)).await?;
    Ok(context.repo().region().to_string())
}

#[tokio::test]
async fn function_runs_in_named_region() {
    let (world, servers) = (World::shared().await, Servers::shared().await);
    let iad = Node::with_config(servers.primary_config(&world.database)).register(store).start().await.unwrap();
    let mut settings = servers.replica_config(&world.database, in_iad([iad.local_addr().unwrap()]));
    settings.listen = Some(([127, 0, 0, 1], 0).into());
    let syd = Node::with_config(settings).register(store).start().await.unwrap();
    // A node in a third region, which has the same replica.
    let both = in_iad([iad.local_addr().unwrap()]).with_region(region("syd"), [syd.local_addr().unwrap()]);
    let mut settings = config("ams");
    settings.replica_url = Some(servers.replica.database_url(&world.database));
    settings.discover = std::sync::Arc::new(both);
    let ams = Node::with_config(settings).register(store).start().await.unwrap();
    let repo = ams.repo().with_call_timeout(PATIENCE);

    servers.replica.caught_up_with(&servers.primary).await.unwrap();
    for (count, name) in (1..).zip(["syd", "iad", "ams"]) {
        assert_eq!(store::call_in(&repo, &region(name), name.into()).await.unwrap(), name);
        assert_eq!(count_users(&repo).await, count, "the session sees what the function in {name} stored");
    }
    assert_eq!(store::call(&repo, "again".into()).await.unwrap(), "iad");
    assert_eq!(repo.all::<User>("", &[]).await.unwrap().len(), 4);
    let error = store::call_in(&repo.with_call_timeout(PATIENCE / 30), &region("fra"), "x".into()).await.unwrap_err();
    assert!(error.is_not_sent() && error.to_string().contains("fra"), "{error}");
}

/// A function that ran elsewhere has written at a position that its caller does not know.
#[tokio::test]
async fn session_sees_writes_of_function_elsewhere() {
    let servers = Servers::start(&[]).await;
    let world = servers.world().await;
    let iad = Node::with_config(servers.primary_config(&world.database)).start().await.unwrap();
    let peers = in_iad([iad.local_addr().unwrap()]);
    // Its region has no replica of its own, so that nothing but its answer tells that it has written.
    let mut settings = config("fra");
    settings.discover = std::sync::Arc::new(peers.clone());
    settings.listen = Some(([127, 0, 0, 1], 0).into());
    let fra = Node::with_config(settings).register(store).start().await.unwrap();
    let both = peers.with_region(region("fra"), [fra.local_addr().unwrap()]);
    let syd = servers.replica_node(&world.database, both).await;
    let repo = syd.repo();
    assert_eq!(count_users(&repo).await, 0);
    servers.replica.pause_replay().await.unwrap();
    assert_eq!(store::call_in(&repo, &region("fra"), "Ada".into()).await.unwrap(), "fra");
    assert_eq!(count_users(&repo.with_replay_timeout(std::time::Duration::from_millis(50))).await, 1);
    servers.replica.resume_replay().await.unwrap();
}
