//! Chooses a discovery by the environment.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::discover::dns::DnsConfig;
use crate::discover::fly::FlyDns;
use crate::discover::static_peers::StaticPeers;
use crate::discover::template::DnsTemplate;
use crate::discover::{Discover, LOOK_UP_TIMEOUT};
use crate::error::{Error, Result};
use crate::region::Region;
use crate::topology::{Topology, setting};

/// Returns the discovery that these settings select. The first row whose variable is set counts.
///
/// | variable | discovery |
/// |---|---|
/// | `HOMING_PEERS` | [`StaticPeers`]: `iad=10.0.0.7:4750;syd=[fd00::7]:4750` |
/// | `HOMING_PEER_DNS` | [`DnsTemplate`]: `{region}.{app}.internal`; needs `HOMING_REGIONS`: `iad,syd` |
/// | `FLY_APP_NAME` | [`FlyDns`] |
/// | none | [`StaticPeers::none`] |
///
/// `HOMING_DNS_SERVER` (`ip:port`, or an IP address for port 53) replaces the system's name servers. An empty variable
/// counts as not set. The nodes listen on `port`; a static list and SRV records contain their own ports, and a template may.
///
/// # Errors
///
/// [`Error::is_misuse`] if a variable is malformed (the message names the variable and quotes the wrong part), or if
/// both `HOMING_PEERS` and `HOMING_PEER_DNS` are set.
pub fn discover_from_lookup(
    topology: &Topology,
    port: u16,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<Arc<dyn Discover>> {
    match (setting(lookup, PEERS), setting(lookup, PEER_DNS)) {
        (Some(_), Some(_)) => Err(Error::misuse(format!("both {PEERS} and {PEER_DNS} are set; unset one of them"))),
        (Some(peers), None) => {
            let peers: StaticPeers = peers.parse().map_err(|error: Error| error.at(PEERS))?;
            Ok(Arc::new(peers))
        }
        (None, Some(template)) => {
            let (regions, dns) = (regions(lookup)?, dns_from_lookup(lookup)?);
            let template = DnsTemplate::new(&template, topology.app(), regions, port, &dns);
            Ok(Arc::new(template.map_err(|error| error.at(PEER_DNS))?))
        }
        (None, None) => match setting(lookup, FLY_APP_NAME) {
            Some(app) => Ok(Arc::new(FlyDns::new(topology.app().unwrap_or(&app), port, &dns_from_lookup(lookup)?)?)),
            None => Ok(Arc::new(StaticPeers::none())),
        },
    }
}

fn regions(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Vec<Region>> {
    let Some(list) = setting(lookup, REGIONS) else {
        return Err(Error::misuse(format!(
            "{PEER_DNS} is set, but DNS names do not list the regions; list them in {REGIONS}, for example iad,syd"
        )));
    };
    list.split(',').map(|name| Region::new(name.trim()).map_err(|error| error.at(REGIONS))).collect()
}

/// Returns the name server in `HOMING_DNS_SERVER` (`ip:port`, or an IP address for port 53), or the system's name
/// servers if it is not set, with the time limit in `HOMING_DNS_TIMEOUT` (seconds).
///
/// # Errors
///
/// [`Error::is_misuse`] if a value is not an address, or not a time.
pub fn dns_from_lookup(lookup: &dyn Fn(&str) -> Option<String>) -> Result<DnsConfig> {
    let config = match setting(lookup, DNS_TIMEOUT) {
        Some(text) => DnsConfig::default().with_timeout(timeout(&text)?),
        None => DnsConfig::default(),
    };
    let Some(text) = setting(lookup, DNS_SERVER) else { return Ok(config) };
    let server = text.parse::<SocketAddr>().or_else(|_| text.parse::<IpAddr>().map(|ip| (ip, DNS_PORT).into()));
    match server {
        Ok(server) if server.port() != 0 => Ok(config.with_server(server)),
        _ => Err(Error::misuse(format!(
            "{DNS_SERVER}: {text:?} is not the address of a name server; write it as 10.0.0.2:53 or [fd00::2]:53"
        ))),
    }
}

fn timeout(text: &str) -> Result<Duration> {
    let time = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    time.filter(|time| !time.is_zero() && *time <= LOOK_UP_TIMEOUT).ok_or_else(|| {
        Error::misuse(format!(
            "{DNS_TIMEOUT} is {text:?}: write a number of seconds above 0, such as 2.5, and at most {}, the limit of a whole \
             look-up",
            LOOK_UP_TIMEOUT.as_secs()
        ))
    })
}

const DNS_PORT: u16 = 53;
const DNS_SERVER: &str = "HOMING_DNS_SERVER";
const DNS_TIMEOUT: &str = "HOMING_DNS_TIMEOUT";
const FLY_APP_NAME: &str = "FLY_APP_NAME";
const PEERS: &str = "HOMING_PEERS";
const PEER_DNS: &str = "HOMING_PEER_DNS";
const REGIONS: &str = "HOMING_REGIONS";

#[cfg(test)]
mod tests {
    use super::*;

    fn discover(settings: &[(&str, &str)]) -> Result<Arc<dyn Discover>> {
        let lookup = |name: &str| {
            let (_, value) = settings.iter().find(|(key, _)| *key == name)?;
            Some((*value).to_owned())
        };
        discover_from_lookup(&Topology::from_lookup(&lookup)?, 4750, &lookup)
    }

    #[test]
    fn first_set_variable_counts() {
        let fly = ("FLY_APP_NAME", "shop");
        let server = ("HOMING_DNS_SERVER", "127.0.0.1:5300");
        let table = [
            (vec![], "StaticPeers"),
            (vec![("HOMING_PEERS", " "), ("HOMING_PEER_DNS", ""), ("FLY_APP_NAME", "")], "StaticPeers"),
            (vec![fly, server], "FlyDns"),
            (vec![fly, ("HOMING_DNS_SERVER", "::1")], "FlyDns"),
            (vec![fly, server, ("HOMING_PEERS", "iad=127.0.0.1:1")], "StaticPeers"),
            (vec![fly, server, ("HOMING_PEER_DNS", "{region}.x"), ("HOMING_REGIONS", "iad, syd")], "DnsTemplate"),
        ];
        for (settings, expected) in table {
            let discover = discover(&settings).unwrap();
            assert!(format!("{discover:?}").starts_with(expected), "{settings:?}: {discover:?}");
        }
    }

    #[test]
    fn error_names_variable_and_value() {
        let template = ("HOMING_PEER_DNS", "{region}.x");
        let regions = ("HOMING_REGIONS", "iad");
        let table = [
            (vec![("HOMING_PEERS", "iad=here:1")], "HOMING_PEERS: in \"iad=here:1\": \"here:1\" is not"),
            (vec![("HOMING_PEERS", "iad=127.0.0.1:1"), template], "both HOMING_PEERS and HOMING_PEER_DNS"),
            (vec![template], "list them in HOMING_REGIONS"),
            (vec![template, ("HOMING_REGIONS", "iad,SYD")], "HOMING_REGIONS: \"SYD\" is not a region"),
            (vec![template, ("HOMING_REGIONS", "iad,,")], "HOMING_REGIONS: \"\" is not a region"),
            (vec![("HOMING_PEER_DNS", "x"), regions], "HOMING_PEER_DNS: the template \"x\" has no {region}"),
            (vec![("HOMING_PEER_DNS", "{region}.{app}"), regions], "set HOMING_APP"),
            (vec![template, regions, ("HOMING_DNS_SERVER", "ns.x:53")], "HOMING_DNS_SERVER: \"ns.x:53\""),
            (vec![template, regions, ("HOMING_DNS_SERVER", "127.0.0.1:0")], "HOMING_DNS_SERVER: \"127.0.0.1:0\""),
            (vec![template, regions, ("HOMING_DNS_TIMEOUT", "0")], "HOMING_DNS_TIMEOUT is \"0\""),
            (vec![template, regions, ("HOMING_DNS_TIMEOUT", "3s")], "HOMING_DNS_TIMEOUT is \"3s\""),
            (vec![template, regions, ("HOMING_DNS_TIMEOUT", "11")], "at most 10"),
            (vec![("FLY_APP_NAME", "my_shop")], "\"my_shop\" is not the name of an app"),
        ];
        for (settings, part) in table {
            let error = discover(&[&settings[..], &[("HOMING_DNS_SERVER", "127.0.0.1:53")]].concat()).unwrap_err();
            assert!(error.is_misuse(), "{settings:?}");
            assert!(error.to_string().contains(part), "{settings:?}: {error}");
        }
    }
}
