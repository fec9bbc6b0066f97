//! The settings of replicas, from the environment.

use std::path::PathBuf;

use homing_postgres::{Choose, Error, Options, PositionKind, ReplicaList, ReplicaSettings, Result};
use homing_rpc::{Region, Topology, dns_from_lookup};

use super::error::{at, wrong};
use super::fly;
use super::values::{Lookup, REGION, bytes_or_none, file_variable, seconds, seconds_or_none, text_or_file};

/// The settings that the environment has for replicas.
pub(super) struct Settings {
    pub(super) place: ReplicaPlace,
    pub(super) regions: Vec<Region>,
    pub(super) settings: ReplicaSettings,
    pub(super) options: Options,
}

/// The replicas of one database.
#[derive(Debug)]
pub(super) struct ReplicaPlace {
    pub(super) url: Option<String>,
    /// Those in a file.
    pub(super) list: Option<ReplicaList>,
}

pub(super) fn from_lookup(lookup: &Lookup<'_>, topology: &Topology, database_url: Option<&str>) -> Result<Settings> {
    let regions = regions(lookup)?;
    let place = place(lookup, URL, database_url, &regions, topology)?;
    if place.url.is_none() && place.list.is_none() && !regions.is_empty() {
        return Err(Error::configuration(format!(
            "{REGIONS} is set without {URL}: set {URL} to a connection string with {{region}}, or unset {REGIONS}"
        )));
    }
    let mut options = Options::default();
    if let Some(name) = lookup(CHOOSE) {
        options.choose = choose(&name)?;
    }
    if let Some(timeout) = seconds(lookup, "HOMING_CALL_TIMEOUT")? {
        options.call_timeout = timeout;
    }
    if let Some(timeout) = seconds(lookup, "HOMING_REPLAY_TIMEOUT")? {
        options.replay_timeout = timeout;
    }
    Ok(Settings { place, regions, settings: settings(lookup)?, options })
}

/// Reads the connection strings of the replicas of one database, from their variable or from a file; `none` says that there are
/// none. On Fly.io they follow from the connection string of the primary.
pub(super) fn place(
    lookup: &Lookup<'_>,
    variable: &str,
    database_url: Option<&str>,
    regions: &[Region],
    topology: &Topology,
) -> Result<ReplicaPlace> {
    let url = match text_or_file(lookup, variable)? {
        (None, Some(path)) => {
            let list = list_in_file(path, &file_variable(variable), regions, topology)?;
            return Ok(ReplicaPlace { url: None, list: Some(list) });
        }
        (Some(none), _) if none.trim() == NONE => None,
        (Some(url), _) => Some(url),
        (None, None) => fly::replica_url(database_url, topology, lookup),
    };
    let url = url.map(|url| expand(&url, variable, regions, topology.region())).transpose()?;
    if let Some(url) = &url {
        ReplicaList::parse(url, variable)?;
    }
    Ok(ReplicaPlace { url, list: None })
}

/// Reads the connection strings of replicas from a file, which is read again.
fn list_in_file(path: PathBuf, variable: &str, regions: &[Region], topology: &Topology) -> Result<ReplicaList> {
    let (name, listed, own) = (variable.to_owned(), regions.to_vec(), topology.region().clone());
    let list = ReplicaList::from_file_with(path, variable, move |text| expand(text, &name, &listed, &own))?;
    let others: Vec<_> = regions.iter().chain([topology.primary_region()]).cloned().collect();
    Ok(list.in_regions(topology.region(), &others))
}

/// Returns one connection string for each region, or without a list of regions the one for this region.
fn expand(url: &str, variable: &str, regions: &[Region], own: &Region) -> Result<String> {
    if regions.is_empty() {
        return Ok(url.replace(REGION, own.as_str()));
    }
    if !url.contains(REGION) {
        return Err(Error::configuration(format!(
            "{REGIONS} is set, but {variable} does not contain {REGION}: write it where the region's name belongs, as in \
             postgres://app@{REGION}.db.internal/app"
        )));
    }
    let each = regions.iter().map(|region| format!("{region}={}", url.replace(REGION, region.as_str())));
    Ok(each.collect::<Vec<_>>().join(","))
}

fn regions(lookup: &Lookup<'_>) -> Result<Vec<Region>> {
    let Some(list) = lookup(REGIONS) else { return Ok(Vec::new()) };
    list.split(',').map(|name| Region::new(name.trim()).map_err(|error| at(REGIONS, error))).collect()
}

fn choose(name: &str) -> Result<Choose> {
    match name.trim() {
        "nearest" => Ok(Choose::Nearest),
        "random" => Ok(Choose::Random),
        "least-lag" => Ok(Choose::LeastLag),
        other => Err(Error::configuration(format!(
            "{CHOOSE} is {other:?}, which is not a way to choose: write nearest, random or least-lag"
        ))),
    }
}

fn positions(kind: &str) -> Result<Option<PositionKind>> {
    match kind.trim() {
        "auto" => Ok(None),
        "lsn" => Ok(Some(PositionKind::Lsn)),
        "transaction" => Ok(Some(PositionKind::Transaction)),
        other => Err(Error::configuration(format!(
            "{POSITIONS} is {other:?}, which is not a kind of positions: write auto, lsn or transaction"
        ))),
    }
}

fn settings(lookup: &Lookup<'_>) -> Result<ReplicaSettings> {
    let mut settings = ReplicaSettings::default();
    if let Some(max_lag) = seconds_or_none(lookup, MAX_LAG)? {
        settings.max_lag = max_lag;
    }
    if let Some(max_lag_bytes) = bytes_or_none(lookup, MAX_LAG_BYTES)? {
        settings.max_lag_bytes = max_lag_bytes;
    }
    if let Some(interval) = seconds(lookup, "HOMING_REPLICA_PROBE_INTERVAL")? {
        // Not by the methods, which raise a short time in silence.
        settings.probe_interval = interval;
    }
    if let Some(interval) = seconds(lookup, "HOMING_REPLICA_RESOLVE_INTERVAL")? {
        settings.resolve_interval = interval;
    }
    if let Some(kind) = lookup(POSITIONS) {
        settings.positions = positions(&kind)?;
    }
    if lookup(DNS_SERVER).is_some() {
        settings.dns = Some(dns_from_lookup(lookup).map_err(wrong)?);
    }
    Ok(settings)
}

/// The value that says that there are no replicas.
const NONE: &str = "none";

const CHOOSE: &str = "HOMING_REPLICA_CHOOSE";
const DNS_SERVER: &str = "HOMING_DNS_SERVER";
const MAX_LAG: &str = "HOMING_REPLICA_MAX_LAG";
const MAX_LAG_BYTES: &str = "HOMING_REPLICA_MAX_LAG_BYTES";
const POSITIONS: &str = "HOMING_POSITIONS";
const REGIONS: &str = "HOMING_REPLICA_REGIONS";
const URL: &str = "HOMING_REPLICA_URL";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Settings> {
        let lookup = |name: &str| {
            let (_, value) = variables.iter().find(|(known, _)| *known == name)?;
            Some((*value).to_owned())
        };
        let topology = Topology::new(Region::new("syd").unwrap(), Region::new("iad").unwrap());
        let database_url = lookup("DATABASE_URL");
        from_lookup(&lookup, &topology, database_url.as_deref())
    }

    #[test]
    fn template_expands_to_listed_regions() {
        let template = (URL, "postgres://app@{region}.db.internal/app");
        assert_eq!(read(&[template]).unwrap().place.url.unwrap(), "postgres://app@syd.db.internal/app");
        let settings = read(&[template, (REGIONS, "syd, ams")]).unwrap();
        assert_eq!(
            settings.place.url.unwrap(),
            "syd=postgres://app@syd.db.internal/app,ams=postgres://app@ams.db.internal/app"
        );
        assert_eq!(settings.regions.len(), 2);
    }

    #[test]
    fn limits_and_choice_have_defaults() {
        let settings = read(&[]).unwrap();
        assert_eq!(settings.settings.max_lag, Some(Duration::from_secs(30)));
        assert_eq!((settings.settings.max_lag_bytes, settings.options.choose), (None, Choose::Nearest));
        let settings = read(&[(MAX_LAG, "1.5"), (MAX_LAG_BYTES, "1024"), (CHOOSE, "least-lag")]).unwrap();
        assert_eq!(settings.settings.max_lag, Some(Duration::from_millis(1500)));
        assert_eq!((settings.settings.max_lag_bytes, settings.options.choose), (Some(1024), Choose::LeastLag));
        assert_eq!(read(&[(MAX_LAG, "none")]).unwrap().settings.max_lag, None);
    }

    #[test]
    fn positions_are_found_out_by_default() {
        let positions = |variables: &[(&str, &str)]| read(variables).unwrap().settings.positions;
        assert_eq!(positions(&[]), None);
        for (kind, expected) in
            [("auto", None), ("lsn", Some(PositionKind::Lsn)), ("transaction", Some(PositionKind::Transaction))]
        {
            assert_eq!(positions(&[(POSITIONS, kind)]), expected);
        }
    }

    #[test]
    fn replica_on_fly_follows_from_primary() {
        let fly = [("FLY_REGION", "syd"), ("DATABASE_URL", "postgres://app@db.flycast:5432/app")];
        let url = |settings: &[(&str, &str)]| read(&[&fly, settings].concat()).unwrap().place.url;
        assert_eq!(url(&[]).unwrap(), "postgres://app@syd.db.internal:5433/app");
        let two = "syd=postgres://app@syd.db.internal:5433/app,ams=postgres://app@ams.db.internal:5433/app";
        assert_eq!(url(&[(REGIONS, "syd,ams")]).unwrap(), two);
        assert_eq!(url(&[(URL, "postgres://elsewhere/app")]).unwrap(), "postgres://elsewhere/app");
        assert_eq!(url(&[(URL, "none")]), None);
    }

    #[test]
    fn mistakes_name_variable_hide_password() {
        let url = (URL, "postgres://app:geheim@one/app");
        for (variables, parts) in [
            (vec![(REGIONS, "syd")], [REGIONS, URL]),
            (vec![url, (REGIONS, "syd,ams")], [REGIONS, "{region}"]),
            (vec![url, (REGIONS, "Sydney!")], [REGIONS, "Sydney!"]),
            (vec![(URL, "a=postgres://app:geheim@one/app,a=postgres://two/app")], ["two replicas are named a", URL]),
            (vec![(URL, "one, geheim")], [URL, "connection string"]),
            (vec![(MAX_LAG, "-1")], [MAX_LAG, "seconds"]),
            (vec![(MAX_LAG, "long")], [MAX_LAG, "none"]),
            (vec![(MAX_LAG_BYTES, "16MB")], [MAX_LAG_BYTES, "16MB"]),
            (vec![(CHOOSE, "closest")], [CHOOSE, "least-lag"]),
            (vec![(POSITIONS, "gtid")], [POSITIONS, "auto, lsn or transaction"]),
            (vec![(DNS_SERVER, "nowhere")], [DNS_SERVER, "nowhere"]),
        ] {
            let Err(error) = read(&variables) else { panic!("{variables:?} is accepted") };
            assert!(error.is_configuration(), "{error:?}");
            assert!(parts.iter().all(|part| error.to_string().contains(part)), "{error}");
            assert!(!format!("{error:?}").contains("geheim"), "{error:?}");
        }
    }
}
