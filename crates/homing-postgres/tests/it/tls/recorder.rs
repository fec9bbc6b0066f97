//! [`Recorder`], which notes how the connections to a server begin.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Passes connections on to a server, and notes the code of the first message of each.
pub(crate) struct Recorder {
    port: u16,
    requests: Arc<Mutex<Vec<u32>>>,
    _connections: JoinSet<()>,
}

/// The code of a request for TLS: <https://www.postgresql.org/docs/current/protocol-message-formats.html>.
pub(crate) const SSL_REQUEST: u32 = 80_877_103;

impl Recorder {
    pub(crate) async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&requests);
        let mut connections = JoinSet::new();
        connections.spawn(async move {
            let mut passed = JoinSet::new();
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                let noted = Arc::clone(&noted);
                passed.spawn(async move {
                    // A length and a code.
                    let (_, code) = (client.read_u32().await.unwrap(), client.read_u32().await.unwrap());
                    noted.lock().unwrap().push(code);
                    let mut server = TcpStream::connect(server).await.unwrap();
                    server.write_u32(8).await.unwrap();
                    server.write_u32(code).await.unwrap();
                    // The end of a connection is no concern of the recorder.
                    let _ = copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        Self { port, requests, _connections: connections }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn requests(&self) -> Vec<u32> {
        self.requests.lock().unwrap().clone()
    }
}
