//! `deploy/kubernetes`.

mod clusters;
mod pods;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Container, Namespace, Pod, PodSpec, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::read;
use crate::settings::{Settings, assert_complete, settings};

const REGIONS: [&str; 3] = ["iad", "syd", "ams"];
const FOLDER: &str = "kubernetes";

/// The part of kustomize's format that our file uses.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Kustomization {
    api_version: String,
    kind: String,
    namespace: String,
    resources: Vec<String>,
    #[serde(default, rename = "images")]
    _images: Vec<BTreeMap<String, String>>,
    #[serde(default)]
    patches: Vec<Patch>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Patch {
    target: BTreeMap<String, String>,
    /// A JSON patch, as text.
    patch: String,
}

fn kustomization(folder: &str) -> Kustomization {
    serde_norway::from_str(&read(&format!("deploy/{folder}/kustomization.yaml"))).unwrap()
}

/// Returns the objects of a folder's own files.
fn objects_of(folder: &str) -> Vec<Value> {
    let files = kustomization(folder).resources.into_iter().filter(|file| !file.starts_with("../"));
    files.flat_map(|file| documents(&read(&format!("deploy/{folder}/{file}")))).collect()
}

/// Returns the objects for one cluster.
fn objects() -> Vec<Value> {
    objects_of(FOLDER)
}

fn documents(text: &str) -> Vec<Value> {
    serde_norway::Deserializer::from_str(text).map(|document| Value::deserialize(document).unwrap()).collect()
}

fn object<T: DeserializeOwned>(kind: &str, name: &str) -> T {
    let object = objects().into_iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name);
    serde_json::from_value(object.unwrap_or_else(|| panic!("no {kind} {name}"))).unwrap()
}

/// Returns the paths of the fields that the API's types do not know, and so leave out.
fn unknown<T: DeserializeOwned + Serialize>(object: &Value) -> Vec<String> {
    let typed: T = serde_json::from_value(object.clone()).unwrap_or_else(|error| panic!("{error} in {object}"));
    let mut paths = Vec::new();
    compare(object, &serde_json::to_value(typed).unwrap(), "", &mut paths);
    paths
}

fn compare(ours: &Value, known: &Value, path: &str, paths: &mut Vec<String>) {
    match (ours, known) {
        (Value::Object(ours), Value::Object(known)) => {
            for (name, value) in ours {
                compare(value, known.get(name).unwrap_or(&Value::Null), &format!("{path}.{name}"), paths);
            }
        }
        (Value::Array(ours), Value::Array(known)) if ours.len() == known.len() => {
            for (ours, known) in ours.iter().zip(known) {
                compare(ours, known, path, paths);
            }
        }
        _ if ours == known => {}
        _ => paths.push(path.to_owned()),
    }
}

#[test]
fn api_knows_every_field() {
    for object in objects().into_iter().chain(clusters::objects()) {
        let unknown = match object["kind"].as_str().unwrap() {
            "ConfigMap" => unknown::<ConfigMap>(&object),
            "Deployment" => unknown::<Deployment>(&object),
            "Namespace" => unknown::<Namespace>(&object),
            "NetworkPolicy" => unknown::<NetworkPolicy>(&object),
            "PodDisruptionBudget" => unknown::<PodDisruptionBudget>(&object),
            "Service" => unknown::<Service>(&object),
            // Not a part of the API's types; `clusters` checks it.
            "ServiceExport" => continue,
            kind => panic!("{kind} is not checked"),
        };
        assert!(unknown.is_empty(), "{} {}: {unknown:?}", object["kind"], object["metadata"]["name"]);
    }
}

#[test]
fn misspelt_field_is_found() {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "spec": { "containers": [{ "name": "a", "readynessProbe": {}, "ports": [{ "containerPort": 1 }] }] },
    });
    assert_eq!(unknown::<Pod>(&pod), [".spec.containers.readynessProbe"]);
}

#[test]
fn kubectl_takes_the_list() {
    let list = kustomization(FOLDER);
    assert_kustomization(&list);
    let namespace: Namespace = object("Namespace", &list.namespace);
    assert_eq!(namespace.metadata.name.unwrap(), list.namespace);
}

fn assert_kustomization(list: &Kustomization) {
    assert_eq!((list.api_version.as_str(), list.kind.as_str()), ("kustomize.config.k8s.io/v1beta1", "Kustomization"));
}

fn pod(region: &str) -> PodSpec {
    let deployment: Deployment = object("Deployment", region);
    deployment.spec.unwrap().template.spec.unwrap()
}

fn container(region: &str) -> Container {
    let mut containers = pod(region).containers;
    assert_eq!(containers.len(), 1);
    containers.remove(0)
}

/// Returns the environment of a region's nodes, with made-up values for the secrets.
fn environment(region: &str) -> Settings {
    environment_of(&container(region))
}

fn environment_of(container: &Container) -> Settings {
    let common: ConfigMap = object("ConfigMap", "guestbook");
    let source = container.env_from.as_ref().unwrap()[0].config_map_ref.as_ref().unwrap();
    assert_eq!(Some(&source.name), common.metadata.name.as_ref());
    let mut all = settings(common.data.unwrap());
    for variable in container.env.iter().flatten() {
        let secret = variable.value_from.as_ref().map(|from| from.secret_key_ref.as_ref().unwrap());
        let value = match (&variable.value, secret) {
            (Some(value), None) => value.clone(),
            (None, Some(secret)) => {
                assert_eq!((secret.name.as_str(), &secret.key), ("guestbook", &variable.name));
                match secret.key.ends_with("_URL") {
                    true => "postgres://app:secret@db.internal/app".to_owned(),
                    false => "0123456789abcdef0123456789abcdef".to_owned(),
                }
            }
            _ => panic!("{variable:?}"),
        };
        all.insert(variable.name.clone(), value);
    }
    all
}

#[test]
fn regions_have_all_settings() {
    for region in REGIONS {
        assert_complete(&environment(region), region);
    }
}

#[test]
fn headless_services_have_discovered_names() {
    let settings = environment("iad");
    let regions: Vec<_> = settings["HOMING_REGIONS"].split(',').collect();
    assert_eq!(regions, REGIONS);
    for region in regions {
        let host = settings["HOMING_PEER_DNS"].replace("{region}", region).replace("{app}", &settings["HOMING_APP"]);
        assert_eq!(host, format!("{region}.{}.svc.cluster.local.", kustomization(FOLDER).namespace));
        let service: Service = object("Service", region);
        let spec = service.spec.unwrap();
        assert_eq!(spec.cluster_ip.as_deref(), Some("None"), "a cluster IP would hide the nodes behind one address");
        assert_eq!(spec.ports.unwrap()[0].port, 4750);
    }
}

#[test]
fn services_choose_pods_of_their_region() {
    for region in REGIONS {
        let deployment: Deployment = object("Deployment", region);
        let spec = deployment.spec.unwrap();
        let labels = spec.template.metadata.unwrap().labels.unwrap();
        assert_eq!(labels["region"], region);
        assert_eq!(spec.selector.match_labels.as_ref(), Some(&labels));
        for service in [region.to_owned(), format!("{region}-web")] {
            let service: Service = object("Service", &service);
            assert_eq!(service.spec.unwrap().selector.as_ref(), Some(&labels));
        }
        let budget: PodDisruptionBudget = object("PodDisruptionBudget", region);
        assert_eq!(budget.spec.unwrap().selector.unwrap().match_labels, Some(labels));
    }
}

#[test]
fn ports_match_listen_addresses() {
    for region in REGIONS {
        let settings = environment(region);
        let listens = ["GUESTBOOK_LISTEN", "HOMING_LISTEN", "GUESTBOOK_METRICS_LISTEN"].map(|variable| {
            let address: SocketAddr = settings[variable].parse().unwrap();
            i32::from(address.port())
        });
        let ports = container(region).ports.unwrap();
        let ports: Vec<_> = ports.iter().map(|port| (port.name.as_deref().unwrap(), port.container_port)).collect();
        assert_eq!(ports, ["http", "homing", "metrics"].into_iter().zip(listens).collect::<Vec<_>>());
    }
}

#[test]
fn strangers_get_the_page_only() {
    let policy: NetworkPolicy = object("NetworkPolicy", "guestbook");
    let rules = policy.spec.unwrap().ingress.unwrap();
    let open: Vec<_> = rules.into_iter().filter(|rule| rule.from.is_none()).map(|rule| rule.ports.unwrap()).collect();
    let [ports] = &open[..] else { panic!("one rule for everybody") };
    let [port] = &ports[..] else { panic!("one port for everybody") };
    assert_eq!(port.port, Some(IntOrString::String("http".to_owned())));
}

#[test]
fn list_has_every_file() {
    for folder in [FOLDER, clusters::FOLDER] {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let mut files: Vec<_> = std::fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "kustomization.yaml")
            .collect();
        let mut listed = kustomization(folder).resources;
        listed.retain(|file| !file.starts_with("../"));
        files.sort();
        listed.sort();
        assert_eq!(files, listed);
    }
}
