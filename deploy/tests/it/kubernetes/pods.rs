//! The life of a pod: how it starts, what it may use, how it ends.

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec};
use k8s_openapi::api::core::v1::{Container, Probe};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{REGIONS, container, environment, environment_of, object, pod};
use crate::settings::{assert_complete, assert_fits, config};

fn deployment(region: &str) -> DeploymentSpec {
    let deployment: Deployment = object("Deployment", region);
    deployment.spec.unwrap()
}

fn path(probe: &Probe) -> &str {
    probe.http_get.as_ref().unwrap().path.as_deref().unwrap()
}

#[test]
fn only_readiness_asks_the_database() {
    for region in REGIONS {
        let container = container(region);
        let readiness = container.readiness_probe.unwrap();
        assert_eq!(path(&readiness), "/healthz");
        assert!(readiness.timeout_seconds >= Some(crate::MIN_HEALTH_TIMEOUT), "{region}: {readiness:?}");
        for probe in [container.startup_probe.unwrap(), container.liveness_probe.unwrap()] {
            assert_eq!(path(&probe), "/livez", "{region}: a restart does not mend a database");
        }
    }
}

#[test]
fn primary_region_migrates_before_it_serves() {
    for region in REGIONS {
        let steps = pod(region).init_containers.unwrap_or_default();
        assert_eq!(container(region).args.unwrap(), ["guestbook", "serve"]);
        if region != "iad" {
            assert!(steps.is_empty(), "{region} has no primary");
            continue;
        }
        let [step] = &steps[..] else { panic!("one step") };
        assert_eq!(step.args.as_ref().unwrap(), &["guestbook", "migrate"]);
        assert_eq!(step.image, container(region).image);
        assert_complete(&environment_of(step), region);
    }
}

#[test]
fn nothing_runs_with_privileges() {
    for region in REGIONS {
        let pod = pod(region);
        assert_eq!(pod.security_context.unwrap().run_as_non_root, Some(true));
        for container in pod.containers.iter().chain(pod.init_containers.iter().flatten()) {
            let context = container.security_context.as_ref().unwrap();
            let dropped = context.capabilities.as_ref().unwrap().drop.as_deref().unwrap();
            assert_eq!(dropped, ["ALL"], "{region} {}", container.name);
            assert_eq!(context.allow_privilege_escalation, Some(false), "{region} {}", container.name);
            assert_eq!(context.read_only_root_filesystem, Some(true), "{region} {}", container.name);
        }
    }
}

/// In mebibytes.
fn memory(container: &Container) -> usize {
    let limit = &container.resources.as_ref().unwrap().limits.as_ref().unwrap()["memory"].0;
    let number = |unit| limit.strip_suffix(unit).and_then(|number| number.parse::<usize>().ok());
    number("Gi").map(|gibibytes| 1024 * gibibytes).or_else(|| number("Mi")).unwrap_or_else(|| panic!("{limit}"))
}

#[test]
fn memory_holds_the_calls_of_peers() {
    for region in REGIONS {
        assert_fits(&config(&environment(region)), memory(&container(region)));
    }
}

#[test]
fn pod_ends_within_its_time() {
    for region in REGIONS {
        let lifecycle = container(region).lifecycle.unwrap();
        let pause = lifecycle.pre_stop.unwrap().sleep.unwrap().seconds;
        assert!(pause >= 5, "{region}: proxies have to learn of it");
        let drain = config(&environment(region)).drain_timeout.as_secs().max(PAGES_DRAIN);
        let drain = i64::try_from(drain).unwrap();
        let limit = pod(region).termination_grace_period_seconds.unwrap();
        assert!(pause + drain < limit, "{region}: {pause} s and {drain} s do not fit into {limit} s");
    }
}

/// `DRAIN_TIMEOUT` of the guestbook, in seconds.
const PAGES_DRAIN: u64 = 15;

#[test]
fn updates_and_drains_leave_a_node() {
    for region in REGIONS {
        let spec = deployment(region);
        assert!(spec.replicas >= Some(2), "{region}");
        assert!(spec.min_ready_seconds >= Some(30), "{region}: cluster DNS keeps answers for as long");
        let update = spec.strategy.unwrap().rolling_update.unwrap();
        assert_eq!(update.max_unavailable, Some(IntOrString::Int(0)), "{region}");
        let budget: PodDisruptionBudget = object("PodDisruptionBudget", region);
        let budget = budget.spec.unwrap();
        assert_eq!((budget.max_unavailable, budget.min_available), (Some(IntOrString::Int(1)), None), "{region}");
        assert_eq!(budget.unhealthy_pod_eviction_policy.as_deref(), Some("AlwaysAllow"), "{region}");
    }
}

#[test]
fn nodes_of_a_region_are_spread() {
    for region in REGIONS {
        let labels = deployment(region).selector.match_labels;
        let spread = pod(region).topology_spread_constraints.unwrap();
        let keys: Vec<_> = spread.iter().map(|constraint| constraint.topology_key.as_str()).collect();
        assert_eq!(keys, ["topology.kubernetes.io/zone", "kubernetes.io/hostname"], "{region}");
        for constraint in spread {
            assert_eq!(constraint.label_selector.unwrap().match_labels, labels, "{region}");
            assert_eq!(constraint.match_label_keys.unwrap(), ["pod-template-hash"], "{region}");
        }
    }
}
