//! A DNS view, asked by a real resolver.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{RData, Record};
use homing_testbed::{DnsAnswers, DnsView, wait_until};

use crate::within;

#[tokio::test]
async fn changed_records_are_served() {
    let view = DnsView::start().unwrap();
    let resolver = resolver(view.address());
    let one: IpAddr = "127.0.0.1".parse().unwrap();
    let two: IpAddr = "::1".parse().unwrap();
    view.set_addresses("syd.shop.internal", [one, two]).unwrap();
    view.set_services("_homing._tcp.syd.shop.internal", [("a.syd.shop.internal", 4750)]).unwrap();
    view.set_texts("regions.shop.internal", ["iad,syd"]).unwrap();

    let v4 = within(resolver.ipv4_lookup("syd.shop.internal.")).await.unwrap();
    assert_eq!(data(v4.answers()), ["127.0.0.1"]);
    assert_eq!(v4.answers()[0].ttl, 1);
    let v6 = within(resolver.ipv6_lookup("SYD.shop.internal.")).await.unwrap();
    assert_eq!(data(v6.answers()), ["::1"]);
    let services = within(resolver.srv_lookup("_homing._tcp.syd.shop.internal.")).await.unwrap();
    assert_eq!(data(services.answers()), ["a.syd.shop.internal.:4750"]);
    let texts = within(resolver.txt_lookup("regions.shop.internal.")).await.unwrap();
    assert_eq!(data(texts.answers()), ["iad,syd"]);
    assert_eq!(*view.queries().borrow(), 4);

    view.set_addresses("syd.shop.internal", ["127.0.0.2".parse().unwrap()]).unwrap();
    view.set_ttl(Duration::from_secs(7));
    let v4 = within(resolver.ipv4_lookup("syd.shop.internal.")).await.unwrap();
    assert_eq!(data(v4.answers()), ["127.0.0.2"]);
    assert_eq!(v4.answers()[0].ttl, 7);
}

#[tokio::test]
async fn views_are_apart() {
    let views = [DnsView::start().unwrap(), DnsView::start().unwrap()];
    for (view, port) in views.iter().zip([1, 2]) {
        view.set_services("_homing._tcp.iad.shop.internal", [("iad.shop.internal", port)]).unwrap();
    }
    for (view, port) in views.iter().zip([1, 2]) {
        let resolver = resolver(view.address());
        let found = within(resolver.srv_lookup("_homing._tcp.iad.shop.internal.")).await.unwrap();
        assert_eq!(data(found.answers()), [format!("iad.shop.internal.:{port}")]);
    }
}

#[tokio::test]
async fn long_answer_falls_back_to_tcp() {
    let view = DnsView::start().unwrap();
    let addresses = (1..=250).map(|last| IpAddr::from([127, 0, 0, last]));
    view.set_addresses("many.shop.internal", addresses).unwrap();
    let found = within(resolver(view.address()).ipv4_lookup("many.shop.internal.")).await.unwrap();
    assert_eq!(found.answers().len(), 250);
}

#[tokio::test]
async fn view_fails_on_request() {
    let view = DnsView::start().unwrap();
    view.set_addresses("shop.internal", [IpAddr::from([127, 0, 0, 1])]).unwrap();
    let resolver = resolver(view.address());
    for (answers, code) in [
        (DnsAnswers::NoSuchName, Some(ResponseCode::NXDomain)),
        (DnsAnswers::Empty, Some(ResponseCode::NoError)),
        (DnsAnswers::Refused, Some(ResponseCode::Refused)),
        (DnsAnswers::Failing, Some(ResponseCode::ServFail)),
        (DnsAnswers::Silent, None),
    ] {
        view.set_answers(answers);
        let asked = *view.queries().borrow();
        let error = within(resolver.ipv4_lookup("shop.internal.")).await.unwrap_err();
        assert_eq!(code_of(&error), code, "{answers:?}: {error:?}");
        assert!(*view.queries().borrow() > asked);
    }
    view.set_answers(DnsAnswers::FromRecords);
    within(resolver.ipv4_lookup("shop.internal.")).await.unwrap();
    let error = within(resolver.ipv4_lookup("other.internal.")).await.unwrap_err();
    assert_eq!(code_of(&error), Some(ResponseCode::NXDomain));
}

#[tokio::test]
async fn view_ends_with_last_handle() {
    let view = DnsView::start().unwrap();
    let address = view.address();
    drop(view.clone());
    tokio::net::TcpStream::connect(address).await.unwrap();
    drop(view);
    // Its tasks end when the network's thread polls them.
    wait_until("the port of the view is free", async || std::net::UdpSocket::bind(address).is_ok()).await;
}

fn resolver(server: SocketAddr) -> TokioResolver {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = server.port();
        connection
    });
    let server = NameServerConfig::new(server.ip(), true, connections.into());
    let config = ResolverConfig::from_name_servers(vec![server]);
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    let options = builder.options_mut();
    options.cache_size = 0;
    options.attempts = 0;
    // For the silent server; the others answer at once.
    options.timeout = Duration::from_millis(300);
    builder.build().unwrap()
}

/// Returns the records' data as text.
fn data(records: &[Record]) -> Vec<String> {
    records
        .iter()
        .map(|record| match &record.data {
            RData::A(address) => address.to_string(),
            RData::AAAA(address) => address.to_string(),
            RData::SRV(service) => format!("{}:{}", service.target, service.port),
            RData::TXT(text) => String::from_utf8(text.txt_data.concat()).unwrap(),
            other => panic!("unexpected record {other:?}"),
        })
        .collect()
}

/// Returns the server's response code, if it answered.
fn code_of(error: &NetError) -> Option<ResponseCode> {
    match error {
        NetError::Dns(DnsError::ResponseCode(code)) => Some(*code),
        NetError::Dns(DnsError::NoRecordsFound(found)) => Some(found.response_code),
        _ => None,
    }
}
