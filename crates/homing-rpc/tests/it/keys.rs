//! Calls with a key, which functions that take one apply once.

use std::sync::Arc;
use std::time::Duration;

use homing_rpc::{CallContext, CallKey, Closure, Error, Expectations, FunctionError, Registry, Rpc};
use tokio::sync::{Semaphore, mpsc};

use crate::world::{Addresses, Link, Relay, config, offering, region, soon};

const LIMIT: Duration = Duration::from_secs(10);

/// What the function `pay` was called with.
type Seen = mpsc::UnboundedSender<(usize, Option<CallKey>)>;

/// The functions of one server: `pay` reports its key, and answers when it may.
fn functions(server: usize, takes_key: bool, seen: &Seen, answers: &Arc<Semaphore>) -> Registry {
    let (seen, answers) = (seen.clone(), Arc::clone(answers));
    let pay = move |context: CallContext, (_amount,): (i64,)| {
        let (seen, answers) = (seen.clone(), Arc::clone(&answers));
        async move {
            seen.send((server, context.key().cloned())).unwrap();
            let _ = answers.acquire().await;
            Ok::<_, FunctionError>("paid")
        }
    };
    let function = Closure::new("pay", pay);
    let mut registry = Registry::new();
    registry.register(if takes_key { function.taking_key() } else { function }).unwrap();
    registry
}

async fn pay(rpc: &Rpc, amount: i64, key: &[u8]) -> Result<u32, Error> {
    let key = Some(CallKey { bytes: key.to_vec(), again: false, fence: 3, fingerprint: 0 });
    let expected = Expectations { key, ..Expectations::default() };
    rpc.call_after::<String>(&region("iad"), "", "pay", (amount,), expected, LIMIT).await.map(|called| called.attempts)
}

#[tokio::test]
async fn call_with_key_is_repeated() {
    let (seen, mut was_seen) = mpsc::unbounded_channel();
    let answers = Arc::new(Semaphore::new(0));
    let start = async |index| offering("iad", functions(index, true, &seen, &answers)).start().await.unwrap();
    let servers = [start(0).await, start(1).await];
    let relays = [Relay::to(servers[0].local_addr()).await, Relay::to(servers[1].local_addr()).await];
    let addresses = Addresses::new();
    addresses.set("iad", Some(relays.each_ref().map(|relay| relay.address).to_vec()));
    let own = functions(2, true, &seen, &answers);
    let rpc = Rpc::new(config("syd").with_functions(Arc::new(own)), Arc::new(addresses));

    let call = tokio::spawn({
        let rpc = rpc.clone();
        async move { pay(&rpc, 7, b"key").await }
    });
    let (first, key) = soon("the first run", was_seen.recv()).await.unwrap();
    let key = key.unwrap();
    assert_eq!((&key.bytes[..], key.again), (&b"key"[..], false));
    relays[first].set(Link::Cut);
    let (second, again) = soon("the second run", was_seen.recv()).await.unwrap();
    assert_eq!((second, again), (1 - first, Some(CallKey { again: true, ..key.clone() })));
    answers.add_permits(10);
    assert_eq!(soon("the answer", call).await.unwrap().unwrap(), 2);

    pay(&rpc, 8, b"key").await.unwrap();
    let (_, other) = was_seen.recv().await.unwrap();
    assert_ne!(other.unwrap().fingerprint, key.fingerprint, "another amount is another call");
}

#[tokio::test]
async fn function_without_keys_is_not_run_with_one() {
    let (seen, mut was_seen) = mpsc::unbounded_channel();
    let answers = Arc::new(Semaphore::new(10));
    let server = offering("iad", functions(0, false, &seen, &answers)).start().await.unwrap();
    let addresses = Addresses::new();
    addresses.set("iad", Some(vec![server.local_addr()]));
    let addresses = Arc::new(addresses);
    for takes_key in [true, false] {
        let own = functions(1, takes_key, &seen, &answers);
        let rpc = Rpc::new(config("syd").with_functions(Arc::new(own)), Arc::clone(&addresses) as _);
        let called = pay(&rpc, 7, b"key").await;
        if takes_key {
            let error = called.unwrap_err();
            assert!(error.is_protocol_mismatch() && error.is_not_sent(), "{error:?}");
            assert!(was_seen.try_recv().is_err());
        } else {
            // The caller knows that the function takes none.
            called.unwrap();
            assert_eq!(was_seen.recv().await.unwrap(), (0, None));
        }
    }
}
