//! The thread that relays and DNS servers live on.

use std::{
    future::pending,
    sync::{LazyLock, mpsc},
    thread,
};

use tokio::runtime::{Builder, Handle};

/// The runtime of everything in this crate that stands for the network.
///
/// It has a thread of its own because a network does not stop when a test's runtime is busy or
/// ends: a relay in a `static` serves all tests of a program, and its timing does not depend on
/// what a test does. The thread starts at the first use and lasts as long as the program; the
/// tasks on it end with their handles.
pub(crate) fn network() -> &'static Handle {
    static NETWORK: LazyLock<Handle> = LazyLock::new(start);
    &NETWORK
}

fn start() -> Handle {
    let (sender, receiver) = mpsc::channel();
    let run = move || {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("the system has a poller and a pipe left");
        // The one who waits for it is `start`.
        let _ = sender.send(runtime.handle().clone());
        runtime.block_on(pending::<()>());
    };
    let thread = thread::Builder::new().name("testbed-network".to_owned()).spawn(run);
    thread.expect("the system has a thread left");
    receiver.recv().expect("the thread sends its handle first")
}
