//! Ports that are reserved for a server that starts later.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpSocket;

use crate::error::{Error, Result};

/// A TCP port, usually a free one on 127.0.0.1. It is reserved for a server that binds it later,
/// possibly in another process, possibly several times.
///
/// A socket that is bound but never listens keeps the port. If both sockets set `SO_REUSEADDR`, as
/// servers on Unix do, Linux lets a server bind the same port beside it. Meanwhile a program that
/// asks for *any* free port does not get this one, and connections to it are refused while no server
/// listens. A system that does not allow the second socket gives a port that is merely free at the
/// moment.
#[derive(Debug)]
pub(crate) struct Port {
    address: SocketAddr,
    _keeper: Option<TcpSocket>,
}

impl Port {
    pub(crate) fn reserve() -> Result<Self> {
        Self::keep(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
            .map_err(|error| Error::io("cannot reserve a port on 127.0.0.1", error))
    }

    /// Reserves the port of this address, on the interface of this address. A free port if it is 0.
    pub(crate) fn fixed(address: SocketAddr) -> Result<Self> {
        Self::keep(address).map_err(|error| Error::io(format!("cannot reserve the address {address}"), error))
    }

    fn keep(address: SocketAddr) -> io::Result<Self> {
        let keeper = reusable_socket(address)?;
        let address = keeper.local_addr()?;
        let shared = std::net::TcpListener::bind(address).is_ok();
        Ok(Self { address, _keeper: shared.then_some(keeper) })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn number(&self) -> u16 {
        self.address.port()
    }
}

/// Returns a socket that is bound to `address` and does not listen yet. Other sockets may bind the
/// same address.
pub(crate) fn reusable_socket(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn reserved_port_is_bound_repeatedly() {
        let port = Port::reserve().unwrap();
        for _ in 0..3 {
            let listener = TcpListener::bind(port.address()).unwrap();
            TcpStream::connect(port.address()).unwrap();
            drop(listener);
            TcpStream::connect(port.address()).unwrap_err();
        }
    }
}
