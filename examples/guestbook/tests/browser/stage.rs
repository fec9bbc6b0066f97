//! The demo, shared by all tests of this program.

use homing_testbed::{NodeCommand, NodeProcess, Scratch};
use serde_json::Value;
use std::net::TcpListener;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, MutexGuard, OnceCell};

static STAGE: OnceCell<Stage> = OnceCell::const_new();

/// Tests pause, stop and cut parts of the demo that they share, so they take turns.
static TURN: Mutex<()> = Mutex::const_new(());

pub(crate) struct Stage {
    _demo: NodeProcess,
    _driver: NodeProcess,
    pages: Value,
    pub(crate) driver_url: String,
}

impl Stage {
    pub(crate) async fn turn() -> (&'static Self, MutexGuard<'static, ()>) {
        let turn = TURN.lock().await;
        (STAGE.get_or_init(Self::start).await, turn)
    }

    async fn start() -> Self {
        // Browsers leave folders behind in the one for temporary files.
        let scratch = Scratch::new().unwrap();
        // A free port: since version 150, chromedriver does not tell which one it takes by itself.
        let driver_address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let driver = NodeCommand::new("chromedriver")
            .arg(format!("--port={}", driver_address.port()))
            .env("TMPDIR", scratch.path())
            .with_scratch(&scratch)
            .with_name("chromedriver")
            .with_ready_prefix("ChromeDriver was started successfully on port ");
        let driver = driver.start().await.expect("chromedriver is missing: `cargo xtask test` installs it");
        let demo = NodeCommand::new(env!("CARGO"))
            .arg("run")
            .arg("--package=homing-demo")
            .arg("--")
            .arg("demo")
            .arg("--serve")
            .with_name("demo")
            .with_ready_prefix("ready control=")
            .with_ready_timeout(BUILD)
            .start()
            .await
            .unwrap();
        let state: Value = serde_json::from_str(&get(&format!("{}/state", demo.ready_line().await)).await).unwrap();
        Self {
            _demo: demo,
            _driver: driver,
            pages: state["pages"].clone(),
            driver_url: format!("http://{driver_address}"),
        }
    }

    /// Returns the address of a region's first page, which ends with a slash.
    pub(crate) fn page(&self, region: &str) -> String {
        let pages = self.pages.as_array().unwrap();
        let page = pages.iter().find(|page| page["region"] == region).unwrap();
        page["url"].as_str().unwrap().to_owned()
    }
}

/// Fetches a page by plain HTTP, and returns its body.
pub(crate) async fn get(url: &str) -> String {
    let (host, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut stream = TcpStream::connect(host).await.unwrap();
    stream.write_all(format!("GET /{path} HTTP/1.0\r\nHost: {host}\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(" 200 "), "{url}: {head}");
    body.to_owned()
}

/// The demo is built first, and builds the guestbook.
const BUILD: Duration = Duration::from_secs(600);
