//! The variables that a deployment sets, read the way a node reads them.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use homing::Config;

pub(crate) type Settings = BTreeMap<String, String>;

/// Returns the configuration of a node with these settings. Fails for a variable of Homing's or of the guestbook's that no
/// node asks for.
pub(crate) fn config(settings: &Settings) -> Config {
    let asked = RefCell::new(BTreeSet::new());
    let config = Config::from_lookup(&|name| {
        asked.borrow_mut().insert(name.to_owned());
        // The system's own DNS settings may be missing, and are not tested here.
        let value = settings.get(name).cloned();
        value.or_else(|| (name == "HOMING_DNS_SERVER").then(|| "127.0.0.1:53".to_owned()))
    });
    let asked = asked.into_inner();
    for name in settings.keys() {
        let known = match name.split_once('_') {
            Some(("HOMING", _)) => asked.contains(name),
            Some(("GUESTBOOK", _)) => is_in_sources(name, "examples/guestbook/src"),
            Some(("DASHBOARD", _)) => is_in_sources(name, "examples/dashboard/src"),
            _ => true,
        };
        assert!(known, "{name} is set, and no node asks for it");
    }
    config.unwrap()
}

/// Returns whether the sources in this folder contain the name in quotes, as those of a program that asks for it do.
fn is_in_sources(name: &str, folder: &str) -> bool {
    let files = std::fs::read_dir(crate::root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let mut sources = files.filter(|path| path.is_file()).map(|path| std::fs::read_to_string(path).unwrap());
    sources.any(|source| source.contains(&format!("{name:?}")))
}

/// Asserts that a node with these settings serves its peers, and has the databases of its region.
pub(crate) fn assert_complete(settings: &Settings, region: &str) {
    let config = config(settings);
    assert_eq!(config.topology.region().as_str(), region);
    assert_eq!(config.topology.primary_region().as_str(), "iad");
    assert!(config.secret.is_some(), "{region} has no HOMING_SECRET");
    assert_eq!(config.listen.unwrap().port(), 4750, "peers expect this port");
    if config.topology.is_primary_region() {
        assert!(config.database_url.is_some(), "{region} has no DATABASE_URL");
    } else {
        assert!(config.replica_url.is_some(), "{region} has no HOMING_REPLICA_URL");
        // Fly's secrets are the same for all machines.
        let is_on_fly = settings.contains_key("FLY_REGION");
        assert!(is_on_fly || config.database_url.is_none(), "{region} needs no DATABASE_URL");
    }
}

/// Asserts that the calls of peers fit into so many mebibytes: the sum that `deploy/kubernetes/iad.yaml` shows.
pub(crate) fn assert_fits(config: &Config, memory: usize) {
    let calls = usize::try_from(config.max_in_flight).unwrap();
    assert!(calls > config.pool_size, "some connections to the database would stay idle");
    let needed = AT_REST + VISITORS + (calls * COPIES * config.max_message_bytes).div_ceil(MEBIBYTE);
    assert!(needed <= memory, "{calls} calls need {needed} Mi, more than {memory} Mi");
}

const MEBIBYTE: usize = 1024 * 1024;

/// In mebibytes.
const AT_REST: usize = 64;
const VISITORS: usize = 128;

/// How often a message exists at most on its way through a node, as measured.
const COPIES: usize = 10;

pub(crate) fn settings<K: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (K, V)>) -> Settings {
    pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect()
}

#[test]
#[should_panic(expected = "HOMING_REGON is set, and no node asks for it")]
fn misspelt_variable_is_found() {
    config(&settings([("HOMING_REGON", "syd"), ("DATABASE_URL", "postgres://db/app")]));
}

#[test]
#[should_panic(expected = "DASHBOARD_CONTROLS is set, and no node asks for it")]
fn misspelt_dashboard_variable_is_found() {
    config(&settings([("DASHBOARD_CONTROLS", "http://wan:7070"), ("DATABASE_URL", "postgres://db/app")]));
}
