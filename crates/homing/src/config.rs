pub(crate) mod replicas;

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use homing_postgres::{Error, Options, ReplicaList, ReplicaSettings, Result};
use homing_rpc::{Discover, Region, Secret, StaticPeers, Topology, discover_from_lookup};

use crate::database_config::{self, DatabaseConfig, POOL_SIZE};

/// The settings of a node.
///
/// | variable | meaning | default |
/// |---|---|---|
/// | `HOMING_REGION`, else `FLY_REGION` | the region of this node | none: the node is its own primary |
/// | `HOMING_PRIMARY_REGION`, else `PRIMARY_REGION` | where the primary is | |
/// | `HOMING_APP`, else `FLY_APP_NAME` | the name of the application, for discovery | |
/// | `HOMING_DATABASE_URL`, else `DATABASE_URL` | the primary's database, in the primary region | |
/// | `HOMING_REPLICA_URL` | the replicas to read from: one connection string or several, with or without names: `syd=postgres://…,postgres://…`; may hold `{region}` | reads go to the primary |
/// | `HOMING_REPLICA_REGIONS` | the regions that `{region}` there stands for: `syd,ams`, one replica each | this region |
/// | `HOMING_REPLICA_CHOOSE` | which replica a read goes to: `nearest`, `random`, `least-lag` | `nearest` |
/// | `HOMING_REPLICA_MAX_LAG` | a replica further behind is left out: seconds, or `none` | `30` |
/// | `HOMING_REPLICA_MAX_LAG_BYTES` | the same, in bytes of the log | `none` |
/// | `HOMING_DATABASES` | the names of further databases: `analytics,billing` | |
/// | `HOMING_ANALYTICS_DATABASE_URL`, `HOMING_ANALYTICS_REPLICA_URL` | for each of these the same two, with its name in capitals | |
/// | `HOMING_SECRET` | the credential between nodes, at least 32 bytes | |
/// | `HOMING_LISTEN` | where peers reach this node | `[::]:4750`; `127.0.0.1:4750` without a secret |
/// | `HOMING_PEERS` | the nodes: `iad=10.0.0.1:4750,10.0.0.2:4750;syd=10.1.0.1:4750` | |
/// | `HOMING_PEER_DNS` | a name to look up: `{region}.{app}.internal`, or `srv:_homing._tcp.{region}.{app}.internal` | on Fly.io its names |
/// | `HOMING_REGIONS` | the regions of `HOMING_PEER_DNS`: `iad,syd` | |
/// | `HOMING_DNS_SERVER` | the DNS server to ask for peers and replicas, `address:port` | the system's |
///
/// With none of the region settings the node is its own primary: it serves nobody unless `HOMING_LISTEN` says so.
#[derive(Clone)]
#[non_exhaustive]
pub struct Config {
    /// Which region this is, and which one has the primary.
    pub topology: Topology,

    /// The connection string of the primary's database. Used in the primary region only.
    pub database_url: Option<String>,

    /// The connection strings of the replicas to read from, as [`ReplicaList::parse`] takes them: one, or several with
    /// commas between. A single one without a name is named after the region. In the primary region reads go to the
    /// primary all the same, unless [`Options::choose`] spreads them.
    pub replica_url: Option<String>,

    /// The replicas to read from, as a list that the application can change; wins over
    /// [`replica_url`](Self::replica_url).
    pub replicas: Option<ReplicaList>,

    /// Which names of replicas are names of other regions. The primary region is one in any case.
    pub replica_regions: Vec<Region>,

    /// How the replicas are used and watched. Their region and [`pool_size`](Self::pool_size) are those of the node.
    pub replica_settings: ReplicaSettings,

    /// Where peers reach this node; `None` serves nobody.
    pub listen: Option<SocketAddr>,

    /// The credential between nodes.
    pub secret: Option<Secret>,

    /// How the nodes of a region are found.
    pub discover: Arc<dyn Discover>,

    /// Further databases of the node, by name.
    pub databases: Vec<(String, DatabaseConfig)>,

    /// How the node's [`Repo`](crate::Repo) makes its calls.
    pub options: Options,

    /// The connections to the database, at most. Default: 16.
    pub pool_size: usize,

    /// How many interactive transactions may be open on the database at a time. Default: three quarters of `pool_size`.
    pub max_transactions: Option<usize>,
}

impl Config {
    /// A node that is its own primary.
    pub fn local(database_url: impl Into<String>) -> Self {
        Self { database_url: Some(database_url.into()), ..Self::new(Topology::local()) }
    }

    /// A node of this topology, with no database and no peers yet.
    pub fn new(topology: Topology) -> Self {
        Self {
            topology,
            database_url: None,
            replica_url: None,
            replicas: None,
            replica_regions: Vec::new(),
            replica_settings: ReplicaSettings::default(),
            listen: None,
            secret: None,
            discover: Arc::new(StaticPeers::none()),
            databases: Vec::new(),
            options: Options::default(),
            pool_size: POOL_SIZE,
            max_transactions: None,
        }
    }

    /// Adds a database, reached by [`Node::repo_of`](crate::Node::repo_of) and
    /// [`Repo::with_database`](crate::Repo::with_database). A name is 1 to 32 lower-case letters, digits and underscores,
    /// the first one a letter; a wrong one, or one that is taken, is reported when the node starts. All nodes of an
    /// application ought to have the same databases, with their primaries in one region.
    #[must_use]
    pub fn with_database(mut self, name: impl Into<String>, database: DatabaseConfig) -> Self {
        self.databases.push((name.into(), database));
        self
    }

    /// Reads the environment.
    ///
    /// # Errors
    ///
    /// [`is_configuration`](Error::is_configuration), naming the variable that is wrong or missing.
    pub fn from_env() -> Result<Self> {
        // What is no Unicode is kept, with marks in it, so that whoever reads the variable refuses it.
        Self::from_lookup(&|name| Some(std::env::var_os(name)?.to_string_lossy().into_owned()))
    }

    /// Reads the settings from anything that holds them by the names of the variables. An empty value counts as none.
    ///
    /// # Errors
    ///
    /// As [`from_env`](Self::from_env).
    pub fn from_lookup(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        let lookup = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let topology = Topology::from_lookup(&lookup).map_err(wrong)?;
        let secret =
            lookup("HOMING_SECRET").map(Secret::new).transpose().map_err(|error| at("HOMING_SECRET", error))?;
        let listen = listen(&lookup, &topology, secret.is_some())?;
        let port = listen.map_or(DEFAULT_PORT, |address| address.port());
        let replicas = replicas::from_lookup(&lookup, topology.region())?;
        let databases = database_config::from_lookup(topology.region(), &replicas.regions, &lookup)?;
        Ok(Self {
            databases,
            database_url: lookup("HOMING_DATABASE_URL").or_else(|| lookup("DATABASE_URL")),
            replica_url: replicas.url,
            replica_regions: replicas.regions,
            replica_settings: replicas.settings,
            options: replicas.options,
            listen,
            secret,
            discover: discover_from_lookup(&topology, port, &lookup).map_err(wrong)?,
            ..Self::new(topology)
        })
    }
}

impl fmt::Debug for Config {
    /// Without the connection strings, which may hold passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("topology", &self.topology)
            .field("listen", &self.listen)
            .field("secret", &self.secret)
            .field("discover", &self.discover)
            .field("databases", &self.databases)
            .field("options", &self.options)
            .field("pool_size", &self.pool_size)
            .field("max_transactions", &self.max_transactions)
            .finish_non_exhaustive()
    }
}

fn listen(
    lookup: &dyn Fn(&str) -> Option<String>,
    topology: &Topology,
    has_secret: bool,
) -> Result<Option<SocketAddr>> {
    if let Some(listen) = lookup("HOMING_LISTEN") {
        let address = listen.parse().map_err(|_| {
            Error::configuration(format!("HOMING_LISTEN is {listen:?}: write an address and a port, as in [::]:4750"))
        })?;
        return Ok(Some(address));
    }
    if is_local(topology) {
        return Ok(None);
    }
    Ok(Some(if has_secret {
        (Ipv6Addr::UNSPECIFIED, DEFAULT_PORT).into()
    } else {
        (Ipv4Addr::LOCALHOST, DEFAULT_PORT).into()
    }))
}

/// Whether no region was set.
fn is_local(topology: &Topology) -> bool {
    *topology.region() == homing_rpc::Region::local() && topology.is_primary_region()
}

fn wrong(error: homing_rpc::Error) -> Error {
    Error::configuration(error.to_string()).with_cause(error)
}

fn at(variable: &str, error: homing_rpc::Error) -> Error {
    Error::configuration(format!("{variable}: {error}")).with_cause(error)
}

/// Where peers expect a node that says nothing else.
const DEFAULT_PORT: u16 = 4750;

#[cfg(test)]
mod tests {
    use super::*;

    fn config(settings: &[(&str, &str)]) -> Result<Config> {
        Config::from_lookup(&|name| {
            settings.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn without_a_region_the_node_is_its_own_primary() {
        let config = config(&[("DATABASE_URL", "postgres://127.0.0.1/app")]).unwrap();
        assert!(config.topology.is_primary_region());
        assert_eq!(config.listen, None);
    }

    #[test]
    fn the_network_is_only_served_with_a_secret() {
        let regions = [("HOMING_REGION", "syd"), ("HOMING_PRIMARY_REGION", "iad")];
        let listen = |settings: &[(&str, &str)]| config(&[&regions, settings].concat()).unwrap().listen.unwrap();
        assert_eq!(listen(&[]).to_string(), "127.0.0.1:4750");
        let secret = "0123456789abcdef0123456789abcdef";
        assert_eq!(listen(&[("HOMING_SECRET", secret)]).to_string(), "[::]:4750");
        assert_eq!(listen(&[("HOMING_LISTEN", "10.0.0.1:99")]).to_string(), "10.0.0.1:99");
    }

    #[test]
    fn the_replica_of_the_region_is_found_by_its_name() {
        let config = config(&[
            ("HOMING_REGION", "syd"),
            ("HOMING_PRIMARY_REGION", "iad"),
            ("HOMING_REPLICA_URL", "postgres://{region}.db.internal:5433/app"),
        ]);
        assert_eq!(config.unwrap().replica_url.unwrap(), "postgres://syd.db.internal:5433/app");
    }

    #[test]
    fn further_databases_have_variables_of_their_own() {
        let config = config(&[
            ("HOMING_REGION", "syd"),
            ("HOMING_PRIMARY_REGION", "iad"),
            ("HOMING_DATABASES", "analytics, billing_2"),
            ("HOMING_ANALYTICS_DATABASE_URL", "postgres://iad/a"),
            ("HOMING_ANALYTICS_REPLICA_URL", "postgres://{region}/a"),
        ]);
        let databases = config.unwrap().databases;
        let [(analytics, first), (billing, second)] = &databases[..] else { panic!("{databases:?}") };
        assert_eq!((analytics.as_str(), billing.as_str()), ("analytics", "billing_2"));
        assert_eq!(first.database_url.as_deref(), Some("postgres://iad/a"));
        assert_eq!(first.replica_url.as_deref(), Some("postgres://syd/a"));
        assert_eq!((&second.database_url, &second.replica_url), (&None, &None));
    }

    #[test]
    fn mistakes_name_the_variable() {
        for (settings, variable) in [
            (&[("HOMING_SECRET", "short")][..], "HOMING_SECRET"),
            (&[("HOMING_LISTEN", "everywhere")], "HOMING_LISTEN"),
            (&[("HOMING_REGION", "Sydney!"), ("HOMING_PRIMARY_REGION", "iad")], "HOMING_REGION"),
            (&[("HOMING_REGION", "syd")], "HOMING_PRIMARY_REGION"),
            (&[("HOMING_PEERS", "iad=nowhere")], "HOMING_PEERS"),
            (&[("HOMING_DATABASES", "analytics,,billing")], "HOMING_DATABASES"),
            (&[("HOMING_DATABASES", "analytics,Billing")], "HOMING_DATABASES"),
            (&[("HOMING_DATABASES", "analytics;billing")], "HOMING_DATABASES"),
            (&[("HOMING_DATABASES", "analytics,analytics")], "HOMING_DATABASES"),
            (&[("HOMING_REPLICA_URL", "nonsense")], "HOMING_REPLICA_URL"),
            (&[("HOMING_REPLICA_MAX_LAG", "soon")], "HOMING_REPLICA_MAX_LAG"),
        ] {
            let error = config(settings).unwrap_err();
            assert!(error.is_configuration(), "{error}");
            assert!(error.to_string().contains(variable), "{error}");
        }
    }

    #[test]
    fn secrets_stay_out_of_debug() {
        let settings =
            [("HOMING_SECRET", "0123456789abcdef0123456789abcdef"), ("DATABASE_URL", "postgres://:geheim@h/d")];
        let debug = format!("{:?}", config(&settings).unwrap());
        assert!(!debug.contains("0123456789") && !debug.contains("geheim"), "{debug}");
    }
}
