//! One host name, whatever it stands for.

use std::net::SocketAddr;

use hickory_resolver::proto::rr::Name;

use crate::discover::Resolution;
use crate::discover::dns::{Dns, DnsConfig, resolution};
use crate::error::{Error, Result};

/// Asks a name server what a host name stands for, for those who follow a name that may move.
///
/// It keeps no answer: whoever asks keeps it for its time to live.
#[derive(Debug)]
pub struct HostResolver {
    dns: Dns,
}

impl HostResolver {
    /// Asks the server of these settings.
    ///
    /// # Errors
    ///
    /// Misuse ([`Error::is_misuse`]), where the system's DNS settings are asked for and cannot be read.
    pub fn new(dns: &DnsConfig) -> Result<Self> {
        Ok(Self { dns: Dns::new(dns)? })
    }

    /// The AAAA and A records of a name, with this port; none where there is no such name.
    ///
    /// # Errors
    ///
    /// Misuse where it is not a host name; [`Error::is_not_sent`] where the name server could not be asked.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time: it changes nothing.
    pub async fn resolve(&self, host: &str, port: u16) -> Result<Resolution> {
        let name = Name::from_utf8(host)
            .map_err(|error| Error::misuse(format!("{host:?} is not a host name")).with_source(error))?;
        let found = self.dns.addresses(&name, self.dns.deadline()).await?;
        let with_port = |ip| SocketAddr::new(ip, port);
        Ok(resolution(found.into_iter().map(|found| found.map(with_port)).collect()))
    }
}
