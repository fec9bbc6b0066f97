use std::env;
use std::time::Duration;

use reqwest::{Client, Response};
use serde::Deserialize;

/// What is outside of an application's reach: links are cut and peers stopped by whoever runs the demo, at the address
/// in `DASHBOARD_CONTROL`.
#[derive(Clone, Debug)]
pub(crate) struct Control(String, Client);

/// What there is to be cut and stopped, and where the other regions' pages are.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Outside {
    /// Between the regions of these names and the primary region.
    pub(crate) links: Vec<Switch>,
    pub(crate) peers: Vec<Switch>,
    /// One for each region.
    pub pages: Vec<Page>,
}

/// What can be switched off.
#[derive(Clone, Debug, Deserialize)]
pub struct Switch {
    #[serde(alias = "region")]
    pub(crate) name: String,
    #[serde(alias = "open", alias = "running")]
    pub(crate) is_on: bool,
}

/// Where a region's page is.
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

/// A page waits for it.
const STATE_LIMIT: Duration = Duration::from_secs(1);

/// Starting a node takes a while.
const LIMIT: Duration = Duration::from_secs(10);
