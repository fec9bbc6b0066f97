//! Calls that arrive.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use homing_proto::v1::{DatabaseState, Position};
use homing_rpc::{
    BoxFuture, Cluster, Expectations, FunctionError, NodeConfig, Positions, Reason, Registry, Rpc, States, StaticPeers,
    TraceContext,
};
use tonic::Status;

use crate::world::{Addresses, client, client_with, config, offering, region, serve, server_of, soon, topology};

const LIMIT: Duration = Duration::from_secs(10);

#[tokio::test]
async fn remote_function_returns_its_result() {
    let iad = serve("iad").await;
    let rpc = client(&[iad.local_addr()]);
    let called = rpc.call::<i64>(&region("iad"), "add", (40, 2), LIMIT).await.unwrap();
    assert_eq!(called.value, 42);
    assert_eq!(called.attempts, 1);
    assert_eq!(called.peer.unwrap().to_string(), format!("iad/{}", iad.local_addr()));
    assert!(called.forward >= called.execute);
    assert_eq!(rpc.call_primary::<String>("echo", &"hello", LIMIT).await.unwrap().value, "hello");
}

#[tokio::test]
async fn function_in_own_region_runs_locally() {
    let rpc = client(&[]);
    let called = rpc.call::<i64>(&region("syd"), "add", (40, 2), LIMIT).await.unwrap();
    assert_eq!((called.value, called.attempts, called.peer), (42, 0, None));
}

#[tokio::test]
async fn scope_reaches_only_the_function() {
    let iad = serve("iad").await;
    let rpc = client(&[iad.local_addr()]);
    for place in [region("iad"), region("syd")] {
        for scope in ["", "analytics/tenant 7"] {
            assert_eq!(rpc.call_in::<String>(&place, scope, "scope", (), LIMIT).await.unwrap().value, scope);
        }
        assert_eq!(rpc.call::<String>(&place, "scope", (), LIMIT).await.unwrap().value, "");
        let error = rpc.call_in::<String>(&place, "a", "nonesuch", (), LIMIT).await.unwrap_err();
        assert!(error.is_unknown_function() && error.to_string().contains("nonesuch"), "{error}");
    }
}

/// A function can tell before it does anything that another node has to run it.
#[tokio::test]
async fn refused_call_is_not_executed() {
    let iad = serve("iad").await;
    let rpc = client(&[iad.local_addr()]);
    for place in [region("iad"), region("syd")] {
        let limit = Duration::from_millis(300);
        let error = rpc.call_in::<String>(&place, "elsewhere", "scope", (), limit).await.unwrap_err();
        assert!(error.is_not_sent() && !error.is_function_failed(), "{error}");
        assert!(error.to_string().contains("not here"), "{error}");
    }
}

/// As a build that knows no scopes would: it looks at the other field.
#[tokio::test]
async fn older_builds_refuse_scoped_calls() {
    use homing_proto::v1::{CallRequest, rpc_client::RpcClient};
    let iad = serve("iad").await;
    let rpc = client(&[iad.local_addr()]);
    let request = CallRequest { scope: "tenant".into(), function: "place".into(), ..CallRequest::default() };
    let dispatch = homing_rpc::Dispatch::new(tokio::time::Instant::now() + LIMIT);
    let send = |channel| {
        let request = request.clone();
        async move { RpcClient::new(channel).call(request).await }
    };
    let error = rpc.dispatch(&region("iad"), dispatch, send).await.unwrap_err();
    assert!(error.is_unknown_function() && error.is_not_sent(), "{error}");
}

#[tokio::test]
async fn local_and_remote_errors_are_alike() {
    let iad = serve("iad").await;
    let rpc = client(&[iad.local_addr()]);
    for place in [region("iad"), region("syd")] {
        let error = rpc.call::<()>(&place, "nonesuch", (), LIMIT).await.unwrap_err();
        assert!(error.is_unknown_function() && error.is_not_sent(), "{error}");
        assert!(error.to_string().contains("add, echo"), "{error}");

        let error = rpc.call::<i64>(&place, "add", (1, "two"), LIMIT).await.unwrap_err();
        assert!(error.is_bad_arguments() && error.is_not_sent(), "{error}");
        assert!(error.to_string().contains("argument 2"), "{error}");

        let error = rpc.call::<()>(&place, "fail", &"no luck", LIMIT).await.unwrap_err();
        assert!(error.is_function_failed() && error.is_executed(), "{error}");
        assert!(error.to_string().contains("no luck"), "{error}");
        assert_eq!(error.details().unwrap().type_name, "example.Details");
        assert_eq!(error.details().unwrap().bytes, "details");

        let error = rpc.call::<bool>(&place, "echo", &"text", LIMIT).await.unwrap_err();
        assert!(error.is_executed() && !error.is_function_failed(), "{error}");
        assert!(error.to_string().contains("bool"), "{error}");
    }
}

#[tokio::test]
async fn panicking_function_keeps_the_connection() {
    let mut registry = Registry::new();
    let fall = |_, ()| async { Err::<(), FunctionError>(if true { panic!("down it goes") } else { "".into() }) };
    registry.register_fn("fall", fall).unwrap();
    let iad = offering("iad", registry).start().await.unwrap();
    let rpc = client(&[iad.local_addr()]);
    for _ in 0..2 {
        let error = rpc.call_primary::<()>("fall", (), LIMIT).await.unwrap_err();
        assert!(error.is_function_failed(), "{error}");
        assert!(error.to_string().contains("down it goes"), "{error}");
    }
}

#[tokio::test]
async fn optional_parameter_may_be_added() {
    let iad = serve("iad").await;
    let rpc = client(&[iad.local_addr()]);
    let old = rpc.call_primary::<String>("greet", &"Ada", LIMIT).await.unwrap();
    assert_eq!(old.value, "Dear Ada");
    let new = rpc.call_primary::<String>("greet", ("Ada", Some("Countess")), LIMIT).await.unwrap();
    assert_eq!(new.value, "Countess Ada");
    let newer = rpc.call_primary::<String>("greet", ("Ada", Some("Countess"), None::<u8>), LIMIT).await.unwrap();
    assert_eq!(newer.value, "Countess Ada");
}

#[tokio::test]
async fn every_region_is_called() {
    let (iad, ams) = (serve("iad").await, serve("ams").await);
    let addresses = Addresses::new();
    addresses.set("iad", Some(vec![iad.local_addr()]));
    addresses.set("ams", Some(vec![ams.local_addr()]));
    addresses.set("ord", Some(vec![]));
    let rpc = client_with(addresses);
    let all = rpc.call_all::<String>("place", (), LIMIT).await.unwrap();
    let all: Vec<(String, Option<String>)> =
        all.into_iter().map(|(region, called)| (region.to_string(), called.ok().map(|called| called.value))).collect();
    let place = |name: &str| Some(name.to_owned());
    let expected = [("ams", place("ams")), ("iad", place("iad")), ("ord", None), ("syd", place("syd"))];
    assert_eq!(all, expected.map(|(region, place)| (region.to_owned(), place)));
}

#[tokio::test]
async fn trace_and_caller_travel() {
    let iad = serve("iad").await;
    let rpc = client(&[iad.local_addr()]);
    let trace = TraceContext::root();
    for place in [region("iad"), region("syd")] {
        let call = rpc.call::<(String, String)>(&place, "trace", (), LIMIT);
        let seen = trace.clone().scope(call).await.unwrap().value;
        assert_eq!(seen, (trace.trace_id(), "syd".to_owned()));
    }
}

#[tokio::test]
async fn inner_call_continues_the_trace() {
    let (iad, outer) = (serve("iad").await, {
        let mut registry = Registry::new();
        let inner = client(&[]);
        let outer = move |_, ()| {
            let inner = inner.clone();
            async move {
                Ok::<_, FunctionError>(inner.call::<(String, String)>(&region("syd"), "trace", (), LIMIT).await?.value)
            }
        };
        registry.register_fn("outer", outer).unwrap();
        offering("ams", registry).start().await.unwrap()
    });
    let addresses = Addresses::new();
    addresses.set("iad", Some(vec![iad.local_addr()]));
    addresses.set("ams", Some(vec![outer.local_addr()]));
    let rpc = client_with(addresses);
    let trace = TraceContext::root();
    let ams = region("ams");
    let call = rpc.call::<(String, String)>(&ams, "outer", (), LIMIT);
    assert_eq!(trace.clone().scope(call).await.unwrap().value.0, trace.trace_id());
}

#[derive(Debug)]
struct Database;

impl Positions for Database {
    fn current(&self) -> BoxFuture<'_, Vec<Position>> {
        Box::pin(async { vec![Position { lsn: 42, ..Position::default() }] })
    }
}

impl States for Database {
    fn states(&self) -> Vec<DatabaseState> {
        vec![DatabaseState { database: "main".into(), ..DatabaseState::default() }]
    }
}

#[tokio::test]
async fn positions_and_states_come_along() {
    let iad = server_of(config("iad").with_positions(Arc::new(Database)).with_states(Arc::new(Database)))
        .start()
        .await
        .unwrap();
    let rpc = client(&[iad.local_addr()]);
    assert_eq!(rpc.call_primary::<i64>("add", (1, 2), LIMIT).await.unwrap().positions[0].lsn, 42);
    let described = rpc.describe(&region("iad"), LIMIT).await.unwrap();
    assert_eq!((described.region.as_str(), described.primary_region.as_str()), ("iad", "iad"));
    assert_eq!(described.functions, ["add", "echo", "fail", "greet", "long", "place", "scope", "trace"]);
    assert_eq!(described.databases[0].database, "main");
    assert_eq!(described.protocol_version, homing_proto::PROTOCOL_VERSION);
    assert_eq!(rpc.describe(&region("syd"), LIMIT).await.unwrap().region, "syd");
}

#[tokio::test]
async fn a_large_message_goes_both_ways() {
    let iad = serve("iad").await;
    let rpc = client(&[iad.local_addr()]);
    let text = "x".repeat(12 * 1024 * 1024);
    let called = soon("echo", rpc.call_primary::<String>("echo", &text, LIMIT)).await.unwrap();
    assert_eq!(called.value.len(), text.len());
}

#[tokio::test]
async fn without_a_secret_loopback_is_served() {
    let functions = Arc::new(crate::world::functions("iad"));
    let iad = server_of(NodeConfig::new(topology("iad")).with_functions(functions)).start().await.unwrap();
    let peers = StaticPeers::none().with_region(region("iad"), [iad.local_addr()]);
    let rpc = Rpc::new(NodeConfig::new(topology("syd")), Arc::new(peers));
    assert_eq!(rpc.call_primary::<i64>("add", (1, 2), LIMIT).await.unwrap().value, 3);
}

/// Databases of one cluster, which keep what the callers of functions expect.
#[derive(Debug, Default)]
struct Comparing(Mutex<Vec<(String, Expectations)>>);

impl Positions for Comparing {
    fn current(&self) -> BoxFuture<'_, Vec<Position>> {
        Box::pin(async { Vec::new() })
    }

    fn check<'a>(&'a self, scope: &'a str, expected: Expectations) -> BoxFuture<'a, Result<(), Status>> {
        let is_other = expected.cluster.is_some_and(|cluster| cluster != Cluster::from(7));
        self.0.lock().unwrap().push((scope.to_owned(), expected));
        Box::pin(async move { if is_other { Err(Reason::OtherCluster.status("it is 7")) } else { Ok(()) } })
    }
}

#[tokio::test]
async fn function_is_refused_by_other_cluster() {
    let databases = Arc::new(Comparing::default());
    let positions = Arc::clone(&databases);
    let iad = server_of(config("iad").with_positions(positions)).start().await.unwrap();
    let rpc = client(&[iad.local_addr()]);
    let call = async |cluster: Option<u64>| {
        let expected = Expectations { cluster: cluster.map(Cluster::from), ..Expectations::default() };
        rpc.call_after::<i64>(&region("iad"), "analytics", "add", (1, 2), expected, LIMIT).await
    };
    assert_eq!(call(None).await.unwrap().value, 3);
    assert_eq!(call(Some(7)).await.unwrap().value, 3);
    let error = call(Some(u64::MAX)).await.unwrap_err();
    assert!(error.is_not_sent() && error.reason() == Some(Reason::OtherCluster), "{error:?}");
    let seen = databases
        .0
        .lock()
        .unwrap()
        .iter()
        .map(|(scope, expected)| (scope.clone(), expected.cluster))
        .collect::<Vec<_>>();
    let analytics = |cluster: u64| ("analytics".to_owned(), Some(Cluster::from(cluster)));
    assert_eq!(seen, [analytics(7), analytics(u64::MAX)]);
}
