//! `deploy/kubernetes`.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::read;
use crate::settings::{Settings, assert_complete, settings};

const REGIONS: [&str; 3] = ["iad", "syd", "ams"];

/// As much of kustomize's format as ours has.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Kustomization {
    api_version: String,
    kind: String,
    namespace: String,
    resources: Vec<String>,
    #[serde(rename = "images")]
    _images: Vec<BTreeMap<String, String>>,
}

fn kustomization() -> Kustomization {
    serde_norway::from_str(&read("deploy/kubernetes/kustomization.yaml")).unwrap()
}

/// The objects of all files.
fn objects() -> Vec<Value> {
    let files = kustomization().resources;
    files.iter().flat_map(|file| documents(&read(&format!("deploy/kubernetes/{file}")))).collect()
}

fn documents(text: &str) -> Vec<Value> {
    serde_norway::Deserializer::from_str(text).map(|document| Value::deserialize(document).unwrap()).collect()
}

fn object<T: DeserializeOwned>(kind: &str, name: &str) -> T {
    let object = objects().into_iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name);
    serde_json::from_value(object.unwrap_or_else(|| panic!("no {kind} {name}"))).unwrap()
}

/// What the API's types do not know, they leave out: the paths of it.
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
fn every_object_is_what_the_api_knows() {
    for object in objects() {
        let unknown = match object["kind"].as_str().unwrap() {
            "ConfigMap" => unknown::<ConfigMap>(&object),
            "Deployment" => unknown::<Deployment>(&object),
            "Namespace" => unknown::<Namespace>(&object),
            "NetworkPolicy" => unknown::<NetworkPolicy>(&object),
            "PodDisruptionBudget" => unknown::<PodDisruptionBudget>(&object),
            "Service" => unknown::<Service>(&object),
            kind => panic!("{kind} is not checked"),
        };
        assert!(unknown.is_empty(), "{} {}: {unknown:?}", object["kind"], object["metadata"]["name"]);
    }
}

#[test]
fn a_misspelt_field_is_found() {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "spec": { "containers": [{ "name": "a", "readynessProbe": {}, "ports": [{ "containerPort": 1 }] }] },
    });
    assert_eq!(unknown::<Pod>(&pod), [".spec.containers.readynessProbe"]);
}

#[test]
fn the_list_of_files_is_of_the_kind_that_kubectl_takes() {
    let list = kustomization();
    assert_eq!((list.api_version.as_str(), list.kind.as_str()), ("kustomize.config.k8s.io/v1beta1", "Kustomization"));
    let namespace: Namespace = object("Namespace", &list.namespace);
    assert_eq!(namespace.metadata.name.unwrap(), list.namespace);
}

/// The environment of a region's nodes, with values of our own for the secret ones.
fn environment(region: &str) -> Settings {
    let deployment: Deployment = object("Deployment", region);
    let pod = deployment.spec.unwrap().template.spec.unwrap();
    let [container] = &pod.containers[..] else { panic!("one container") };
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
fn each_region_has_what_a_node_needs() {
    for region in REGIONS {
        assert_complete(&environment(region), region);
    }
}

#[test]
fn a_regions_headless_service_has_the_name_that_discovery_asks_for() {
    let settings = environment("iad");
    let regions: Vec<_> = settings["HOMING_REGIONS"].split(',').collect();
    assert_eq!(regions, REGIONS);
    for region in regions {
        let host = settings["HOMING_PEER_DNS"].replace("{region}", region).replace("{app}", &settings["HOMING_APP"]);
        assert_eq!(host, format!("{region}.{}.svc.cluster.local.", kustomization().namespace));
        let service: Service = object("Service", region);
        let spec = service.spec.unwrap();
        assert_eq!(spec.cluster_ip.as_deref(), Some("None"), "a cluster IP would hide the nodes behind one address");
        assert_eq!(spec.ports.unwrap()[0].port, 4750);
    }
}

#[test]
fn services_and_budgets_choose_the_pods_of_their_region() {
    for region in REGIONS {
        let deployment: Deployment = object("Deployment", region);
        let spec = deployment.spec.unwrap();
        let labels = spec.template.metadata.unwrap().labels.unwrap();
        assert_eq!(labels["region"], region);
        assert_eq!(spec.selector.match_labels.as_ref(), Some(&labels));
        let container = &spec.template.spec.unwrap().containers[0];
        let ports: Vec<_> = container.ports.iter().flatten().map(|port| port.name.as_deref().unwrap()).collect();
        assert_eq!(ports, ["http", "homing"]);
        for service in [region.to_owned(), format!("{region}-web")] {
            let service: Service = object("Service", &service);
            assert_eq!(service.spec.unwrap().selector.as_ref(), Some(&labels));
        }
        if region == "iad" {
            assert!(spec.replicas.unwrap() >= 2, "writes go on when one node is away");
            let budget: PodDisruptionBudget = object("PodDisruptionBudget", region);
            assert_eq!(budget.spec.unwrap().selector.unwrap().match_labels, Some(labels));
        }
    }
}

#[test]
fn every_file_is_in_the_list() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/kubernetes");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "kustomization.yaml")
        .collect();
    let mut listed = kustomization().resources;
    files.sort();
    listed.sort();
    assert_eq!(files, listed);
}
