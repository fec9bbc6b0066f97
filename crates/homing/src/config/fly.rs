//! The replica of a region on Fly.io, derived from the address of the primary.

use homing_rpc::Topology;
use tracing::info;

use super::values::{Lookup, REGION};

/// Returns the connection string of the replicas of a PostgreSQL app on Fly.io, with `{region}` in it. `None` in the primary
/// region, outside of Fly.io, and if the string does not lead to such an app.
///
/// Fly's own `fly_postgres` does the same. Each region has a name of its own, and replicas answer on port 5433; on port
/// 5432 a proxy leads to the primary (<https://fly.io/docs/postgres/advanced-guides/high-availability-and-global-replication/>).
pub(super) fn replica_url(database_url: Option<&str>, topology: &Topology, lookup: &Lookup<'_>) -> Option<String> {
    let is_on_fly = lookup("FLY_REGION").is_some_and(|region| region.trim() == topology.region().as_str());
    if !is_on_fly || topology.is_primary_region() {
        return None;
    }
    let (before, host, after) = split(database_url?)?;
    let host = format!("{REGION}.{}.internal:{REPLICA_PORT}", app(host)?);
    info!(
        host = host.replace(REGION, topology.region().as_str()),
        "reading from this region's replica, as DATABASE_URL suggests; set HOMING_REPLICA_URL to say otherwise"
    );
    Some(format!("{before}{host}{after}"))
}

/// Splits a connection string at its host with the port. `None` if it is not a URL.
fn split(url: &str) -> Option<(&str, &str, &str)> {
    let scheme = ["postgres://", "postgresql://"].into_iter().find(|scheme| url.starts_with(scheme))?;
    let begin = url.find('@').map_or(scheme.len(), |at| at + 1);
    let end = url[begin..].find(['/', '?']).map_or(url.len(), |length| begin + length);
    Some((&url[..begin], &url[begin..end], &url[end..]))
}

/// Returns the name of the app that a host belongs to: `APP.internal`, `REGION.APP.internal`,
/// `top2.nearest.of.APP.internal` or `APP.flycast`.
fn app(host: &str) -> Option<&str> {
    let (host, port) = host.split_once(':').unwrap_or((host, PROXY_PORT));
    if port != PROXY_PORT && port != REPLICA_PORT {
        return None;
    }
    let app = match host.strip_suffix(".internal") {
        Some(host) => host.rsplit('.').next()?,
        None => host.strip_suffix(".flycast").filter(|app| !app.contains('.'))?,
    };
    let is_label = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (!app.is_empty() && app.bytes().all(is_label)).then_some(app)
}

/// The port of PostgreSQL itself.
const REPLICA_PORT: &str = "5433";

/// The port of the proxy in front of it, which leads to the primary from every region.
const PROXY_PORT: &str = "5432";

#[cfg(test)]
mod tests {
    use super::*;

    fn derived(url: &str, variables: &[(&str, &str)]) -> Option<String> {
        let lookup = |name: &str| {
            let (_, value) = variables.iter().find(|(known, _)| *known == name)?;
            Some((*value).to_owned())
        };
        replica_url(Some(url), &Topology::from_lookup(&lookup).unwrap(), &lookup)
    }

    const SYD: [(&str, &str); 2] = [("FLY_REGION", "syd"), ("PRIMARY_REGION", "iad")];

    #[test]
    fn region_and_port_replace_the_proxy() {
        for (url, expected) in [
            ("postgres://app:p@db.internal:5432/app", "postgres://app:p@{region}.db.internal:5433/app"),
            (
                "postgres://app:p@db.flycast:5432/app?sslmode=disable",
                "postgres://app:p@{region}.db.internal:5433/app?sslmode=disable",
            ),
            ("postgres://app:p@top2.nearest.of.db.internal:5432/app", "postgres://app:p@{region}.db.internal:5433/app"),
            ("postgres://app:p@iad.db.internal:5433/app", "postgres://app:p@{region}.db.internal:5433/app"),
            ("postgresql://db.internal", "postgresql://{region}.db.internal:5433"),
            (
                "postgres://app:p%2Fq@db.internal?application_name=a",
                "postgres://app:p%2Fq@{region}.db.internal:5433?application_name=a",
            ),
        ] {
            assert_eq!(derived(url, &SYD).as_deref(), Some(expected));
        }
    }

    #[test]
    fn other_servers_are_left_alone() {
        for url in [
            "postgres://app:p@db.example.com:5432/app",
            "postgres://app:p@direct.abc.flycast:5432/app",
            "postgres://app:p@db.internal:6432/app",
            "postgres://app:p@a.internal,b.internal/app",
            "postgres://app:p@10.0.0.1/app",
            "postgres:///app?host=/tmp",
            "host=db.internal user=app",
        ] {
            assert_eq!(derived(url, &SYD), None, "{url}");
        }
        let url = "postgres://app:p@db.internal/app";
        for variables in [
            &[][..],
            &[("FLY_REGION", "iad"), ("PRIMARY_REGION", "iad")],
            &[("HOMING_REGION", "syd"), ("HOMING_PRIMARY_REGION", "iad")],
            &[("HOMING_REGION", "east"), ("FLY_REGION", "syd"), ("PRIMARY_REGION", "iad")],
        ] {
            assert_eq!(derived(url, variables), None, "{variables:?}");
        }
    }
}
