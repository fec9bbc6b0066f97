//! The settings of the network: the address to listen on, and the limits of the way to peers.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use homing_postgres::{Error, Result};
use homing_rpc::{PeerSettings, Region, Topology};

use super::values::{Lookup, count, seconds};

/// Returns the address to listen on for peers.
pub(super) fn listen(lookup: &Lookup<'_>, topology: &Topology, has_proof: bool) -> Result<Option<SocketAddr>> {
    if let Some(listen) = lookup("HOMING_LISTEN") {
        let address = listen.parse().map_err(|_| {
            Error::configuration(format!(
                "HOMING_LISTEN is {listen:?}, which is not an address and a port: write for example [::]:4750"
            ))
        })?;
        return Ok(Some(address));
    }
    if is_local(topology) {
        return Ok(None);
    }
    Ok(Some(if has_proof {
        (Ipv6Addr::UNSPECIFIED, DEFAULT_PORT).into()
    } else {
        (Ipv4Addr::LOCALHOST, DEFAULT_PORT).into()
    }))
}

/// Reads the limits of the way to peers.
pub(super) fn peers(lookup: &Lookup<'_>) -> Result<PeerSettings> {
    let mut peers = PeerSettings::default();
    for (variable, time) in [
        ("HOMING_PEER_CONNECT_TIMEOUT", &mut peers.connect_timeout),
        ("HOMING_PEER_PROBE_AFTER", &mut peers.probe_after),
        ("HOMING_PEER_PROBE_TIMEOUT", &mut peers.probe_timeout),
    ] {
        *time = seconds(lookup, variable)?.unwrap_or(*time);
    }
    let max_waiting = count(lookup, "HOMING_MAX_WAITING")?;
    Ok(max_waiting.map_or(peers, |max_waiting| peers.with_max_waiting(max_waiting)))
}

/// Returns whether no region is set.
pub(crate) fn is_local(topology: &Topology) -> bool {
    *topology.region() == Region::local() && topology.is_primary_region()
}

/// The port that peers connect to by default.
pub(super) const DEFAULT_PORT: u16 = 4750;
