//! A region: nodes and replicas run in a region, and calls are addressed to one.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::error::{Error, Result};

/// The name of a region, such as `iad` or `eu-central-1`.
///
/// It is a DNS label, because discovery puts it into host names: 1 to 63 characters out of `a` to `z`, `0` to `9` and
/// `-`, with no `-` at either end ([RFC 1123, section 2.1](https://www.rfc-editor.org/rfc/rfc1123#section-2.1)). Upper
/// case is not allowed, so that each region has one spelling.
///
/// ```
/// use homing_rpc::Region;
///
/// let region: Region = "syd".parse()?;
/// assert_eq!(region.as_str(), "syd");
/// assert!(Region::new("Sydney!").is_err());
/// # Ok::<(), homing_rpc::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Region(Arc<str>);

impl Region {
    /// Returns the region with this name.
    ///
    /// # Errors
    ///
    /// [`Error::is_misuse`] if the name is not a DNS label in lower case.
    pub fn new(name: impl AsRef<str>) -> Result<Self> {
        let name = name.as_ref();
        match flaw(name) {
            None => Ok(Self(name.into())),
            Some(flaw) => Err(Error::misuse(format!(
                "{name:?} is not a region name: {flaw}; use 1 to {MAX_LABEL_BYTES} of a-z, 0-9 and -"
            ))),
        }
    }

    /// Returns the region of a process without region settings: `local`.
    pub fn local() -> Self {
        Self("local".into())
    }

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Region {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Region({self})")
    }
}

impl fmt::Display for Region {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

impl FromStr for Region {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::new(name)
    }
}

/// Returns why a name is not valid.
fn flaw(name: &str) -> Option<&'static str> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.is_empty() {
        Some("it is empty")
    } else if name.len() > MAX_LABEL_BYTES {
        Some("it is too long")
    } else if !name.bytes().all(allowed) {
        Some("it contains a character that is not allowed")
    } else if name.starts_with('-') || name.ends_with('-') {
        Some("it begins or ends with a hyphen")
    } else {
        None
    }
}

/// The limit for a label of a host name, RFC 1035, section 2.3.4.
const MAX_LABEL_BYTES: usize = 63;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dns_label_is_a_region() {
        let longest = "a".repeat(63);
        for name in ["a", "iad", "eu-central-1", "0", "a--b", "xn--p1ai", &longest] {
            assert_eq!(Region::new(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn invalid_name_is_quoted() {
        let too_long = "a".repeat(64);
        for name in ["", "-", "-iad", "iad-", "IAD", "i.ad", "i ad", "iad\n", "zürich", "i_ad", "{app}", &too_long] {
            let error = Region::new(name).unwrap_err();
            assert!(error.is_misuse(), "{name:?}");
            assert!(error.to_string().contains(&format!("{name:?}")), "{error}");
        }
    }

    #[test]
    fn region_prints_as_its_name() {
        let region = Region::new("syd").unwrap();
        assert_eq!(format!("{region}|{region:<5}|{region:?}"), "syd|syd  |Region(syd)");
        assert_eq!("syd".parse::<Region>().unwrap(), region);
    }

    #[test]
    fn local_is_a_valid_region() {
        assert_eq!(Region::new("local").unwrap(), Region::local());
    }
}
