use std::error::Error;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use tokio::time::timeout;

/// What is outside of an application's reach: links are cut and peers stopped by whoever runs the demo, at the address
/// in `GUESTBOOK_CONTROL`.
#[derive(Clone, Debug)]
pub(crate) struct Control(String, Client<HttpConnector, Empty<Bytes>>);

/// What there is to be cut and stopped, and where the other regions' pages are.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Outside {
    pub(crate) links: Vec<Link>,
    pub(crate) peers: Vec<Peer>,
    pub(crate) pages: Vec<Page>,
}

/// Between a region and the primary region.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Link {
    pub(crate) region: String,
    pub(crate) open: bool,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Peer {
    pub(crate) name: String,
    pub(crate) running: bool,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Page {
    pub(crate) region: String,
    pub(crate) url: String,
}

impl Control {
    pub(crate) fn new(url: &str) -> Self {
        Self(url.trim_end_matches('/').to_owned(), Client::builder(TokioExecutor::new()).build_http())
    }

    /// Nothing where nobody answers.
    pub(crate) async fn outside(&self) -> Outside {
        let mut outside: Outside = match self.send(Method::GET, "state").await {
            Ok(answer) => serde_json::from_slice(&answer).unwrap_or_default(),
            Err(_) => Outside::default(),
        };
        outside.pages.dedup_by(|page, before| page.region == before.region);
        outside
    }

    /// `action` is a path, such as `links/syd/cut`.
    pub(crate) async fn act(&self, action: &str) -> Result<Bytes, Box<dyn Error + Send + Sync>> {
        self.send(Method::POST, action).await
    }

    async fn send(&self, method: Method, path: &str) -> Result<Bytes, Box<dyn Error + Send + Sync>> {
        let request = Request::builder().method(method).uri(format!("{}/{path}", self.0)).body(Empty::new())?;
        let answer = async {
            let (head, body) = self.1.request(request).await?.into_parts();
            let body = Limited::new(body, MOST_BYTES).collect().await?.to_bytes();
            if head.status.is_success() { Ok(body) } else { Err(format!("{path}: {}", head.status).into()) }
        };
        timeout(LIMIT, answer).await?
    }
}

/// Starting a node takes a while.
const LIMIT: Duration = Duration::from_secs(10);

const MOST_BYTES: usize = 64 * 1024;
