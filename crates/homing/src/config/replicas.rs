//! The settings of replicas, from the environment.

use std::time::Duration;

use homing_postgres::{Choose, Error, Options, ReplicaList, ReplicaSettings, Result};
use homing_rpc::{Region, dns_from_lookup};

use super::error::{at, wrong};

/// The settings that the environment has for replicas.
pub(super) struct Settings {
    pub(super) url: Option<String>,
    pub(super) regions: Vec<Region>,
    pub(super) settings: ReplicaSettings,
    pub(super) options: Options,
}

pub(super) fn from_lookup(lookup: &dyn Fn(&str) -> Option<String>, own: &Region) -> Result<Settings> {
    let regions = regions(lookup)?;
    let url = lookup(URL).map(|url| expand(&url, URL, &regions, own)).transpose()?;
    if url.is_none() && !regions.is_empty() {
        return Err(Error::configuration(format!(
            "{REGIONS} is set without {URL}: set {URL} to a connection string with {{region}}, or unset {REGIONS}"
        )));
    }
    if let Some(url) = &url {
        ReplicaList::parse(url, URL)?;
    }
    let mut options = Options::default();
    if let Some(name) = lookup(CHOOSE) {
        options.choose = choose(&name)?;
    }
    Ok(Settings { url, regions, settings: settings(lookup)?, options })
}

/// Returns one connection string for each region, or without a list of regions the one for this region.
pub(super) fn expand(url: &str, variable: &str, regions: &[Region], own: &Region) -> Result<String> {
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

fn regions(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Vec<Region>> {
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

fn settings(lookup: &dyn Fn(&str) -> Option<String>) -> Result<ReplicaSettings> {
    let mut settings = ReplicaSettings::default();
    if let Some(text) = lookup(MAX_LAG) {
        let seconds = number(&text, str::parse::<f64>).map(|seconds| seconds.map(Duration::try_from_secs_f64));
        settings.max_lag = match seconds {
            Some(None) => None,
            Some(Some(Ok(max_lag))) => Some(max_lag),
            _ => {
                return Err(Error::configuration(format!(
                    "{MAX_LAG} is {text:?}, which is not a number of seconds: write for example 30, or none"
                )));
            }
        };
    }
    if let Some(text) = lookup(MAX_LAG_BYTES) {
        settings.max_lag_bytes = number(&text, str::parse::<u64>).ok_or_else(|| {
            Error::configuration(format!(
                "{MAX_LAG_BYTES} is {text:?}, which is not a number of bytes: write for example 16777216, or none"
            ))
        })?;
    }
    if lookup(DNS_SERVER).is_some() {
        settings.dns = Some(dns_from_lookup(lookup).map_err(wrong)?);
    }
    Ok(settings)
}

/// Parses a number or the word `none`; returns `None` if the text is neither.
fn number<T, E>(text: &str, parse: impl FnOnce(&str) -> Result<T, E>) -> Option<Option<T>> {
    match text.trim() {
        "none" => Some(None),
        number => parse(number).ok().map(Some),
    }
}

const REGION: &str = "{region}";

const CHOOSE: &str = "HOMING_REPLICA_CHOOSE";
const DNS_SERVER: &str = "HOMING_DNS_SERVER";
const MAX_LAG: &str = "HOMING_REPLICA_MAX_LAG";
const MAX_LAG_BYTES: &str = "HOMING_REPLICA_MAX_LAG_BYTES";
const REGIONS: &str = "HOMING_REPLICA_REGIONS";
const URL: &str = "HOMING_REPLICA_URL";

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Settings> {
        let lookup = |name: &str| {
            let (_, value) = variables.iter().find(|(known, _)| *known == name)?;
            Some((*value).to_owned())
        };
        from_lookup(&lookup, &Region::new("syd").unwrap())
    }

    #[test]
    fn template_expands_to_listed_regions() {
        let template = (URL, "postgres://app@{region}.db.internal/app");
        assert_eq!(read(&[template]).unwrap().url.unwrap(), "postgres://app@syd.db.internal/app");
        let settings = read(&[template, (REGIONS, "syd, ams")]).unwrap();
        assert_eq!(
            settings.url.unwrap(),
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
            (vec![(DNS_SERVER, "nowhere")], [DNS_SERVER, "nowhere"]),
        ] {
            let Err(error) = read(&variables) else { panic!("{variables:?} is accepted") };
            assert!(error.is_configuration(), "{error:?}");
            assert!(parts.iter().all(|part| error.to_string().contains(part)), "{error}");
            assert!(!format!("{error:?}").contains("geheim"), "{error:?}");
        }
    }
}
