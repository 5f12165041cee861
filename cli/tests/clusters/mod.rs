//! Real clusters for tests: brought up by the binary as a person would, and looked at from outside.
#![allow(
    clippy::unwrap_used,
    dead_code,
    missing_debug_implementations,
    unreachable_pub,
    reason = "each test file uses its part, and a test stops where its ground does not hold"
)]

pub mod matrix;
pub mod traffic;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// The variables by which xtask says where tools are: a folder of many, and single ones.
const FOLDERS: &[&str] = &["DIOLKOS_TEST_KUBERNETES"];
const FILES: &[(&str, &[&str])] = &[
    ("DIOLKOS_TEST_ETCD", &["etcd", "etcdctl", "etcdutl"]),
    ("DIOLKOS_TEST_COREDNS", &["coredns"]),
    ("DIOLKOS_TEST_NODE", &["diolkos-node"]),
];
/// Without it no pod with a sidecar starts.
const ENVOY: &str = "DIOLKOS_TEST_ENVOY";

/// Clusters take a whole core each while they start: one test at a time.
static TURN: Mutex<()> = Mutex::new(());

/// In each line that is a workload, whatever it says of its sidecar.
fn bare(topology: &str) -> String {
    let mut bare = String::new();
    for line in topology.lines() {
        match line.strip_suffix('}').filter(|line| line.contains("replicas: {")) {
            None => bare.push_str(line),
            Some(workload) => {
                let workload = workload.split(", sidecar: ").next().unwrap();
                bare.push_str(&format!("{workload}, sidecar: none}}"));
            }
        }
        bare.push('\n');
    }
    bare
}

/// A folder of topologies, and the tools to make them of.
pub struct Ground {
    folder: TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Ground {
    /// Nothing where there are no tools or this is not root: then it says so, and the test passes.
    pub fn find() -> Option<Self> {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = FOLDERS
            .iter()
            .chain(FILES.iter().map(|(name, _)| name))
            .chain([&ENVOY])
            .find(|name| std::env::var_os(name).is_none());
        if let Some(name) = missing {
            eprintln!("skipped: {name} is not set; cargo xtask test clusters sets it");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let tools = folder.path().join("tools");
        fs::create_dir(&tools).unwrap();
        for name in FOLDERS {
            for entry in fs::read_dir(std::env::var_os(name).unwrap()).unwrap() {
                let path = entry.unwrap().path();
                symlink(&path, tools.join(path.file_name().unwrap())).unwrap();
            }
        }
        for (variable, names) in FILES {
            let file = PathBuf::from(std::env::var_os(variable).unwrap());
            for name in *names {
                let link = tools.join(name);
                let _ = fs::remove_file(&link);
                symlink(file.with_file_name(name), link).unwrap();
            }
        }
        Some(Self { folder, _turn: turn })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_diolkos"));
        command.arg("topology").arg("--state-root").arg(self.path("topologies"));
        command.env("DIOLKOS_TOOLS", self.path("tools")).stdin(Stdio::null());
        for (from, to) in [
            ("DIOLKOS_TEST_NFT", "DIOLKOS_NFT"),
            ("DIOLKOS_TEST_CRDS", "DIOLKOS_CRDS"),
            (ENVOY, "DIOLKOS_ENVOY"),
        ] {
            command.envs(std::env::var_os(from).map(|value| (to, value)));
        }
        command
    }

    /// `diolkos topology ...`
    pub fn run(&self, words: &[&str]) -> Output {
        self.command().args(words).output().unwrap()
    }

    /// The same, and it must succeed.
    pub fn must(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert!(output.status.success(), "{words:?}: {}", told(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn up(&self, topology: &str, name: &str) -> String {
        self.must(&["up", topology, "--name", name])
    }

    /// As the topology is, but no workload has a sidecar: for what holds of the ground itself.
    pub fn up_bare(&self, topology: &str, name: &str) -> String {
        let path = self.path("bare.yaml");
        fs::write(&path, bare(&diolkos_kind_tests::load(topology).unwrap().text)).unwrap();
        self.up(path.to_str().unwrap(), name)
    }

    /// Packets that came to the router and must not have, by cluster.
    pub fn forbidden(&self, name: &str) -> Vec<u64> {
        let status = self.status(name);
        let clusters = status["clusters"].as_array().unwrap();
        clusters.iter().map(|cluster| cluster["forbiddenPackets"].as_u64().unwrap()).collect()
    }

    pub fn status(&self, name: &str) -> Value {
        let output = self.run(&["status", name, "--output", "json"]);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", told(&output)))
    }

    /// A request from a pod; the client's line, whatever came of it.
    pub fn call(&self, name: &str, from: &str, url: &str) -> Value {
        self.call_within(name, from, url, 2000)
    }

    pub fn call_within(&self, name: &str, from: &str, url: &str, patience_ms: u32) -> Value {
        let (cluster, pod) = from.split_once('/').unwrap();
        let patience = patience_ms.to_string();
        let call = ["diolkos", "call", "--plain", "--patience", &patience, url];
        let output = self.run(&[&["exec", "--name", name, cluster, pod, "--"], &call[..]].concat());
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{from} -> {url}: {}", told(&output)))
    }

    /// Must be answered, by this cluster.
    pub fn answers(&self, name: &str, from: &str, url: &str, cluster: &str) -> Value {
        let line = self.call(name, from, url);
        assert_eq!(line["answer"]["cluster"], cluster, "{from} -> {url}: {line:#}");
        line
    }

    /// Must fail at this stage.
    pub fn fails(&self, name: &str, from: &str, url: &str, stage: &str) -> Value {
        let line = self.call(name, from, url);
        assert_eq!(line["failure"]["stage"], stage, "{from} -> {url}: {line:#}");
        line
    }

    /// Applies a text to a cluster.
    pub fn apply(&self, name: &str, cluster: &str, text: &str) {
        let path = self.path("apply.yaml");
        fs::write(&path, text).unwrap();
        self.must(&["apply", "--name", name, cluster, path.to_str().unwrap()]);
    }

    /// A load balancer in front of a workload of namespace shop: its URLs, once they answer.
    pub fn balancer(&self, name: &str, cluster: &str, app: &str) -> Vec<String> {
        let service = format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {app}-lb, namespace: shop}}\nspec:\n  \
             type: LoadBalancer\n  ipFamilyPolicy: RequireDualStack\n  selector: {{app: {app}}}\n  \
             ports: [{{name: http, port: 8080}}]\n"
        );
        self.apply(name, cluster, &service);
        let service = format!("svc/{app}-lb");
        let wait = "--for=jsonpath={.status.loadBalancer.ingress[1].ip}";
        self.kubectl(name, cluster, &["wait", "-n", "shop", &service, wait]);
        let path = "jsonpath={.status.loadBalancer.ingress[*].ip}";
        let addresses = self.kubectl(name, cluster, &["get", "-n", "shop", &service, "-o", path]);
        let url = |address: &str| format!("http://{}:8080/", url_host(address));
        let urls: Vec<String> = addresses.split_whitespace().map(url).collect();
        for url in &urls {
            // kube-proxy hears of it a moment later.
            let diolkos = env!("CARGO_BIN_EXE_diolkos");
            let words = ["exec", "--name", name, cluster, "--", diolkos, "call", "--plain", url];
            let answers = || self.run(&words).status.success();
            eventually(Duration::from_secs(30), "a load balancer answers", answers);
        }
        urls
    }

    /// What kubectl prints, with the context of a cluster.
    pub fn kubectl(&self, name: &str, cluster: &str, words: &[&str]) -> String {
        let config = self.path("topologies").join(name).join("kubeconfig");
        let output = Command::new(self.path("tools/kubectl"))
            .arg("--kubeconfig")
            .arg(config)
            .args(["--context", cluster])
            .args(words)
            .output()
            .unwrap();
        assert!(output.status.success(), "kubectl {words:?}: {}", told(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The first process of a topology, as this machine sees it.
    pub fn supervisor(&self, name: &str) -> (u32, u32) {
        let path = self.path("topologies").join(name).join("supervisor.json");
        let record: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        let pid = |key: &str| u32::try_from(record[key]["pid"].as_u64().unwrap()).unwrap();
        (pid("starter"), pid("first"))
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let status = self.run(&["status"]);
            eprintln!("{}", String::from_utf8_lossy(&status.stdout));
        }
        self.run(&["down", "--all"]);
    }
}

pub fn told(output: &Output) -> String {
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{}\n{out}\n{err}", output.status)
}

pub fn eventually(within: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + within;
    while !holds() {
        assert!(Instant::now() < deadline, "waited {within:?} in vain until {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

pub fn url_host(address: &str) -> String {
    if address.contains(':') { format!("[{address}]") } else { address.to_owned() }
}

/// What a topology could leave on a machine.
#[derive(Debug, PartialEq, Eq)]
pub struct Traces {
    links: BTreeSet<String>,
    spaces: BTreeSet<String>,
    mounts: BTreeSet<String>,
    routes: BTreeSet<String>,
}

impl Traces {
    /// Only what has a name of ours: others may work on this machine too.
    pub fn now(folder: &Path) -> Self {
        let of = |words: &[&str], ours: &dyn Fn(&str) -> bool| {
            let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            text.lines().filter(|line| ours(line)).map(str::to_owned).collect()
        };
        let folder = folder.to_str().unwrap();
        let is_space = |name: &str| SPACES.contains(&name.split(' ').next().unwrap_or_default());
        Self {
            links: of(&["ip", "-o", "link"], &|line| line.contains("diolkos")),
            spaces: of(&["ip", "netns"], &is_space),
            mounts: of(&["cat", "/proc/self/mounts"], &|line| {
                let target = line.split(' ').nth(1).unwrap_or_default();
                line.contains(folder) || target.strip_prefix("/run/netns/").is_some_and(is_space)
            }),
            routes: of(&["ip", "route"], &|line| line.contains("198.18.")),
        }
    }
}

/// What a topology's network namespaces are called: the router, and every cluster there is.
const SPACES: &[&str] =
    &["router", "east", "west", "oslo", "bergen", "lisbon", "control", "lead", "remote"];

/// The process, all it started and all those started, each by number and start.
pub fn descendants(of: u32) -> BTreeSet<(u32, u64)> {
    let mut all = BTreeSet::new();
    let processes: Vec<(u32, u32, u64)> = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok())
        .filter_map(stat)
        .collect();
    let mut open = vec![of];
    while let Some(parent) = open.pop() {
        for (pid, above, started) in &processes {
            if *above == parent && all.insert((*pid, *started)) {
                open.push(*pid);
            }
        }
    }
    all.extend(processes.iter().filter(|(pid, ..)| *pid == of).map(|(pid, _, at)| (*pid, *at)));
    all
}

/// Number, parent and start of a process that has not ended.
fn stat(pid: u32) -> Option<(u32, u32, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ended = matches!(fields[0], "Z" | "X");
    (!ended).then(|| Some((pid, fields[1].parse().ok()?, fields[19].parse().ok()?)))?
}

/// Those of `processes` that are still there.
pub fn alive(processes: &BTreeSet<(u32, u64)>) -> Vec<String> {
    let is_alive = |(pid, at): &&(u32, u64)| stat(*pid).is_some_and(|(_, _, now)| now == *at);
    let shown = |(pid, _): &(u32, u64)| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        format!("{pid} {}", String::from_utf8_lossy(&words).replace('\0', " "))
    };
    processes.iter().filter(is_alive).map(shown).collect()
}
