//! Several databases in one node: each by its name, each with its own primary, replica and positions.

use homing::report::AnsweredBy;
use homing::{Config, Context, DatabaseConfig, Node, OnLag, Repo};
use tokio::sync::OnceCell;

use crate::fixture::{NewUser, PATIENCE, Servers, User, World, config, import, in_iad, recorded, region, start};

/// Other servers than those of the unnamed database, for tests that do not pause replay.
static OTHERS: OnceCell<Servers> = OnceCell::const_new();

/// A world whose nodes have a second database, `analytics`, on servers of its own.
struct Two {
    first: World,
    second: World,
    iad: Node,
    syd: Node,
}

impl Two {
    async fn start(servers: &Servers, others: &Servers) -> Self {
        let (first, second) = (servers.world().await, others.world().await);
        let home = DatabaseConfig::new().with_database_url(others.primary.database_url(&second.database));
        let iad = node(servers.primary_config(&first.database).with_database("analytics", home)).await;
        let peers = in_iad(iad.local_addr());
        let away = DatabaseConfig::new().with_replica_url(others.replica.database_url(&second.database));
        let syd = node(servers.replica_config(&first.database, peers).with_database("analytics", away)).await;
        Self { first, second, iad, syd }
    }

    async fn shared() -> Self {
        let others = OTHERS.get_or_init(|| Servers::start(&[])).await;
        Self::start(Servers::shared().await, others).await
    }
}

async fn node(config: Config) -> Node {
    Node::with_config(config).register(import).register(both).start().await.unwrap()
}

/// Stores a user in each database.
#[homing::remote]
async fn both(context: Context, name: String) -> homing::Result<String> {
    let repo = context.repo();
    repo.with_database("")?.insert(&NewUser::named(&name)).await?;
    repo.with_database("analytics")?.insert(&NewUser::named(&name)).await?;
    Ok(repo.database_name().to_owned())
}

async fn names(repo: &Repo) -> Vec<String> {
    repo.all::<User>("order by id", &[]).await.unwrap().into_iter().map(|user| user.name).collect()
}

#[tokio::test]
async fn named_databases_are_separate() {
    let two = Two::shared().await;
    let (repo, reports) = recorded(&two.syd.repo());
    let analytics = repo.with_database("analytics").unwrap();
    assert_eq!((repo.database_name(), analytics.database_name()), ("", "analytics"));
    assert_eq!(repo.database_names().collect::<Vec<_>>(), ["", "analytics"]);

    repo.insert(&NewUser::named("Ada")).await.unwrap();
    let user = analytics.insert(&NewUser::named("Grace")).await.unwrap();
    let position = reports.last().position.unwrap();
    assert_eq!(analytics.get::<User>(user.id).await.unwrap(), Some(user));
    assert_eq!(reports.last().answered_by, AnsweredBy::Local);
    analytics.execute("update users set age = 1 where name = $1", &[&"Grace"]).await.unwrap();
    analytics.batch_execute("insert into users (name) values ('Edsger')").await.unwrap();

    assert_eq!(names(&repo).await, ["Ada"]);
    assert_eq!(names(&analytics).await, ["Grace", "Edsger"]);
    assert_eq!(names(&two.syd.repo_of("analytics").unwrap().with_database("").unwrap()).await, ["Ada"]);
    assert_eq!(two.first.users_on_primary().await, 1);
    assert_eq!(two.second.users_on_primary().await, 2);
    repo.insert(&NewUser::named("Barbara")).await.unwrap();
    assert_ne!(reports.last().position.unwrap().system_identifier, position.system_identifier);
    assert_eq!(names(&two.iad.repo_of("analytics").unwrap()).await, ["Grace", "Edsger"]);
}

#[tokio::test]
async fn function_runs_on_database_of_caller() {
    let two = Two::shared().await;
    for node in [&two.syd, &two.iad] {
        let repo = node.repo();
        let analytics = repo.with_database("analytics").unwrap();
        let region = repo.region().to_string();
        assert_eq!(import::call(&analytics, vec![format!("{region} 1")]).await.unwrap(), 1);
        assert_eq!(names(&analytics).await.last().unwrap(), &format!("{region} 1"));
        assert_eq!(analytics.rpc::<u64>("import", &[format!("{region} 2")]).await.unwrap(), 1);
        assert_eq!(names(&analytics).await.last().unwrap(), &format!("{region} 2"));
        assert!(!names(&repo).await.contains(&format!("{region} 1")));
        assert_eq!(both::call(&repo, region.clone()).await.unwrap(), "");
        assert_eq!(names(&repo).await.last(), Some(&region));
        assert_eq!(names(&analytics).await.last(), Some(&region));
        assert_eq!(both::call(&analytics, format!("{region} 3")).await.unwrap(), "analytics");
        assert_eq!(names(&repo).await.last(), Some(&format!("{region} 3")));
    }
}

/// The caller used the unnamed database, whose replica it waited for.
#[tokio::test]
async fn caller_sees_writes_to_other_database() {
    let (servers, others) = (Servers::shared().await, Servers::start(&[]).await);
    let two = Two::start(servers, &others).await;
    let repo = two.syd.repo().with_on_lag(OnLag::Fail);
    let stranger = two.syd.repo_of("analytics").unwrap();
    others.replica.pause_replay().await.unwrap();
    both::call(&repo, "Ada".into()).await.unwrap();
    assert_eq!(names(&repo).await, ["Ada"]);
    let reading = tokio::spawn({
        let analytics = repo.with_database("analytics").unwrap();
        async move { names(&analytics).await }
    });
    assert!(names(&stranger).await.is_empty());
    others.replica.resume_replay().await.unwrap();
    assert_eq!(reading.await.unwrap(), ["Ada"]);
}

#[tokio::test]
async fn unknown_database_is_named() {
    let two = Two::shared().await;
    for name in ["billing", "Analytics", "analytics/x", "\0"] {
        let error = two.syd.repo_of(name).unwrap_err();
        assert!(error.is_misuse(), "{error:?}");
        assert!(error.to_string().contains("analytics"), "{error}");
    }
    assert!(two.first.syd.repo_of("analytics").unwrap_err().to_string().contains("only the unnamed one"));

    // The peers of this node do not know the database, as during a deployment.
    let servers = Servers::shared().await;
    let peers = in_iad(two.first.iad.local_addr());
    let config = servers.replica_config(&two.first.database, peers);
    let ahead = node(config.with_database("billing", DatabaseConfig::new())).await;
    let billing = ahead.repo_of("billing").unwrap().with_call_timeout(std::time::Duration::from_millis(500));
    let error = billing.insert(&NewUser::named("Ada")).await.unwrap_err();
    assert!(error.is_not_sent() && error.to_string().contains("billing"), "{error:?}");
    let error = billing.rpc_and_wait::<u64>("import", &["Ada"]).await.unwrap_err();
    assert!(error.is_not_sent() && error.to_string().contains("billing"), "{error:?}");
    assert_eq!(two.first.users_on_primary().await, 0);
}

#[tokio::test]
async fn primary_answers_without_named_replica() {
    let two = Two::shared().await;
    let peers = in_iad(two.iad.local_addr());
    let config = Servers::shared().await.replica_config(&two.first.database, peers);
    let node = node(config.with_database("analytics", DatabaseConfig::new())).await;
    let (repo, reports) = recorded(&node.repo_of("analytics").unwrap());
    assert!(repo.database().is_none());
    let user = repo.insert(&NewUser::named("Ada")).await.unwrap();
    assert_eq!(repo.get::<User>(user.id).await.unwrap(), Some(user));
    assert!(matches!(reports.last().answered_by, AnsweredBy::Peer(_)));
}

#[tokio::test]
async fn describe_lists_all_databases() {
    let two = Two::shared().await;
    let rpc = two.syd.repo().rpc_client().clone();
    let described = rpc.describe(&region("iad"), PATIENCE).await.unwrap();
    let names: Vec<_> = described.databases.iter().map(|state| (state.database.as_str(), state.role)).collect();
    assert_eq!(names, [("", 1), ("analytics", 1)]);
}

#[tokio::test]
async fn wrong_settings_name_variable() {
    let servers = Servers::shared().await;
    let mut home = config("iad");
    home.database_url = Some(servers.primary.url());
    let primary = DatabaseConfig::new().with_database_url(servers.primary.url());
    for (config, expected) in [
        (home.clone().with_database("analytics", DatabaseConfig::new()), "HOMING_ANALYTICS_DATABASE_URL"),
        (home.clone().with_database("a", primary.clone()).with_database("a", primary.clone()), "named \"a\""),
        (home.clone().with_database("", primary.clone()), "database name \"\""),
        (home.with_database("A", primary), "database name \"A\""),
    ] {
        let error = start(config).await.unwrap_err();
        assert!(error.is_configuration() || error.is_misuse(), "{error:?}");
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[tokio::test]
async fn missing_primary_names_variable() {
    let servers = Servers::shared().await;
    let mut home = config("iad");
    home.database_url = Some(servers.primary.url());
    let replica = DatabaseConfig::new().with_database_url(servers.replica.url());
    let node = start(home.with_database("analytics", replica)).await.unwrap();
    assert_eq!(node.repo().replicas().missing_primary(), None);
    let missing = node.repo_of("analytics").unwrap().replicas().missing_primary().unwrap();
    assert!(missing.contains("HOMING_ANALYTICS_DATABASE_URL"), "{missing}");
}
