//! The testbed, with the real servers and processes that it starts.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod cleanup;
mod dns;
mod node;
mod patroni;
mod postgres;
mod relay;
mod world;

use std::{process::Command, time::Duration};

/// Returns the result of a future that has to end within the limit.
async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.expect("the future ends within the limit")
}

/// Generous: machines are busy, and a test that passes does not wait for it.
const LIMIT: Duration = Duration::from_secs(60);

/// Returns whether a process runs. A process that waits to be reaped does not count.
fn is_running(pid: &str) -> bool {
    let output = Command::new("/bin/sh").args(["-c", IS_RUNNING, "sh", pid]).output().unwrap();
    output.status.success()
}

/// Linux may lack `ps`, and macOS `/proc`.
const IS_RUNNING: &str = r#"
    if [ -d /proc/self ]; then
        read -r stat <"/proc/$1/stat" || exit 1
        set -- ${stat##*) }
    else
        set -- $(ps -o stat= -p "$1") || exit 1
    fi
    case $1 in Z*|X*|"") exit 1 ;; esac
"#;
