//! The page about the settings, `docs/settings.md`. Its tables are the list of the variables that a node reads.

/// The text of the page.
const PAGE: &str = include_str!("../../docs/settings.md");

/// Returns the names of the variables, and those of each further database as `HOMING_{NAME}_…`.
pub(crate) fn variables() -> impl Iterator<Item = &'static str> + Clone {
    rows().flat_map(|row| spans(row.split('|').next().unwrap_or_default())).filter(|name| name.starts_with("HOMING_"))
}

/// Returns the rows of the tables, without the first bar.
fn rows() -> impl Iterator<Item = &'static str> + Clone {
    PAGE.lines().filter_map(|line| line.strip_prefix("| ")).filter(|row| row.starts_with('`'))
}

/// Returns the parts of a text that are set as code.
fn spans(text: &str) -> impl Iterator<Item = &str> + Clone {
    text.split('`').skip(1).step_by(2)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use homing_postgres::{Choose, Options, PositionKind, ReplicaSettings};
    use homing_rpc::PeerSettings;

    use super::*;
    use crate::Config;

    /// A limit: its variable, a value of it, the method that sets the same, and its call.
    type Limit = (&'static str, &'static str, &'static str, fn(Config) -> Config);

    macro_rules! set {
        (Config::$method:ident($value:expr)) => {
            (concat!("Config::", stringify!($method)), (|config| config.$method($value)) as fn(Config) -> Config)
        };
        ($field:ident: $type:ident::$method:ident($value:expr)) => {
            (
                concat!(stringify!($type), "::", stringify!($method)),
                (|mut config| {
                    config.$field = $type::$method(config.$field, $value);
                    config
                }) as fn(Config) -> Config,
            )
        };
    }

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    /// One row for each variable whose row on the page names a method.
    fn limits() -> Vec<Limit> {
        [
            ("HOMING_POOL_SIZE", "7", set!(Config::with_pool_size(7))),
            ("HOMING_MAX_TRANSACTIONS", "5", set!(Config::with_max_transactions(5))),
            ("HOMING_CALL_TIMEOUT", "2.5", set!(options: Options::with_call_timeout(seconds(2.5)))),
            ("HOMING_REPLAY_TIMEOUT", "7", set!(options: Options::with_replay_timeout(seconds(7.0)))),
            (
                "HOMING_POSITIONS",
                "transaction",
                set!(replica_settings: ReplicaSettings::with_positions(PositionKind::Transaction)),
            ),
            ("HOMING_REPLICA_CHOOSE", "random", set!(options: Options::with_choose(Choose::Random))),
            ("HOMING_REPLICA_MAX_LAG", "7", set!(replica_settings: ReplicaSettings::with_max_lag(seconds(7.0)))),
            ("HOMING_REPLICA_MAX_LAG_BYTES", "7", set!(replica_settings: ReplicaSettings::with_max_lag_bytes(7))),
            (
                "HOMING_REPLICA_PROBE_INTERVAL",
                "0.1",
                set!(replica_settings: ReplicaSettings::with_probe_interval(seconds(0.1))),
            ),
            (
                "HOMING_REPLICA_RESOLVE_INTERVAL",
                "60",
                set!(replica_settings: ReplicaSettings::with_resolve_interval(seconds(60.0))),
            ),
            ("HOMING_MAX_IN_FLIGHT", "50", set!(Config::with_max_in_flight(50))),
            ("HOMING_MAX_PEER_CONNECTIONS", "50", set!(Config::with_max_peer_connections(50))),
            ("HOMING_MAX_MESSAGE_BYTES", "33554432", set!(Config::with_max_message_bytes(32 << 20))),
            ("HOMING_DRAIN_TIMEOUT", "25", set!(Config::with_drain_timeout(seconds(25.0)))),
            ("HOMING_PEER_CONNECT_TIMEOUT", "4", set!(peers: PeerSettings::with_connect_timeout(seconds(4.0)))),
            ("HOMING_PEER_PROBE_AFTER", "0.5", set!(peers: PeerSettings::with_probe_after(seconds(0.5)))),
            ("HOMING_PEER_PROBE_TIMEOUT", "1.5", set!(peers: PeerSettings::with_probe_timeout(seconds(1.5)))),
            ("HOMING_MAX_WAITING", "9", set!(peers: PeerSettings::with_max_waiting(9))),
        ]
        .map(|(variable, value, (method, set))| (variable, value, method, set))
        .into()
    }

    /// The cells of the rows.
    fn cells() -> impl Iterator<Item = Vec<&'static str>> {
        rows().map(|row| row.split('|').map(str::trim).collect())
    }

    fn config(variables: &[(&str, &str)]) -> Config {
        let always = [
            ("HOMING_REGION", "syd"),
            ("HOMING_PRIMARY_REGION", "iad"),
            ("HOMING_PEER_DNS", "{region}.internal"),
            ("HOMING_REGIONS", "syd,iad"),
            ("HOMING_DNS_SERVER", "127.0.0.1:53"),
        ];
        let all = [variables, &always].concat();
        let lookup = |name: &str| all.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        Config::from_lookup(&lookup).unwrap()
    }

    #[test]
    fn variable_and_method_set_the_same() {
        let named: BTreeSet<_> = cells()
            .filter(|cells| cells[1].contains("::with_"))
            .filter_map(|cells| Some((spans(cells[0]).next()?, spans(cells[1]).next()?)))
            .filter(|(variable, method)| !variable.contains('{') && method.split("::with_").nth(1) != Some("app"))
            .filter(|(variable, _)| *variable != "HOMING_DATABASES")
            .collect();
        let tested: BTreeSet<_> = limits().into_iter().map(|(variable, _, method, _)| (variable, method)).collect();
        assert_eq!(named, tested, "the page, and the table of this test");
        let unset = format!("{:?}", config(&[]));
        for (variable, value, method, set) in limits() {
            let by_variable = format!("{:?}", config(&[(variable, value)]));
            assert_ne!(by_variable, unset, "{variable} changes nothing");
            assert_eq!(by_variable, format!("{:?}", set(config(&[]))), "{variable} and {method}");
        }
    }

    #[test]
    fn documented_defaults_hold() {
        let unset = format!("{:?}", config(&[]));
        let mut defaults = 0;
        for cells in cells() {
            let (variable, default) = (spans(cells[0]).next().unwrap(), cells[3].strip_prefix('`'));
            // Other cells say in words where the default comes from.
            let Some(default) = default.and_then(|rest| rest.strip_suffix('`')).filter(|value| !value.contains('`'))
            else {
                continue;
            };
            defaults += 1;
            assert_eq!(
                format!("{:?}", config(&[(variable, default)])),
                unset,
                "{variable} is not {default} by default"
            );
        }
        assert!(defaults >= limits().len() - 1, "{defaults}");
    }

    #[test]
    fn each_row_is_complete() {
        for cells in cells() {
            assert!(
                cells.len() == 6 && cells[4].len() > 10 && !cells[1].is_empty() && !cells[2].is_empty(),
                "{cells:?}"
            );
        }
        let all: Vec<_> = variables().collect();
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "a variable has two rows");
    }
}
