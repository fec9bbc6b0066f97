//! The region of this process and the region of the primary.

use crate::error::{Error, Result};
use crate::region::Region;

/// The region of this process, the region of the primary, and the name of the application.
///
/// ```
/// use homing_rpc::Topology;
///
/// let environment = |name: &str| match name {
///     "FLY_REGION" => Some("syd".into()),
///     "PRIMARY_REGION" => Some("iad".into()),
///     _ => None,
/// };
/// let topology = Topology::from_lookup(&environment)?;
/// assert_eq!(topology.region().as_str(), "syd");
/// assert!(!topology.is_primary_region());
/// # Ok::<(), homing_rpc::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    region: Region,
    primary_region: Region,
    app: Option<String>,
}

impl Topology {
    /// Returns the topology of a process in `region`, with the primary in `primary_region`.
    pub fn new(region: Region, primary_region: Region) -> Self {
        Self { region, primary_region, app: None }
    }

    /// Returns the topology of a process that runs alone: [`Region::local`] is its region and the primary region.
    pub fn local() -> Self {
        Self::new(Region::local(), Region::local())
    }

    /// Sets the name of the application. Discovery puts it into host names, and a node refuses requests from nodes with another
    /// name ([`Reason::OtherApplication`](crate::Reason::OtherApplication)).
    pub fn with_app(mut self, app: impl Into<String>) -> Self {
        self.app = Some(app.into());
        self
    }

    /// Reads the environment of the process; see [`from_lookup`](Self::from_lookup).
    ///
    /// # Errors
    ///
    /// [`Error::is_misuse`] in the cases of [`from_lookup`](Self::from_lookup).
    pub fn from_env() -> Result<Self> {
        // A value that is not Unicode must not count as unset. Parsing it fails, and that error names the variable.
        Self::from_lookup(&|name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()))
    }

    /// Reads settings. For each row the first variable that is set counts; an empty variable counts as not set.
    ///
    /// | setting | names |
    /// |---|---|
    /// | region of this process | `HOMING_REGION`, `FLY_REGION` |
    /// | region of the primary | `HOMING_PRIMARY_REGION`, `PRIMARY_REGION` |
    /// | application | `HOMING_APP`, `FLY_APP_NAME` |
    ///
    /// If neither region is set, the topology is [`local`](Self::local).
    ///
    /// # Errors
    ///
    /// [`Error::is_misuse`] if a region is not a DNS label, or if only one of the two regions is set. The missing
    /// region is not guessed: taking it for the other one would make every region its own primary. The message names
    /// the variable.
    pub fn from_lookup(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        let region = first_region(lookup, REGION)?;
        let primary_region = first_region(lookup, PRIMARY_REGION)?;
        let app = APP.iter().find_map(|name| setting(lookup, name));
        let topology = match (region, primary_region) {
            (Some((_, region)), Some((_, primary_region))) => Self::new(region, primary_region),
            (None, None) => Self::local(),
            (Some((variable, region)), None) => return Err(no_primary_region(variable, &region)),
            (None, Some((variable, primary_region))) => return Err(no_region(variable, &primary_region)),
        };
        Ok(Self { app, ..topology })
    }

    /// Returns the region of this process.
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// Returns the region to which writes go according to the settings. A database that says it is the primary is used
    /// as one, whatever the settings say, and nodes find it in other regions.
    pub fn primary_region(&self) -> &Region {
        &self.primary_region
    }

    /// Returns the name of the application, if it is set.
    pub fn app(&self) -> Option<&str> {
        self.app.as_deref()
    }

    /// Returns whether this process runs in the primary region.
    pub fn is_primary_region(&self) -> bool {
        self.region == self.primary_region
    }
}

/// Reads a setting and trims it. An empty one counts as not set, because a deployment tool that copies one of its own
/// variables produces an empty one if its own is missing.
pub(crate) fn setting(lookup: &dyn Fn(&str) -> Option<String>, name: &str) -> Option<String> {
    let value = lookup(name)?;
    let value = value.trim();
    (!value.is_empty()).then(|| value.to_owned())
}

/// Returns the first of these variables that is set, and its region.
fn first_region(
    lookup: &dyn Fn(&str) -> Option<String>,
    names: [&'static str; 2],
) -> Result<Option<(&'static str, Region)>> {
    let Some((name, value)) = names.into_iter().find_map(|name| Some((name, setting(lookup, name)?))) else {
        return Ok(None);
    };
    let region = Region::new(value).map_err(|error| error.at(name))?;
    Ok(Some((name, region)))
}

fn no_primary_region(variable: &str, region: &Region) -> Error {
    Error::misuse(format!(
        "{variable} is {region}, but the primary region is not set, and guessing it would make every region its own \
         primary; set {} on every node to the region of the primary (to {region} if the primary is there)",
        same_family(variable, PRIMARY_REGION)
    ))
}

fn no_region(variable: &str, primary_region: &Region) -> Error {
    Error::misuse(format!(
        "{variable} is {primary_region}, but the region of this process is not set, and guessing it would make this \
         process a primary; set {} on each node, or unset {variable} to run alone",
        REGION[0]
    ))
}

/// Returns the variable to set together with `variable`: both are Homing's, or both are the platform's.
fn same_family(variable: &str, names: [&'static str; 2]) -> &'static str {
    if variable.starts_with("HOMING_") { names[0] } else { names[1] }
}

/// Homing's own variables come first: they are set for Homing alone, so they are intended.
const REGION: [&str; 2] = ["HOMING_REGION", "FLY_REGION"];
const PRIMARY_REGION: [&str; 2] = ["HOMING_PRIMARY_REGION", "PRIMARY_REGION"];
const APP: [&str; 2] = ["HOMING_APP", "FLY_APP_NAME"];

#[cfg(test)]
mod tests {
    use super::*;

    fn from(settings: &[(&str, &str)]) -> Result<Topology> {
        Topology::from_lookup(&|name| {
            let (_, value) = settings.iter().find(|(key, _)| *key == name)?;
            Some((*value).to_owned())
        })
    }

    fn topology(region: &str, primary_region: &str, app: Option<&str>) -> Topology {
        let topology = Topology::new(Region::new(region).unwrap(), Region::new(primary_region).unwrap());
        Topology { app: app.map(str::to_owned), ..topology }
    }

    #[test]
    fn homing_variables_come_before_fly() {
        let homing = [("HOMING_REGION", "syd"), ("HOMING_PRIMARY_REGION", "iad"), ("HOMING_APP", "shop")];
        let fly = [("FLY_REGION", "ams"), ("PRIMARY_REGION", "fra"), ("FLY_APP_NAME", "flown")];
        let both = [homing, fly].concat();
        let table = [
            (&homing[..], topology("syd", "iad", Some("shop"))),
            (&fly[..], topology("ams", "fra", Some("flown"))),
            (&both[..], topology("syd", "iad", Some("shop"))),
            (&[][..], Topology::local()),
        ];
        for (settings, expected) in table {
            assert_eq!(from(settings).unwrap(), expected, "{settings:?}");
        }
    }

    #[test]
    fn each_setting_falls_back_by_itself() {
        let table = [
            (vec![("HOMING_REGION", "syd"), ("PRIMARY_REGION", "iad")], topology("syd", "iad", None)),
            (vec![("FLY_REGION", "syd"), ("HOMING_PRIMARY_REGION", "iad")], topology("syd", "iad", None)),
            (vec![("FLY_APP_NAME", "shop")], topology("local", "local", Some("shop"))),
            (vec![("HOMING_APP", "ours"), ("FLY_APP_NAME", "theirs")], topology("local", "local", Some("ours"))),
            (
                vec![("HOMING_REGION", "  "), ("FLY_REGION", " syd\n"), ("PRIMARY_REGION", "syd")],
                topology("syd", "syd", None),
            ),
            (vec![("HOMING_REGION", ""), ("PRIMARY_REGION", "")], Topology::local()),
        ];
        for (settings, expected) in table {
            assert_eq!(from(&settings).unwrap(), expected, "{settings:?}");
        }
    }

    #[test]
    fn error_names_the_missing_setting() {
        let table = [
            ([("HOMING_REGION", "syd")], ["HOMING_REGION is syd", "set HOMING_PRIMARY_REGION"]),
            ([("FLY_REGION", "syd")], ["FLY_REGION is syd", "set PRIMARY_REGION"]),
            ([("HOMING_PRIMARY_REGION", "iad")], ["HOMING_PRIMARY_REGION is iad", "set HOMING_REGION"]),
            ([("PRIMARY_REGION", "iad")], ["PRIMARY_REGION is iad", "set HOMING_REGION"]),
            ([("HOMING_REGION", "Sydney")], ["HOMING_REGION: \"Sydney\" is not a region", "a-z"]),
            ([("PRIMARY_REGION", "i_ad")], ["PRIMARY_REGION: \"i_ad\" is not a region", "a-z"]),
        ];
        for (settings, parts) in table {
            let error = from(&settings).unwrap_err();
            assert!(error.is_misuse(), "{error}");
            for part in parts {
                assert!(error.to_string().contains(part), "{error}");
            }
        }
    }

    #[test]
    fn equal_regions_are_the_primary_region() {
        assert!(Topology::local().is_primary_region());
        assert!(topology("iad", "iad", None).is_primary_region());
        assert!(!topology("syd", "iad", None).is_primary_region());
        assert_eq!(Topology::local().with_app("shop").app(), Some("shop"));
    }
}
