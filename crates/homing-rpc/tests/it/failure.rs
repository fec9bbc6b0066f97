//! Calls that fail, or would have.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use homing_rpc::{Closure, FunctionError, Registry, Resolution, Retry, Rpc, StaticPeers};
use homing_testbed::wait_until;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use crate::world::{
    ANY_PORT, Addresses, Link, Relay, SOON, client, client_with, config, functions, offering, region, serve, server,
    soon,
};

const LIMIT: Duration = Duration::from_secs(10);

/// For calls that wait for a peer in vain.
const SHORT_LIMIT: Duration = Duration::from_millis(500);

/// A node of `iad` whose function `hang` tells when it has begun, and when it is cancelled or dropped, and never ends.
async fn hanging() -> (homing_rpc::ServerHandle, mpsc::UnboundedReceiver<&'static str>) {
    let (tell, told) = mpsc::unbounded_channel();
    let mut registry = functions("iad");
    let hang = move |context: homing_rpc::CallContext, ()| {
        let tell = tell.clone();
        async move {
            let _dropped = Told(tell.clone(), "dropped");
            tell.send("begun").unwrap();
            context.cancelled().await;
            tell.send("cancelled").unwrap();
            std::future::pending::<Result<(), FunctionError>>().await
        }
    };
    registry.register_fn("hang", hang).unwrap();
    (offering("iad", registry).start().await.unwrap(), told)
}

struct Told(mpsc::UnboundedSender<&'static str>, &'static str);

impl Drop for Told {
    fn drop(&mut self) {
        let _ = self.0.send(self.1);
    }
}

/// An address at which nothing listens.
async fn closed_port() -> SocketAddr {
    TcpListener::bind(ANY_PORT).await.unwrap().local_addr().unwrap()
}

async fn add(rpc: &Rpc) -> homing_rpc::Result<homing_rpc::Called<i64>> {
    add_within(rpc, LIMIT).await
}

async fn add_within(rpc: &Rpc, limit: Duration) -> homing_rpc::Result<homing_rpc::Called<i64>> {
    soon("add", rpc.call_primary("add", (40, 2), limit)).await
}

#[tokio::test]
async fn dead_peer_leaves_outcome_unknown() {
    let (hang, mut told) = hanging().await;
    let relay = Relay::to(hang.local_addr()).await;
    let addresses = Addresses::new();
    addresses.set("iad", Some(vec![relay.address]));
    let rpc = client_with(addresses.clone());
    let call = tokio::spawn({
        let rpc = rpc.clone();
        async move { rpc.call_primary::<()>("hang", (), LIMIT).await }
    });
    assert_eq!(soon("begun", told.recv()).await, Some("begun"));
    let other = serve("iad").await;
    addresses.set("iad", Some(vec![relay.address, other.local_addr()]));
    addresses.asked(2).await;

    relay.set(Link::Cut);
    let error = soon("error", call).await.unwrap().unwrap_err();
    assert!(error.is_outcome_unknown(), "{error:?}");
    assert!(error.to_string().contains(&relay.address.to_string()), "{error}");
    let began = Instant::now();
    for _ in 0..20 {
        assert_eq!(add(&rpc).await.unwrap().peer.unwrap().address, other.local_addr());
    }
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(soon("cancelled", told.recv()).await, Some("cancelled"));
}

#[tokio::test]
async fn unprocessed_call_goes_to_another_peer() {
    let (first, second) = (serve("iad").await, serve("iad").await);
    let relay = Relay::to(first.local_addr()).await;
    let rpc = client(&[relay.address]);
    add(&rpc).await.unwrap();
    // Streams 1, 3 and 5 were used. The peer says that it did not process later ones.
    let go_away = |last: u8| [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, last, 0, 0, 0, 0].to_vec();
    let addresses = Addresses::new();
    addresses.set("iad", Some(vec![relay.address]));
    let rpc = client_with(addresses.clone());
    add(&rpc).await.unwrap();
    addresses.set("iad", Some(vec![relay.address, second.local_addr()]));
    addresses.asked(2).await;
    relay.set(Link::Answer(go_away(5)));
    for _ in 0..20 {
        let called = add(&rpc).await.unwrap();
        assert_eq!(called.peer.unwrap().address, second.local_addr());
    }
}

#[tokio::test]
async fn error_names_all_dead_peers() {
    let addresses = [closed_port().await, closed_port().await];
    let rpc = client(&addresses);
    for _ in 0..3 {
        let began = Instant::now();
        let error = add_within(&rpc, SHORT_LIMIT).await.unwrap_err();
        assert!(error.is_not_sent() && !error.is_misuse(), "{error:?}");
        for address in addresses {
            assert!(error.to_string().contains(&address.to_string()), "{error}");
        }
        assert!(error.to_string().contains("refused"), "{error}");
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    }
}

#[tokio::test]
async fn region_without_addresses_is_named() {
    let rpc = client(&[]);
    for name in ["iad", "nowhere"] {
        let error = soon("error", rpc.call::<()>(&region(name), "add", (), LIMIT)).await.unwrap_err();
        assert!(error.is_not_sent(), "{error:?}");
        assert!(error.to_string().contains(name), "{error}");
    }
    let broken = Addresses::new();
    let error = add_within(&client_with(broken), SHORT_LIMIT).await.unwrap_err();
    assert!(error.is_not_sent() && error.to_string().contains("the name service is broken"), "{error}");
}

#[tokio::test]
async fn addresses_outlive_empty_discovery() {
    let iad = serve("iad").await;
    let addresses = Addresses::new();
    addresses.set("iad", Some(vec![iad.local_addr()]));
    let rpc = client_with(addresses.clone());
    add(&rpc).await.unwrap();
    for answer in [None, Some(vec![])] {
        addresses.set("iad", answer);
        addresses.asked(2).await;
        add(&rpc).await.unwrap();
    }
}

/// Longer than these tests wait for anything.
const LONG_TTL: Duration = Resolution::MAX_TTL;

#[tokio::test]
async fn replaced_peers_are_looked_up_early() {
    let old = [serve("iad").await, serve("iad").await];
    let addresses = Addresses::with_ttl(LONG_TTL);
    addresses.set("iad", Some(old.each_ref().map(|server| server.local_addr()).to_vec()));
    let rpc = client_with(addresses.clone());
    add(&rpc).await.unwrap();
    drop(old);
    wait_until("the loss is noticed", async || add_within(&rpc, SHORT_LIMIT).await.is_err()).await;
    let new = serve("iad").await;
    addresses.set("iad", Some(vec![new.local_addr()]));
    wait_until("the new peer is found", async || add(&rpc).await.is_ok()).await;
}

#[tokio::test]
async fn lost_peer_is_looked_up_early() {
    let (first, second) = (serve("iad").await, serve("iad").await);
    let relays = [Relay::to(first.local_addr()).await, Relay::to(second.local_addr()).await];
    let addresses = Addresses::with_ttl(LONG_TTL);
    addresses.set("iad", Some(relays.each_ref().map(|relay| relay.address).to_vec()));
    let rpc = client_with(addresses.clone());
    add(&rpc).await.unwrap();
    for relay in &relays {
        relay.connections(1).await;
    }
    let third = serve("iad").await;
    addresses.set("iad", Some(vec![relays[0].address, third.local_addr()]));
    // A peer that is up takes calls meanwhile, so no call waits.
    relays[1].set(Link::Cut);
    addresses.asked(1).await;
    wait_until("the new peer gets calls", async || {
        add(&rpc).await.unwrap().peer.unwrap().address == third.local_addr()
    })
    .await;
}

#[tokio::test]
async fn partial_answer_keeps_good_peers() {
    let (first, second) = (serve("iad").await, serve("iad").await);
    let relay = Relay::to(first.local_addr()).await;
    let addresses = Addresses::new();
    addresses.set("iad", Some(vec![relay.address]));
    let rpc = client_with(addresses.clone());
    add(&rpc).await.unwrap();
    addresses.set("iad", Some(vec![second.local_addr()]));
    addresses.set_incomplete(true);
    wait_until("the new peer gets calls", async || {
        add(&rpc).await.unwrap().peer.unwrap().address == second.local_addr()
    })
    .await;
    wait_until("the old peer still gets calls", async || {
        add(&rpc).await.unwrap().peer.unwrap().address == relay.address
    })
    .await;
    // One that has failed is not worth keeping.
    relay.set(Link::Cut);
    relay.connections(0).await;
    addresses.asked(3).await;
    relay.set(Link::Open);
    for _ in 0..20 {
        assert_eq!(add(&rpc).await.unwrap().peer.unwrap().address, second.local_addr());
    }
}

#[tokio::test]
async fn removed_peer_finishes_its_calls() {
    let (hang, mut told) = hanging().await;
    let other = serve("iad").await;
    let addresses = Addresses::new();
    addresses.set("iad", Some(vec![hang.local_addr()]));
    let rpc = client_with(addresses.clone());
    let call = tokio::spawn({
        let rpc = rpc.clone();
        async move { rpc.call_primary::<()>("hang", (), Duration::from_secs(3)).await }
    });
    assert_eq!(soon("begun", told.recv()).await, Some("begun"));
    addresses.set("iad", Some(vec![other.local_addr()]));
    addresses.asked(2).await;
    assert_eq!(add(&rpc).await.unwrap().peer.unwrap().address, other.local_addr());
    let error = soon("error", call).await.unwrap().unwrap_err();
    assert!(error.to_string().contains("was stopped"), "{error}");
}

#[tokio::test]
async fn returning_peer_gets_calls_again() {
    let iad = serve("iad").await;
    let relay = Relay::to(iad.local_addr()).await;
    let rpc = client(&[relay.address]);
    add(&rpc).await.unwrap();
    relay.set(Link::Cut);
    relay.connections(0).await;
    let error = add_within(&rpc, SHORT_LIMIT).await.unwrap_err();
    assert!(error.is_not_sent(), "{error:?}");
    relay.set(Link::Open);
    wait_until("the peer is back", async || add(&rpc).await.is_ok()).await;
}

#[tokio::test]
async fn call_waits_through_short_outage() {
    let iad = serve("iad").await;
    let relay = Relay::to(iad.local_addr()).await;
    let rpc = client(&[relay.address]);
    add(&rpc).await.unwrap();
    relay.set(Link::Cut);
    relay.connections(0).await;
    let calls: Vec<_> = (0..100)
        .map(|_| {
            let rpc = rpc.clone();
            tokio::spawn(async move { add(&rpc).await })
        })
        .collect();
    relay.refused(3).await;
    relay.set(Link::Open);
    for call in calls {
        soon("call", call).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn call_waits_for_restarted_peer() {
    let old = serve("iad").await;
    let address = old.local_addr();
    let rpc = client(&[address]);
    add(&rpc).await.unwrap();
    drop(old);
    wait_until("the loss is noticed", async || add_within(&rpc, SHORT_LIMIT).await.is_err()).await;
    let mut call = std::pin::pin!(rpc.call_primary::<i64>("add", (40, 2), LIMIT));
    assert!(futures_util::poll!(call.as_mut()).is_pending());
    let _new = server("iad").listen(address).start().await.unwrap();
    assert_eq!(soon("call", call).await.unwrap().value, 42);
}

#[tokio::test]
async fn long_outage_fails_calls_early() {
    let address = closed_port().await;
    let rpc = client(&[address]);
    add_within(&rpc, SHORT_LIMIT).await.unwrap_err();
    // No peer has been up for as long as this call would wait, so it is not its time limit that ends it.
    let error = add_within(&rpc, SHORT_LIMIT / 2).await.unwrap_err();
    assert!(error.is_not_sent() && error.to_string().contains("can take the call"), "{error}");
}

#[tokio::test]
async fn slow_function_is_stopped_at_deadline() {
    let (iad, mut told) = hanging().await;
    let rpc = client(&[iad.local_addr()]);
    add(&rpc).await.unwrap();
    let limit = Duration::from_millis(500);
    let began = Instant::now();
    let error = rpc.call_primary::<()>("hang", (), limit).await.unwrap_err();
    assert!(error.is_outcome_unknown(), "{error:?}");
    // The server's own word, which arrives before the client gives up.
    assert!(error.to_string().contains("was stopped"), "{error}");
    assert!(began.elapsed() < limit, "{:?}", began.elapsed());
    assert_eq!(soon("begun", told.recv()).await, Some("begun"));
    assert_eq!(soon("dropped", told.recv()).await, Some("dropped"));
}

#[tokio::test]
async fn peer_that_times_out_is_avoided() {
    let mut registry = functions("iad");
    registry.register_fn("work", |_, ()| std::future::pending::<Result<(), FunctionError>>()).unwrap();
    let hung = offering("iad", registry).start().await.unwrap();
    let mut registry = functions("iad");
    // Longer than a greeting takes, so the other peer seems to be the faster one until it is called.
    let work = |_, ()| async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        Ok::<_, FunctionError>(())
    };
    registry.register_fn("work", work).unwrap();
    let well = offering("iad", registry).start().await.unwrap();
    let rpc = client(&[hung.local_addr(), well.local_addr()]);
    let mut failed = 0;
    for call in 0..40 {
        failed += u32::from(rpc.call_primary::<()>("work", (), Duration::from_secs(1)).await.is_err());
        assert!(failed <= 3, "{failed} of {} calls went to the peer that hangs", call + 1);
    }
}

#[tokio::test]
async fn silent_peer_meets_time_limit() {
    // Accepts, and says nothing.
    let silent = TcpListener::bind(ANY_PORT).await.unwrap();
    let rpc = client(&[silent.local_addr().unwrap()]);
    let limit = Duration::from_millis(300);
    let began = Instant::now();
    let error = rpc.call_primary::<()>("add", (1, 2), limit).await.unwrap_err();
    assert!(error.is_not_sent(), "{error:?}");
    assert!(error.to_string().contains("still connecting"), "{error}");
    assert!(began.elapsed() >= limit && began.elapsed() < SOON);
}

#[tokio::test]
async fn silent_peer_leaves_time_for_another() {
    let (first, second) = (serve("iad").await, serve("iad").await);
    let relays = [Relay::to(first.local_addr()).await, Relay::to(second.local_addr()).await];
    let rpc = client(&[relays[0].address, relays[1].address]);
    // Less than the PINGs of a connection need to notice it.
    let limit = Duration::from_secs(4);
    wait_until("both peers are up", async || describe(&rpc, limit).await.peer.address == relays[1].address).await;
    relays[1].set(Link::Hole);
    wait_until("a second attempt was made", async || describe(&rpc, limit).await.attempts > 1).await;
    for _ in 0..20 {
        assert_eq!(add(&rpc).await.unwrap().peer.unwrap().address, relays[0].address);
    }
}

#[tokio::test]
async fn calls_are_not_sent_to_silent_peer() {
    let (hang, mut told) = hanging().await;
    let relay = Relay::to(hang.local_addr()).await;
    let rpc = client(&[relay.address]);
    let call = tokio::spawn({
        let rpc = rpc.clone();
        async move { rpc.call_primary::<()>("hang", (), LIMIT / 2).await }
    });
    assert_eq!(soon("begun", told.recv()).await, Some("begun"));
    relay.set(Link::Hole);
    // A second connection is made while the call still waits on the first.
    relay.connections(2).await;
    assert!(!call.is_finished());
    let error = add_within(&rpc, SHORT_LIMIT).await.unwrap_err();
    assert!(error.is_not_sent(), "{error:?}");
    assert!(soon("error", call).await.unwrap().unwrap_err().is_outcome_unknown());
}

#[tokio::test]
async fn vanished_peer_is_detected() {
    let (hang, mut told) = hanging().await;
    let relay = Relay::to(hang.local_addr()).await;
    let rpc = client(&[relay.address]);
    let call = tokio::spawn(async move { rpc.call_primary::<()>("hang", (), 10 * SOON).await });
    assert_eq!(soon("begun", told.recv()).await, Some("begun"));
    relay.set(Link::Hole);
    let error = soon("error", call).await.unwrap().unwrap_err();
    assert!(error.is_outcome_unknown(), "{error:?}");
}

#[tokio::test]
async fn dropped_call_cancels_the_function() {
    let (iad, mut told) = hanging().await;
    let rpc = client(&[iad.local_addr()]);
    let call = tokio::spawn(async move { rpc.call_primary::<()>("hang", (), Duration::from_secs(600)).await });
    assert_eq!(soon("begun", told.recv()).await, Some("begun"));
    call.abort();
    assert_eq!(soon("cancelled", told.recv()).await, Some("cancelled"));
}

#[tokio::test]
async fn function_ends_with_its_server() {
    let (iad, mut told) = hanging().await;
    let rpc = client(&[iad.local_addr()]);
    let call = tokio::spawn(async move { rpc.call_primary::<()>("hang", (), Duration::from_secs(600)).await });
    assert_eq!(soon("begun", told.recv()).await, Some("begun"));
    drop(iad);
    soon("dropped", async { while told.recv().await != Some("dropped") {} }).await;
    assert!(soon("error", call).await.unwrap().unwrap_err().is_outcome_unknown());
}

#[tokio::test]
async fn full_server_answers_overloaded() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let mut registry = functions("iad");
    let hang = move |_, ()| {
        tell.send(()).unwrap();
        std::future::pending::<Result<(), FunctionError>>()
    };
    registry.register_fn("hang", hang).unwrap();
    let iad = offering("iad", registry).max_in_flight(2).start().await.unwrap();
    let rpc = client(&[iad.local_addr()]);
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..2 {
        let rpc = rpc.clone();
        calls.spawn(async move { rpc.call_primary::<()>("hang", (), LIMIT).await.is_err() });
        soon("begun", told.recv()).await.unwrap();
    }
    let error = add_within(&rpc, SHORT_LIMIT).await.unwrap_err();
    assert!(error.is_overloaded() && error.is_not_sent(), "{error:?}");
    assert!(error.retry_after().unwrap() > Duration::ZERO);
    calls.shutdown().await;
    wait_until("there is room again", async || add(&rpc).await.is_ok()).await;
}

#[tokio::test]
async fn calls_wait_for_room() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let answers = Arc::new(Semaphore::new(0));
    let mut registry = functions("iad");
    let work = {
        let answers = Arc::clone(&answers);
        move |_, ()| {
            let (tell, answers) = (tell.clone(), Arc::clone(&answers));
            async move {
                tell.send(()).unwrap();
                let _ = answers.acquire().await;
                Ok::<_, FunctionError>(())
            }
        }
    };
    registry.register_fn("work", work).unwrap();
    let iad = offering("iad", registry).max_in_flight(2).start().await.unwrap();
    let rpc = client(&[iad.local_addr()]);
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let rpc = rpc.clone();
        calls.spawn(async move { rpc.call_primary::<()>("work", (), LIMIT).await });
    }
    for _ in 0..2 {
        soon("begun", told.recv()).await.unwrap();
    }
    // By the time that this one has failed, the others were refused too.
    assert!(add_within(&rpc, SHORT_LIMIT).await.unwrap_err().is_overloaded());
    answers.add_permits(2);
    while let Some(call) = soon("call", calls.join_next()).await {
        call.unwrap().unwrap();
    }
}

#[tokio::test]
async fn full_peer_is_passed_over() {
    let mut registry = Registry::new();
    registry.register_fn("hang", |_, ()| std::future::pending::<Result<(), FunctionError>>()).unwrap();
    let full = offering("iad", registry).max_in_flight(1).start().await.unwrap();
    let other = serve("iad").await;
    let alone = client(&[full.local_addr()]);
    let hang = tokio::spawn(async move { alone.call_primary::<()>("hang", (), LIMIT).await });
    let rpc = client(&[full.local_addr(), other.local_addr()]);
    wait_until("the server is full", async || {
        !add_within(&client(&[full.local_addr()]), SHORT_LIMIT).await.is_err_and(|error| !error.is_overloaded())
    })
    .await;
    for _ in 0..20 {
        assert_eq!(add(&rpc).await.unwrap().peer.unwrap().address, other.local_addr());
    }
    hang.abort();
}

/// A request that may be repeated.
async fn describe(rpc: &Rpc, limit: Duration) -> homing_rpc::Dispatched<homing_proto::v1::DescribeResponse> {
    let dispatch = homing_rpc::Dispatch::new(Instant::now() + limit).with_retry(Retry::Always);
    let send = |channel| async move {
        let mut client = homing_proto::v1::rpc_client::RpcClient::new(channel);
        client.describe(homing_proto::v1::DescribeRequest {}).await
    };
    soon("describe", rpc.dispatch(&region("iad"), dispatch, send)).await.unwrap()
}

#[tokio::test]
async fn retry_always_repeats_unknown_fate() {
    let (first, second) = (serve("iad").await, serve("iad").await);
    let relays = [Relay::to(first.local_addr()).await, Relay::to(second.local_addr()).await];
    let rpc = client(&[relays[0].address, relays[1].address]);
    let describe = || describe(&rpc, LIMIT);
    // Garbage in place of an answer: the connection breaks with a request on its way. The peer that answered last is
    // likely to be asked again, but not certain.
    let broken = async || {
        let peer = describe().await.peer.address;
        let relay = relays.iter().find(|relay| relay.address == peer).unwrap();
        relay.set(Link::Answer(b"this is not HTTP/2 at all, is it".to_vec()));
        let described = describe().await;
        assert_ne!(described.peer.address, peer);
        relay.set(Link::Open);
        described.attempts > 1
    };
    wait_until("a second attempt was made", broken).await;
}

#[tokio::test]
async fn tasks_end_with_the_last_handle() {
    let iad = serve("iad").await;
    let relay = Relay::to(iad.local_addr()).await;
    let rpc = client(&[relay.address]);
    add(&rpc).await.unwrap();
    relay.connections(1).await;
    let clone = rpc.clone();
    drop(rpc);
    add(&clone).await.unwrap();
    drop(clone);
    relay.connections(0).await;
    let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    wait_until("only the tasks of the relay and the server's acceptor are left", async || alive() <= 2).await;
    drop((relay, iad));
    wait_until("no task is left", async || alive() == 0).await;
}

#[tokio::test]
async fn connect_does_not_need_a_call() {
    let iad = serve("iad").await;
    let relay = Relay::to(iad.local_addr()).await;
    let rpc = client(&[relay.address]);
    rpc.connect(&region("syd")).unwrap();
    rpc.connect(&region("iad")).unwrap();
    relay.connections(1).await;
    add(&rpc).await.unwrap();
    relay.connections(1).await;
}

#[tokio::test]
async fn concurrent_calls_are_spread() {
    let (first, second) = (serve("iad").await, serve("iad").await);
    let peers = [first.local_addr(), second.local_addr()];
    let rpc = client_with(StaticPeers::none().with_region(region("iad"), peers));
    let calls: Vec<_> = (0..500)
        .map(|n: i64| {
            let rpc = rpc.clone();
            tokio::spawn(async move { rpc.call_primary::<i64>("add", (n, 1), LIMIT).await.unwrap() })
        })
        .collect();
    let mut shares = [0, 0];
    for (n, call) in (0..).zip(calls) {
        let called = soon("call", call).await.unwrap();
        assert_eq!(called.value, n + 1);
        shares[usize::from(called.peer.unwrap().address == peers[1])] += 1;
    }
    assert!(shares.iter().all(|share| *share > 50), "{shares:?}");
}

#[tokio::test]
async fn idempotent_call_is_repeated() {
    let (runs, mut run) = mpsc::unbounded_channel();
    let answers = Arc::new(Semaphore::new(0));
    let functions = |server: usize| {
        let (runs, answers) = (runs.clone(), Arc::clone(&answers));
        let set = move |_: homing_rpc::CallContext, ()| {
            let (runs, answers) = (runs.clone(), Arc::clone(&answers));
            async move {
                runs.send(server).unwrap();
                let _ = answers.acquire().await;
                Ok::<_, FunctionError>("set")
            }
        };
        let mut registry = Registry::new();
        registry.register(Closure::new("set", set).idempotent()).unwrap();
        registry
    };
    let start = async |index| offering("iad", functions(index)).start().await.unwrap();
    let servers = [start(0).await, start(1).await];
    let relays = [Relay::to(servers[0].local_addr()).await, Relay::to(servers[1].local_addr()).await];
    let addresses = Addresses::new();
    addresses.set("iad", Some(relays.each_ref().map(|relay| relay.address).to_vec()));
    let rpc = Rpc::new(config("syd").with_functions(Arc::new(functions(2))), Arc::new(addresses));

    let call = tokio::spawn(async move { rpc.call_primary::<String>("set", (), LIMIT).await });
    let first = soon("the first run", run.recv()).await.unwrap();
    relays[first].set(Link::Cut);
    assert_eq!(soon("the second run", run.recv()).await, Some(1 - first));
    answers.add_permits(1);
    let called = soon("the answer", call).await.unwrap().unwrap();
    assert_eq!((called.value.as_str(), called.attempts), ("set", 2));
}
