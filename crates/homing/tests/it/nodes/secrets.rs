//! A fleet whose secret is changed while it works.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use homing::rpc::PeerHealth;
use homing::{Config, Node, Repo, Secret};
use homing_testbed::wait_until;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::fixture::{NewUser, PATIENCE, SECRET as OLD, Servers, World, in_iad, region, start};

const NEW: &str = "another-secret-of-the-tests-as-long";

/// Two nodes in `iad`, whose addresses stay, and one in `syd`.
struct Fleet {
    servers: &'static Servers,
    world: World,
    iad: Vec<(SocketAddr, Node)>,
    syd: Node,
    /// The handle that the writers use.
    current: watch::Sender<Repo>,
}

fn with_secret(mut config: Config, texts: &[&str]) -> Config {
    config.secret = Some(Secret::new(texts.join(",")).unwrap());
    config
}

impl Fleet {
    async fn start(texts: &[&str]) -> Self {
        let servers = Servers::shared().await;
        let world = servers.world().await;
        let mut iad = Vec::new();
        for _ in 0..2 {
            let node = start(with_secret(servers.primary_config(&world.database), texts)).await.unwrap();
            iad.push((node.local_addr().unwrap(), node));
        }
        let peers = in_iad(iad.iter().map(|(address, _)| *address));
        let syd = start(with_secret(servers.replica_config(&world.database, peers), texts)).await.unwrap();
        let current = watch::Sender::new(syd.repo());
        Self { servers, world, iad, syd, current }
    }

    /// Restarts one node after the other with this secret: the one in `syd` after the first of `iad`.
    async fn restart(&mut self, texts: &[&str]) {
        self.restart_iad(texts).await;
        self.check_tokens().await;
        let peers = in_iad(self.iad.iter().map(|(address, _)| *address));
        let config = with_secret(self.servers.replica_config(&self.world.database, peers), texts);
        let old = std::mem::replace(&mut self.syd, start(config).await.unwrap());
        self.are_up().await;
        self.current.send_replace(self.syd.repo());
        timeout(PATIENCE, old.shutdown()).await.unwrap();
        self.check_tokens().await;
        self.restart_iad(texts).await;
        self.check_tokens().await;
    }

    /// Restarts the node of `iad` that has been up for longest.
    async fn restart_iad(&mut self, texts: &[&str]) {
        let (address, node) = self.iad.remove(0);
        timeout(PATIENCE, node.shutdown()).await.unwrap();
        let mut config = with_secret(self.servers.primary_config(&self.world.database), texts);
        config.listen = Some(address);
        self.iad.push((address, start(config).await.unwrap()));
        self.are_up().await;
    }

    /// Waits until the node in `syd` has both peers, and both have been called by it.
    async fn are_up(&self) {
        let rpc = self.syd.repo().rpc_client().clone();
        wait_until("both peers are up", async || {
            let peers = rpc.peers(&region("iad"), PATIENCE).await.unwrap();
            peers.iter().filter(|peer| peer.health == PeerHealth::Up).count() == 2
        })
        .await;
    }

    /// Takes a session from each node to each other one.
    async fn check_tokens(&self) {
        let nodes: Vec<&Node> = self.iad.iter().map(|(_, node)| node).chain([&self.syd]).collect();
        for from in &nodes {
            let token = from.repo().token().await.unwrap();
            for to in &nodes {
                to.repo().with_token(&token).unwrap();
            }
        }
    }
}

#[tokio::test]
async fn secret_changes_without_a_failed_call() {
    let mut fleet = Fleet::start(&[OLD]).await;
    let failures = Arc::new(Mutex::new(Vec::new()));
    let (written, stop) = (Arc::new(watch::Sender::new(0_u32)), watch::Sender::new(false));
    let mut writers = JoinSet::new();
    for writer in 0..4 {
        let (current, stopped) = (fleet.current.subscribe(), stop.subscribe());
        let (failures, written) = (Arc::clone(&failures), Arc::clone(&written));
        writers.spawn(async move {
            for number in 0.. {
                if *stopped.borrow() {
                    break;
                }
                let repo = current.borrow().clone();
                match repo.insert(&NewUser::named(&format!("{writer} {number}"))).await {
                    Ok(_) => written.send_modify(|written| *written += 1),
                    Err(error) => failures.lock().unwrap().push(format!("{error}: {error:?}")),
                }
            }
        });
    }
    for texts in [&[OLD, NEW][..], &[NEW, OLD], &[NEW]] {
        let before = *written.borrow();
        fleet.restart(texts).await;
        let more = |written: &u32| *written > before + 20;
        timeout(PATIENCE, written.subscribe().wait_for(more)).await.expect("writes do not go on").unwrap();
        assert_eq!(*failures.lock().unwrap(), [""; 0], "while the secret became {} texts", texts.len());
    }
    stop.send_replace(true);
    while let Some(ended) = writers.join_next().await {
        ended.unwrap();
    }
    assert_eq!(*failures.lock().unwrap(), [""; 0]);
    assert_eq!(fleet.world.users_on_primary().await, i64::from(*written.borrow()));
}

/// Without the step in which all nodes accept the new secret, calls do not fail either.
#[tokio::test]
async fn secret_changes_in_two_steps_for_calls() {
    let servers = Servers::shared().await;
    let world = servers.world().await;
    let (old, both, new) = (&[OLD][..], &[NEW, OLD][..], &[NEW][..]);
    for (number, (iad, syd)) in [(old, both), (both, old), (both, new), (new, both)].into_iter().enumerate() {
        let iad = start(with_secret(servers.primary_config(&world.database), iad)).await.unwrap();
        let config = servers.replica_config(&world.database, in_iad(iad.local_addr()));
        let syd = start(with_secret(config, syd)).await.unwrap();
        syd.repo().insert(&NewUser::named(&number.to_string())).await.unwrap();
    }
}
