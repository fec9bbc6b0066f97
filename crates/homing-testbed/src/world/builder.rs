//! The description of a world.

use std::time::Duration;

use super::region::{Map, RegionName, pair};
use crate::error::{Error, Result};
use crate::node::NodeCommand;
use crate::postgres::PostgresOptions;
use crate::process::scratch::Scratch;

/// Describes a [`World`](crate::World) to start; see [`World::builder`](crate::World::builder).
///
/// Defaults: one region, the primary region `iad`; one node in each region; the application `app`;
/// no node processes; PostgreSQL with the defaults of [`PostgresOptions`].
#[derive(Clone, Debug)]
#[must_use = "a description does nothing until it is started"]
pub struct WorldBuilder {
    pub(super) app: String,
    pub(super) primary: RegionName,
    /// Replica regions and their round trip times to the primary region.
    pub(super) replicas: Vec<(RegionName, Duration)>,
    pub(super) between: Map<(RegionName, RegionName), Duration>,
    pub(super) nodes: Map<RegionName, usize>,
    pub(super) postgres: PostgresOptions,
    pub(super) schema: String,
    pub(super) command: Option<NodeCommand>,
    pub(super) scratch: Option<Scratch>,
}

impl WorldBuilder {
    /// Sets the name of the primary region. Default: `iad`.
    pub fn primary(mut self, name: impl Into<String>) -> Self {
        self.primary = name.into();
        self
    }

    /// Adds a replica region with this round trip time to the primary region.
    pub fn region(mut self, name: impl Into<String>, round_trip: Duration) -> Self {
        self.replicas.push((name.into(), round_trip));
        self
    }

    /// Sets the round trip time between two regions. Default: the sum of their round trip times to
    /// the primary region.
    pub fn between(mut self, one: &str, other: &str, round_trip: Duration) -> Self {
        self.between.insert(pair(one, other), round_trip);
        self
    }

    /// Sets how many nodes a region has. Default: 1.
    pub fn nodes(mut self, region: impl Into<String>, nodes: usize) -> Self {
        self.nodes.insert(region.into(), nodes);
        self
    }

    /// Sets the name of the application, which is part of the DNS names. Default: `app`.
    pub fn app(mut self, name: impl Into<String>) -> Self {
        self.app = name.into();
        self
    }

    /// Starts the databases with these options. The world itself sets the names, the upstreams and
    /// the scratch.
    pub fn postgres(mut self, options: PostgresOptions) -> Self {
        self.postgres = options;
        self
    }

    /// Runs this SQL on the primary before the replicas and nodes start.
    pub fn schema(mut self, sql: impl Into<String>) -> Self {
        self.schema = sql.into();
        self
    }

    /// Starts every node as a process with the settings of
    /// [`World::node_environment`](crate::World::node_environment), and waits until all are ready.
    ///
    /// Variables that are set on the command override these settings. The nodes do not inherit the
    /// variables of this process that configure regions or databases (`HOMING_*`, `FLY_*`,
    /// `PRIMARY_REGION`, `DATABASE_URL`).
    pub fn node_command(mut self, command: NodeCommand) -> Self {
        self.command = Some(command);
        self
    }

    /// Puts all files into this scratch. Default: a new one.
    pub fn scratch(mut self, scratch: &Scratch) -> Self {
        self.scratch = Some(scratch.clone());
        self
    }

    /// Returns all regions and their round trips to the primary region, which comes first.
    pub(super) fn regions(&self) -> impl Iterator<Item = (&RegionName, Duration)> {
        let replicas = self.replicas.iter().map(|(name, round_trip)| (name, *round_trip));
        std::iter::once((&self.primary, Duration::ZERO)).chain(replicas)
    }

    /// Returns how many nodes a region has.
    pub(super) fn node_count(&self, region: &str) -> usize {
        self.nodes.get(region).copied().unwrap_or(1)
    }

    pub(super) fn check(&self) -> Result<()> {
        check_label(&self.app)?;
        let mut names = Vec::new();
        for (name, _) in self.regions() {
            check_label(name)?;
            if names.contains(&name) {
                return Err(Error::misuse(format!("the world has the region {name} twice; name each region once")));
            }
            names.push(name);
        }
        let pairs = self.between.keys().flat_map(|(one, other)| [one, other]);
        match self.nodes.keys().chain(pairs).find(|name| !names.contains(name)) {
            None => Ok(()),
            Some(name) => Err(Error::misuse(format!("the world has no region {name}; add it with `region` first"))),
        }
    }
}

impl Default for WorldBuilder {
    fn default() -> Self {
        Self {
            app: "app".to_owned(),
            primary: "iad".to_owned(),
            replicas: Vec::new(),
            between: Map::new(),
            nodes: Map::new(),
            postgres: PostgresOptions::default(),
            schema: String::new(),
            command: None,
            scratch: None,
        }
    }
}

/// The names of regions and applications are part of DNS names.
fn check_label(label: &str) -> Result<()> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let hyphens = label.starts_with('-') || label.ends_with('-');
    if (1..=MAX_LABEL).contains(&label.len()) && label.chars().all(allowed) && !hyphens {
        return Ok(());
    }
    Err(Error::misuse(format!(
        "{label:?} cannot be the name of a region or application; use a DNS label: \
         1 to {MAX_LABEL} of a-z, 0-9 and inner hyphens"
    )))
}

/// The longest DNS label, in bytes (RFC 1035, section 2.3.4).
const MAX_LABEL: usize = 63;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_worlds_are_refused() {
        let builder = WorldBuilder::default;
        let second = Duration::from_secs(1);
        for (world, complaint) in [
            (builder().region("iad", second), "the region iad twice"),
            (builder().region("Syd", second), "\"Syd\" cannot be"),
            (builder().primary("a.b"), "\"a.b\" cannot be"),
            (builder().app(""), "\"\" cannot be"),
            (builder().nodes("syd", 2), "no region syd"),
            (builder().between("iad", "ams", second), "no region ams"),
        ] {
            let error = world.check().unwrap_err();
            assert!(error.is_misuse());
            assert!(error.to_string().contains(complaint), "{error}");
        }
    }
}
