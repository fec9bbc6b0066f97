use std::env;
use std::time::Duration;

use reqwest::{Client, Response};
use serde::Deserialize;

/// Cuts links and stops peers, which the application cannot do itself: the program at the address in `DASHBOARD_CONTROL`
/// does it.
#[derive(Clone, Debug)]
pub(crate) struct Control(String, Client);

/// The links and peers that can be cut and stopped, and the pages of the other regions.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Outside {
    /// The links between the regions of these names and the primary region.
    pub(crate) links: Vec<Switch>,
    pub(crate) peers: Vec<Switch>,
    /// One for each region.
    pub pages: Vec<Page>,
}

/// A link or a peer.
#[derive(Clone, Debug, Deserialize)]
pub struct Switch {
    #[serde(alias = "region")]
    pub(crate) name: String,
    #[serde(alias = "open", alias = "running")]
    pub(crate) is_on: bool,
}

/// The page of a region.
#[derive(Clone, Debug, Deserialize)]
pub struct Page {
    /// The region.
    pub region: String,
    /// The address.
    pub url: String,
}

impl Control {
    pub(crate) fn from_env() -> Option<Self> {
        let url = env::var("DASHBOARD_CONTROL").ok().filter(|url| !url.is_empty())?;
        Some(Self(url, Client::new()))
    }

    pub(crate) async fn outside(&self) -> reqwest::Result<Outside> {
        let answer = self.1.get(format!("{}/state", self.0)).timeout(STATE_LIMIT).send().await?;
        let mut outside: Outside = answer.error_for_status()?.json().await?;
        outside.pages.dedup_by(|page, before| page.region == before.region);
        Ok(outside)
    }

    /// `action` is a path, such as `links/syd/cut`.
    pub(crate) async fn act(&self, action: &str) -> reqwest::Result<Response> {
        self.1.post(format!("{}/{action}", self.0)).timeout(LIMIT).send().await?.error_for_status()
    }
}

/// Short, because a page waits for it.
const STATE_LIMIT: Duration = Duration::from_secs(1);

/// Long, because starting a node takes a while.
const LIMIT: Duration = Duration::from_secs(10);
