//! [`Named`], a host name that stands for several servers.

use std::net::{IpAddr, SocketAddr};

use homing::discover::DnsConfig;
use homing::replicas::ReplicaSettings;
use homing_testbed::{DnsView, Postgres};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

/// Relays from an address of its own to a server, so that several servers can share one name and port.
struct Forwarder(AbortHandle);

impl Forwarder {
    fn start(listener: TcpListener, target: SocketAddr) -> Self {
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut one, _)) = listener.accept().await {
                connections.spawn(async move {
                    if let Ok(mut other) = TcpStream::connect(target).await {
                        let _ = tokio::io::copy_bidirectional(&mut one, &mut other).await;
                    }
                });
            }
        });
        Self(task.abort_handle())
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A name that stands for one or both of two servers, at one port.
pub(super) struct Named {
    pub(super) dns: DnsView,
    pub(super) port: u16,
    _forwarders: [Forwarder; 2],
}

const NAME: &str = "db.shop.internal";

pub(super) const FIRST: [u8; 4] = [127, 0, 0, 2];
pub(super) const SECOND: [u8; 4] = [127, 0, 0, 3];

impl Named {
    pub(super) async fn start(first: &Postgres, second: &Postgres) -> Self {
        let one = TcpListener::bind((IpAddr::from(FIRST), 0)).await.unwrap();
        let port = one.local_addr().unwrap().port();
        let other = TcpListener::bind((IpAddr::from(SECOND), port)).await.unwrap();
        let forwarders = [Forwarder::start(one, first.address()), Forwarder::start(other, second.address())];
        Self { dns: DnsView::start().unwrap(), port, _forwarders: forwarders }
    }

    pub(super) fn leads_to<const N: usize>(&self, addresses: [[u8; 4]; N]) {
        self.dns.set_addresses(NAME, addresses.map(IpAddr::from)).unwrap();
    }

    pub(super) fn settings(&self) -> ReplicaSettings {
        ReplicaSettings::default().with_dns(DnsConfig::default().with_server(self.dns.address()))
    }

    pub(super) fn url(&self, database: &str) -> String {
        format!("postgres://postgres@{NAME}:{}/{database}", self.port)
    }
}
