//! The relays of this program, and what is asked of them.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use homing_testbed::{Cut, Relay};
use tokio::net::lookup_host;

use crate::route::Route;
use crate::state::{Link, Peer, State};

#[derive(Debug)]
pub(crate) struct Routes {
    relays: Vec<(Route, Relay)>,
    /// Whether each link is open.
    links: BTreeMap<String, bool>,
    /// Whether each peer that can be stopped runs.
    peers: BTreeMap<String, bool>,
}

/// What can be done to a link or a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Cut,
    Open,
    Stop,
    Start,
}

impl Order {
    pub(crate) fn parse(kind: &str, verb: &str) -> Option<Self> {
        match (kind, verb) {
            ("links", "cut") => Some(Self::Cut),
            ("links", "open") => Some(Self::Open),
            ("peers", "stop") => Some(Self::Stop),
            ("peers", "start") => Some(Self::Start),
            _ => None,
        }
    }
}

impl Routes {
    /// Listens for all of them.
    pub(crate) async fn start(routes: Vec<Route>, peers: &[String]) -> Result<Self> {
        let links = routes.iter().filter_map(|route| route.link.clone()).map(|link| (link, true)).collect();
        let peers = peers.iter().map(|peer| (peer.clone(), true)).collect();
        let mut relays = Vec::with_capacity(routes.len());
        for route in routes {
            let address = lookup_host(&route.listen).await.ok().and_then(|mut found| found.next());
            let address = address.with_context(|| format!("{} is no address to listen on", route.listen))?;
            let relay = Relay::listen(address, route.targets.clone())?;
            relay.set_round_trip(route.round_trip);
            relays.push((route, relay));
        }
        Ok(Self { relays, links, peers })
    }

    /// Does it, if there is a link or peer of this name; says whether there is.
    ///
    /// A peer that is stopped runs on: its relays break its connections and refuse new ones, which is all that other
    /// regions see of a peer's end.
    pub(crate) async fn obey(&mut self, order: Order, name: &str) -> Result<bool> {
        let (known, up) = match order {
            Order::Cut | Order::Open => (self.links.get_mut(name), order == Order::Open),
            Order::Stop | Order::Start => (self.peers.get_mut(name), order == Order::Start),
        };
        let Some(state) = known else { return Ok(false) };
        if *state != up {
            *state = up;
            self.apply().await?;
        }
        Ok(true)
    }

    pub(crate) fn state(&self) -> State {
        let links = self.links.iter().map(|(region, open)| Link { region: region.clone(), open: *open });
        let peers = self.peers.iter().map(|(name, running)| Peer { name: name.clone(), running: *running });
        State { links: links.collect(), peers: peers.collect(), pages: Vec::new() }
    }

    /// Brings every relay into the state that its link and its peer are in.
    async fn apply(&self) -> Result<()> {
        for (route, relay) in &self.relays {
            let open = route.link.as_ref().is_none_or(|link| self.links[link]);
            let running = self.peers.iter().all(|(peer, running)| *running || !route.leads_to(peer));
            if open && running {
                relay.heal().await?;
            }
            if !running {
                relay.cut(Cut::Reset).await;
            }
            if !open {
                relay.cut(Cut::Blackhole).await;
            }
        }
        Ok(())
    }
}
