//! `deploy/kubernetes-clusters`, for a cluster in each region.

use std::collections::BTreeSet;

use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Value, json};

use super::{REGIONS, assert_kustomization, kustomization};

pub(super) const FOLDER: &str = "kubernetes-clusters";

/// Returns the objects that only a cluster among others needs.
pub(super) fn objects() -> Vec<Value> {
    super::objects_of(FOLDER)
}

#[test]
fn kubectl_takes_the_list_and_its_base() {
    let list = kustomization(FOLDER);
    assert_kustomization(&list);
    assert_eq!(list.resources[0], format!("../{}", super::FOLDER));
    assert_eq!(list.namespace, kustomization(super::FOLDER).namespace);
}

/// `kubectl --selector` chooses the objects of a cluster by this label.
#[test]
fn every_object_says_its_region() {
    for object in super::objects().into_iter().chain(objects()) {
        let region = object["metadata"]["labels"]["region"].as_str().unwrap_or_default();
        let of_its_name = object["metadata"]["name"].as_str().unwrap().split('-').next().unwrap();
        let expected = if REGIONS.contains(&of_its_name) { of_its_name } else { "all" };
        assert_eq!(region, expected, "{} {}", object["kind"], object["metadata"]["name"]);
    }
}

#[test]
fn exported_services_have_discovered_names() {
    let exports: Vec<_> = objects().into_iter().filter(|object| object["kind"] == "ServiceExport").collect();
    let names: BTreeSet<_> = exports.iter().map(|export| export["metadata"]["name"].as_str().unwrap()).collect();
    assert_eq!(names, REGIONS.into());
    for export in &exports {
        assert_eq!(export["apiVersion"], "multicluster.x-k8s.io/v1alpha1");
        let fields: Vec<_> = export.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(fields, ["apiVersion", "kind", "metadata"]);
    }
    let [patch] = &kustomization(FOLDER).patches[..] else { panic!("one patch") };
    assert_eq!((patch.target["kind"].as_str(), patch.target["name"].as_str()), ("ConfigMap", "guestbook"));
    let mut settings = super::object::<Value>("ConfigMap", "guestbook");
    let steps: Value = serde_norway::from_str(&patch.patch).unwrap();
    for step in steps.as_array().unwrap() {
        assert_eq!(step["op"], "replace");
        *settings.pointer_mut(step["path"].as_str().unwrap()).expect("it replaces a setting") = step["value"].clone();
    }
    assert_eq!(settings["data"]["HOMING_PEER_DNS"], "{region}.{app}.svc.clusterset.local.");
}

#[test]
fn other_clusters_reach_peers_only() {
    let policy = objects().into_iter().find(|object| object["kind"] == "NetworkPolicy").unwrap();
    let policy: NetworkPolicy = serde_json::from_value(policy).unwrap();
    let spec = policy.spec.unwrap();
    assert_eq!(json!(spec.pod_selector), json!({ "matchLabels": { "app": "guestbook" } }));
    let [rule] = &spec.ingress.unwrap()[..] else { panic!("one rule") };
    let [port] = &rule.ports.as_ref().unwrap()[..] else { panic!("one port") };
    assert_eq!(port.port, Some(IntOrString::String("homing".to_owned())));
    let from = rule.from.as_ref().unwrap();
    assert_eq!(from.len(), REGIONS.len());
    assert!(from.iter().all(|peer| peer.ip_block.is_some()), "a selector matches pods of its own cluster only");
}
