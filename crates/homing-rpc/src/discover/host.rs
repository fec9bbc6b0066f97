//! Resolves one host name.

use std::net::SocketAddr;

use hickory_resolver::proto::rr::Name;

use crate::discover::Resolution;
use crate::discover::dns::{Dns, DnsConfig};
use crate::error::{Error, Result};

/// Resolves a host name, for callers that follow a name whose addresses may change.
///
/// It has no cache: the caller keeps an answer for its time to live.
#[derive(Debug)]
pub struct HostResolver {
    dns: Dns,
}

impl HostResolver {
    /// Returns a resolver with these settings.
    ///
    /// # Errors
    ///
    /// [`Error::is_misuse`] if the system's DNS settings are needed and cannot be read.
    pub fn new(dns: &DnsConfig) -> Result<Self> {
        Ok(Self { dns: Dns::new(dns)? })
    }

    /// Returns the addresses in the AAAA and A records of a name, with this port. The list is empty if the name does
    /// not exist.
    ///
    /// # Errors
    ///
    /// [`Error::is_misuse`] if `host` is not a host name; [`Error::is_not_sent`] if the name server cannot be asked.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time: it changes nothing.
    pub async fn resolve(&self, host: &str, port: u16) -> Result<Resolution> {
        let name = Name::from_utf8(host)
            .map_err(|error| Error::misuse(format!("{host:?} is not a host name")).with_source(error))?;
        let found = self.dns.addresses(&name, self.dns.deadline()).await?;
        let with_port = |ip| SocketAddr::new(ip, port);
        Ok(found.map(|found| found.map(with_port)).into_resolution())
    }
}
