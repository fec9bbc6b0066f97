//! A name server in this process, which says what a test tells it to.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use hickory_server::Server;
use hickory_server::net::runtime::Time;
use hickory_server::proto::op::{Header, HeaderCounts, Metadata, ResponseCode};
use hickory_server::proto::rr::rdata::{CNAME, SRV, TXT};
use hickory_server::proto::rr::{Name, RData, Record, RecordType};
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;
use tokio::net::{TcpListener, UdpSocket};

/// Listens on UDP and TCP until it is dropped. A name without records does not exist.
pub(crate) struct DnsServer {
    address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    _server: Server<Handler>,
}

impl DnsServer {
    pub(crate) async fn start() -> Self {
        let (udp, tcp) = sockets().await;
        let address = udp.local_addr().unwrap();
        let zone = Arc::new(Mutex::new(Zone::default()));
        let mut server = Server::new(Handler { zone: zone.clone() });
        server.register_socket(udp);
        server.register_listener(tcp, Duration::from_secs(10), 16);
        Self { address, zone, _server: server }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The addresses of a name from now on, of both families; an empty list makes a name that exists and has none.
    pub(crate) fn set_addresses(&self, name: &str, ttl: u32, addresses: &[&str]) {
        let addresses: Vec<IpAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
        let (v4, v6): (Vec<_>, Vec<_>) = addresses.into_iter().partition(IpAddr::is_ipv4);
        for (kind, addresses) in [(RecordType::A, v4), (RecordType::AAAA, v6)] {
            let data = addresses.into_iter().map(RData::from).collect();
            self.set(name, kind, Answer::records(name, ttl, data));
        }
    }

    pub(crate) fn set_texts(&self, name: &str, texts: &[&[&str]]) {
        let text = |strings: &&[&str]| RData::TXT(TXT::new(strings.iter().map(|text| (*text).to_owned()).collect()));
        self.set(name, RecordType::TXT, Answer::records(name, 5, texts.iter().map(text).collect()));
    }

    /// SRV records of port and target, with these addresses in the additional section.
    pub(crate) fn set_services(&self, name: &str, ttl: u32, services: &[(u16, &str)], additional: &[(&str, &str)]) {
        let service = |(port, target): &(u16, &str)| RData::SRV(SRV::new(0, 0, *port, fqdn(target)));
        let mut answer = Answer::records(name, ttl, services.iter().map(service).collect());
        let additional =
            additional.iter().map(|(name, ip)| record(name, ttl, RData::from(ip.parse::<IpAddr>().unwrap())));
        answer.additional = additional.collect();
        self.set(name, RecordType::SRV, answer);
    }

    /// The name stands for another one, whose address comes along.
    pub(crate) fn set_alias(&self, name: &str, ttl: u32, target: &str, target_ttl: u32, address: Ipv4Addr) {
        let mut answer = Answer::records(name, ttl, vec![RData::CNAME(CNAME(fqdn(target)))]);
        answer.answers.push(record(target, target_ttl, RData::from(IpAddr::from(address))));
        self.set(name, RecordType::A, answer);
    }

    pub(crate) fn set_code(&self, name: &str, kind: RecordType, code: ResponseCode) {
        self.set(name, kind, Answer { code, ..Answer::default() });
    }

    /// Questions for a name and type are never answered.
    pub(crate) fn set_silent(&self, name: &str, kind: RecordType) {
        self.set(name, kind, Answer { unanswered: usize::MAX, ..Answer::default() });
    }

    /// Of the questions for a name and type that come in, the first ones are lost.
    pub(crate) fn lose(&self, name: &str, kind: RecordType, times: usize) {
        let mut zone = self.zone.lock().unwrap();
        zone.answers.get_mut(&(fqdn(name), kind)).unwrap().unanswered = times;
    }

    /// How often a question has come in, tried again ones included.
    pub(crate) fn asked(&self, name: &str, kind: RecordType) -> usize {
        let zone = self.zone.lock().unwrap();
        zone.asked.get(&(fqdn(name), kind)).copied().unwrap_or_default()
    }

    fn set(&self, name: &str, kind: RecordType, answer: Answer) {
        self.zone.lock().unwrap().answers.insert((fqdn(name), kind), answer);
    }
}

/// UDP and TCP on the same port, as one name server has them.
async fn sockets() -> (UdpSocket, TcpListener) {
    loop {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        // Another program may use the port for TCP; then the next one is tried.
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
            return (udp, tcp);
        }
    }
}

fn fqdn(name: &str) -> Name {
    let mut name = Name::from_ascii(name).unwrap();
    name.set_fqdn(true);
    name
}

fn record(name: &str, ttl: u32, data: RData) -> Record {
    Record::from_rdata(fqdn(name), ttl, data)
}

#[derive(Default)]
struct Zone {
    answers: HashMap<(Name, RecordType), Answer>,
    asked: HashMap<(Name, RecordType), usize>,
}

#[derive(Clone)]
struct Answer {
    code: ResponseCode,
    answers: Vec<Record>,
    additional: Vec<Record>,
    /// How many questions more are not answered.
    unanswered: usize,
}

impl Answer {
    fn records(name: &str, ttl: u32, data: Vec<RData>) -> Self {
        Self { answers: data.into_iter().map(|data| record(name, ttl, data)).collect(), ..Self::default() }
    }
}

impl Default for Answer {
    fn default() -> Self {
        Self { code: ResponseCode::NoError, answers: Vec::new(), additional: Vec::new(), unanswered: 0 }
    }
}

struct Handler {
    zone: Arc<Mutex<Zone>>,
}

impl Handler {
    /// `None`: the question is not answered.
    fn answer(&self, request: &Request) -> Option<Answer> {
        let query = request.request_info().unwrap().query;
        let key = (Name::from(query.name().clone()), query.query_type());
        let mut zone = self.zone.lock().unwrap();
        *zone.asked.entry(key.clone()).or_default() += 1;
        let exists = zone.answers.keys().any(|(name, _)| *name == key.0);
        let Some(answer) = zone.answers.get_mut(&key) else {
            let code = if exists { ResponseCode::NoError } else { ResponseCode::NXDomain };
            return Some(Answer { code, ..Answer::default() });
        };
        if answer.unanswered > 0 {
            answer.unanswered -= 1;
            return None;
        }
        Some(answer.clone())
    }
}

#[async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(&self, request: &Request, mut handle: R) -> ResponseInfo {
        let mut metadata = Metadata::response_from_request(&request.metadata);
        let Some(answer) = self.answer(request) else {
            return Header { metadata, counts: HeaderCounts::default() }.into();
        };
        metadata.response_code = answer.code;
        let builder = MessageResponseBuilder::from_message_request(request);
        let response = builder.build(metadata, &answer.answers, [], [], &answer.additional);
        handle.send_response(response).await.unwrap()
    }
}
