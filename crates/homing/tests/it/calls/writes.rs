//! Entity calls and functions, in both regions.

use homing::Wait;
use homing::report::AnsweredBy;

use crate::fixture::{NewUser, User, World, import, recorded};

#[tokio::test]
async fn written_row_is_read_back_locally() {
    let world = World::shared().await;
    let (repo, reports) = recorded(&world.syd.repo());
    for number in 0..50 {
        let user = repo.insert(&NewUser::named(&format!("user {number}"))).await.unwrap();
        let report = reports.last();
        assert!(matches!(report.answered_by, AnsweredBy::Peer(_)), "{report:?}");
        assert!(report.position.is_some() && report.attempts == 1, "{report:?}");
        assert_eq!(repo.get::<User>(user.id).await.unwrap(), Some(user));
        assert_eq!(reports.last().answered_by, AnsweredBy::Local);
    }
    assert_eq!(world.users_on_replica().await, 50);
}

#[tokio::test]
async fn entity_calls_agree_in_both_regions() {
    let world = World::shared().await;
    for (node, age) in [(&world.iad, 10), (&world.syd, 20)] {
        let repo = node.repo();
        let names = ["Ada", "Grace", "Edsger"].map(|name| format!("{name} of {age}"));
        let new: Vec<_> = names.iter().map(|name| NewUser { name: name.clone(), age: Some(age) }).collect();
        let mut users = repo.insert_all(&new).await.unwrap();
        assert_eq!(users.iter().map(|user| &user.name).collect::<Vec<_>>(), names.iter().collect::<Vec<_>>());

        users[0].age = None;
        assert_eq!(repo.update(&users[0]).await.unwrap(), users[0]);
        assert_eq!(repo.get::<User>(users[0].id).await.unwrap().as_ref(), Some(&users[0]));
        assert_eq!(repo.get_by::<User>(&[("name", &names[1])]).await.unwrap().as_ref(), Some(&users[1]));
        assert_eq!(repo.one::<User>("where name = $1", &[&names[2]]).await.unwrap(), users[2]);
        assert_eq!(repo.all::<User>("where age = $1 order by id", &[&age]).await.unwrap(), users[1..]);
        assert_eq!(repo.count::<User>("where age = $1", &[&age]).await.unwrap(), 2);

        assert_eq!(repo.delete(&users[2]).await.unwrap(), users[2]);
        assert!(!repo.exists::<User>("where name = $1", &[&names[2]]).await.unwrap());
        assert!(repo.delete(&users[2]).await.unwrap_err().is_not_found());
        assert!(repo.update(&users[2]).await.unwrap_err().is_not_found());
        assert!(repo.one::<User>("where name = $1", &[&names[2]]).await.unwrap_err().is_not_found());
        assert_eq!(repo.get::<User>(users[2].id).await.unwrap(), None);
    }
}

#[tokio::test]
async fn bulk_insert_is_one_round_trip() {
    let world = World::shared().await;
    let (repo, reports) = recorded(&world.syd.repo());
    let new: Vec<_> = (0..3000).map(|number| NewUser::named(&format!("user {number}"))).collect();
    let users = repo.insert_all(&new).await.unwrap();
    assert_eq!(users.len(), 3000);
    assert_eq!(users[2999].name, "user 2999");
    assert_eq!(reports.last().attempts, 1);
    assert_eq!(world.users_on_replica().await, 3000);

    let mut more: Vec<_> = (3000..5000).map(|number| NewUser::named(&format!("user {number}"))).collect();
    more.push(NewUser::named("user 7"));
    assert!(repo.insert_all(&more).await.unwrap_err().is_rejected());
    assert_eq!(world.users_on_primary().await, 3000);
    assert_eq!(repo.insert_all::<NewUser>(&[]).await.unwrap(), []);
}

#[tokio::test]
async fn writes_of_function_are_seen() {
    let world = World::shared().await;
    let (repo, reports) = recorded(&world.syd.repo());
    let names: Vec<_> = (0..20).map(|number| format!("user {number}")).collect();
    assert_eq!(repo.rpc_and_wait::<u64>("import", &names).await.unwrap(), 20);
    assert!(matches!(reports.last().answered_by, AnsweredBy::Peer(_)));
    assert_eq!(world.users_on_replica().await, 20);

    assert_eq!(import::call(&repo, vec!["one more".into()]).await.unwrap(), 1);
    assert_eq!(world.users_on_replica().await, 21);

    // The write does not wait, but the next read still sees it.
    assert_eq!(repo.rpc::<u64>("import", &["and another".to_owned()].as_slice()).await.unwrap(), 1);
    assert_eq!(repo.count::<User>("", &[]).await.unwrap(), 22);

    assert_eq!(import::call(&world.iad.repo(), vec!["at home".into()]).await.unwrap(), 1);
    assert_eq!(world.users_on_primary().await, 23);
}

#[tokio::test]
async fn next_read_waits_for_write() {
    let world = World::shared().await;
    let repo = world.syd.repo().with_wait(Wait::AtNextRead);
    for number in 0..100 {
        let user = repo.insert(&NewUser::named(&format!("user {number}"))).await.unwrap();
        assert_eq!(repo.get::<User>(user.id).await.unwrap(), Some(user));
    }
}

#[tokio::test]
async fn concurrent_writes_are_all_seen() {
    let world = World::shared().await;
    let repo = world.syd.repo();
    let writers: Vec<_> = (0..64)
        .map(|writer| {
            let repo = repo.session();
            tokio::spawn(async move {
                for number in 0..5 {
                    let user = repo.insert(&NewUser::named(&format!("{writer}/{number}"))).await.unwrap();
                    assert_eq!(repo.get::<User>(user.id).await.unwrap(), Some(user));
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(world.users_on_replica().await, 320);
}

#[tokio::test]
async fn primary_answers_without_replica() {
    let world = World::shared().await;
    let node = world.node_without_replica(world.peers()).await;
    let repo = node.repo();
    let user = repo.insert(&NewUser::named("Ada")).await.unwrap();
    assert_eq!(repo.get::<User>(user.id).await.unwrap(), Some(user));
    assert_eq!(repo.query("select 1 + $1::int4", &[&1]).await.unwrap()[0].get::<_, i32>(0), 2);
    assert_eq!(repo.execute("update users set age = age + 1", &[]).await.unwrap(), 1);
}
