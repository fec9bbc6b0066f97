//! The thread `testbed-network`, which runs all relays and DNS servers of this process.
//!
//! The first relay or DNS server starts it, and it runs until the program ends. It owns a tokio
//! runtime. The tasks on that runtime end with their handles: one for each relay, one for each
//! connection of a relay, and those of hickory's DNS servers.

use std::future::pending;
use std::sync::{LazyLock, mpsc};
use std::thread;

use tokio::runtime::{Builder, Handle};

/// Returns the handle of the network's runtime, and starts its thread if this is the first call.
///
/// The network has a thread because it must not stop when the runtime of a test is busy or ends: a
/// relay in a `static` serves all tests of a program, and its timing does not depend on the tests.
pub(crate) fn network() -> &'static Handle {
    static NETWORK: LazyLock<Handle> = LazyLock::new(start);
    &NETWORK
}

fn start() -> Handle {
    let (sender, receiver) = mpsc::channel();
    let run = move || {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("the system has a poller and a pipe left");
        // `start` waits for it.
        let _ = sender.send(runtime.handle().clone());
        runtime.block_on(pending::<()>());
    };
    let thread = thread::Builder::new().name("testbed-network".to_owned()).spawn(run);
    thread.expect("the system has a thread left");
    receiver.recv().expect("the thread sends its handle first")
}
