//! The target of `fuzz/` for the settings of a node.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use crate::Config;
use crate::config::page::variables;

/// Reads the settings of a node: lines of a variable's number and a value. It panics if the code does.
pub fn settings(input: &[u8]) {
    static NAMES: LazyLock<Vec<&str>> =
        LazyLock::new(|| variables().filter(|name| !name.contains('{')).chain(OTHERS).collect());
    let text = String::from_utf8_lossy(input);
    // Settings may name files, and not all files end.
    if text.contains("/dev") || text.contains("/proc") {
        return;
    }
    let mut set = BTreeMap::new();
    for line in text.lines() {
        let mut chars = line.chars();
        if let Some(name) = chars.next() {
            set.insert(NAMES[name as usize % NAMES.len()], chars.as_str().to_owned());
        }
    }
    match Config::from_lookup(&|name| set.get(name).cloned()) {
        Ok(config) => drop(format!("{config:?}")),
        Err(error) => assert!(!error.to_string().is_empty() && error.is_not_sent(), "{error:?}"),
    }
}

/// Variables of others that a node reads.
const OTHERS: [&str; 6] =
    ["DATABASE_URL", "FLY_APP_NAME", "FLY_REGION", "PRIMARY_REGION", "DATABASE_URL_FILE", "HOMING_EU_DATABASE_URL"];

#[cfg(test)]
mod tests {
    use homing_testbed::fuzz;

    #[test]
    fn settings_are_read_without_panic() {
        fuzz(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/seeds/settings"), super::settings);
    }
}
