//! The environment variables of a node.

use std::{collections::BTreeMap, ffi::OsString};

use crate::node::NodeCommand;

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
