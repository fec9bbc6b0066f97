//! Fly.io's own DNS, <https://fly.io/docs/networking/private-networking/>.

use hickory_resolver::proto::rr::Name;
use tracing::debug;

use crate::discover::dns::{Dns, DnsConfig, resolution};
use crate::discover::{Discover, Resolution};
use crate::error::{Error, Result};
use crate::region::Region;
use crate::task::BoxFuture;

/// Discovery on Fly.io: a region's addresses are those of `<region>.<app>.internal`, and the regions are listed in the
/// TXT record of `regions.<app>.internal`.
///
/// The addresses are of Fly's private network, usually IPv6; both families are asked for.
#[derive(Debug)]
pub struct FlyDns {
    app: String,
    port: u16,
    dns: Dns,
}

impl FlyDns {
    /// For the nodes of `app`, which all listen on `port`.
    ///
    /// # Errors
    ///
    /// Misuse ([`Error::is_misuse`]) where the name of the app cannot be part of a host name, or the system's DNS
    /// settings cannot be read.
    pub fn new(app: impl Into<String>, port: u16, dns: &DnsConfig) -> Result<Self> {
        let app = app.into();
        // An app's name has the form of a region's: one label.
        Region::new(&app).map_err(|_| {
            Error::misuse(format!("{app:?} is not the name of an app on Fly; correct HOMING_APP or FLY_APP_NAME"))
        })?;
        Ok(Self { app, port, dns: Dns::new(dns)? })
    }

    fn name(&self, label: &str) -> Name {
        // The dot at the end: this is the whole name, no search list is to be tried.
        Name::from_ascii(format!("{label}.{}.internal.", self.app)).expect("labels of at most 63 bytes, three of them")
    }
}

impl Discover for FlyDns {
    fn resolve<'a>(&'a self, region: &'a Region) -> BoxFuture<'a, Result<Resolution>> {
        Box::pin(async move {
            let found = self.dns.addresses(&self.name(region.as_str()), self.dns.deadline()).await?;
            Ok(resolution(found.into_iter().map(|found| found.map(|ip| (ip, self.port).into())).collect()))
        })
    }

    fn regions(&self) -> BoxFuture<'_, Result<Vec<Region>>> {
        Box::pin(async move {
            let name = self.name("regions");
            let texts = self.dns.texts(&name, self.dns.deadline()).await?;
            let (regions, skipped) = parse_regions(&texts);
            if !skipped.is_empty() {
                debug!(%name, ?skipped, "skipped what is not a region in the list of regions");
            }
            Ok(regions)
        })
    }
}

/// The regions in comma lists, sorted, each once, and what is not a region.
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
    fn regions_are_read_from_comma_lists_and_the_rest_is_skipped() {
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
