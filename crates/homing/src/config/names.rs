//! The names of the variables that a node reads. A name that only looks like one is refused, because a setting with a
//! spelling mistake would be ignored otherwise.

use homing_postgres::{Error, Result};

use super::values::Lookup;
use super::{database, page};

/// Refuses variables whose names begin with `HOMING_` and that no node reads. An empty value counts as not set.
pub(super) fn check(set: impl IntoIterator<Item = (String, String)>, lookup: &Lookup<'_>) -> Result<()> {
    let databases = database::listed(lookup);
    let is_known = |name: &str| {
        let of_database = |database: &&str| name.strip_prefix(&database::prefix(database)).is_some_and(is_of_database);
        page::variables().any(|known| known == name)
            || is_of_tool(name)
            || databases.iter().any(|name| of_database(&name.as_str()))
    };
    let mut unknown: Vec<String> = set
        .into_iter()
        .filter(|(name, value)| name.starts_with(PREFIX) && !value.is_empty() && !is_known(name))
        .filter(|(name, value)| !is_service_link(name, value))
        .map(|(name, _)| advice(&name))
        .collect();
    if unknown.is_empty() {
        return Ok(());
    }
    unknown.sort_unstable();
    Err(Error::configuration(unknown.join("; ")))
}

/// Says what to do about an unknown name.
fn advice(name: &str) -> String {
    let of_database = |what: &str| Some(name.strip_prefix(PREFIX)?.strip_suffix(what)?.strip_suffix('_')?.to_owned());
    if let Some(database) = of_databases().find_map(of_database) {
        let database = database.to_ascii_lowercase();
        return format!(
            "{name} is set, but HOMING_DATABASES does not list {database:?}: add it there, or unset {name}"
        );
    }
    let distance = |known: &&str| strsim::damerau_levenshtein(name, known);
    let known = page::variables().filter(|known| !known.starts_with(OF_DATABASE));
    let longer = known.clone().find(|known| known.ends_with(name.strip_prefix("HOMING").unwrap_or(name)));
    let nearest = longer.or_else(|| known.min_by_key(distance)).expect("there are variables");
    format!("{name} is set, but there is no such setting; the nearest is {nearest}: correct the name, or unset it")
}

fn is_of_tool(name: &str) -> bool {
    TOOLS.contains(&name) || name.strip_prefix("HOMING_PG_BIN_").is_some_and(|version| version.parse::<u32>().is_ok())
}

fn is_of_database(rest: &str) -> bool {
    of_databases().any(|known| known == rest)
}

/// Returns the variables of each named database, after `HOMING_`, its name and `_`.
fn of_databases() -> impl Iterator<Item = &'static str> {
    page::variables().filter_map(|name| name.strip_prefix(OF_DATABASE))
}

/// Returns whether Kubernetes sets this variable, as it does for each Service whose name begins with `homing`:
/// <https://kubernetes.io/docs/tutorials/services/connect-applications-service/#environment-variables>.
fn is_service_link(name: &str, value: &str) -> bool {
    let has = |part: &str| name.contains(part);
    has("_SERVICE_HOST")
        || has("_SERVICE_PORT")
        || has("_PORT") && (value.contains("://") || has("_TCP_") || has("_UDP_"))
}

const PREFIX: &str = "HOMING_";

/// How the page writes the variables of each named database.
const OF_DATABASE: &str = "HOMING_{NAME}_";

/// The variables of the project's own tools. They may be set in a shell from which a developer starts a node.
const TOOLS: &[&str] = &[
    "HOMING_IMAGE_TAG",
    "HOMING_PG_BIN",
    "HOMING_SIMULATION_SEED",
    "HOMING_SIMULATION_STEPS",
    "HOMING_SKIP_COMPOSE",
    "HOMING_TEST_PATRONI",
    "HOMING_TEST_POSITIONS",
    "HOMING_TEST_TLS",
    "HOMING_WRITE_GENERATED",
];

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeSet;

    use super::*;
    use crate::Config;

    fn checked(set: &[(&str, &str)]) -> Result<()> {
        let lookup = |name: &str| set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        check(set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())), &lookup)
    }

    /// The names that `Config::from_lookup` asks for.
    fn asked() -> BTreeSet<String> {
        let asked = RefCell::new(BTreeSet::new());
        let regions = [("HOMING_REGION", "syd"), ("HOMING_PRIMARY_REGION", "iad")];
        let dns = [("HOMING_PEER_DNS", "{region}.x"), ("HOMING_REGIONS", "iad"), ("HOMING_DNS_SERVER", "10.0.0.2")];
        for settings in [vec![("HOMING_DATABASES", "x")], [&regions[..], &dns].concat()] {
            let _ = Config::from_lookup(&|name| {
                asked.borrow_mut().insert(name.to_owned());
                settings.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
            });
        }
        let asked = asked.into_inner().into_iter().filter(|name| name.starts_with(PREFIX));
        asked.map(|name| name.replace("HOMING_X_", OF_DATABASE)).collect()
    }

    #[test]
    fn documented_variables_are_read() {
        let known: BTreeSet<_> = page::variables().map(ToOwned::to_owned).collect();
        assert_eq!(asked(), known);
    }

    #[test]
    fn misspelt_name_is_refused() {
        for (name, part) in [
            ("HOMING_REGOIN", "the nearest is HOMING_REGION:"),
            ("HOMING_SECRETS", "the nearest is HOMING_SECRET:"),
            ("HOMING_REPLICA_URLS", "the nearest is HOMING_REPLICA_URL:"),
            ("HOMING_MAX_LAG", "the nearest is HOMING_REPLICA_MAX_LAG:"),
            ("HOMING_BILLING_DATABASE_URL", "HOMING_DATABASES does not list \"billing\""),
            ("HOMING_PORT", "HOMING_PORT is set"),
            ("HOMING_", "HOMING_ is set"),
        ] {
            let error = checked(&[("HOMING_DATABASES", "analytics"), (name, "5")]).unwrap_err();
            assert!(error.is_configuration() && error.to_string().contains(part), "{error}");
        }
        let both = checked(&[("HOMING_REGOIN", "syd"), ("HOMING_SECRETS", "x")]).unwrap_err().to_string();
        assert!(both.contains("HOMING_REGOIN") && both.contains("HOMING_SECRETS"), "{both}");
    }

    #[test]
    fn variables_of_others_are_left_alone() {
        checked(&[
            ("HOMING_DATABASES", "analytics, billing_2"),
            ("HOMING_ANALYTICS_DATABASE_URL", "postgres://a/b"),
            ("HOMING_BILLING_2_REPLICA_URL", "postgres://a/b"),
            ("HOMING_PG_BIN", "/usr/bin"),
            ("HOMING_PG_BIN_17", "/usr/bin"),
            ("homing_lower", "5"),
            ("MY_HOMING_REGOIN", "5"),
            ("HOMING_REGOIN", ""),
            // Those of a Service named `homing-peers`.
            ("HOMING_PEERS_SERVICE_HOST", "10.0.0.1"),
            ("HOMING_PEERS_SERVICE_PORT", "4750"),
            ("HOMING_PEERS_SERVICE_PORT_GRPC", "4750"),
            ("HOMING_PEERS_PORT", "tcp://10.0.0.1:4750"),
            ("HOMING_PEERS_PORT_4750_TCP", "tcp://10.0.0.1:4750"),
            ("HOMING_PEERS_PORT_4750_TCP_PROTO", "tcp"),
            ("HOMING_PEERS_PORT_4750_TCP_PORT", "4750"),
            ("HOMING_PEERS_PORT_4750_TCP_ADDR", "10.0.0.1"),
        ])
        .unwrap();
    }
}
