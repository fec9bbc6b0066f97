//! Discovery by Fly.io's own DNS, <https://fly.io/docs/networking/private-networking/>.

use hickory_resolver::proto::rr::Name;
use tracing::debug;

use crate::discover::dns::{Dns, DnsConfig};
use crate::discover::{Discover, Resolution};
use crate::error::{Error, Result};
use crate::region::Region;
use crate::task::BoxFuture;

/// Discovery on Fly.io. The addresses of a region are those of `<region>.<app>.internal`; the TXT record of
/// `regions.<app>.internal` lists the regions.
///
/// The addresses belong to Fly's private network. They are usually IPv6; the name server is asked for both families.
#[derive(Debug)]
pub struct FlyDns {
    app: String,
    port: u16,
    dns: Dns,
}

impl FlyDns {
    /// Returns the discovery of the nodes of `app`, which all listen on `port`.
    ///
    /// # Errors
    ///
    /// [`Error::is_misuse`] if the name of the app cannot be part of a host name, or if the system's DNS settings
    /// cannot be read.
    pub fn new(app: impl Into<String>, port: u16, dns: &DnsConfig) -> Result<Self> {
        let app = app.into();
        // The name of an app has the same form as a region: one DNS label.
        Region::new(&app).map_err(|_| {
            Error::misuse(format!("{app:?} is not the name of an app on Fly.io; correct HOMING_APP or FLY_APP_NAME"))
        })?;
        Ok(Self { app, port, dns: Dns::new(dns)? })
    }

    fn name(&self, label: &str) -> Name {
        // The dot at the end makes the name absolute, so that no search list is tried.
        Name::from_ascii(format!("{label}.{}.internal.", self.app)).expect("labels of at most 63 bytes, three of them")
    }
}

impl Discover for FlyDns {
    fn resolve<'a>(&'a self, region: &'a Region) -> BoxFuture<'a, Result<Resolution>> {
        Box::pin(async move {
            let found = self.dns.addresses(&self.name(region.as_str()), self.dns.deadline()).await?;
            Ok(found.map(|found| found.map(|ip| (ip, self.port).into())).into_resolution())
        })
    }

    fn regions(&self) -> BoxFuture<'_, Result<Vec<Region>>> {
        Box::pin(async move {
            let name = self.name("regions");
            let texts = self.dns.texts(&name, self.dns.deadline()).await?;
            let (regions, skipped) = parse_regions(&texts);
            if !skipped.is_empty() {
                debug!(%name, ?skipped, "the list of regions contains invalid names; they are skipped");
            }
            Ok(regions)
        })
    }

    fn place(&self, region: &Region) -> String {
        format!("the AAAA and A records of {}", self.name(region.as_str()))
    }
}

/// Returns the regions in comma-separated lists, sorted and without duplicates, and the items that are not regions.
fn parse_regions(texts: &[String]) -> (Vec<Region>, Vec<&str>) {
    let mut regions = Vec::new();
    let mut skipped = Vec::new();
    for item in texts.iter().flat_map(|text| text.split(',')).map(str::trim) {
        match Region::new(item) {
            Ok(region) => regions.push(region),
            Err(_) => skipped.push(item),
        }
    }
    regions.sort_unstable();
    regions.dedup();
    (regions, skipped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_regions_are_skipped() {
        let table = [
            (vec!["iad,syd"], vec!["iad", "syd"], vec![]),
            (vec!["syd, iad ,syd"], vec!["iad", "syd"], vec![]),
            (vec!["syd", "iad"], vec!["iad", "syd"], vec![]),
            (vec!["", ",iad,,LAX,a b"], vec!["iad"], vec!["", "", "", "LAX", "a b"]),
            (vec!["zürich,\u{fffd}"], vec![], vec!["zürich", "\u{fffd}"]),
            (vec![], vec![], vec![]),
        ];
        for (texts, regions, skipped) in table {
            let texts: Vec<_> = texts.into_iter().map(str::to_owned).collect();
            let regions: Vec<_> = regions.into_iter().map(|name| Region::new(name).unwrap()).collect();
            assert_eq!(parse_regions(&texts), (regions, skipped), "{texts:?}");
        }
    }
}
