//! The relays of this program, and the orders that change them.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use homing_testbed::{Cut, Relay};
use tokio::net::lookup_host;

use crate::route::Route;
use crate::state::{Link, Peer, State};

#[derive(Debug)]
pub(crate) struct Routes {
    relays: Vec<(Route, Relay)>,
    switches: Switches,
}

/// What is switched on.
#[derive(Clone, Debug)]
struct Switches {
    /// Whether each link is open.
    links: BTreeMap<String, bool>,
    /// Whether each peer that can be stopped is running.
    peers: BTreeMap<String, bool>,
}

/// An order for a link or a peer.
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
    /// Starts all relays.
    pub(crate) async fn start(routes: Vec<Route>, peers: &[String]) -> Result<Self> {
        let links = routes.iter().filter_map(|route| route.link.clone()).map(|link| (link, true)).collect();
        let peers = peers.iter().map(|peer| (peer.clone(), true)).collect();
        let mut relays = Vec::with_capacity(routes.len());
        for route in routes {
            let address = lookup_host(&route.listen).await.ok().and_then(|mut found| found.next());
            let address = address.with_context(|| format!("invalid address to listen on: {}", route.listen))?;
            let relay = Relay::listen(address, route.targets.clone())?;
            relay.set_round_trip(route.round_trip);
            relays.push((route, relay));
        }
        Ok(Self { relays, switches: Switches { links, peers } })
    }

    /// Obeys the order if there is a link or peer of this name, and returns whether there is.
    ///
    /// A stopped peer keeps running. Its relays break its connections and refuse new ones, which looks to other regions as if
    /// it had ended.
    pub(crate) async fn obey(&mut self, order: Order, name: &str) -> Result<bool> {
        let mut switches = self.switches.clone();
        let (known, on) = match order {
            Order::Cut | Order::Open => (switches.links.get_mut(name), order == Order::Open),
            Order::Stop | Order::Start => (switches.peers.get_mut(name), order == Order::Start),
        };
        let Some(switch) = known else { return Ok(false) };
        *switch = on;
        // Even if nothing changes: an order that failed may have changed some of the relays.
        self.apply(&switches).await?;
        self.switches = switches;
        Ok(true)
    }

    pub(crate) fn state(&self) -> State {
        let links = self.switches.links.iter().map(|(region, open)| Link { region: region.clone(), open: *open });
        let peers = self.switches.peers.iter().map(|(name, running)| Peer { name: name.clone(), running: *running });
        State { links: links.collect(), peers: peers.collect(), pages: Vec::new() }
    }

    /// Brings every relay into the state of its link and its peer.
    async fn apply(&self, switches: &Switches) -> Result<()> {
        for (route, relay) in &self.relays {
            let open = route.link.as_ref().is_none_or(|link| switches.links[link]);
            let running = switches.peers.iter().all(|(peer, running)| *running || !route.leads_to(peer));
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

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn failed_orders_can_be_repeated() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = "127.0.0.1";
        let route = format!("127.0.0.1:0 {}", server.local_addr().unwrap()).parse().unwrap();
        let mut routes = Routes::start(vec![route], &[peer.to_owned()]).await.unwrap();
        let address = routes.relays[0].1.address();
        assert!(routes.obey(Order::Stop, peer).await.unwrap());

        let somebody = TcpListener::bind(address).unwrap();
        for _ in 0..2 {
            routes.obey(Order::Start, peer).await.unwrap_err();
            assert!(!routes.state().peers[0].running);
        }
        drop(somebody);
        assert!(routes.obey(Order::Start, peer).await.unwrap());
        assert!(routes.state().peers[0].running);
        TcpStream::connect(address).await.unwrap();
    }
}
