use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use tokio::time::timeout;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What is outside of an application's reach: cutting links, stopping peers. Whoever runs the demo offers it at the
/// address in `GUESTBOOK_CONTROL`.
#[derive(Clone, Debug)]
pub(crate) struct Control {
    url: String,
    client: Client<HttpConnector, Empty<Bytes>>,
}

/// What there is to be cut and stopped.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Outside {
    pub(crate) links: Vec<Link>,
    pub(crate) peers: Vec<Peer>,
    pub(crate) pages: Vec<Page>,
}

/// The link of a region to the primary region.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Link {
    pub(crate) region: String,
    pub(crate) open: bool,
}

/// A node that can be stopped.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Peer {
    pub(crate) name: String,
    pub(crate) running: bool,
}

/// Where this page is found in a region.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Page {
    pub(crate) region: String,
    pub(crate) url: String,
}

impl Control {
    pub(crate) fn new(url: String) -> Result<Self, Failure> {
        let client = Client::builder(TokioExecutor::new()).build_http();
        let parsed: Uri = url.parse().map_err(|error| format!("GUESTBOOK_CONTROL is {url:?}: {error}"))?;
        if parsed.scheme_str() != Some("http") {
            return Err(format!("GUESTBOOK_CONTROL is {url:?}: write http://address:port").into());
        }
        Ok(Self { url: url.trim_end_matches('/').to_owned(), client })
    }

    pub(crate) async fn outside(&self) -> Result<Outside, Failure> {
        Ok(serde_json::from_slice(&self.send(Method::GET, "state").await?)?)
    }

    /// `action` is one of the page's buttons, such as `links/syd/cut`.
    pub(crate) async fn act(&self, action: &str) -> Result<(), Failure> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-/".contains(c);
        if !action.chars().all(plain) {
            return Err(format!("{action:?} is no action").into());
        }
        self.send(Method::POST, action).await.map(drop)
    }

    async fn send(&self, method: Method, path: &str) -> Result<Bytes, Failure> {
        let request = Request::builder().method(method).uri(format!("{}/{path}", self.url)).body(Empty::new())?;
        let answer = async {
            let response = self.client.request(request).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MOST_BYTES).collect().await?.to_bytes();
            if status.is_success() { Ok(body) } else { Err(refused(path, status)) }
        };
        timeout(LIMIT, answer).await.map_err(|_| format!("{} did not answer within {LIMIT:?}", self.url))?
    }
}

fn refused(path: &str, status: StatusCode) -> Failure {
    format!("{path} was answered by {status}").into()
}

/// Starting a node takes a while.
const LIMIT: Duration = Duration::from_secs(10);

const MOST_BYTES: usize = 64 * 1024;
