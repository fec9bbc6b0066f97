//! Discovery by a fixed list, for plain machines, a laptop and tests.

use std::collections::{BTreeMap, BTreeSet};
use std::future::ready;
use std::net::SocketAddr;
use std::str::FromStr;

use crate::discover::{Discover, Resolution};
use crate::error::{Error, Result};
use crate::region::Region;
use crate::task::BoxFuture;

/// A fixed list of peers.
///
/// Its text form is `region=address,address;region=address`. An address is an IP address and a port, with IPv6 in
/// brackets. Host names are not allowed, because a fixed list is not resolved again when a name changes; use
/// [`DnsTemplate`](crate::DnsTemplate) for names.
///
/// ```
/// use homing_rpc::StaticPeers;
///
/// let peers: StaticPeers = "iad=127.0.0.1:4750,127.0.0.1:4751;syd=[::1]:4750".parse()?;
/// # Ok::<(), homing_rpc::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StaticPeers {
    regions: BTreeMap<Region, BTreeSet<SocketAddr>>,
}

impl StaticPeers {
    /// Returns an empty list, for a process that runs alone.
    pub fn none() -> Self {
        Self::default()
    }

    /// Adds addresses to a region.
    pub fn with_region(mut self, region: Region, addresses: impl IntoIterator<Item = SocketAddr>) -> Self {
        self.regions.entry(region).or_default().extend(addresses);
        self
    }
}

impl Discover for StaticPeers {
    fn resolve<'a>(&'a self, region: &'a Region) -> BoxFuture<'a, Result<Resolution>> {
        let addresses = self.regions.get(region).into_iter().flatten().copied();
        Box::pin(ready(Ok(Resolution::new(addresses, Resolution::MAX_TTL))))
    }

    fn regions(&self) -> BoxFuture<'_, Result<Vec<Region>>> {
        Box::pin(ready(Ok(self.regions.keys().cloned().collect())))
    }

    fn place(&self, _: &Region) -> String {
        let regions: Vec<_> = self.regions.keys().map(Region::as_str).collect();
        match &regions[..] {
            [] => "the list of peers, which is empty".to_owned(),
            regions => format!("the list of peers, which has the regions {}", regions.join(", ")),
        }
    }
}

impl FromStr for StaticPeers {
    type Err = Error;

    /// Parses `region=address,address;region=address`. A region may occur more than once, and the text may end with a
    /// semicolon.
    ///
    /// # Errors
    ///
    /// [`Error::is_misuse`] if a part is malformed; the message quotes it.
    fn from_str(text: &str) -> Result<Self> {
        let groups = text.split(';').map(str::trim).filter(|group| !group.is_empty());
        groups.map(parse_group).try_fold(Self::none(), |peers, group| {
            let (region, addresses) = group?;
            Ok(peers.with_region(region, addresses))
        })
    }
}

/// `region=address,address`
fn parse_group(group: &str) -> Result<(Region, Vec<SocketAddr>)> {
    let Some((region, addresses)) = group.split_once('=') else {
        return Err(Error::misuse(format!("{group:?} is not of the form {EXAMPLE}")));
    };
    let region = Region::new(region.trim()).map_err(|error| error.at(format_args!("in {group:?}")))?;
    let addresses = addresses.split(',').map(str::trim).map(|address| parse_address(address, group));
    Ok((region, addresses.collect::<Result<_>>()?))
}

fn parse_address(text: &str, group: &str) -> Result<SocketAddr> {
    let flaw = match text.parse::<SocketAddr>() {
        Ok(address) if address.port() == 0 => "has port 0, on which no node can listen",
        Ok(address) if address.ip().is_unspecified() => "stands for every address, so it cannot be called",
        Ok(address) => return Ok(address),
        Err(_) => "is not an IP address with a port (use HOMING_PEER_DNS for host names)",
    };
    Err(Error::misuse(format!("in {group:?}: {text:?} {flaw}; write it as {EXAMPLE}")))
}

const EXAMPLE: &str = "iad=10.0.0.7:4750,[fd00::7]:4750";

#[cfg(test)]
mod tests {
    use super::*;

    fn region(name: &str) -> Region {
        Region::new(name).unwrap()
    }

    fn addresses(addresses: &[&str]) -> Vec<SocketAddr> {
        addresses.iter().map(|address| address.parse().unwrap()).collect()
    }

    #[test]
    fn list_is_read_by_region() {
        let one = StaticPeers::none().with_region(region("iad"), addresses(&["127.0.0.1:4750"]));
        let both = one.clone().with_region(region("syd"), addresses(&["[::1]:4750"]));
        let table = [
            ("", StaticPeers::none()),
            (" ; ", StaticPeers::none()),
            ("iad=127.0.0.1:4750", one.clone()),
            ("iad=127.0.0.1:4750,127.0.0.1:4750", one.clone()),
            ("iad=127.0.0.1:4750;iad=127.0.0.1:4750;", one),
            ("iad=127.0.0.1:4750;syd=[::1]:4750", both.clone()),
            (" syd = [::1]:4750 ;\n iad = 127.0.0.1:4750 ", both),
        ];
        for (text, expected) in table {
            assert_eq!(text.parse::<StaticPeers>().unwrap(), expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_quoted() {
        let table = [
            ("iad", "\"iad\" is not of the form"),
            ("127.0.0.1:4750", "\"127.0.0.1:4750\" is not of the form"),
            ("iad=127.0.0.1:4750;syd", "\"syd\" is not of the form"),
            ("iad=", "in \"iad=\": \"\" is not an IP address"),
            ("iad=127.0.0.1:4750,,", "\"\" is not an IP address"),
            ("iad=127.0.0.1", "\"127.0.0.1\" is not an IP address"),
            ("iad=127.0.0.1:70000", "\"127.0.0.1:70000\" is not an IP address"),
            ("iad=::1:4750", "\"::1:4750\" is not an IP address"),
            ("iad=db.example:4750", "\"db.example:4750\" is not an IP address"),
            ("iad=127.0.0.1:0", "\"127.0.0.1:0\" has port 0"),
            ("iad=0.0.0.0:4750", "\"0.0.0.0:4750\" stands for every address"),
            ("iad=[::]:4750", "\"[::]:4750\" stands for every address"),
            ("IAD=127.0.0.1:4750", "in \"IAD=127.0.0.1:4750\": \"IAD\" is not a region"),
            ("=127.0.0.1:4750", "\"\" is not a region"),
            ("iad=127.0.0.1:1;a b=127.0.0.1:2", "\"a b\" is not a region"),
            ("iad=127.0.0.1:1=syd", "\"127.0.0.1:1=syd\" is not an IP address"),
        ];
        for (text, part) in table {
            let error = text.parse::<StaticPeers>().unwrap_err();
            assert!(error.is_misuse(), "{text:?}");
            assert!(error.to_string().contains(part), "{text:?}: {error}");
        }
    }
}
