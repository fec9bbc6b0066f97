//! A fleet whose secret or certificates change while it works.

use std::fs;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use homing::rpc::{PeerHealth, Tls};
use homing::{Config, Node, Repo, Secret};
use homing_testbed::{CertificateAuthority, wait_until};
use tempfile::TempDir;
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

/// Gives the settings of a node what it proves itself with.
type Credential<'a> = &'a dyn Fn(Config) -> Config;

fn with_secret(mut config: Config, texts: &[&str]) -> Config {
    config.secret = Some(Secret::new(texts.join(",")).unwrap());
    config
}

impl Fleet {
    async fn start(credential: Credential<'_>) -> Self {
        let servers = Servers::shared().await;
        let world = servers.world().await;
        let mut iad = Vec::new();
        for _ in 0..2 {
            let node = start(credential(servers.primary_config(&world.database))).await.unwrap();
            iad.push((node.local_addr().unwrap(), node));
        }
        let peers = in_iad(iad.iter().map(|(address, _)| *address));
        let syd = start(credential(servers.replica_config(&world.database, peers))).await.unwrap();
        let current = watch::Sender::new(syd.repo());
        Self { servers, world, iad, syd, current }
    }

    /// Restarts one node after the other with this credential: the one in `syd` after the first of `iad`.
    async fn restart(&mut self, credential: Credential<'_>) {
        self.restart_iad(credential).await;
        self.check_tokens().await;
        let peers = in_iad(self.iad.iter().map(|(address, _)| *address));
        let config = credential(self.servers.replica_config(&self.world.database, peers));
        let old = std::mem::replace(&mut self.syd, start(config).await.unwrap());
        self.are_up().await;
        self.current.send_replace(self.syd.repo());
        timeout(PATIENCE, old.shutdown()).await.unwrap();
        self.check_tokens().await;
        self.restart_iad(credential).await;
        self.check_tokens().await;
    }

    /// Restarts the node of `iad` that has been up for longest.
    async fn restart_iad(&mut self, credential: Credential<'_>) {
        let (address, node) = self.iad.remove(0);
        timeout(PATIENCE, node.shutdown()).await.unwrap();
        let mut config = credential(self.servers.primary_config(&self.world.database));
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

/// Callers that write through the fleet's current handle.
struct Writers {
    tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
    written: Arc<watch::Sender<u32>>,
    failures: Arc<Mutex<Vec<String>>>,
}

impl Writers {
    fn start(fleet: &Fleet) -> Self {
        let failures = Arc::new(Mutex::new(Vec::new()));
        let (written, stop) = (Arc::new(watch::Sender::new(0_u32)), watch::Sender::new(false));
        let mut tasks = JoinSet::new();
        for writer in 0..4 {
            let (current, stopped) = (fleet.current.subscribe(), stop.subscribe());
            let (failures, written) = (Arc::clone(&failures), Arc::clone(&written));
            tasks.spawn(async move {
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
        Self { tasks, stop, written, failures }
    }

    /// Waits until twenty more rows are written, and asserts that no call has failed.
    async fn go_on(&self) {
        let before = *self.written.borrow();
        let more = |written: &u32| *written > before + 20;
        timeout(PATIENCE, self.written.subscribe().wait_for(more)).await.expect("writes do not go on").unwrap();
        assert_eq!(*self.failures.lock().unwrap(), [""; 0]);
    }

    /// Ends the callers and returns how many rows they have written.
    async fn end(mut self) -> i64 {
        self.stop.send_replace(true);
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
        assert_eq!(*self.failures.lock().unwrap(), [""; 0]);
        i64::from(*self.written.borrow())
    }
}

#[tokio::test]
async fn secret_changes_without_a_failed_call() {
    let mut fleet = Fleet::start(&|config| with_secret(config, &[OLD])).await;
    let writers = Writers::start(&fleet);
    for texts in [&[OLD, NEW][..], &[NEW, OLD], &[NEW]] {
        fleet.restart(&|config| with_secret(config, texts)).await;
        writers.go_on().await;
    }
    assert_eq!(writers.end().await, fleet.world.users_on_primary().await);
}

/// The files that all nodes of a fleet share.
struct Files(TempDir);

impl Files {
    fn renew(&self, authority: &CertificateAuthority) {
        authority.issue(&["shop"]).unwrap().save(self.0.path(), "node").unwrap();
    }

    fn trust(&self, authorities: &[&CertificateAuthority]) {
        let pems: String = authorities.iter().map(|authority| authority.pem()).collect();
        fs::write(self.0.path().join("authorities"), pems).unwrap();
    }

    fn with_tls(&self, mut config: Config) -> Config {
        let path = |name: &str| self.0.path().join(name);
        config.secret = None;
        config.tls = Some(Tls::from_files(path("node.crt"), path("node.key"), path("authorities"), "shop").unwrap());
        config
    }
}

/// The nodes read the files again by themselves, and some of them are restarted before they do.
#[tokio::test]
async fn certificates_change_without_a_failed_call() {
    let (old, new) = (CertificateAuthority::new("old").unwrap(), CertificateAuthority::new("new").unwrap());
    let files = Files(tempfile::tempdir().unwrap());
    files.renew(&old);
    files.trust(&[&old]);
    let credential = |config| files.with_tls(config);
    let mut fleet = Fleet::start(&credential).await;
    let writers = Writers::start(&fleet);
    let steps: [&dyn Fn(); 3] = [&|| files.trust(&[&old, &new]), &|| files.renew(&new), &|| files.trust(&[&new])];
    for step in steps {
        step();
        fleet.restart(&credential).await;
        writers.go_on().await;
    }
    assert_eq!(writers.end().await, fleet.world.users_on_primary().await);
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
