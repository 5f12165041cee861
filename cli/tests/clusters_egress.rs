//! A cluster's way out, made and taken back while traffic goes on, in real clusters.
#![allow(clippy::unwrap_used, reason = "a test stops where its ground does not hold")]

mod clusters;

use std::time::Duration;

use clusters::traffic::{Traffic, more};
use clusters::{Ground, eventually};
use serde_json::{Value, json};

const NAME: &str = "two-networks";
const SYSTEM: &str = "diolkos-system";
const GATEWAY: &str = "deployment/diolkos-eastwestgateway";
/// In west alone, behind its gateway.
const ORDERS: &str = "http://orders.shop:8080/";
const PATIENCE: Duration = Duration::from_secs(60);

const WAY_OUT: &str = "
apiVersion: v1
kind: Service
metadata:
  name: diolkos-egressgateway
  namespace: diolkos-system
  labels: {topology.istio.io/network: north}
spec:
  ipFamilyPolicy: PreferDualStack
  selector: {app.kubernetes.io/name: diolkos-eastwestgateway}
  ports: [{name: tls-egress, port: 15444, targetPort: tls-egress}]
";

/// The argument and the port of the way out, beside those it has.
fn widened(deployment: &Value) -> String {
    let mut deployment = deployment.clone();
    let container = &mut deployment["spec"]["template"]["spec"]["containers"][0];
    container["args"].as_array_mut().unwrap().push(json!("--egress=*:15444"));
    let port = json!({"name": "tls-egress", "containerPort": 15444, "protocol": "TCP"});
    container["ports"].as_array_mut().unwrap().push(port);
    json!({"spec": {"template": {"spec": {"containers": [container]}}}}).to_string()
}

/// Tunnels that ended or are open at any gateway of west, from whichever cluster.
fn tunnels_in_west(ground: &Ground) -> u64 {
    let words = ["get", "pods", "-n", SYSTEM, "-l", "istio=eastwestgateway", "-o", "name"];
    let pods = ground.kubectl(NAME, "west", &words);
    let count = |pod: &str| {
        let from = format!("west/{SYSTEM}/{}", pod.strip_prefix("pod/").unwrap());
        let line = ground.call(NAME, &from, "http://127.0.0.1:15014/debug/diolkos.json");
        let tunnels = &line["answer"]["hbone"];
        let ended: u64 =
            tunnels["ended"].as_object().unwrap().values().filter_map(Value::as_u64).sum();
        ended + tunnels["tunnels"].as_u64().unwrap()
    };
    pods.lines().map(count).sum()
}

#[test]
fn a_way_out_comes_is_rolled_and_goes_and_no_request_is_lost() {
    let Some(ground) = Ground::find() else { return };
    ground.up(NAME, NAME);
    let kubectl = |words: &[&str]| ground.kubectl(NAME, "east", words);
    let answered = || ground.call(NAME, "east/shop/client", ORDERS)["status"] == 200;
    eventually(PATIENCE, "orders answers", answered);
    let traffic = Traffic::start(&ground, "east/shop/client", 60, &[ORDERS]);
    more(&ground, 50);
    assert_eq!(tunnels_in_west(&ground), 0, "east has no way out yet");

    // The Service first: it is no way out before somebody is ready behind it.
    ground.apply(NAME, "east", WAY_OUT);
    more(&ground, 50);
    let deployment = kubectl(&["get", "-n", SYSTEM, GATEWAY, "-o", "json"]);
    let patch = widened(&serde_json::from_str(&deployment).unwrap());
    kubectl(&["patch", "-n", SYSTEM, GATEWAY, "--type=strategic", "-p", &patch]);
    let rolled = ["rollout", "status", "-n", SYSTEM, GATEWAY, "--timeout=60s"];
    kubectl(&rolled);
    eventually(PATIENCE, "east goes by tunnels", || tunnels_in_west(&ground) > 0);
    more(&ground, 100);

    kubectl(&["rollout", "restart", "-n", SYSTEM, GATEWAY]);
    kubectl(&rolled);
    more(&ground, 100);

    let service = "svc/diolkos-egressgateway";
    kubectl(&["label", "-n", SYSTEM, service, "topology.istio.io/network-"]);
    more(&ground, 100);
    kubectl(&["delete", "-n", SYSTEM, service]);
    let before = tunnels_in_west(&ground);
    more(&ground, 100);
    traffic.none_failed(&ground);
    assert_eq!(ground.forbidden(NAME), [0, 0]);
    assert!(before > 0, "it went by tunnels while it could");
}
