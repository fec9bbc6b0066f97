//! Asks a name server one question, within a time limit.

use std::error::Error as StdError;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::system_conf::read_system_conf;
use tokio::time::{Instant, timeout_at};
use tracing::debug;

use crate::discover::Resolution;
use crate::error::{Error, Result};

/// The name server to ask, and the time limit.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DnsConfig {
    /// The server to ask, by UDP, and by TCP if an answer is too large for UDP. Default: the servers of the system's
    /// configuration (`/etc/resolv.conf`), together with its search list and the hosts file. If a server is set,
    /// neither the search list nor the hosts file applies.
    pub server: Option<SocketAddr>,

    /// The time limit of a whole resolution. It covers a second try, the search list, and the addresses of SRV targets.
    /// Default: [`DEFAULT_TIMEOUT`](Self::DEFAULT_TIMEOUT); at most a minute.
    pub timeout: Duration,
}

impl DnsConfig {
    /// Three seconds: shorter than a call's usual limit of five seconds, so that the first call to a region can report
    /// that the name server does not answer, and not just that the time is over.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(3);

    /// Sets the name server to ask.
    pub fn with_server(mut self, server: SocketAddr) -> Self {
        self.server = Some(server);
        self
    }

    /// Sets the time limit of a resolution.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}

impl Default for DnsConfig {
    fn default() -> Self {
        Self { server: None, timeout: Self::DEFAULT_TIMEOUT }
    }
}

/// A resolver without a cache: its callers keep an answer for its time to live and need a fresh one after that.
#[derive(Debug)]
pub(super) struct Dns {
    resolver: TokioResolver,
    servers: Servers,
    timeout: Duration,
}

impl Dns {
    pub(super) fn new(config: &DnsConfig) -> Result<Self> {
        let (resolver_config, options) = match config.server {
            Some(server) => (single_server(server), ResolverOpts::default()),
            None => read_system_conf().map_err(no_system_configuration)?,
        };
        let servers = match config.server {
            Some(server) => Servers::Configured(server),
            None => Servers::System(resolver_config.name_servers().iter().map(|server| server.ip).collect()),
        };
        let mut builder = TokioResolver::builder_with_config(resolver_config, TokioRuntimeProvider::default());
        let timeout = config.timeout.min(MAX_TIMEOUT);
        *builder.options_mut() = with_limits(options, timeout);
        if config.server.is_some() {
            builder.options_mut().use_hosts_file = ResolveHosts::Never;
        }
        let resolver = builder.build().map_err(no_system_configuration)?;
        Ok(Self { resolver, servers, timeout })
    }

    /// Returns the deadline of a resolution that starts now.
    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }

    /// Returns the AAAA and A records of a name. The list is empty if the name does not exist.
    pub(super) async fn addresses(&self, name: &Name, deadline: Instant) -> Result<Answers<IpAddr>> {
        let (v6, v4) =
            tokio::join!(self.records(name, RecordType::AAAA, deadline), self.records(name, RecordType::A, deadline));
        combine([v6, v4].map(|lookup| lookup.map(|lookup| Answers::all(found(lookup.as_ref(), ip_address)))))
    }

    /// Returns the TXT records of a name. The strings of each record are concatenated.
    pub(super) async fn texts(&self, name: &Name, deadline: Instant) -> Result<Vec<String>> {
        let lookup = self.records(name, RecordType::TXT, deadline).await?;
        Ok(found(lookup.as_ref(), text).into_iter().map(|found| found.value).collect())
    }

    /// Returns the server's answer to a question, with its additional section, or `None` if it found no such records.
    pub(super) async fn records(&self, name: &Name, kind: RecordType, deadline: Instant) -> Result<Option<Lookup>> {
        match timeout_at(deadline, self.resolver.lookup(name.clone(), kind)).await {
            Ok(Ok(lookup)) => Ok(Some(lookup)),
            Ok(Err(error)) if error.is_no_records_found() => Ok(None),
            Ok(Err(error)) => Err(self.failed(name, kind, error)),
            Err(elapsed) => Err(self.failed(name, kind, elapsed)),
        }
    }

    fn failed(&self, name: &Name, kind: RecordType, cause: impl StdError + Send + Sync + 'static) -> Error {
        let advice = match self.servers {
            Servers::Configured(_) => "check that it runs at this address and serves this name",
            Servers::System(_) => "check the system's DNS settings, or set HOMING_DNS_SERVER",
        };
        Error::not_sent(format!(
            "no usable answer to the DNS question {kind} {name} from {}; {advice}",
            self.servers.text()
        ))
        .with_source(cause)
    }
}

/// A value from a record, and its time to live.
#[derive(Clone, Debug)]
pub(super) struct Found<T> {
    pub(super) value: T,
    pub(super) ttl: Duration,
}

impl<T> Found<T> {
    pub(super) fn map<U>(self, map: impl FnOnce(T) -> U) -> Found<U> {
        Found { value: map(self.value), ttl: self.ttl }
    }
}

/// The values from the answers to one or more questions.
#[derive(Clone, Debug)]
pub(super) struct Answers<T> {
    pub(super) found: Vec<Found<T>>,
    /// Whether every question was answered.
    pub(super) complete: bool,
}

impl<T> Answers<T> {
    /// Returns values of which none is missing.
    pub(super) fn all(found: Vec<Found<T>>) -> Self {
        Self { found, complete: true }
    }

    pub(super) fn map<U>(self, map: impl FnMut(Found<T>) -> Found<U>) -> Answers<U> {
        Answers { found: self.found.into_iter().map(map).collect(), complete: self.complete }
    }
}

impl Answers<SocketAddr> {
    /// Returns the addresses, with the shortest of their times to live.
    pub(super) fn into_resolution(self) -> Resolution {
        let ttl = self.found.iter().map(|found| found.ttl).min().unwrap_or(EMPTY_TTL);
        let resolution = Resolution::new(self.found.into_iter().map(|found| found.value), ttl);
        if self.complete { resolution } else { resolution.incomplete() }
    }
}

/// Returns the values of an answer. Each gets the shortest time to live in the answer, because an alias on the way may
/// be the first record to change (RFC 2181, section 10.1.1).
pub(super) fn found<T>(lookup: Option<&Lookup>, value: impl Fn(&RData) -> Option<T>) -> Vec<Found<T>> {
    let answers = lookup.map_or(&[][..], Lookup::answers);
    let ttl = answers.iter().map(ttl).min().unwrap_or_default();
    answers.iter().filter_map(|record| Some(Found { value: value(&record.data)?, ttl })).collect()
}

pub(super) fn ip_address(data: &RData) -> Option<IpAddr> {
    data.ip_addr()
}

pub(super) fn ttl(record: &Record) -> Duration {
    Duration::from_secs(record.ttl.into())
}

/// Combines the answers to concurrent questions. If any of them found something, a failure of another makes the result
/// incomplete. If nothing was found, a failure is returned, because it may be the reason.
pub(super) fn combine<T>(answers: impl IntoIterator<Item = Result<Answers<T>>>) -> Result<Answers<T>> {
    let mut all = Answers::all(Vec::new());
    let mut failure = None;
    for answer in answers {
        match answer {
            Ok(answer) => {
                all.found.extend(answer.found);
                all.complete &= answer.complete;
            }
            Err(error) => failure = Some(error),
        }
    }
    match failure {
        Some(error) if all.found.is_empty() => Err(error),
        Some(error) => {
            debug!(error = &error as &dyn StdError, "one of several DNS questions failed; the others were answered");
            Ok(Answers { complete: false, ..all })
        }
        None => Ok(all),
    }
}

/// The servers that are asked, for error messages.
#[derive(Debug)]
enum Servers {
    Configured(SocketAddr),
    System(Vec<IpAddr>),
}

impl Servers {
    fn text(&self) -> String {
        match self {
            Self::Configured(server) => format!("name server {server}"),
            Self::System(servers) => servers.iter().fold("the system's name servers".to_owned(), |mut text, server| {
                write!(text, " {server}").expect("a String takes all that is written");
                text
            }),
        }
    }
}

fn text(data: &RData) -> Option<String> {
    let RData::TXT(text) = data else { return None };
    Some(String::from_utf8_lossy(&text.txt_data.concat()).into_owned())
}

fn single_server(server: SocketAddr) -> ResolverConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = server.port();
        connection
    });
    ResolverConfig::from_name_servers(vec![NameServerConfig::new(server.ip(), true, connections.into())])
}

/// Replaces the time limits of the system, which may be minutes.
fn with_limits(mut options: ResolverOpts, timeout: Duration) -> ResolverOpts {
    // The deadline leaves time for one more try: for the search list, or for a second question.
    options.timeout = timeout / (TRIES + 1);
    options.attempts = TRIES as usize - 1;
    options.cache_size = 0;
    options
}

fn no_system_configuration(cause: NetError) -> Error {
    Error::misuse("the system's DNS settings cannot be read; correct them, or set HOMING_DNS_SERVER").with_source(cause)
}

/// The limit for [`DnsConfig::timeout`]. After a minute without an answer a new question is better than waiting.
const MAX_TIMEOUT: Duration = Duration::from_secs(60);

/// Within a try, a UDP question is repeated every third of a second because packets get lost. The second try is for a
/// connection that broke or a server that restarted.
const TRIES: u32 = 2;

/// The time to live of an answer without addresses. It is short because the first node of a region may be starting
/// right now; a name server can easily answer a question every five seconds.
const EMPTY_TTL: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_counts_if_nothing_was_found() {
        let answer = |found: &[i32], complete| {
            let found = found.iter().map(|&value| Found { value, ttl: EMPTY_TTL }).collect();
            Ok(Answers { found, complete })
        };
        let failure = || Err(Error::not_sent("m"));
        let table = [
            ([answer(&[1], true), answer(&[2], true)], vec![1, 2], true),
            ([failure(), answer(&[2], true)], vec![2], false),
            ([answer(&[1], true), failure()], vec![1], false),
            ([answer(&[1], true), answer(&[2], false)], vec![1, 2], false),
            ([answer(&[1], true), answer(&[], true)], vec![1], true),
            ([answer(&[], true), answer(&[], true)], vec![], true),
        ];
        for (answers, expected, complete) in table {
            let combined = combine(answers).unwrap();
            let found: Vec<_> = combined.found.into_iter().map(|found| found.value).collect();
            assert_eq!((found, combined.complete), (expected, complete));
        }
        assert!(combine([answer(&[], true), failure()]).unwrap_err().is_not_sent());
        assert!(combine::<i32>([failure(), failure()]).unwrap_err().is_not_sent());
    }

    #[test]
    fn the_servers_are_named() {
        let system = Servers::System(vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()]);
        assert_eq!(system.text(), "the system's name servers 10.0.0.1 fd00::1");
        assert_eq!(Servers::Configured("[fd00::1]:53".parse().unwrap()).text(), "name server [fd00::1]:53");
    }

    #[test]
    fn resolution_has_the_shortest_ttl() {
        let found = [("10.0.0.1:1", 30), ("10.0.0.2:1", 7), ("10.0.0.3:1", 60)]
            .map(|(address, ttl)| Found { value: address.parse().unwrap(), ttl: Duration::from_secs(ttl) });
        assert_eq!(Answers::all(found.into()).into_resolution().ttl, Duration::from_secs(7));
        assert_eq!(Answers::all(Vec::new()).into_resolution(), Resolution::new([], EMPTY_TTL));
    }
}
