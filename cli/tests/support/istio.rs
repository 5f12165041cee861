//! An API server and an istiod, both real, in a network namespace; nothing else of a cluster runs,
//! so what changes is what the test changes.
#![allow(
    clippy::unwrap_used,
    missing_debug_implementations,
    unreachable_pub,
    reason = "as beside it: a test stops where its ground does not hold"
)]

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use diolkos_trust::{SpiffeId, TrustDomain};
use diolkos_trust_service::LeafRequest;

use crate::netns::Netns;
use crate::support::{DAY, Process, World, eventually, valid};

/// Every address of 10.66.0.0/16 is its own: an API server takes no loopback address for a pod's.
pub const RANGE: &str = "10.66.0.1/16";
pub const ISTIOD: &str = "10.66.0.1:15012";
const API: &str = "10.66.0.2";
const TOKEN: &str = "of-an-operator";
const START_MAX: Duration = Duration::from_secs(60);

/// Where the programs are.
pub struct Tools {
    kubernetes: PathBuf,
    etcd: PathBuf,
    istio: PathBuf,
}

impl Tools {
    /// What the test needs; without it, it says so.
    pub fn find() -> Option<Self> {
        let tool = |name: &str| {
            let found = std::env::var_os(name).map(PathBuf::from);
            if found.is_none() {
                eprintln!(
                    "skipped: {name} is not set; `cargo xtask tools istio` and `cargo xtask test clusters` set it"
                );
            }
            found
        };
        let tools = Self {
            kubernetes: tool("DIOLKOS_TEST_KUBERNETES")?,
            etcd: tool("DIOLKOS_TEST_ETCD")?,
            istio: tool("DIOLKOS_TEST_ISTIO")?,
        };
        if let Err(cause) = Netns::try_new() {
            eprintln!("skipped: network namespaces cannot be made here ({cause}); run it as root");
            return None;
        }
        Some(tools)
    }
}

/// Ends when dropped, and all that runs in it.
pub struct Cluster {
    pub world: World,
    tools: Tools,
    istiod: Option<Process>,
    _processes: Vec<Process>,
    pub netns: Netns,
}

impl Cluster {
    /// With Istio's custom resources, and no istiod yet. Its CA is that of `west` in the world.
    pub fn start(tools: Tools) -> Self {
        let world = World::new(&[("west", 66)]);
        let netns = Netns::new();
        netns.ip(&format!("addr add {RANGE} dev lo"));
        let mut cluster = Self { world, tools, istiod: None, _processes: Vec::new(), netns };
        cluster.serving_certificate();
        cluster.write_kubeconfig();
        let (client, peer) = (format!("http://{API}:2379"), format!("http://{API}:2380"));
        let etcd = cluster.tools.etcd.clone();
        let etcd = cluster.run(
            "etcd",
            &etcd,
            &[],
            &[
                "--name=test".into(),
                "--data-dir=etcd".into(),
                // Lost when the machine stops, and so faster.
                "--unsafe-no-fsync".into(),
                format!("--listen-client-urls={client}"),
                format!("--advertise-client-urls={client}"),
                format!("--listen-peer-urls={peer}"),
                format!("--initial-advertise-peer-urls={peer}"),
                format!("--initial-cluster=test={peer}"),
            ],
        );
        let api = cluster.tools.kubernetes.join("kube-apiserver");
        let api = cluster.run("kube-apiserver", &api, &[], &api_arguments(&client));
        cluster._processes = vec![api, etcd];
        let ready = || cluster.kubectl(&["get", "--raw", "/readyz"]).is_ok();
        assert!(eventually(START_MAX, ready), "{}", cluster.world.log("kube-apiserver"));
        let crds = [("gateways", "Gateway"), ("destinationrules", "DestinationRule")];
        let crds = crds.into_iter().chain([("virtualservices", "VirtualService")]);
        cluster.apply(&crds.map(|(plural, kind)| crd(plural, kind)).collect::<String>());
        cluster
    }

    pub fn start_istiod(&mut self) {
        let kubeconfig = self.world.path("kubeconfig");
        self.world.write("istio-mesh.yaml", "trustDomain: cluster.local\n");
        self.world.write("istio-networks.yaml", "networks: {}\n");
        let path = |name: &str| self.world.path(name).display().to_string();
        let authority = path("cacerts/west");
        let environment = [
            ("POD_NAMESPACE", "istio-system"),
            ("POD_NAME", "istiod-0"),
            ("CLUSTER_ID", "west"),
            ("ROOT_CA_DIR", &authority),
            ("INJECTION_WEBHOOK_CONFIG_NAME", ""),
            ("VALIDATION_WEBHOOK_CONFIG_NAME", ""),
            ("PILOT_ENABLE_GATEWAY_API", "false"),
        ];
        let arguments = [
            "discovery".into(),
            format!("--kubeconfig={}", kubeconfig.display()),
            "--clusterID=west".into(),
            "--namespace=istio-system".into(),
            format!("--meshConfig={}", path("istio-mesh.yaml")),
            format!("--networksConfig={}", path("istio-networks.yaml")),
            format!("--secureGRPCAddr={ISTIOD}"),
            "--grpcAddr=".into(),
            "--httpsAddr=".into(),
            "--httpAddr=10.66.0.1:8080".into(),
            "--monitoringAddr=10.66.0.1:15014".into(),
            "--ctrlz_port=0".into(),
        ];
        let program = self.tools.istio.join("pilot-discovery");
        self.istiod = Some(self.run("istiod", &program, &environment, &arguments));
    }

    /// As when its node loses power.
    pub fn kill_istiod(&mut self) {
        self.istiod.take().unwrap().kill();
    }

    /// A program that knows of no test, and ends with it.
    pub fn run(
        &self,
        name: &str,
        program: &Path,
        environment: &[(&str, &str)],
        arguments: &[String],
    ) -> Process {
        let mut command = self.netns.command(Path::new(env!("CARGO_BIN_EXE_diolkos")));
        command.args(["leash", "--"]).arg(program).args(arguments);
        command.envs(environment.iter().copied()).current_dir(self.world.path(""));
        Process::start(name, &self.world.path(&format!("{name}.log")), command)
    }

    /// What it prints, or says is wrong.
    pub fn kubectl(&self, words: &[&str]) -> Result<String, String> {
        self.kubectl_with(words, "")
    }

    fn kubectl_with(&self, words: &[&str], input: &str) -> Result<String, String> {
        let mut command = self.netns.command(&self.tools.kubernetes.join("kubectl"));
        command.arg("--kubeconfig").arg(self.world.path("kubeconfig")).args(words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match output.status.success() {
            true => Ok(text(&output.stdout)),
            false => Err(text(&output.stderr)),
        }
    }

    pub fn apply(&self, objects: &str) {
        // A custom resource's kind is known a moment after its definition.
        let mut last = Ok(String::new());
        let applied = eventually(START_MAX, || {
            last = self.kubectl_with(&["apply", "-f", "-"], objects);
            last.is_ok()
        });
        assert!(applied, "{last:?}: {objects}");
    }

    pub fn delete(&self, words: &[&str]) {
        let done = self.kubectl(&[&["delete", "--wait=false"], words].concat());
        assert!(done.is_ok(), "{done:?}");
    }

    /// A pod that an EndpointSlice may name, with its address.
    pub fn pod(&self, name: &str, address: &str, labels: &str) {
        self.apply(&format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: shop, labels: \
             {{{labels}}}}}\nspec: {{nodeName: node, containers: [{{name: app, image: app}}]}}\n"
        ));
        let status = format!(
            r#"{{"status":{{"phase":"Running","podIP":"{address}","podIPs":[{{"ip":"{address}"}}]}}}}"#
        );
        let words = ["patch", "pod", "-n", "shop", name, "--subresource=status", "-p", &status];
        let patched = self.kubectl(&words);
        assert!(patched.is_ok(), "{patched:?}");
    }

    /// A service of namespace `shop`, and its endpoints: pods with their addresses.
    pub fn service(&self, name: &str, pods: &[(&str, &str)]) {
        let mut text = format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\nspec: \
             {{ports: [{{name: http, port: 8080}}]}}\n---\napiVersion: discovery.k8s.io/v1\nkind: \
             EndpointSlice\nmetadata: {{name: {name}-1, namespace: shop, labels: \
             {{kubernetes.io/service-name: {name}}}}}\naddressType: IPv4\nports: [{{name: http, \
             port: 8080}}]\nendpoints:{}\n",
            if pods.is_empty() { " []" } else { "" }
        );
        for (pod, address) in pods {
            text.push_str(&format!(
                "- {{addresses: [{address}], conditions: {{ready: true}}, targetRef: {{kind: Pod, \
                 namespace: shop, name: {pod}}}}}\n"
            ));
        }
        self.apply(&text);
    }

    fn serving_certificate(&self) {
        let domain = TrustDomain::new("cluster.local").unwrap();
        let leaf = LeafRequest {
            id: SpiffeId::workload(&domain, "kube-system", "kube-apiserver").unwrap(),
            dns: vec!["kubernetes.default.svc".into()],
            ips: vec![API.parse().unwrap()],
            validity: valid(SystemTime::now(), DAY),
        };
        self.world.root.issue(&leaf).unwrap().write(&self.world.path("api")).unwrap();
        self.world.write("api/tokens.csv", &format!("{TOKEN},operator,operator,system:masters\n"));
    }

    fn write_kubeconfig(&self) {
        let roots = fs::read(self.world.path("api/root-cert.pem")).unwrap();
        let roots = STANDARD.encode(roots);
        self.world.write(
            "kubeconfig",
            &format!(
                "apiVersion: v1\nkind: Config\ncurrent-context: west\nclusters:\n- name: west\n  \
                 cluster: {{server: 'https://{API}:6443', certificate-authority-data: {roots}}}\n\
                 contexts:\n- name: west\n  context: {{cluster: west, user: operator}}\nusers:\n\
                 - name: operator\n  user: {{token: {TOKEN}}}\n"
            ),
        );
    }
}

/// Runs a program of this project's in it.
pub fn diolkos(cluster: &Cluster) -> Command {
    cluster.netns.command(Path::new(env!("CARGO_BIN_EXE_diolkos")))
}

fn api_arguments(etcd: &str) -> [String; 15] {
    [
        format!("--etcd-servers={etcd}"),
        format!("--bind-address={API}"),
        "--secure-port=6443".into(),
        format!("--advertise-address={API}"),
        "--endpoint-reconciler-type=none".into(),
        "--service-cluster-ip-range=10.96.0.0/16".into(),
        "--tls-cert-file=api/cert-chain.pem".into(),
        "--tls-private-key-file=api/key.pem".into(),
        "--token-auth-file=api/tokens.csv".into(),
        "--authorization-mode=RBAC".into(),
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local".into(),
        "--service-account-key-file=api/cert-chain.pem".into(),
        "--service-account-signing-key-file=api/key.pem".into(),
        // Nobody makes the accounts of pods that never run.
        "--disable-admission-plugins=ServiceAccount".into(),
        "--profiling=false".into(),
    ]
}

/// One of Istio's, which takes any fields: their schema is Istio's to test.
fn crd(plural: &str, kind: &str) -> String {
    let singular = kind.to_lowercase();
    format!(
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {{name: \
         {plural}.networking.istio.io}}\nspec:\n  group: networking.istio.io\n  scope: Namespaced\n  \
         names: {{kind: {kind}, plural: {plural}, singular: {singular}}}\n  versions:\n  - name: v1\n    \
         served: true\n    storage: true\n    schema: {{openAPIV3Schema: {{type: object, \
         x-kubernetes-preserve-unknown-fields: true}}}}\n---\n"
    )
}
