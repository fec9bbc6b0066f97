//! Discovery by any name server, with a template for host names.

use std::net::{IpAddr, SocketAddr};

use futures_util::{StreamExt as _, stream};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use tokio::time::Instant;

use crate::discover::dns::{Answers, Dns, DnsConfig, Found, combine, found, ip_address, ttl};
use crate::discover::{Discover, Resolution};
use crate::error::{Error, Result};
use crate::region::Region;
use crate::task::BoxFuture;

/// Discovery by DNS names that are made from a template. `{region}` stands for the region, `{app}` for the name of the
/// application.
///
/// - `{region}.{app}.internal` asks for AAAA and A records, and uses the configured port. A port after the name
///   (`{region}.{app}.internal:4751`) takes its place.
/// - `srv:_homing._tcp.{region}.{app}.internal` asks for SRV records and uses their ports. It also asks for the
///   addresses of their targets, unless the additional section of the answer contains them. Every record is a peer.
///   Priority and weight are ignored, because peers are chosen by load and latency. The name itself must not be an
///   alias (CNAME).
///
/// With the system's name servers, the system's search list applies, as it does to any host name. A dot at the end of
/// the template makes the name absolute.
#[derive(Debug)]
pub struct DnsTemplate {
    questions: Questions,
    /// The template after `{app}` was replaced; it still contains `{region}`.
    host: String,
    regions: Vec<Region>,
    dns: Dns,
}

impl DnsTemplate {
    /// Returns the discovery of the nodes of `app` in these regions. The nodes listen on `port`, unless the template or SRV
    /// records contain another one. Nodes with different ports need SRV records.
    ///
    /// # Errors
    ///
    /// [`Error::is_misuse`] if the template does not contain `{region}`, if it contains `{app}` and `app` is `None`, if
    /// it does not produce host names, or if the system's DNS settings cannot be read.
    pub fn new(
        template: &str,
        app: Option<&str>,
        regions: impl IntoIterator<Item = Region>,
        port: u16,
        dns: &DnsConfig,
    ) -> Result<Self> {
        let (questions, host) = match template.strip_prefix("srv:") {
            Some(host) => (Questions::Services, host),
            None => {
                let (host, port) = with_port(template).unwrap_or((template, port));
                (Questions::Addresses { port }, host)
            }
        };
        let host = check(template, fill_app(template, host, app)?)?;
        let mut regions: Vec<_> = regions.into_iter().collect();
        regions.sort_unstable();
        regions.dedup();
        Ok(Self { questions, host, regions, dns: Dns::new(dns)? })
    }

    async fn services(&self, name: &Name, deadline: Instant) -> Result<Answers<SocketAddr>> {
        let Some(lookup) = self.dns.records(name, RecordType::SRV, deadline).await? else {
            return Ok(Answers::all(Vec::new()));
        };
        let answers = stream::iter(found(Some(&lookup), service))
            .map(|service| self.targets(service, &lookup, deadline))
            .buffer_unordered(MAX_CONCURRENT_TARGETS)
            .collect::<Vec<_>>();
        combine(answers.await)
    }

    /// Returns the addresses of one service: those in the additional section, or else those that the name server
    /// returns. A target without an address makes the answer incomplete: the service has a node, but its name is not
    /// known yet, or no longer.
    async fn targets(
        &self,
        service: Found<Service>,
        lookup: &Lookup,
        deadline: Instant,
    ) -> Result<Answers<SocketAddr>> {
        let Service { target, port } = service.value;
        let mut addresses = Answers::all(sent_along(lookup, &target));
        if addresses.found.is_empty() {
            addresses = self.dns.addresses(&target, deadline).await?;
            addresses.complete &= !addresses.found.is_empty();
        }
        let with_port = |found: Found<_>| Found { value: (found.value, port).into(), ttl: found.ttl.min(service.ttl) };
        Ok(addresses.map(with_port))
    }
}

impl Discover for DnsTemplate {
    fn resolve<'a>(&'a self, region: &'a Region) -> BoxFuture<'a, Result<Resolution>> {
        Box::pin(async move {
            let name = host_name(&self.host, region)?;
            let deadline = self.dns.deadline();
            let found = match self.questions {
                Questions::Addresses { port } => {
                    let addresses = self.dns.addresses(&name, deadline).await?;
                    addresses.map(|found| found.map(|ip| (ip, port).into()))
                }
                Questions::Services => self.services(&name, deadline).await?,
            };
            Ok(found.into_resolution())
        })
    }

    fn regions(&self) -> BoxFuture<'_, Result<Vec<Region>>> {
        Box::pin(async move { Ok(self.regions.clone()) })
    }

    fn place(&self, region: &Region) -> String {
        let records = match self.questions {
            Questions::Addresses { .. } => "AAAA and A",
            Questions::Services => "SRV",
        };
        format!("the {records} records of {}", self.host.replace(REGION, region.as_str()))
    }
}

/// The DNS questions for a region.
#[derive(Clone, Copy, Debug)]
enum Questions {
    /// AAAA and A.
    Addresses { port: u16 },
    /// SRV, then AAAA and A of the targets.
    Services,
}

/// The content of an SRV record.
#[derive(Debug)]
struct Service {
    target: Name,
    port: u16,
}

fn service(data: &RData) -> Option<Service> {
    let RData::SRV(record) = data else { return None };
    // The target "." says that the domain does not offer the service, RFC 2782.
    (!record.target.is_root()).then(|| Service { target: record.target.clone(), port: record.port })
}

/// Returns the addresses of a target in the additional section.
fn sent_along(lookup: &Lookup, target: &Name) -> Vec<Found<IpAddr>> {
    let records = lookup.additionals().iter().filter(|record| record.name == *target);
    records.filter_map(|record| Some(Found { value: ip_address(&record.data)?, ttl: ttl(record) })).collect()
}

/// Returns the name and the port, if there is a port.
fn with_port(template: &str) -> Option<(&str, u16)> {
    let (host, port) = template.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port != 0)?;
    Some((host, port))
}

fn fill_app(template: &str, host: &str, app: Option<&str>) -> Result<String> {
    match app {
        Some(app) => Ok(host.replace(APP, app)),
        None if host.contains(APP) => Err(Error::misuse(format!(
            "the template {template:?} contains {APP}, but the application has no name; set HOMING_APP"
        ))),
        None => Ok(host.to_owned()),
    }
}

/// Checks that the host gives a host name for each region.
fn check(template: &str, host: String) -> Result<String> {
    if !host.contains(REGION) {
        return Err(Error::misuse(format!(
            "the template {template:?} has no {REGION}, so every region would have the same nodes; write {REGION} in \
             place of the region's name"
        )));
    }
    host_name(&host, &Region::local()).map_err(|error| error.at(format_args!("the template {template:?}")))?;
    Ok(host)
}

fn host_name(host: &str, region: &Region) -> Result<Name> {
    let host = host.replace(REGION, region.as_str());
    let label = |label: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        !label.is_empty() && label.bytes().all(allowed)
    };
    let labels = host.strip_suffix('.').unwrap_or(&host);
    let name = labels.split('.').all(label).then(|| Name::from_ascii(&host).ok()).flatten();
    name.ok_or_else(|| {
        Error::misuse(format!(
            "{host:?} is not a host name: it must consist of labels of 1 to 63 letters, digits, - and _, with dots \
             between them; correct HOMING_PEER_DNS or HOMING_APP"
        ))
    })
}

const APP: &str = "{app}";
const REGION: &str = "{region}";

/// How many targets of SRV records are looked up at the same time. Each takes two questions. With many more at a time,
/// a name server that limits its clients, or a full buffer on the way, drops some of them. Further targets wait.
const MAX_CONCURRENT_TARGETS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn template(template: &str, app: Option<&str>) -> Result<DnsTemplate> {
        let dns = DnsConfig::default().with_server("127.0.0.1:53".parse().unwrap());
        DnsTemplate::new(template, app, [], 4750, &dns)
    }

    #[test]
    fn placeholders_are_replaced() {
        let table = [
            ("{region}.{app}.internal", "iad.shop.internal"),
            ("{region}.{app}.internal.", "iad.shop.internal."),
            ("{app}-{region}.example.com", "shop-iad.example.com"),
            ("{region}", "iad"),
            ("srv:_homing._tcp.{region}.{app}.internal", "_homing._tcp.iad.shop.internal"),
        ];
        for (text, expected) in table {
            let template = template(text, Some("shop")).unwrap();
            let name = host_name(&template.host, &Region::new("iad").unwrap()).unwrap();
            assert_eq!(name.to_ascii(), expected);
            assert_eq!(matches!(template.questions, Questions::Services), text.starts_with("srv:"));
        }
    }

    #[test]
    fn port_after_the_name_counts() {
        for (text, expected) in [("{region}.internal", 4750), ("{region}.internal:4751", 4751)] {
            let template = template(text, None).unwrap();
            assert!(matches!(template.questions, Questions::Addresses { port } if port == expected), "{template:?}");
            assert_eq!(template.place(&Region::new("iad").unwrap()), "the AAAA and A records of iad.internal");
        }
    }

    #[test]
    fn template_without_host_names_is_misuse() {
        let table = [
            ("", Some("shop"), "has no {region}"),
            ("{app}.internal", Some("shop"), "has no {region}"),
            ("{region}.{app}.internal", None, "set HOMING_APP"),
            ("{region}.{zone}.internal", None, "\"local.{zone}.internal\" is not a host name"),
            ("{region}..internal", None, "\"local..internal\" is not a host name"),
            ("{region}.internal:0", None, "\"local.internal:0\" is not a host name"),
            ("{region}.internal:http", None, "\"local.internal:http\" is not a host name"),
            ("srv:_homing._tcp.{region}.internal:4750", None, "is not a host name"),
            ("http://{region}.internal", None, "is not a host name"),
            ("{region}.{app}.internal", Some("my app"), "\"local.my app.internal\" is not a host name"),
            ("{region}.internal..", None, "is not a host name"),
            ("srv:", None, "has no {region}"),
        ];
        for (text, app, part) in table {
            let error = template(text, app).unwrap_err();
            assert!(error.is_misuse(), "{text:?}");
            assert!(error.to_string().contains(part), "{text:?}: {error}");
        }
    }

    #[test]
    fn too_long_name_is_misuse() {
        let longest = Region::new("a".repeat(63)).unwrap();
        assert!(host_name("{region}.internal", &longest).is_ok());
        assert!(host_name("db-{region}.internal", &longest).unwrap_err().is_misuse());
    }
}
