//! As much of an HTTP client as talking to a node on this machine takes.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// One connection, kept open: requests on it follow each other. It is driven by a task that ends with it.
#[derive(Debug)]
pub(crate) struct Connection {
    address: SocketAddr,
    sender: SendRequest<Full<Bytes>>,
}

/// What a node answered.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("cannot connect to {address}"))?;
        // Requests are small and waited for; nothing is gained by holding them back.
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // What it fails with, the requests on it report.
        tokio::spawn(connection);
        Ok(Self { address, sender })
    }

    /// Sends a request and reads its answer, whatever its status is.
    pub(crate) async fn send(&mut self, method: Method, path: &str, body: Option<&Value>) -> Result<Response> {
        let request = Request::builder().method(method).uri(path).header(HOST, self.address.to_string());
        let request = match body {
            Some(body) => request.header(CONTENT_TYPE, "application/json").body(Full::from(body.to_string()))?,
            None => request.body(Full::default())?,
        };
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await?.to_bytes();
        // axum refuses a malformed request in plain text.
        let body = serde_json::from_slice(&body).unwrap_or_else(|_| String::from_utf8_lossy(&body).into());
        Ok(Response { status, body })
    }
}
