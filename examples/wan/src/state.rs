//! The state that the control address returns.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context as _, Error};
use serde::{Deserialize, Serialize};

/// The links and peers that can be changed, and the pages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct State {
    pub(crate) links: Vec<Link>,
    pub(crate) peers: Vec<Peer>,
    pub(crate) pages: Vec<Page>,
}

/// Everything between a region and the primary one.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Link {
    pub(crate) region: String,
    pub(crate) open: bool,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Peer {
    pub(crate) name: String,
    pub(crate) running: bool,
}

/// The page of a region.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Page {
    pub(crate) region: String,
    pub(crate) url: String,
}

impl State {
    /// Adds the state of another program. A link of which both have a part is open if both parts are open.
    pub(crate) fn add(&mut self, other: Self) {
        for link in other.links {
            match self.links.iter_mut().find(|known| known.region == link.region) {
                Some(known) => known.open &= link.open,
                None => self.links.push(link),
            }
        }
        self.peers.extend(other.peers);
        self.pages.extend(other.pages);
    }
}

impl FromStr for Page {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (region, url) =
            text.split_once('=').context("a page is a region, = and an address, such as syd=http://localhost:8081/")?;
        Ok(Self { region: region.to_owned(), url: url.to_owned() })
    }
}

impl fmt::Display for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}  {}", self.region, self.url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(syd_is_open: bool, peer: &str) -> State {
        State {
            links: vec![Link { region: "syd".to_owned(), open: syd_is_open }],
            peers: vec![Peer { name: peer.to_owned(), running: true }],
            pages: Vec::new(),
        }
    }

    #[test]
    fn link_is_open_if_all_parts_are() {
        for (one, other) in [(true, true), (true, false), (false, true), (false, false)] {
            let mut all = state(one, "iad-1");
            all.add(state(other, "iad-2"));
            assert_eq!(all.links, state(one && other, "").links);
            assert_eq!(all.peers.len(), 2);
        }
    }

    #[test]
    fn pages_have_regions_and_addresses() {
        let page: Page = "syd=http://localhost:8081/?a=b".parse().unwrap();
        assert_eq!(page.to_string(), "syd  http://localhost:8081/?a=b");
        assert!("http://localhost".parse::<Page>().is_err());
    }
}
