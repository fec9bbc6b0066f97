//! The control address.

use std::sync::Arc;

use axum::extract::{Path, State as Shared};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use tokio::sync::Mutex;

use crate::gates::Gates;
use crate::routes::{Order, Routes};
use crate::state::{Page, State};

/// Answers for the relays of this program and those of the other gates.
#[derive(Clone, Debug)]
pub(crate) struct Control {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Held until this program and the other gates have carried out an order. Otherwise two orders at once could each be
    /// carried out in part. The lock of the routes is held only for a moment, so the state can be read meanwhile.
    orders: Mutex<()>,
    routes: Mutex<Routes>,
    gates: Gates,
    pages: Vec<Page>,
}

impl Control {
    pub(crate) fn new(routes: Routes, gates: Gates, pages: Vec<Page>) -> Self {
        Self { inner: Arc::new(Inner { orders: Mutex::default(), routes: Mutex::new(routes), gates, pages }) }
    }

    async fn state(&self) -> State {
        let mut state = self.inner.routes.lock().await.state();
        state.pages.clone_from(&self.inner.pages);
        self.inner.gates.states().await.into_iter().for_each(|other| state.add(other));
        state
    }

    async fn order(&self, order: Order, path: &str, name: &str) -> anyhow::Result<bool> {
        let _order = self.inner.orders.lock().await;
        let known_here = self.inner.routes.lock().await.obey(order, name).await?;
        Ok(self.inner.gates.order(path).await? || known_here)
    }
}

/// `GET /state`; `POST /links/{region}/cut` and `open`; `POST /peers/{name}/stop` and `start`.
pub(crate) fn router(control: Control) -> Router {
    Router::new().route("/state", get(state)).route("/{kind}/{name}/{verb}", post(order)).with_state(control)
}

async fn state(Shared(control): Shared<Control>) -> Json<State> {
    Json(control.state().await)
}

async fn order(
    Shared(control): Shared<Control>,
    Path((kind, name, verb)): Path<(String, String, String)>,
) -> Result<StatusCode, (StatusCode, String)> {
    let path = format!("/{kind}/{name}/{verb}");
    let unknown = || (StatusCode::NOT_FOUND, format!("{path} does not exist\n"));
    // A name must stay one part of the path when it is sent to the other gates.
    let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    let order = Order::parse(&kind, &verb).filter(|_| is_plain).ok_or_else(unknown)?;
    match control.order(order, &path, &name).await {
        Ok(true) => Ok(StatusCode::NO_CONTENT),
        Ok(false) => Err(unknown()),
        Err(error) => Err((StatusCode::BAD_GATEWAY, format!("{error:#}\n"))),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use homing_testbed::Relay;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::timeout;

    use super::*;
    use crate::state::{Link, Peer};

    /// Starts a server that says hello, and returns its address.
    async fn server() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                client.write_all(b"hello").await.unwrap();
            }
        });
        address
    }

    /// Returns what a client receives: nothing if the connection is refused or reset.
    async fn hear(address: &str) -> Vec<u8> {
        let mut heard = Vec::new();
        if let Ok(mut client) = TcpStream::connect(address).await {
            let _ = client.read_to_end(&mut heard).await;
        }
        heard
    }

    /// Starts a control address with one relay, and returns both addresses.
    async fn gate(target: &str, peers: &[&str]) -> (String, String) {
        // A free port, kept until the relay takes it.
        let free = Relay::listen("127.0.0.1:0".parse().unwrap(), ["-"]).unwrap();
        let listen = free.address().to_string();
        free.cut(homing_testbed::Cut::Reset).await;
        let peers: Vec<_> = peers.iter().map(|&peer| peer.to_owned()).collect();
        let route = format!("{listen} {target} 2ms syd").parse().unwrap();
        let routes = Routes::start(vec![route], &peers).await.unwrap();
        (serve(Control::new(routes, Gates::new(Vec::new()), Vec::new())).await, listen)
    }

    async fn serve(control: Control) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move { axum::serve(listener, router(control)).await });
        address
    }

    async fn speaker(gates: &[&String]) -> Control {
        let routes = Routes::start(Vec::new(), &[]).await.unwrap();
        let page = Page { region: "syd".to_owned(), url: "http://localhost:8081/".to_owned() };
        Control::new(routes, Gates::new(gates.iter().map(|&gate| gate.clone()).collect()), vec![page])
    }

    async fn post(control: &Control, kind: &str, name: &str, verb: &str) -> StatusCode {
        let path = Path((kind.to_owned(), name.to_owned(), verb.to_owned()));
        match order(Shared(control.clone()), path).await {
            Ok(status) | Err((status, _)) => status,
        }
    }

    #[tokio::test]
    async fn orders_reach_every_gate() {
        let (one, first) = gate(&server().await, &[]).await;
        let (other, second) = gate(&server().await, &[]).await;
        let control = speaker(&[&one, &other]).await;
        let state = |open| Link { region: "syd".to_owned(), open };
        assert_eq!(control.state().await.links, [state(true)]);
        assert_eq!(hear(&first).await, b"hello");

        assert_eq!(post(&control, "links", "syd", "cut").await, StatusCode::NO_CONTENT);
        assert_eq!(control.state().await.links, [state(false)]);
        let silent = tokio::spawn(async move { (hear(&first).await, hear(&second).await) });
        assert_eq!(post(&control, "links", "syd", "open").await, StatusCode::NO_CONTENT);
        let heard = timeout(Duration::from_secs(60), silent).await.unwrap().unwrap();
        assert_eq!(heard, (b"hello".to_vec(), b"hello".to_vec()), "bytes that waited arrive once the link is open");
        assert_eq!(control.state().await.links, [state(true)]);
        assert_eq!(control.state().await.pages[0].region, "syd");
    }

    #[tokio::test]
    async fn opening_links_starts_no_peer() {
        let (gate, address) = gate(&server().await, &["127.0.0.1"]).await;
        let control = speaker(&[&gate]).await;
        let peer = |running| Peer { name: "127.0.0.1".to_owned(), running };
        assert_eq!(post(&control, "peers", "127.0.0.1", "stop").await, StatusCode::NO_CONTENT);
        assert_eq!(control.state().await.peers, [peer(false)]);
        assert!(hear(&address).await.is_empty());
        assert_eq!(post(&control, "links", "syd", "cut").await, StatusCode::NO_CONTENT);
        assert_eq!(post(&control, "links", "syd", "open").await, StatusCode::NO_CONTENT);
        assert!(hear(&address).await.is_empty());
        assert_eq!(post(&control, "peers", "127.0.0.1", "start").await, StatusCode::NO_CONTENT);
        assert_eq!(hear(&address).await, b"hello");
    }

    #[tokio::test]
    async fn orders_wait_but_state_does_not() {
        let gate = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let control = speaker(&[&gate.local_addr().unwrap().to_string()]).await;
        let ordering = control.clone();
        let order = tokio::spawn(async move { post(&ordering, "links", "syd", "cut").await });

        let (mut asked, _) = gate.accept().await.unwrap();
        let mut request = [0; 256];
        let length = asked.read(&mut request).await.unwrap();
        assert!(request[..length].starts_with(b"POST /links/syd/cut "));
        assert!(control.inner.orders.try_lock().is_err());
        assert!(control.inner.routes.try_lock().is_ok());

        asked.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        assert_eq!(order.await.unwrap(), StatusCode::NO_CONTENT);
        assert!(control.inner.orders.try_lock().is_ok());
    }

    #[tokio::test]
    async fn unknown_names_and_lost_gates_fail() {
        let (gate, _) = gate(&server().await, &[]).await;
        let control = speaker(&[&gate]).await;
        for (kind, name, verb) in [
            ("links", "ams", "cut"),
            ("links", "syd", "stop"),
            ("peers", "iad-1", "stop"),
            ("links", "syd/cut?", "cut"),
            ("pages", "syd", "cut"),
        ] {
            assert_eq!(post(&control, kind, name, verb).await, StatusCode::NOT_FOUND, "{kind}/{name}/{verb}");
        }
        let away = "127.0.0.1:1".to_owned();
        let control = speaker(&[&gate, &away]).await;
        assert_eq!(post(&control, "links", "syd", "cut").await, StatusCode::BAD_GATEWAY);
        assert_eq!(control.state().await.links.len(), 1, "the gates that answer are listed");
    }
}
