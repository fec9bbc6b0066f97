//! Nodes. Small shell scripts stand for them.

use std::time::Duration;

use homing_testbed::{NodeCommand, wait_until};

use crate::is_running;

#[tokio::test]
async fn node_is_up_once_ready() {
    let node = script("echo hello; echo oops >&2; echo \"ready $WHERE\"; sleep 60")
        .env("WHERE", "127.0.0.1:4750")
        .without_env("HOME")
        .start()
        .await
        .unwrap();
    assert_eq!(node.ready_line().await, "127.0.0.1:4750");
    assert!(node.is_running().await);
    let printed = node.log().contents().unwrap();
    assert!(printed.contains("hello\n") && printed.contains("oops\n"), "{printed}");
}

#[tokio::test]
async fn killed_node_starts_again() {
    let node = script("echo \"ready $$\"; sleep 60").start().await.unwrap();
    let before = node.pid().await;
    assert_eq!(node.ready_line().await, before.to_string());
    node.kill().await.unwrap();
    node.kill().await.unwrap();
    assert!(!node.is_running().await);
    node.restart().await.unwrap();
    assert_eq!(node.ready_line().await, node.pid().await.to_string());
    assert_ne!(node.pid().await, before);
    assert_eq!(node.log().contents().unwrap().lines().count(), 2);
}

#[tokio::test]
async fn terminated_node_may_clean_up() {
    let node = script("trap 'echo bye; exit 3' TERM; echo ready now; while :; do sleep 0.01; done");
    let node = node.start().await.unwrap();
    let status = node.terminate(Duration::from_secs(30)).await.unwrap();
    assert_eq!(status.code(), Some(3));
}

#[tokio::test]
async fn stubborn_node_is_killed() {
    let node = script("trap '' TERM; echo ready now; sleep 60").start().await.unwrap();
    let error = node.terminate(Duration::from_millis(1)).await.unwrap_err();
    assert!(error.is_timed_out());
    assert!(!node.is_running().await);
}

#[tokio::test]
async fn paused_node_stays_until_killed() {
    let node = script("echo ready now; sleep 60").start().await.unwrap();
    node.pause().await.unwrap();
    assert!(node.is_running().await);
    node.resume().await.unwrap();
    node.pause().await.unwrap();
    let status = node.terminate(Duration::from_millis(1)).await;
    assert!(status.unwrap_err().is_timed_out());
}

#[tokio::test]
async fn early_end_is_reported_with_log() {
    let error = script("echo no database >&2; exit 7").start().await.unwrap_err();
    assert!(error.is_exited());
    assert!(error.to_string().contains("no database"), "{error}");
    let error = NodeCommand::new("/nonexistent").start().await.unwrap_err();
    assert!(error.is_exited(), "{error:?}");
}

#[tokio::test]
async fn node_without_ready_line_times_out() {
    let command = script("echo $$; sleep 60").with_ready_timeout(Duration::from_millis(1));
    assert!(command.start().await.unwrap_err().is_timed_out());
}

#[tokio::test]
async fn wrapper_ends_with_its_children() {
    let node = script("sleep 300 & echo \"ready $!\"; wait").start().await.unwrap();
    let child = node.ready_line().await;
    node.kill().await.unwrap();
    wait_until("the child has ended", async || !is_running(&child)).await;
}

#[tokio::test]
async fn dropped_node_is_gone() {
    let node = script("echo ready now; sleep 60").start().await.unwrap();
    let pid = node.pid().await.to_string();
    assert!(is_running(&pid));
    drop(node);
    assert!(!is_running(&pid));
}

fn script(script: &str) -> NodeCommand {
    NodeCommand::new("/bin/sh").arg("-c").arg(script)
}
