//! Refuses settings that cannot work, alone or together.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use homing_postgres::{Error, Result, check_database_name};
use homing_rpc::Topology;

use super::Config;
use super::network::is_local;
use super::values::{Lookup, MAX_TIME};

impl Config {
    /// Refuses settings that cannot work, whether they come from the environment or from code.
    ///
    /// # Errors
    ///
    /// `is_configuration`, with one sentence that names the field and its variable; `is_misuse` for the name of a database that
    /// is not allowed.
    pub(crate) fn check(&self) -> Result<()> {
        self.check_server()?;
        self.check_databases()?;
        self.check_replicas()?;
        self.check_times()
    }

    fn check_server(&self) -> Result<()> {
        let has_proof = self.secret.is_some() || self.tls.is_some();
        if let Some(listen) = self.listen.filter(|listen| !has_proof && !listen.ip().is_loopback()) {
            return refuse(format!(
                "listen (HOMING_LISTEN) is {listen}, and neither a secret nor TLS is set, so everyone who reaches that address could \
                 run functions on this node: set HOMING_SECRET, or HOMING_TLS_CERT and the others, or listen on 127.0.0.1"
            ));
        }
        within("max_in_flight (HOMING_MAX_IN_FLIGHT)", self.max_in_flight, 1..=MAX_IN_FLIGHT)?;
        within("max_peer_connections (HOMING_MAX_PEER_CONNECTIONS)", self.max_peer_connections, 1..=MAX_CONNECTIONS)?;
        within("max_message_bytes (HOMING_MAX_MESSAGE_BYTES)", self.max_message_bytes, MESSAGE_BYTES)
    }

    fn check_databases(&self) -> Result<()> {
        let is_twice = self
            .databases
            .iter()
            .any(|(_, database)| database.database_url.is_some() && database.database_url_file.is_some());
        if is_twice || self.database_url.is_some() && self.database_url_file.is_some() {
            return refuse(
                "database_url (DATABASE_URL) and database_url_file (DATABASE_URL_FILE) are both set: unset one of them",
            );
        }
        let mut names = BTreeSet::new();
        for (name, _) in &self.databases {
            check_database_name(name)?;
            if !names.insert(name) {
                return refuse(format!("two databases are named {name:?}: give each its own name"));
            }
        }
        let named = self.databases.iter().map(|(_, database)| (database.pool_size, database.max_transactions));
        for (pool_size, max_transactions) in named.chain([(self.pool_size, self.max_transactions)]) {
            within("pool_size (HOMING_POOL_SIZE)", pool_size, 1..=MAX_CONNECTIONS)?;
            match max_transactions {
                Some(0) => return refuse("max_transactions (HOMING_MAX_TRANSACTIONS) is 0: set it to at least 1"),
                Some(transactions) if transactions > pool_size => {
                    return refuse(format!(
                        "max_transactions (HOMING_MAX_TRANSACTIONS) is {transactions}, and each needs a connection, of which \
                         pool_size (HOMING_POOL_SIZE) allows {pool_size}: lower the first or raise the second"
                    ));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn check_replicas(&self) -> Result<()> {
        let settings = &self.replica_settings;
        let (probe, resolve) = (settings.probe_interval, settings.resolve_interval);
        time("probe_interval (HOMING_REPLICA_PROBE_INTERVAL)", probe, MIN_PROBE_INTERVAL)?;
        time("resolve_interval (HOMING_REPLICA_RESOLVE_INTERVAL)", resolve, MIN_RESOLVE_INTERVAL)?;
        match settings.max_lag {
            Some(Duration::ZERO) => refuse(
                "max_lag (HOMING_REPLICA_MAX_LAG) is 0 s, which would leave out every replica: set it to seconds above 0, or to \
                 none",
            ),
            Some(max_lag) if max_lag < probe => refuse(format!(
                "max_lag (HOMING_REPLICA_MAX_LAG) is {max_lag:?}, and a replica is asked for its lag only every {probe:?}: \
                 set probe_interval (HOMING_REPLICA_PROBE_INTERVAL) to less"
            )),
            _ => Ok(()),
        }
    }

    fn check_times(&self) -> Result<()> {
        let (call, peers) = (self.options.call_timeout, &self.peers);
        time("call_timeout (HOMING_CALL_TIMEOUT)", call, SHORTEST)?;
        time("connect_timeout (HOMING_PEER_CONNECT_TIMEOUT)", peers.connect_timeout, SHORTEST)?;
        time("probe_after (HOMING_PEER_PROBE_AFTER)", peers.probe_after, SHORTEST)?;
        time("probe_timeout (HOMING_PEER_PROBE_TIMEOUT)", peers.probe_timeout, SHORTEST)?;
        if !is_local(&self.topology) && peers.probe_after >= call {
            return refuse(format!(
                "probe_after (HOMING_PEER_PROBE_AFTER) is {:?}, and a call is over after {call:?} (HOMING_CALL_TIMEOUT), so no \
                 call would notice that its peer is silent: set the first to less than the second",
                peers.probe_after
            ));
        }
        Ok(())
    }
}

/// Refuses variables that contradict each other.
///
/// # Errors
///
/// `is_configuration`, with one sentence that names the variables.
pub(super) fn variables(lookup: &Lookup<'_>, topology: &Topology) -> Result<()> {
    let peers = ["HOMING_PEERS", "HOMING_PEER_DNS"].into_iter().find(|name| lookup(name).is_some());
    if let Some(variable) = peers.filter(|_| is_local(topology)) {
        return refuse(format!(
            "{variable} is set, and HOMING_REGION is not, so this node would be its own primary and call no peer: set \
             HOMING_REGION and HOMING_PRIMARY_REGION, or unset {variable}"
        ));
    }
    if lookup("HOMING_REGIONS").is_some() && lookup("HOMING_PEER_DNS").is_none() {
        return refuse(
            "HOMING_REGIONS is set without HOMING_PEER_DNS, whose {region} it replaces: set both, or unset it",
        );
    }
    let primary = topology.primary_region();
    let lists_primary =
        |list: &str| list.split(';').any(|part| part.split('=').next().unwrap_or("").trim() == primary.as_str());
    if lookup("HOMING_PEERS").is_some_and(|list| !topology.is_primary_region() && !lists_primary(&list)) {
        return refuse(format!(
            "HOMING_PEERS lists no node in {primary}, the primary region, so no write could be forwarded: add its nodes, as in \
             {primary}=10.0.0.1:4750"
        ));
    }
    Ok(())
}

fn refuse(message: impl Into<String>) -> Result<()> {
    Err(Error::configuration(message))
}

fn within<T: PartialOrd + std::fmt::Display>(setting: &str, value: T, range: RangeInclusive<T>) -> Result<()> {
    if range.contains(&value) {
        return Ok(());
    }
    refuse(format!("{setting} is {value}: set it to {} to {}", range.start(), range.end()))
}

fn time(setting: &str, value: Duration, min: Duration) -> Result<()> {
    if (min..=MAX_TIME).contains(&value) {
        return Ok(());
    }
    let min = if min == SHORTEST { "more than 0 s".to_owned() } else { format!("at least {min:?}") };
    refuse(format!("{setting} is {value:?}: set it to {min} and at most {MAX_TIME:?}"))
}

const SHORTEST: Duration = Duration::from_nanos(1);

/// A probe around the world takes longer, so a shorter interval would only be load.
const MIN_PROBE_INTERVAL: Duration = Duration::from_millis(10);

/// DNS answers are kept for at least as long.
const MIN_RESOLVE_INTERVAL: Duration = Duration::from_secs(1);

const MAX_IN_FLIGHT: u32 = 1 << 20;

/// Far more than PostgreSQL and the operating system can have.
const MAX_CONNECTIONS: usize = 1 << 20;

/// A message has to hold a chunk of a stream, and what memory can hold is the other end.
const MESSAGE_BYTES: RangeInclusive<usize> = 1 << 20..=1 << 30;

#[cfg(test)]
mod tests {
    use homing_rpc::Region;

    use super::*;
    use crate::DatabaseConfig;

    fn nodes() -> Config {
        Config::new(Topology::new(Region::new("syd").unwrap(), Region::new("iad").unwrap()))
    }

    /// One row for each reason of [`Config::check`].
    #[test]
    fn impossible_settings_are_refused() {
        type Change = fn(&mut Config);
        let millis = Duration::from_millis;
        let rows: &[(Change, &[&str])] = &[
            (|c| c.listen = Some(([0, 0, 0, 0], 4750).into()), &["HOMING_LISTEN", "0.0.0.0:4750", "HOMING_SECRET"]),
            (|c| c.max_in_flight = 0, &["HOMING_MAX_IN_FLIGHT", "is 0", "1 to 1048576"]),
            (|c| c.max_in_flight = u32::MAX, &["HOMING_MAX_IN_FLIGHT", "1 to 1048576"]),
            (|c| c.max_peer_connections = 0, &["HOMING_MAX_PEER_CONNECTIONS", "is 0"]),
            (|c| c.max_message_bytes = 1000, &["HOMING_MAX_MESSAGE_BYTES", "is 1000", "1048576 to 1073741824"]),
            (
                |c| (c.database_url, c.database_url_file) = (Some("postgres://h/d".into()), Some("/x".into())),
                &["DATABASE_URL)", "DATABASE_URL_FILE", "both set"],
            ),
            (|c| c.pool_size = 0, &["HOMING_POOL_SIZE", "is 0"]),
            (|c| c.max_transactions = Some(0), &["HOMING_MAX_TRANSACTIONS", "is 0"]),
            (|c| c.max_transactions = Some(17), &["HOMING_MAX_TRANSACTIONS", "is 17", "HOMING_POOL_SIZE", "16"]),
            (
                |c| c.databases = vec![("a".into(), DatabaseConfig::new().with_max_transactions(17))],
                &["HOMING_MAX_TRANSACTIONS", "is 17", "HOMING_POOL_SIZE", "16"],
            ),
            (
                |c| c.databases = ["a", "a"].map(|name| (name.into(), DatabaseConfig::new())).into(),
                &["two databases are named \"a\""],
            ),
            (|c| c.databases = vec![("A".into(), DatabaseConfig::new())], &["\"A\""]),
            (|c| c.replica_settings.probe_interval = Duration::ZERO, &["HOMING_REPLICA_PROBE_INTERVAL", "10ms"]),
            (|c| c.replica_settings.resolve_interval = Duration::ZERO, &["HOMING_REPLICA_RESOLVE_INTERVAL", "1s"]),
            (|c| c.replica_settings.max_lag = Some(Duration::ZERO), &["HOMING_REPLICA_MAX_LAG", "is 0 s"]),
            (
                |c| c.replica_settings.max_lag = Some(Duration::from_millis(400)),
                &["HOMING_REPLICA_MAX_LAG", "400ms", "500ms", "HOMING_REPLICA_PROBE_INTERVAL"],
            ),
            (|c| c.options.call_timeout = Duration::ZERO, &["HOMING_CALL_TIMEOUT", "is 0ns", "more than 0 s"]),
            (|c| c.options.call_timeout = Duration::MAX, &["HOMING_CALL_TIMEOUT", "at most 86400s"]),
            (|c| c.peers.connect_timeout = Duration::ZERO, &["HOMING_PEER_CONNECT_TIMEOUT", "is 0ns"]),
            (|c| c.peers.probe_after = Duration::ZERO, &["HOMING_PEER_PROBE_AFTER", "is 0ns"]),
            (|c| c.peers.probe_timeout = Duration::ZERO, &["HOMING_PEER_PROBE_TIMEOUT", "is 0ns"]),
            (
                |c| c.options.call_timeout = Duration::from_millis(200),
                &["HOMING_PEER_PROBE_AFTER", "is 200ms", "HOMING_CALL_TIMEOUT"],
            ),
        ];
        nodes().check().unwrap();
        Config::local("postgres://h/d").with_options_of(millis(100)).check().unwrap();
        for (change, parts) in rows {
            let mut config = nodes();
            change(&mut config);
            let error = config.check().unwrap_err();
            assert!(error.is_configuration() || error.is_misuse(), "{error:?}");
            let message = error.to_string();
            assert!(parts.iter().all(|part| message.contains(part)), "{parts:?}: {message}");
            assert!(!message.contains(". "), "one sentence: {message}");
        }
    }

    impl Config {
        fn with_options_of(mut self, call_timeout: Duration) -> Self {
            self.options.call_timeout = call_timeout;
            self
        }
    }

    /// One row for each reason of [`variables`], and of the parts that read related variables.
    #[test]
    fn contradicting_variables_are_refused() {
        let syd = [("HOMING_REGION", "syd"), ("HOMING_PRIMARY_REGION", "iad")];
        let peers = ("HOMING_PEERS", "syd=10.0.0.1:4750; iad =10.0.0.2:4750");
        let read = |set: &[(&str, &str)]| {
            let lookup =
                |name: &str| set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
            Config::from_lookup(&lookup).map(drop)
        };
        read(&[&syd[..], &[peers]].concat()).unwrap();
        for (settings, parts) in [
            (vec![peers], ["HOMING_PEERS is set", "HOMING_REGION is not"]),
            (
                vec![("HOMING_PEER_DNS", "{region}.x"), ("HOMING_REGIONS", "syd")],
                ["HOMING_PEER_DNS is set", "HOMING_REGION"],
            ),
            ([&syd[..], &[("HOMING_REGIONS", "syd,iad")]].concat(), ["HOMING_REGIONS is set", "HOMING_PEER_DNS"]),
            (
                [&syd[..], &[("HOMING_PEERS", "syd=10.0.0.1:4750")]].concat(),
                ["HOMING_PEERS lists", "iad, the primary region"],
            ),
            (
                [&syd[..], &[peers, ("HOMING_PEER_DNS", "{region}.x")]].concat(),
                ["both HOMING_PEERS", "HOMING_PEER_DNS"],
            ),
            (
                [&syd[..], &[("HOMING_REPLICA_REGIONS", "syd")]].concat(),
                ["HOMING_REPLICA_REGIONS", "HOMING_REPLICA_URL"],
            ),
            (vec![("HOMING_REGION", "syd")], ["HOMING_REGION is syd", "HOMING_PRIMARY_REGION"]),
            (vec![("HOMING_PRIMARY_REGION", "iad")], ["HOMING_PRIMARY_REGION is iad", "HOMING_REGION"]),
            (vec![("HOMING_SECRET", "x"), ("HOMING_SECRET_FILE", "/x")], ["HOMING_SECRET ", "HOMING_SECRET_FILE"]),
            (vec![("DATABASE_URL", "x"), ("DATABASE_URL_FILE", "/x")], ["DATABASE_URL ", "DATABASE_URL_FILE"]),
            (
                vec![("HOMING_REPLICA_URL", "postgres://h/d"), ("HOMING_REPLICA_URL_FILE", "/x")],
                ["HOMING_REPLICA_URL ", "HOMING_REPLICA_URL_FILE"],
            ),
            (
                vec![("HOMING_DATABASES", "a"), ("HOMING_A_DATABASE_URL", "x"), ("HOMING_A_DATABASE_URL_FILE", "/x")],
                ["HOMING_A_DATABASE_URL ", "HOMING_A_DATABASE_URL_FILE"],
            ),
            (vec![("HOMING_TLS_CERT", "/x")], ["HOMING_TLS_KEY", "HOMING_TLS_CA"]),
            (vec![("HOMING_TLS_NAME", "x")], ["HOMING_TLS_CERT", "HOMING_TLS_KEY"]),
            (vec![("HOMING_DATABASES", "a,a")], ["HOMING_DATABASES", "\"a\" twice"]),
            (vec![("HOMING_CALL_TIMEOUT", "86401")], ["HOMING_CALL_TIMEOUT is \"86401\"", "at most 86400"]),
            (
                vec![("HOMING_REPLICA_URL", "a=postgres://1/d,a=postgres://2/d")],
                ["HOMING_REPLICA_URL", "two replicas are named a"],
            ),
        ] {
            let error = read(&settings).unwrap_err();
            assert!(error.is_configuration(), "{error:?}");
            let message = error.to_string();
            assert!(parts.iter().all(|part| message.contains(part)), "{parts:?}: {message}");
        }
    }
}
