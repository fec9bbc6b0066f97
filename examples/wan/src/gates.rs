//! The other programs of this kind, reached by HTTP.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use futures_util::future::join_all;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::state::State;

/// Their control addresses.
#[derive(Debug)]
pub(crate) struct Gates {
    addresses: Vec<String>,
}

impl Gates {
    pub(crate) fn new(addresses: Vec<String>) -> Self {
        Self { addresses }
    }

    /// Returns the states of the gates that answer.
    pub(crate) async fn states(&self) -> Vec<State> {
        let answers = self.ask_all(Method::GET, "/state", STATE_TIMEOUT).await;
        let states = answers.into_iter().map(|answer| Ok(serde_json::from_slice(&answer?.1)?));
        states.filter_map(|state: Result<State>| state.inspect_err(|error| eprintln!("{error:#}")).ok()).collect()
    }

    /// Passes an order on, and returns whether any gate has the link or peer.
    pub(crate) async fn order(&self, path: &str) -> Result<bool> {
        let mut known = false;
        for answer in self.ask_all(Method::POST, path, ORDER_TIMEOUT).await {
            known |= answer?.0.is_success();
        }
        Ok(known)
    }

    async fn ask_all(&self, method: Method, path: &str, limit: Duration) -> Vec<Result<(StatusCode, Bytes)>> {
        join_all(self.addresses.iter().map(async |address| {
            let answer = timeout(limit, ask(address, method.clone(), path)).await;
            let answer = answer.context("no answer in time").and_then(|answer| answer);
            answer.with_context(|| format!("cannot ask the gate {address}"))
        }))
        .await
    }
}

async fn ask(address: &str, method: Method, path: &str) -> Result<(StatusCode, Bytes)> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // The task ends with the sender. If the connection fails, the request reports the error.
    tokio::spawn(connection);
    let request = Request::builder().method(method).uri(path).header(HOST, address).body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    if status.is_server_error() {
        bail!("it answered with status {status}");
    }
    Ok((status, response.into_body().collect().await?.to_bytes()))
}

/// The gates are near. The dashboard waits a second for this program, which must answer even if a gate does not.
const STATE_TIMEOUT: Duration = Duration::from_millis(500);

/// The dashboard waits ten seconds for this program, and another order may come first.
const ORDER_TIMEOUT: Duration = Duration::from_secs(3);
