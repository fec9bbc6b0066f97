mod check;
pub(crate) mod database;
mod error;
mod fly;
mod identity;
mod names;
pub(crate) mod network;
pub(crate) mod page;
mod replicas;
pub(crate) mod values;

use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use homing_postgres::{Login, Options, ReplicaList, ReplicaSettings, Result};
use homing_rpc::{
    DEFAULT_DRAIN_TIMEOUT, DEFAULT_MAX_IN_FLIGHT, DEFAULT_MAX_MESSAGE_BYTES, DEFAULT_MAX_PEER_CONNECTIONS, Discover,
    PeerSettings, Region, Secret, StaticPeers, Tls, Topology, discover_from_lookup,
};

use self::database::{DEFAULT_POOL_SIZE, DatabaseConfig};
use self::error::wrong;
use self::network::{DEFAULT_PORT, listen, peers};
use self::values::{count, flag, seconds};

/// The settings of a node.
///
/// [`from_env`](Self::from_env) reads them from the environment, by the tables [below](#settings).
///
/// To configure a node in code, begin with [`new`](Self::new) or [`local`](Self::local), and set the fields:
///
/// ```
/// use std::sync::Arc;
///
/// use homing::discover::StaticPeers;
/// use homing::{Config, Region, Secret, Topology};
///
/// # fn main() -> homing::Result<()> {
/// let mut config = Config::new(Topology::new(Region::new("syd")?, Region::new("iad")?));
/// config.replica_url = Some("postgres://app@10.1.0.9/app".to_owned());
/// config.secret = Some(Secret::new("the-output-of-openssl-rand-hex-32")?);
/// config.discover = Arc::new("iad=10.0.0.1:4750,10.0.0.2:4750".parse::<StaticPeers>()?);
/// # Ok(())
/// # }
/// ```
///
#[doc = include_str!("../docs/settings.md")]
#[derive(Clone)]
#[non_exhaustive]
pub struct Config {
    /// The region of this node, the region of the primary, and the name of the application.
    pub topology: Topology,

    /// The connection string of the primary. Used in the primary region only, and required there.
    ///
    /// It may list several hosts, and a host name may stand for several servers. The server that says that it is the primary
    /// takes the writes, after a failover another one. `target_session_attrs` says which of them answer reads, with libpq's
    /// values and meanings. If none of them is the primary, the node starts with a warning, forwards what it can, and looks
    /// for the primary while calls need it.
    ///
    /// The string also says how connections are encrypted, with libpq's settings: `sslmode` (`disable`, `allow`, `prefer`,
    /// `require`, `verify-ca`, `verify-full`), `sslrootcert` (a file, or `system`), `sslcert`, `sslkey`, `sslsni`,
    /// `sslnegotiation` and `channel_binding`. The default is `sslmode=prefer`: with TLS if the server offers it. Write
    /// `sslmode=verify-full` if the database is not in a network of your own.
    /// [docs/tls.md](https://github.com/homing-rs/homing/blob/main/docs/tls.md) has the table.
    pub database_url: Option<String>,

    /// The path of a file with the connection string of the primary, in place of [`database_url`](Self::database_url). Default:
    /// `None`.
    ///
    /// The file is read again when a connection is opened. New connections use the user, the password, the encryption and the
    /// options that it has then, so a changed password needs no restart. Other hosts and another database are followed within
    /// [`resolve_interval`](field@ReplicaSettings::resolve_interval). If the file cannot be used, the last connection string
    /// stays in use, and a warning says so.
    pub database_url_file: Option<PathBuf>,

    /// The connection strings of the replicas to read from, separated by commas, in the syntax of
    /// [`ReplicaList::parse`]. Default: `None`, so that reads go to the primary.
    ///
    /// A single replica without a name is named after the region of the node. In the primary region reads go to the
    /// primary even if there are replicas, unless [`Options::choose`] spreads them or
    /// [`Repo::replica`](crate::Repo::replica) names one.
    pub replica_url: Option<String>,

    /// The replicas to read from, as a list that the application can change while the node runs, or one
    /// [in a file](ReplicaList::from_file). If set, [`replica_url`](Self::replica_url) is ignored.
    pub replicas: Option<ReplicaList>,

    /// The other regions that have replicas: a replica whose name is one of them is in that region. The primary region
    /// always counts as one.
    pub replica_regions: Vec<Region>,

    /// How the node uses and watches its replicas, and by what its servers, the primary too, tell positions. The node sets
    /// `region`, `pool_size`, `max_transactions` and `max_rows_bytes` of these settings itself.
    pub replica_settings: ReplicaSettings,

    /// The address to listen on for peers. Default: `None`, no server.
    pub listen: Option<SocketAddr>,

    /// The credential between nodes. Default: `None`. A node without a credential and without TLS can listen on a loopback
    /// address only.
    pub secret: Option<Secret>,

    /// The certificates for TLS between nodes. Default: `None`, so that the data travel in clear text. A node with TLS should
    /// have a credential too: without one, a [`Token`](crate::Token) is good only for the process that made it.
    pub tls: Option<Tls>,

    /// The key of [tokens](crate::Token), the same on all nodes. Default: `None`, so that it follows from the credential.
    pub token_key: Option<Secret>,

    /// Whether this node refuses the SQL of other nodes, as [misuse](crate::Error::is_misuse), so that they can call named
    /// functions only. Default: `false`. Calls of this process are not restricted.
    pub functions_only: bool,

    /// The user of the database as whom the SQL of other nodes runs; named functions run as that of the connection string.
    /// Default: `None`, so that both do. It must not be a member of the other user, and each server gets up to
    /// [`pool_size`](Self::pool_size) connections more.
    pub forwarded_login: Option<Login>,

    /// How the node finds its peers. Default: no peers. The module [`discover`](crate::discover) has implementations.
    pub discover: Arc<dyn Discover>,

    /// The limits of the way to peers. Default: those of [`PeerSettings`](crate::rpc::PeerSettings).
    pub peers: PeerSettings,

    /// Further databases of the node, by name; [`with_database`](Self::with_database) adds one.
    pub databases: Vec<(String, DatabaseConfig)>,

    /// The options of the node's handles ([`Node::repo`](crate::Node::repo)).
    pub options: Options,

    /// The largest number of connections to each server. Default: 16.
    pub pool_size: usize,

    /// The largest number of interactive transactions that may be open on each server. Default: three quarters of
    /// [`pool_size`](Self::pool_size).
    pub max_transactions: Option<usize>,

    /// How many calls of peers the node serves at the same time; further ones are refused as
    /// [overloaded](crate::Error::is_overloaded), and their callers wait for room. Default: 1024, which is more than a database
    /// can process at the same time, and less than what fills the memory of a small machine.
    pub max_in_flight: u32,

    /// How many connections of peers the node has; further ones are refused, and their nodes try again. Each node that calls
    /// this one has one, and for a moment a second one while it replaces the first. Default: 1024.
    pub max_peer_connections: usize,

    /// How many bytes a message between nodes may have, 1 MiB to 1 GiB; all nodes of the application need the same limit.
    /// Default: 16 MiB. The rows of a forwarded call, or the arguments of a function, have to fit into it. Streams and copies
    /// send many messages. A node may hold one for each call in flight, so raise it with an eye on the memory.
    pub max_message_bytes: usize,

    /// How long [`Node::shutdown`](crate::Node::shutdown) waits for the calls of peers. Default: 10 s. It should be shorter
    /// than the time that the platform gives a program to stop.
    pub drain_timeout: Duration,
}

impl Config {
    /// Returns the settings of a node that is its own primary.
    pub fn local(database_url: impl Into<String>) -> Self {
        Self { database_url: Some(database_url.into()), ..Self::new(Topology::local()) }
    }

    /// Returns the settings of a node of this topology, without databases and peers.
    pub fn new(topology: Topology) -> Self {
        Self {
            topology,
            database_url: None,
            database_url_file: None,
            replica_url: None,
            replicas: None,
            replica_regions: Vec::new(),
            replica_settings: ReplicaSettings::default(),
            listen: None,
            secret: None,
            tls: None,
            token_key: None,
            functions_only: false,
            forwarded_login: None,
            discover: Arc::new(StaticPeers::none()),
            peers: PeerSettings::default(),
            databases: Vec::new(),
            options: Options::default(),
            pool_size: DEFAULT_POOL_SIZE,
            max_transactions: None,
            max_in_flight: DEFAULT_MAX_IN_FLIGHT,
            max_peer_connections: DEFAULT_MAX_PEER_CONNECTIONS,
            max_message_bytes: DEFAULT_MAX_MESSAGE_BYTES,
            drain_timeout: DEFAULT_DRAIN_TIMEOUT,
        }
    }

    /// Adds a database. [`Node::repo_of`](crate::Node::repo_of) and
    /// [`Repo::with_database`](crate::Repo::with_database) return handles to it.
    ///
    /// A name consists of 1 to 32 lower-case letters, digits and underscores, and starts with a letter. If the name is not
    /// valid or is already taken, the node does not start. All nodes of an application should have the same databases,
    /// with their primaries in one region.
    #[must_use]
    pub fn with_database(mut self, name: impl Into<String>, database: DatabaseConfig) -> Self {
        self.databases.push((name.into(), database));
        self
    }

    /// Sets the largest number of connections to each server; zero counts as one.
    #[must_use]
    pub fn with_pool_size(self, pool_size: usize) -> Self {
        Self { pool_size: pool_size.max(1), ..self }
    }

    /// Sets how many interactive transactions may be open on each server: at least one, and no more than there are
    /// connections.
    #[must_use]
    pub fn with_max_transactions(self, max_transactions: usize) -> Self {
        Self { max_transactions: Some(max_transactions), ..self }
    }

    /// Sets how many calls of peers the node serves at the same time: 1 to 1,048,576.
    #[must_use]
    pub fn with_max_in_flight(self, max_in_flight: u32) -> Self {
        Self { max_in_flight, ..self }
    }

    /// Sets how many connections of peers the node has, at least one.
    #[must_use]
    pub fn with_max_peer_connections(self, max_peer_connections: usize) -> Self {
        Self { max_peer_connections, ..self }
    }

    /// Sets how many bytes a message between nodes may have: 1 MiB to 1 GiB.
    #[must_use]
    pub fn with_max_message_bytes(self, max_message_bytes: usize) -> Self {
        Self { max_message_bytes, ..self }
    }

    /// Sets how long a shutdown waits for the calls of peers.
    #[must_use]
    pub fn with_drain_timeout(self, drain_timeout: Duration) -> Self {
        Self { drain_timeout, ..self }
    }

    /// Reads the settings from the environment.
    ///
    /// # Errors
    ///
    /// [`is_configuration`](crate::Error::is_configuration) if a variable is wrong or missing, or if the name of a variable begins
    /// with `HOMING_` and is not in the [tables](#settings): it may be misspelt. The message names the variable.
    pub fn from_env() -> Result<Self> {
        // A value that is not Unicode keeps replacement characters, so that its parser rejects it.
        let text = |value: OsString| value.to_string_lossy().into_owned();
        let lookup = |name: &str| std::env::var_os(name).map(text);
        names::check(std::env::vars_os().map(|(name, value)| (text(name), text(value))), &lookup)?;
        Self::from_lookup(&lookup)
    }

    /// Reads the settings with `lookup`, which returns the value of a variable. An empty value counts as not set. Unlike
    /// [`from_env`](Self::from_env), it does not see other names, so it cannot find one that is misspelt.
    ///
    /// # Errors
    ///
    /// [`is_configuration`](crate::Error::is_configuration) if a variable is wrong or missing. The message names the variable.
    pub fn from_lookup(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        let lookup = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let topology = Topology::from_lookup(&lookup).map_err(wrong)?;
        check::variables(&lookup, &topology)?;
        let (secret, tls) = (identity::secret(&lookup, "HOMING_SECRET")?, identity::tls(&lookup, &topology)?);
        let listen = listen(&lookup, &topology, secret.is_some() || tls.is_some())?;
        // Port 0 lets the system choose one, which says nothing about peers.
        let port = listen.map(|address| address.port()).filter(|port| *port != 0).unwrap_or(DEFAULT_PORT);
        let (database_url, database_url_file) = database::url(&lookup, &["HOMING_DATABASE_URL", "DATABASE_URL"])?;
        let replicas = replicas::from_lookup(&lookup, &topology, database_url.as_deref())?;
        let pool_size = count(&lookup, "HOMING_POOL_SIZE")?.unwrap_or(DEFAULT_POOL_SIZE);
        let max_transactions = count(&lookup, "HOMING_MAX_TRANSACTIONS")?;
        let max_in_flight =
            count(&lookup, "HOMING_MAX_IN_FLIGHT")?.map(|calls| u32::try_from(calls).unwrap_or(u32::MAX));
        let max_peer_connections = count(&lookup, "HOMING_MAX_PEER_CONNECTIONS")?;
        let max_message_bytes = count(&lookup, "HOMING_MAX_MESSAGE_BYTES")?;
        let drain_timeout = seconds(&lookup, "HOMING_DRAIN_TIMEOUT")?;
        let mut databases = database::from_lookup(&topology, &replicas.regions, &lookup)?;
        for (_, database) in &mut databases {
            (database.pool_size, database.max_transactions) = (pool_size, max_transactions);
        }
        Ok(Self {
            databases,
            pool_size,
            max_transactions,
            max_in_flight: max_in_flight.unwrap_or(DEFAULT_MAX_IN_FLIGHT),
            max_peer_connections: max_peer_connections.unwrap_or(DEFAULT_MAX_PEER_CONNECTIONS),
            max_message_bytes: max_message_bytes.unwrap_or(DEFAULT_MAX_MESSAGE_BYTES),
            drain_timeout: drain_timeout.unwrap_or(DEFAULT_DRAIN_TIMEOUT),
            database_url,
            database_url_file,
            replica_url: replicas.place.url,
            replicas: replicas.place.list,
            replica_regions: replicas.regions,
            replica_settings: replicas.settings,
            options: replicas.options,
            listen,
            secret,
            tls,
            token_key: identity::secret(&lookup, "HOMING_TOKEN_KEY")?,
            functions_only: flag(&lookup, "HOMING_FUNCTIONS_ONLY")?,
            forwarded_login: identity::forwarded_login(&lookup)?,
            discover: discover_from_lookup(&topology, port, &lookup).map_err(wrong)?,
            peers: peers(&lookup)?,
            ..Self::new(topology)
        })
    }
}

impl fmt::Debug for Config {
    /// Leaves out the connection strings, which may contain passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("topology", &self.topology)
            .field("replica_regions", &self.replica_regions)
            .field("replica_settings", &self.replica_settings)
            .field("listen", &self.listen)
            .field("secret", &self.secret)
            .field("tls", &self.tls)
            .field("token_key", &self.token_key)
            .field("functions_only", &self.functions_only)
            .field("forwarded_login", &self.forwarded_login)
            .field("discover", &self.discover)
            .field("peers", &self.peers)
            .field("databases", &self.databases)
            .field("options", &self.options)
            .field("pool_size", &self.pool_size)
            .field("max_transactions", &self.max_transactions)
            .field("max_in_flight", &self.max_in_flight)
            .field("max_peer_connections", &self.max_peer_connections)
            .field("max_message_bytes", &self.max_message_bytes)
            .field("drain_timeout", &self.drain_timeout)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(settings: &[(&str, &str)]) -> Result<Config> {
        Config::from_lookup(&|name| {
            settings.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn no_region_means_own_primary() {
        let config = config(&[("DATABASE_URL", "postgres://127.0.0.1/app")]).unwrap();
        assert!(config.topology.is_primary_region());
        assert_eq!(config.listen, None);
    }

    #[test]
    fn network_is_served_with_secret_only() {
        let regions = [("HOMING_REGION", "syd"), ("HOMING_PRIMARY_REGION", "iad")];
        let listen = |settings: &[(&str, &str)]| config(&[&regions, settings].concat()).unwrap().listen.unwrap();
        assert_eq!(listen(&[]).to_string(), "127.0.0.1:4750");
        let secret = "0123456789abcdef0123456789abcdef";
        assert_eq!(listen(&[("HOMING_SECRET", secret)]).to_string(), "[::]:4750");
        assert_eq!(listen(&[("HOMING_LISTEN", "10.0.0.1:99")]).to_string(), "10.0.0.1:99");
    }

    #[test]
    fn region_replaces_placeholder_in_replica_url() {
        let config = config(&[
            ("HOMING_REGION", "syd"),
            ("HOMING_PRIMARY_REGION", "iad"),
            ("HOMING_REPLICA_URL", "postgres://{region}.db.internal:5433/app"),
        ]);
        assert_eq!(config.unwrap().replica_url.unwrap(), "postgres://syd.db.internal:5433/app");
    }

    #[test]
    fn further_databases_have_own_variables() {
        let config = config(&[
            ("HOMING_REGION", "syd"),
            ("HOMING_PRIMARY_REGION", "iad"),
            ("HOMING_DATABASES", "analytics, billing_2"),
            ("HOMING_ANALYTICS_DATABASE_URL", "postgres://iad/a"),
            ("HOMING_ANALYTICS_REPLICA_URL", "postgres://{region}/a"),
            ("HOMING_POOL_SIZE", "7"),
            ("HOMING_MAX_TRANSACTIONS", "5"),
        ]);
        let config = config.unwrap();
        let sizes = (7, Some(5));
        assert_eq!((config.pool_size, config.max_transactions), sizes);
        let databases = config.databases;
        assert!(databases.iter().all(|(_, database)| (database.pool_size, database.max_transactions) == sizes));
        let [(analytics, first), (billing, second)] = &databases[..] else { panic!("{databases:?}") };
        assert_eq!((analytics.as_str(), billing.as_str()), ("analytics", "billing_2"));
        assert_eq!(first.database_url.as_deref(), Some("postgres://iad/a"));
        assert_eq!(first.replica_url.as_deref(), Some("postgres://syd/a"));
        assert_eq!((&second.database_url, &second.replica_url), (&None, &None));
    }

    #[test]
    fn limits_come_from_the_environment() {
        let config = config(&[
            ("HOMING_CALL_TIMEOUT", "2.5"),
            ("HOMING_REPLAY_TIMEOUT", "7"),
            ("HOMING_MAX_IN_FLIGHT", "50"),
            ("HOMING_DRAIN_TIMEOUT", "25"),
            ("HOMING_REPLICA_PROBE_INTERVAL", "0.1"),
            ("HOMING_REPLICA_RESOLVE_INTERVAL", "60"),
            ("HOMING_PEER_CONNECT_TIMEOUT", "4"),
            ("HOMING_PEER_PROBE_AFTER", "0.5"),
            ("HOMING_PEER_PROBE_TIMEOUT", "1.5"),
            ("HOMING_MAX_WAITING", "9"),
            ("HOMING_MAX_MESSAGE_BYTES", "33554432"),
        ]);
        let Config { options, max_in_flight, max_message_bytes, drain_timeout, replica_settings, peers, .. } =
            config.unwrap();
        let seconds = [options.call_timeout, options.replay_timeout, drain_timeout].map(|time| time.as_secs_f64());
        assert_eq!((seconds, max_in_flight, max_message_bytes), ([2.5, 7.0, 25.0], 50, 32 << 20));
        let intervals = [replica_settings.probe_interval, replica_settings.resolve_interval];
        assert_eq!(intervals, [Duration::from_millis(100), Duration::from_secs(60)]);
        let times = [peers.connect_timeout, peers.probe_after, peers.probe_timeout].map(|time| time.as_secs_f64());
        assert_eq!((times, peers.max_waiting), ([4.0, 0.5, 1.5], 9));
    }

    const TLS: [(&str, &str); 3] = [
        ("HOMING_TLS_CERT", "/does/not/exist"),
        ("HOMING_TLS_KEY", "/does/not/exist"),
        ("HOMING_TLS_CA", "/does/not/exist"),
    ];

    #[test]
    fn mistakes_name_the_variable() {
        for (settings, variable) in [
            (&[("HOMING_SECRET", "short")][..], "HOMING_SECRET"),
            (&[("HOMING_SECRET", "0123456789abcdef0123456789abcdef,short")], "HOMING_SECRET"),
            (&[("HOMING_SECRET_FILE", "/does/not/exist")], "HOMING_SECRET_FILE"),
            (&[("HOMING_SECRET", "x"), ("HOMING_SECRET_FILE", "x")], "are both set"),
            (&[("HOMING_TLS_CERT", "x")], "HOMING_TLS_KEY"),
            (&[("HOMING_TLS_NAME", "x")], "HOMING_TLS_CERT"),
            (&TLS, "HOMING_TLS_NAME"),
            (&[&TLS[..], &[("HOMING_TLS_NAME", "shop.internal")]].concat(), "/does/not/exist"),
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
            (&[("HOMING_POOL_SIZE", "0")], "HOMING_POOL_SIZE"),
            (&[("HOMING_CALL_TIMEOUT", "5s")], "HOMING_CALL_TIMEOUT"),
            (&[("HOMING_REPLAY_TIMEOUT", "0")], "HOMING_REPLAY_TIMEOUT"),
            (&[("HOMING_DRAIN_TIMEOUT", "-1")], "HOMING_DRAIN_TIMEOUT"),
            (&[("HOMING_MAX_IN_FLIGHT", "none")], "HOMING_MAX_IN_FLIGHT"),
            (&[("HOMING_MAX_TRANSACTIONS", "many")], "HOMING_MAX_TRANSACTIONS"),
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
