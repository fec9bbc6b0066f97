//! Discovery against a real name server.

use std::error::Error as _;
use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use hickory_server::proto::op::ResponseCode;
use hickory_server::proto::rr::RecordType;
use homing_rpc::{
    Discover, DnsConfig, DnsTemplate, FlyDns, Region, Resolution, StaticPeers, Topology, discover_from_lookup,
};
use tokio::time::{Instant, timeout};

use crate::dns::DnsServer;

const IAD: &str = "iad.shop.internal";
const PORT: u16 = 4750;

#[tokio::test]
async fn fly_resolves_both_families() {
    let server = DnsServer::start().await;
    server.set_addresses(IAD, 30, &["fdaa::2", "10.0.0.1", "fdaa::1", "10.0.0.1"]);
    let resolution = resolve(&fly(&server), "iad").await.unwrap();
    assert_eq!(resolution, expected(&["10.0.0.1:4750", "[fdaa::1]:4750", "[fdaa::2]:4750"], 30));
}

#[tokio::test]
async fn fly_skips_invalid_regions() {
    let server = DnsServer::start().await;
    // The strings of one record are one text (a string has 255 bytes at most), two records are two texts.
    server.set_texts("regions.shop.internal", &[&["syd,iad,,BAD,a b,lh", "r"], &["fra, ams,syd"]]);
    let regions = guarded(fly(&server).regions()).await.unwrap();
    assert_eq!(regions, ["ams", "fra", "iad", "lhr", "syd"].map(region));
}

#[tokio::test]
async fn fly_without_list_has_no_regions() {
    let server = DnsServer::start().await;
    assert_eq!(guarded(fly(&server).regions()).await.unwrap(), []);
}

#[tokio::test]
async fn failed_list_of_regions_is_an_error() {
    let server = DnsServer::start().await;
    server.set_code("regions.shop.internal", RecordType::TXT, ResponseCode::Refused);
    let error = guarded(fly(&server).regions()).await.unwrap_err();
    assert!(error.is_not_sent() && !error.is_misuse());
    assert!(error.to_string().contains("TXT regions.shop.internal."), "{error}");
}

#[tokio::test]
async fn template_asks_for_its_name() {
    let server = DnsServer::start().await;
    server.set_addresses("db-syd.shop.example", 7, &["10.0.0.9"]);
    let template = template(&server, "db-{region}.{app}.example");
    assert_eq!(resolve(&template, "syd").await.unwrap(), expected(&["10.0.0.9:4750"], 7));
    assert_eq!(guarded(template.regions()).await.unwrap(), [region("iad"), region("syd")]);
}

#[tokio::test]
async fn srv_uses_additional_addresses() {
    let server = DnsServer::start().await;
    let services = [(4751, "a.shop.example"), (4752, "b.shop.example")];
    let along = [("a.shop.example", "10.0.0.1"), ("a.shop.example", "fdaa::1"), ("c.shop.example", "10.9.9.9")];
    server.set_services("_homing._tcp.iad.shop.example", 40, &services, &along);
    server.set_addresses("b.shop.example", 20, &["10.0.0.2"]);
    let resolution = resolve(&srv(&server), "iad").await.unwrap();
    assert_eq!(resolution, expected(&["10.0.0.1:4751", "10.0.0.2:4752", "[fdaa::1]:4751"], 20));
    assert_eq!(server.asked("a.shop.example", RecordType::A), 0);
    assert_eq!(server.asked("a.shop.example", RecordType::AAAA), 0);
}

#[tokio::test]
async fn srv_keeps_ports_of_a_host() {
    let server = DnsServer::start().await;
    let services = [(4752, "a.shop.example"), (4751, "a.shop.example"), (4751, "a.shop.example")];
    server.set_services("_homing._tcp.iad.shop.example", 5, &services, &[]);
    server.set_addresses("a.shop.example", 600, &["127.0.0.1"]);
    let resolution = resolve(&srv(&server), "iad").await.unwrap();
    assert_eq!(resolution, expected(&["127.0.0.1:4751", "127.0.0.1:4752"], 5));
}

#[tokio::test]
async fn srv_looks_up_many_targets() {
    let server = DnsServer::start().await;
    let names: Vec<_> = (0..40).map(|i| format!("n{i}.shop.example")).collect();
    let services: Vec<_> = names.iter().map(|name| (PORT, name.as_str())).collect();
    server.set_services("_homing._tcp.iad.shop.example", 5, &services, &[]);
    for (i, name) in names.iter().enumerate() {
        server.set_addresses(name, 5, &[&format!("10.0.0.{i}")]);
    }
    assert_eq!(resolve(&srv(&server), "iad").await.unwrap().addresses.len(), 40);
}

#[tokio::test]
async fn srv_skips_a_failed_target() {
    let server = DnsServer::start().await;
    let services = [(1, "good.shop.example"), (2, "broken.shop.example"), (3, "missing.shop.example"), (4, ".")];
    server.set_services("_homing._tcp.iad.shop.example", 5, &services, &[]);
    server.set_addresses("good.shop.example", 5, &["10.0.0.1"]);
    for kind in [RecordType::A, RecordType::AAAA] {
        server.set_code("broken.shop.example", kind, ResponseCode::ServFail);
    }
    assert_eq!(resolve(&srv(&server), "iad").await.unwrap(), expected(&["10.0.0.1:1"], 5).incomplete());
    assert_eq!(server.asked(".", RecordType::A), 0, "a target of . says that there is none, RFC 2782");
}

#[tokio::test]
async fn srv_without_usable_target_is_an_error() {
    let server = DnsServer::start().await;
    let services = [(1, "broken.shop.example"), (2, "missing.shop.example")];
    server.set_services("_homing._tcp.iad.shop.example", 5, &services, &[]);
    for kind in [RecordType::A, RecordType::AAAA] {
        server.set_code("broken.shop.example", kind, ResponseCode::ServFail);
    }
    let error = resolve(&srv(&server), "iad").await.unwrap_err();
    assert!(error.to_string().contains("broken.shop.example."), "{error}");
}

#[tokio::test]
async fn unknown_name_is_an_empty_list() {
    let server = DnsServer::start().await;
    let empty = Resolution::new([], Duration::from_secs(5));
    assert_eq!(resolve(&fly(&server), "lhr").await.unwrap(), empty);
    assert_eq!(resolve(&srv(&server), "lhr").await.unwrap(), empty);
    assert_eq!(resolve(&template(&server, "{region}.{app}.internal"), "lhr").await.unwrap(), empty);
    assert_eq!(resolve(&StaticPeers::none(), "lhr").await.unwrap().addresses, []);
}

#[tokio::test]
async fn name_without_addresses_is_empty_list() {
    let server = DnsServer::start().await;
    server.set_addresses(IAD, 30, &[]);
    assert_eq!(resolve(&fly(&server), "iad").await.unwrap(), Resolution::new([], Duration::from_secs(5)));
}

#[tokio::test]
async fn server_failure_names_question_and_server() {
    let server = DnsServer::start().await;
    for kind in [RecordType::A, RecordType::AAAA] {
        server.set_code(IAD, kind, ResponseCode::ServFail);
    }
    let error = resolve(&fly(&server), "iad").await.unwrap_err();
    assert!(error.is_not_sent() && !error.is_misuse());
    assert!(error.to_string().contains(&format!("{IAD}. from name server {}", server.address())), "{error}");
    assert!(error.source().unwrap().to_string().contains("Server Failure"), "{:?}", error.source());
}

#[tokio::test]
async fn failed_family_does_not_hide_other() {
    for (fails, has, address) in
        [(RecordType::AAAA, "10.0.0.1", "10.0.0.1:4750"), (RecordType::A, "fdaa::1", "[fdaa::1]:4750")]
    {
        let server = DnsServer::start().await;
        server.set_addresses(IAD, 30, &[has]);
        server.set_code(IAD, fails, ResponseCode::ServFail);
        assert_eq!(resolve(&fly(&server), "iad").await.unwrap(), expected(&[address], 30).incomplete());
    }
}

#[tokio::test]
async fn missing_srv_target_is_incomplete() {
    let server = DnsServer::start().await;
    server.set_services(
        "_homing._tcp.iad.shop.example",
        5,
        &[(1, "good.shop.example"), (2, "missing.shop.example")],
        &[],
    );
    server.set_addresses("good.shop.example", 5, &["10.0.0.1"]);
    assert_eq!(resolve(&srv(&server), "iad").await.unwrap(), expected(&["10.0.0.1:1"], 5).incomplete());
    server.set_services("_homing._tcp.iad.shop.example", 5, &[(1, "good.shop.example"), (2, ".")], &[]);
    assert_eq!(resolve(&srv(&server), "iad").await.unwrap(), expected(&["10.0.0.1:1"], 5));
}

#[tokio::test]
async fn failure_beside_empty_family_is_an_error() {
    let server = DnsServer::start().await;
    server.set_addresses(IAD, 30, &[]);
    server.set_code(IAD, RecordType::AAAA, ResponseCode::ServFail);
    let error = resolve(&fly(&server), "iad").await.unwrap_err();
    assert!(error.to_string().contains(&format!("AAAA {IAD}.")), "{error}");
}

// With the clock paused, time passes at once when nothing else is left to wait for: the limits are the real ones.
#[tokio::test(start_paused = true)]
async fn silent_server_meets_time_limit() {
    let server = DnsServer::start().await;
    for kind in [RecordType::A, RecordType::AAAA, RecordType::SRV, RecordType::TXT] {
        server.set_silent(IAD, kind);
        server.set_silent("_homing._tcp.iad.shop.example", kind);
        server.set_silent("regions.shop.internal", kind);
    }
    let begin = Instant::now();
    let error = resolve(&fly(&server), "iad").await.unwrap_err();
    assert!(begin.elapsed() <= DnsConfig::DEFAULT_TIMEOUT + TIMER_GRAIN, "{:?}", begin.elapsed());
    assert!(begin.elapsed() >= DnsConfig::DEFAULT_TIMEOUT / 3, "given up after one try, {:?}", begin.elapsed());
    assert!(error.is_not_sent());
    assert!(error.to_string().contains(&format!("from name server {}", server.address())), "{error}");
    assert!(error.source().is_some());

    for failed in [resolve(&srv(&server), "iad").await.is_err(), fly(&server).regions().await.is_err()] {
        assert!(failed);
    }
    assert!(begin.elapsed() <= 3 * (DnsConfig::DEFAULT_TIMEOUT + TIMER_GRAIN), "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn second_question_shares_the_time_limit() {
    let server = DnsServer::start().await;
    let name = "_homing._tcp.iad.shop.example";
    server.set_services(name, 5, &[(1, "a.shop.example")], &[]);
    // So many that only the second try is answered, and not at once.
    server.lose(name, RecordType::SRV, 5);
    for kind in [RecordType::A, RecordType::AAAA] {
        server.set_silent("a.shop.example", kind);
    }
    let begin = Instant::now();
    assert!(resolve(&srv(&server), "iad").await.unwrap_err().is_not_sent());
    assert!(begin.elapsed() <= DnsConfig::DEFAULT_TIMEOUT + TIMER_GRAIN, "{:?}", begin.elapsed());
    assert_eq!(server.asked(name, RecordType::SRV), 6);
}

#[tokio::test(start_paused = true)]
async fn no_time_limit_is_for_ever() {
    let server = DnsServer::start().await;
    server.set_silent("regions.shop.internal", RecordType::TXT);
    let fly = FlyDns::new("shop", PORT, &dns(&server).with_timeout(Duration::MAX)).unwrap();
    assert!(fly.regions().await.unwrap_err().is_not_sent());
}

#[tokio::test]
async fn a_lost_packet_is_sent_again() {
    let server = DnsServer::start().await;
    server.set_addresses(IAD, 30, &["10.0.0.1", "fdaa::1"]);
    server.lose(IAD, RecordType::A, 1);
    assert_eq!(resolve(&fly(&server), "iad").await.unwrap(), expected(&["10.0.0.1:4750", "[fdaa::1]:4750"], 30));
}

#[tokio::test]
async fn missing_server_is_an_error() {
    let server = DnsServer::start().await;
    let address = server.address();
    drop(server);
    let dns = DnsConfig::default().with_server(address).with_timeout(Duration::from_millis(300));
    let fly = FlyDns::new("shop", PORT, &dns).unwrap();
    let error = resolve(&fly, "iad").await.unwrap_err();
    assert!(error.is_not_sent());
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

#[tokio::test]
async fn silent_family_does_not_hide_other() {
    let server = DnsServer::start().await;
    server.set_addresses(IAD, 30, &["10.0.0.1"]);
    server.set_silent(IAD, RecordType::AAAA);
    let dns = DnsConfig::default().with_server(server.address()).with_timeout(Duration::from_millis(300));
    let fly = FlyDns::new("shop", PORT, &dns).unwrap();
    assert_eq!(resolve(&fly, "iad").await.unwrap(), expected(&["10.0.0.1:4750"], 30).incomplete());
}

#[tokio::test]
async fn shortest_time_to_live_counts() {
    let server = DnsServer::start().await;
    for (ttl, expected) in [(0, 1), (1, 1), (17, 17), (60, 60), (86_400, 60)] {
        server.set_addresses(IAD, ttl, &["10.0.0.1", "fdaa::1"]);
        assert_eq!(resolve(&fly(&server), "iad").await.unwrap().ttl, Duration::from_secs(expected));
    }
}

#[tokio::test]
async fn alias_limits_the_time_to_live() {
    let server = DnsServer::start().await;
    server.set_alias(IAD, 9, "node.shop.internal", 50, "10.0.0.4".parse().unwrap());
    assert_eq!(resolve(&fly(&server), "iad").await.unwrap(), expected(&["10.0.0.4:4750"], 9));
}

#[tokio::test]
async fn answers_are_not_cached() {
    let server = DnsServer::start().await;
    let fly = fly(&server);
    assert_eq!(resolve(&fly, "iad").await.unwrap().addresses, []);
    server.set_addresses(IAD, 3600, &["10.0.0.1"]);
    assert_eq!(resolve(&fly, "iad").await.unwrap(), expected(&["10.0.0.1:4750"], 60));
    server.set_addresses(IAD, 3600, &["10.0.0.2", "fdaa::2"]);
    assert_eq!(resolve(&fly, "iad").await.unwrap(), expected(&["10.0.0.2:4750", "[fdaa::2]:4750"], 60));
    server.set_addresses(IAD, 3600, &[]);
    assert_eq!(resolve(&fly, "iad").await.unwrap().addresses, []);
}

#[tokio::test]
async fn large_answer_comes_by_tcp() {
    let server = DnsServer::start().await;
    let addresses: Vec<_> = (1..=200).map(|i| Ipv6Addr::new(0xfdaa, 0, 0, 0, 0, 0, 0, i).to_string()).collect();
    let addresses: Vec<_> = addresses.iter().map(String::as_str).collect();
    server.set_addresses(IAD, 30, &addresses);
    assert_eq!(resolve(&fly(&server), "iad").await.unwrap().addresses.len(), 200);
}

#[tokio::test]
async fn environment_names_the_server() {
    let server = DnsServer::start().await;
    server.set_addresses(IAD, 30, &["fdaa::1"]);
    server.set_services("_homing._tcp.iad.shop.internal", 30, &[(9, IAD)], &[]);
    let fly = [("FLY_REGION", "syd"), ("PRIMARY_REGION", "iad"), ("FLY_APP_NAME", "shop")];
    let template = [("HOMING_PEER_DNS", "{region}.{app}.internal"), ("HOMING_REGIONS", "syd,iad")];
    let srv = [("HOMING_PEER_DNS", "srv:_homing._tcp.{region}.{app}.internal"), ("HOMING_REGIONS", "iad")];
    let peers = [("HOMING_PEERS", "iad=[fdaa::1]:4750")];
    let table = [
        (fly.to_vec(), "[fdaa::1]:4750"),
        ([&fly[..], &template].concat(), "[fdaa::1]:4750"),
        ([&fly[..], &srv].concat(), "[fdaa::1]:9"),
        ([&fly[..], &peers].concat(), "[fdaa::1]:4750"),
    ];
    for (settings, address) in table {
        let lookup = |name: &str| match name {
            "HOMING_DNS_SERVER" => Some(server.address().to_string()),
            name => settings.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()),
        };
        let topology = Topology::from_lookup(&lookup).unwrap();
        let discover = discover_from_lookup(&topology, PORT, &lookup).unwrap();
        let resolution = resolve(&*discover, "iad").await.unwrap();
        assert_eq!(resolution.addresses, [address.parse().unwrap()], "{settings:?}");
    }
}

fn dns(server: &DnsServer) -> DnsConfig {
    DnsConfig::default().with_server(server.address())
}

fn fly(server: &DnsServer) -> FlyDns {
    FlyDns::new("shop", PORT, &dns(server)).unwrap()
}

fn srv(server: &DnsServer) -> DnsTemplate {
    template(server, "srv:_homing._tcp.{region}.{app}.example")
}

fn template(server: &DnsServer, template: &str) -> DnsTemplate {
    let regions = ["syd", "iad", "syd"].map(region);
    DnsTemplate::new(template, Some("shop"), regions, PORT, &dns(server)).unwrap()
}

fn region(name: &str) -> Region {
    Region::new(name).unwrap()
}

fn expected(addresses: &[&str], ttl: u64) -> Resolution {
    let addresses = addresses.iter().map(|address| address.parse::<SocketAddr>().unwrap());
    Resolution::new(addresses, Duration::from_secs(ttl))
}

async fn resolve(discover: &dyn Discover, name: &str) -> homing_rpc::Result<Resolution> {
    guarded(discover.resolve(&region(name))).await
}

/// Timers fire at the next whole millisecond.
const TIMER_GRAIN: Duration = Duration::from_millis(2);

/// A test waits for seconds at most.
async fn guarded<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(20), future).await.expect("it takes far too long")
}
