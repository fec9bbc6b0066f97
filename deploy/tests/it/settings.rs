//! The variables that a deployment sets, read as a node reads them.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use homing::Config;

pub(crate) type Settings = BTreeMap<String, String>;

/// The configuration of a node with these settings. A variable of Homing's or of the guestbook's that no node asks for is
/// a mistake.
pub(crate) fn config(settings: &Settings) -> Config {
    let asked = RefCell::new(BTreeSet::new());
    let config = Config::from_lookup(&|name| {
        asked.borrow_mut().insert(name.to_owned());
        // The system's own need not be there, and is not what is tested.
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

/// Whether a program with its sources in this folder has the name in quotes, as one that asks for it does.
fn is_in_sources(name: &str, folder: &str) -> bool {
    let files = std::fs::read_dir(crate::root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let mut sources = files.filter(|path| path.is_file()).map(|path| std::fs::read_to_string(path).unwrap());
    sources.any(|source| source.contains(&format!("{name:?}")))
}

/// Whether the settings are those of a node that serves its peers, and reads and writes where it should.
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
        assert!(config.database_url.is_none(), "{region} needs no DATABASE_URL");
    }
}

pub(crate) fn settings<K: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (K, V)>) -> Settings {
    pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect()
}

#[test]
#[should_panic(expected = "HOMING_REGON is set, and no node asks for it")]
fn a_misspelt_variable_is_found() {
    config(&settings([("HOMING_REGON", "syd"), ("DATABASE_URL", "postgres://db/app")]));
}

#[test]
#[should_panic(expected = "DASHBOARD_CONTROLS is set, and no node asks for it")]
fn a_misspelt_variable_of_the_dashboard_is_found() {
    config(&settings([("DASHBOARD_CONTROLS", "http://wan:7070"), ("DATABASE_URL", "postgres://db/app")]));
}
