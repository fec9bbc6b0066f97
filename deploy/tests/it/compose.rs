//! `docker-compose.yml`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::read;
use crate::settings::{Settings, assert_complete, settings};

/// The nodes of each region.
const NODES: [(&str, &[&str]); 3] = [("iad", &["iad-1", "iad-2"]), ("syd", &["syd"]), ("ams", &["ams"])];

/// Returns the file with its anchors resolved and the defaults of its variables filled in.
fn project() -> Value {
    let mut project: serde_norway::Value = serde_norway::from_str(&read("docker-compose.yml")).unwrap();
    project.apply_merge().unwrap();
    serde_norway::from_str(&with_defaults(&serde_norway::to_string(&project).unwrap())).unwrap()
}

/// Replaces `${NAME:-default}` by `default`.
fn with_defaults(text: &str) -> String {
    let mut result = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (variable, after) = after.split_once('}').unwrap();
        let (_, default) = variable.split_once(":-").unwrap_or_else(|| panic!("{variable} has no default"));
        result += before;
        result += default;
        rest = after;
    }
    result + rest
}

fn services() -> BTreeMap<String, Value> {
    serde_json::from_value(project()["services"].take()).unwrap()
}

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().map_or(Vec::new(), |list| list.iter().map(|item| item.as_str().unwrap()).collect())
}

/// Returns the networks of a service, with its aliases in each.
fn networks(service: &Value) -> BTreeMap<&str, Vec<&str>> {
    match &service["networks"] {
        Value::Object(networks) => {
            networks.iter().map(|(name, network)| (name.as_str(), strings(&network["aliases"]))).collect()
        }
        list => strings(list).into_iter().map(|name| (name, Vec::new())).collect(),
    }
}

/// Returns the services that a name stands for in a network.
fn named<'a>(services: &'a BTreeMap<String, Value>, network: &str, host: &str) -> Vec<&'a str> {
    let has = |name: &str, service| {
        networks(service).get(network).is_some_and(|aliases| name == host || aliases.contains(&host))
    };
    services.iter().filter(|(name, service)| has(name, service)).map(|(name, _)| name.as_str()).collect()
}

fn environment(service: &Value) -> Settings {
    let environment = service["environment"].as_object().unwrap();
    settings(environment.iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap())))
}

/// Returns the routes of a gate: the address to listen on, the target, the round trip, the link.
fn routes(service: &Value) -> Vec<Vec<&str>> {
    let routes = strings(&service["command"]).into_iter().filter(|argument| argument.contains(' '));
    routes.map(|route| route.split_whitespace().collect()).collect()
}

fn host(address: &str) -> &str {
    address.rsplit_once(':').unwrap().0
}

#[test]
fn file_has_no_version() {
    // With "3" the old docker-compose accepts no conditions in depends_on; with any version the plugin warns.
    assert!(project().get("version").is_none());
}

#[test]
fn only_pages_are_published_locally() {
    for (name, service) in services() {
        let ports = strings(&service["ports"]);
        assert_eq!(ports.is_empty(), name != "wan", "{name}");
        assert!(ports.iter().all(|port| port.starts_with("127.0.0.1:")), "{ports:?}");
    }
}

#[test]
fn nodes_have_all_settings() {
    let services = services();
    for (region, nodes) in NODES {
        for node in nodes {
            let settings = environment(&services[*node]);
            assert_complete(&settings, region);
            assert_eq!(networks(&services[*node]).keys().collect::<Vec<_>>(), [&region]);
            let regions: BTreeSet<_> = settings["HOMING_REGIONS"].split(',').collect();
            assert_eq!(regions, NODES.map(|(region, _)| region).into());
        }
    }
}

#[test]
fn regions_find_nodes_through_gates() {
    let services = services();
    for (here, _) in NODES {
        for (there, nodes) in NODES {
            let found = named(&services, here, &format!("{there}.guestbook.internal"));
            assert_eq!(found.len(), nodes.len(), "{there} as seen from {here}: {found:?}");
            if here == there {
                assert_eq!(found, nodes);
                continue;
            }
            let reached: Vec<_> = found.iter().map(|gate| way(&services, here, gate, "4750")[1]).map(host).collect();
            assert_eq!(reached, nodes, "{there} as seen from {here}");
        }
        let databases = named(&services, here, "iad.db.internal");
        let [database] = databases[..] else { panic!("{databases:?}") };
        if here != "iad" {
            assert_eq!(way(&services, here, database, "5432")[1], "primary:5432");
            assert_eq!(named(&services, here, &format!("{here}.db.internal")), [format!("replica-{here}")]);
        }
    }
}

/// Returns the route that a connection from this region takes through a gate.
fn way<'a>(services: &'a BTreeMap<String, Value>, from: &str, gate: &str, port: &str) -> Vec<&'a str> {
    let aliases = &networks(&services[gate])[from];
    let mut ways = routes(&services[gate]);
    ways.retain(|route| aliases.contains(&host(route[0])) && route[0].ends_with(&format!(":{port}")));
    assert_eq!(ways.len(), 1, "{gate} from {from}");
    ways.remove(0)
}

#[test]
fn gates_listen_and_lead_correctly() {
    let services = services();
    for (name, gate) in services.iter().filter(|(name, _)| name.starts_with("gate-")) {
        let networks = networks(gate);
        let routes = routes(gate);
        assert!(!routes.is_empty(), "{name}");
        for route in routes {
            let from: Vec<_> = networks.iter().filter(|(_, aliases)| aliases.contains(&host(route[0]))).collect();
            let [(region, _)] = from[..] else { panic!("{name}: {} is known in {from:?}", route[0]) };
            assert!(route[0].starts_with(&format!("from-{region}.")), "{name}: {route:?}");
            let target = &services[host(route[1])];
            assert!(self::networks(target).keys().any(|network| networks.contains_key(network)), "{name}: {route:?}");
            let to = self::networks(target).into_keys().next().unwrap();
            assert_eq!((route[2], route.get(3).copied()), distance(region, to), "{name}: {route:?}");
        }
    }
}

/// Returns the round trip between two regions, and the link to which it belongs.
fn distance(one: &str, other: &str) -> (&'static str, Option<&'static str>) {
    match (one, other) {
        ("iad", "syd") | ("syd", "iad") => ("200ms", Some("syd")),
        ("iad", "ams") | ("ams", "iad") => ("80ms", Some("ams")),
        ("ams", "syd") | ("syd", "ams") => ("260ms", None),
        _ => panic!("{one} and {other}"),
    }
}

#[test]
fn control_address_asks_every_gate() {
    let services = services();
    let asked: Vec<_> =
        strings(&services["wan"]["command"]).into_iter().filter(|word| word.contains("--gate=")).collect();
    let gates: Vec<_> = services.keys().filter(|name| name.starts_with("gate-")).collect();
    assert_eq!(asked.len(), gates.len());
    for gate in gates {
        assert!(asked.contains(&format!("--gate={gate}:7070").as_str()), "{gate}");
    }
    for (_, nodes) in NODES {
        for node in nodes {
            assert_eq!(environment(&services[*node])["DASHBOARD_CONTROL"], "http://wan:7070");
        }
    }
}
