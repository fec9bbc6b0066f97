//! [`Resolver`], which finds the current addresses of the hosts in a connection string.

use std::net::SocketAddr;
use std::time::Duration;

use homing_rpc::HostResolver;
use tokio::net::lookup_host;
use tokio::time::timeout;
use tokio_postgres::config::Host;

use super::settings::ReplicaSettings;
use crate::connection::address::Address;
use crate::connection::source::Look;
use crate::connection::string::{ConnectionString, Target};
use crate::error::{Error, Result};

/// Resolves host names with the system's resolver, or with a name server.
#[derive(Debug)]
pub(super) struct Resolver {
    dns: Option<HostResolver>,
    interval: Duration,
}

/// The addresses of the hosts in a connection string.
#[derive(Debug)]
pub(super) struct Resolved {
    pub(super) addresses: Vec<Address>,

    /// The error for a host that could not be resolved, or only in part. Its known addresses stay in use.
    pub(super) failure: Option<Error>,

    /// When to resolve again; `None` if all hosts are addresses, and the connection string does not change.
    pub(super) again_after: Option<Duration>,
}

impl Resolved {
    /// Returns a failure after which the hosts are soon resolved again.
    pub(super) fn failed(error: Error) -> Self {
        Self { addresses: Vec::new(), failure: Some(error), again_after: Some(Duration::ZERO) }
    }
}

impl Resolver {
    pub(super) fn new(settings: &ReplicaSettings) -> Result<Self> {
        let dns = settings.dns.as_ref().map(HostResolver::new).transpose();
        let dns = dns.map_err(|error| Error::configuration(error.to_string()).with_source(error))?;
        Ok(Self { dns, interval: settings.resolve_interval })
    }

    /// Resolves all hosts of a connection string. Cancel safe.
    pub(super) async fn resolve(&self, string: &ConnectionString) -> Resolved {
        let string = &string.current(Look::IfDue);
        let again_after = string.may_change().then_some(self.interval);
        let mut resolved = Resolved { addresses: Vec::new(), failure: None, again_after };
        for Target { host, address, port } in string.targets() {
            match host {
                #[cfg(unix)]
                Host::Unix(path) => resolved.addresses.push(Address::unix(string, &path, port)),
                Host::Tcp(host) => match address.or_else(|| host.parse().ok()) {
                    Some(ip) => resolved.addresses.push(Address::tcp(string, &host, ip, port)),
                    None => self.follow(string, &host, port, &mut resolved).await,
                },
            }
        }
        resolved
    }

    async fn follow(&self, string: &ConnectionString, host: &str, port: u16, resolved: &mut Resolved) {
        let (found, again_after) = match &self.dns {
            Some(dns) => match dns.resolve(host, port).await {
                Ok(resolution) => {
                    if !resolution.is_complete {
                        let error =
                            format!("a part of the look-up of the host {host} failed, so addresses may be missing");
                        resolved.failure = Some(Error::not_sent(error));
                    }
                    (Ok(resolution.addresses), resolution.ttl)
                }
                Err(error) => (Err(Error::from(error)), self.interval),
            },
            None => (ask_the_system(host, port).await, self.interval),
        };
        resolved.again_after = Some(resolved.again_after.map_or(again_after, |known| known.min(again_after)));
        match found {
            Ok(addresses) if !addresses.is_empty() => {
                resolved.addresses.extend(addresses.into_iter().map(|at| Address::tcp(string, host, at.ip(), port)));
            }
            Ok(_) => {
                resolved.failure = Some(Error::not_sent(format!(
                    "the host {host} has no address: correct the connection string or DNS"
                )))
            }
            Err(error) => {
                let error = Error::not_sent(format!("cannot resolve the host {host}")).with_source(error);
                resolved.failure = Some(error);
            }
        }
    }
}

/// Resolves a name with the system's resolver.
async fn ask_the_system(host: &str, port: u16) -> Result<Vec<SocketAddr>> {
    let found = timeout(RESOLVE_TIMEOUT, lookup_host((host, port)))
        .await
        .map_err(|_| Error::not_sent(format!("no answer within {RESOLVE_TIMEOUT:?}")))?
        .map_err(|error| Error::not_sent(error.to_string()))?;
    let mut addresses: Vec<_> = found.collect();
    addresses.sort_unstable();
    addresses.dedup();
    Ok(addresses)
}

/// How long the system's resolver may take. Its own limits may be longer.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);
