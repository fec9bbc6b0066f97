//! The environment variables of a node.

use std::{collections::BTreeMap, ffi::OsString};

use super::{World, region::WorldRegion};
use crate::node::NodeCommand;

pub(super) fn of_node(world: &World, region: &WorldRegion, node: usize) -> BTreeMap<String, String> {
    let regions: Vec<&str> = world.regions().collect();
    let database = match region.name == world.primary {
        true => "DATABASE_URL",
        false => "HOMING_REPLICA_URL",
    };
    let variables = [
        ("HOMING_REGION", region.name.clone()),
        ("HOMING_PRIMARY_REGION", world.primary.clone()),
        ("HOMING_APP", world.app.clone()),
        ("HOMING_LISTEN", region.address(node).to_string()),
        ("HOMING_SECRET", world.secret.clone()),
        ("HOMING_PEER_DNS", "srv:_homing._tcp.{region}.{app}.internal".to_owned()),
        ("HOMING_REGIONS", regions.join(",")),
        ("HOMING_DNS_SERVER", region.dns.address().to_string()),
        (database, region.postgres.url()),
    ];
    variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Adds a node's settings to its command, except for variables that the command sets itself. The
/// variables of this process that a node would take for settings are removed.
pub(super) fn applied(command: NodeCommand, environment: BTreeMap<String, String>) -> NodeCommand {
    let foreign = |name: &OsString| {
        let name = name.as_encoded_bytes();
        let prefixed = name.starts_with(b"HOMING_") || name.starts_with(b"FLY_");
        prefixed || name == b"PRIMARY_REGION" || name == b"DATABASE_URL"
    };
    let ours = std::env::vars_os().map(|(name, _)| name).filter(foreign);
    let settings = environment.into_iter().map(|(name, value)| (name.into(), Some(value.into())));
    settings
        .chain(ours.map(|name| (name, None)))
        .fold(command, |command, (name, value)| command.default_env(name, value))
}
