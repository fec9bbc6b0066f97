//! Free ports that stay free until they are used.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
};

use tokio::net::TcpSocket;

use crate::error::{Error, Result};

/// A TCP port, usually a free one on 127.0.0.1, kept for a server that binds it later, possibly in another
/// process, possibly several times.
///
/// It is kept by a socket that is bound but never listens. Where both sockets set `SO_REUSEADDR`,
/// as servers on Unix do, Linux lets a server bind the same port beside it, while nobody who asks
/// for *any* free port gets this one. Connecting to it is refused while no server listens. Systems
/// that do not allow the second socket get a port that is merely free at the moment.
#[derive(Debug)]
pub(crate) struct Port {
    address: SocketAddr,
    _keeper: Option<TcpSocket>,
}

impl Port {
    pub(crate) fn reserve() -> Result<Self> {
        Self::try_reserve().map_err(|error| Error::io("cannot reserve a port on 127.0.0.1", error))
    }

    /// The port of this address, or a free one where that is 0, on whatever interface it names.
    pub(crate) fn fixed(address: SocketAddr) -> Result<Self> {
        Self::keep(address).map_err(|error| Error::io(format!("cannot have the address {address}"), error))
    }

    fn try_reserve() -> io::Result<Self> {
        Self::keep(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
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

/// A socket bound to `address`, not listening yet, that others may bind beside.
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
    fn a_reserved_port_can_be_bound_again_and_again() {
        let port = Port::reserve().unwrap();
        for _ in 0..3 {
            let listener = TcpListener::bind(port.address()).unwrap();
            TcpStream::connect(port.address()).unwrap();
            drop(listener);
            TcpStream::connect(port.address()).unwrap_err();
        }
    }
}
