//! Real processes of this project's own binary, in a folder of their own, none left behind.
#![allow(
    clippy::unwrap_used,
    dead_code,
    missing_debug_implementations,
    unreachable_pub,
    reason = "each test file uses its part, and a test stops where its ground does not hold"
)]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant, SystemTime};

use diolkos_trust::{SpiffeId, TrustDomain};
use diolkos_trust_service::{Authority, LeafRequest, Validity};
use serde_json::Value;

pub const PRIMARY_NAME: &str = "diolkos-primary.diolkos-system.svc";
pub const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A mesh's folder, its certificates and the processes in it.
pub struct World {
    pub dir: tempfile::TempDir,
    pub root: Authority,
    authorities: Vec<(String, Authority)>,
}

pub fn valid(from: SystemTime, length: Duration) -> Validity {
    Validity { not_before: from, not_after: from + length }
}

impl World {
    /// Clusters by name, each with its second byte of 127.x.0.0/16 and network of the same name.
    pub fn new(clusters: &[(&str, u8)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let now = SystemTime::now() - 2 * DAY;
        let root = Authority::new_root("test root", valid(now, 10 * DAY)).unwrap();
        let mut authorities = Vec::new();
        let mut mesh = String::from(
            "apiVersion: diolkos.dev/v1alpha1\nkind: Mesh\nmetadata: {name: test}\nspec:\n  \
             trustDomain: cluster.local\n  export: listed\n  clusters:\n",
        );
        for (name, octet) in clusters {
            let authority = root.intermediate(name, valid(now, 9 * DAY)).unwrap();
            authority.write(&dir.path().join("cacerts").join(name)).unwrap();
            authorities.push((name.to_string(), authority));
            mesh.push_str(&format!(
                "  - name: {name}\n    addresses: [127.{octet}.0.0/16]\n    \
                 caCertificate: cacerts/{name}/ca-cert.pem\n"
            ));
        }
        let world = Self { dir, root, authorities };
        world.write("mesh.yaml", &mesh);
        for (name, _) in clusters {
            world.write(&format!("clusters/{name}/cluster.yaml"), &cluster(name));
        }
        world
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    /// Whole and at once, as an editor saves.
    pub fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let fresh = path.with_extension("new~");
        fs::write(&fresh, text).unwrap();
        fs::rename(&fresh, &path).unwrap();
    }

    pub fn authority(&self, cluster: &str) -> &Authority {
        &self.authorities.iter().find(|(name, _)| name == cluster).unwrap().1
    }

    /// A leaf of the cluster's CA for `namespace/account`, valid for a day from now.
    pub fn leaf(&self, name: &str, cluster: &str, workload: &str, dns: &[&str]) -> PathBuf {
        let validity = valid(SystemTime::now(), DAY);
        self.leaf_of(self.authority(cluster), name, workload, dns, validity)
    }

    pub fn leaf_of(
        &self,
        authority: &Authority,
        name: &str,
        workload: &str,
        dns: &[&str],
        validity: Validity,
    ) -> PathBuf {
        let (namespace, account) = workload.split_once('/').unwrap();
        let domain = TrustDomain::new("cluster.local").unwrap();
        let issued = authority
            .issue(&LeafRequest {
                id: SpiffeId::workload(&domain, namespace, account).unwrap(),
                dns: dns.iter().map(ToString::to_string).collect(),
                ips: vec![],
                validity,
            })
            .unwrap();
        let dir = self.path("identities").join(name);
        issued.write(&dir).unwrap();
        dir
    }

    pub fn primary(&self, cluster: &str, octet: u8) -> Process {
        let name = format!("primary-{cluster}");
        // Its address too: gRPC takes what it dials for the name to verify.
        let domain = TrustDomain::new("cluster.local").unwrap();
        let issued = self
            .authority(cluster)
            .issue(&LeafRequest {
                id: SpiffeId::workload(&domain, "diolkos-system", "primary").unwrap(),
                dns: vec![PRIMARY_NAME.into()],
                ips: vec![[127, octet, 0, 1].into()],
                validity: valid(SystemTime::now(), DAY),
            })
            .unwrap();
        let identity = self.path("identities").join(&name);
        issued.write(&identity).unwrap();
        let listen = SocketAddr::from(([127, octet, 0, 1], 15012));
        let admin = SocketAddr::from(([127, octet, 0, 1], 15014));
        let process = self.own(&name, |command| {
            command
                .args(["primary", "--cluster", cluster])
                .args(["--listen", &listen.to_string(), "--admin", &admin.to_string()])
                .arg("--mesh")
                .arg(self.path("mesh.yaml"))
                .arg("--identity")
                .arg(identity);
        });
        process.listening(listen)
    }

    pub fn gateway(&self, cluster: &str, octet: u8, last: u8) -> Process {
        let name = format!("gateway-{cluster}-{last}");
        let identity = self.leaf(&name, cluster, "diolkos-system/eastwest", &[]);
        let ip = format!("127.{octet}.0.{last}");
        let process = self.own(&name, |command| {
            command
                .args(["gateway", "--cluster", cluster, "--ip", &ip, "--source", &ip])
                .args(["--pod", &format!("eastwest-{last}")])
                .args(["--primary", &format!("127.{octet}.0.1:15012")])
                .arg("--identity")
                .arg(identity);
        });
        process.listening(SocketAddr::from(([127, octet, 0, last], 15443)))
    }

    /// A client's Envoy in cluster `west`, without redirect: a proxy at port 15080 of 127.x.0.9, its
    /// admin at 15000.
    pub fn envoy(&self, octet: u8, envoy: &Path) -> Process {
        let identity = self.leaf("client", "west", "shop/client", &[]);
        let dir = self.path("envoy");
        let ip = format!("127.{octet}.0.9");
        let wrote = Command::new(env!("CARGO_BIN_EXE_diolkos"))
            .args(["bootstrap", "--cluster", "west", "--pod", "client"])
            .args(["--http-proxy-port", "15080", "--ip", &ip, "--source", &ip])
            .args(["--primary", &format!("127.{octet}.0.1:15012")])
            .args(["--envoy-admin", &format!("{ip}:15000")])
            .arg("--dir")
            .arg(&dir)
            .arg("--identity")
            .arg(identity)
            .status()
            .unwrap();
        assert!(wrote.success());
        let mut command = Command::new(env!("CARGO_BIN_EXE_diolkos"));
        command.current_dir(&dir).args(["leash", "--"]).arg(envoy);
        command.args(["-c", "bootstrap.json", "--disable-hot-restart", "--concurrency", "1"]);
        command.args(["--log-level", "warning"]);
        let listen = SocketAddr::from(([127, octet, 0, 9], 15080));
        Process::start("envoy", &self.path("envoy.log"), command).listening(listen)
    }

    /// A server that is who `account` says, in namespace `shop`.
    pub fn echo(&self, cluster: &str, octet: u8, last: u8, account: &str) -> Process {
        let name = format!("{account}-{cluster}-{last}");
        let identity = self.leaf(&name, cluster, &format!("shop/{account}"), &[]);
        let listen = SocketAddr::from(([127, octet, 1, last], 8080));
        let process = self.own(&name, |command| {
            command
                .args(["echo", "--cluster", cluster, "--pod", &name])
                .args(["--listen", &listen.to_string()])
                .args(["--allow-source", &format!("127.{octet}.0.0/16")])
                .arg("--identity")
                .arg(identity);
        });
        process.listening(listen)
    }

    pub fn own(&self, name: &str, args: impl FnOnce(&mut Command)) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_diolkos"));
        command.arg("--leash");
        args(&mut command);
        Process::start(name, &self.path(&format!("{name}.log")), command)
    }

    pub fn log(&self, name: &str) -> String {
        fs::read_to_string(self.path(&format!("{name}.log"))).unwrap_or_default()
    }

    /// Arguments of a caller that asks the cluster's primary.
    pub fn caller(&self, cluster: &str, octet: u8, identity: &Path) -> Vec<String> {
        [
            "--identity",
            &identity.display().to_string(),
            "--source",
            &format!("127.{octet}.0.9"),
            "--primary",
            &format!("127.{octet}.0.1:15012"),
            "--cluster",
            cluster,
            "--pod",
            "client",
        ]
        .map(str::to_owned)
        .to_vec()
    }

    /// Calls until the answer is as wanted, or time is up.
    pub fn call_until(
        &self,
        what: &str,
        args: &[String],
        wanted: impl Fn(&Value) -> bool,
    ) -> Value {
        let mut last = Value::Null;
        let met = eventually(Duration::from_secs(15), || {
            last = call(args);
            wanted(&last)
        });
        assert!(met, "in vain waited until {what}; the last answer: {last:#}");
        last
    }

    /// Waits until a process's log says so.
    pub fn logged(&self, name: &str, text: &str) -> String {
        let found = eventually(Duration::from_secs(15), || self.log(name).contains(text));
        assert!(found, "{name} never logged {text:?}; its log:\n{}", self.log(name));
        self.log(name)
    }
}

/// One request, as JSON.
pub fn call(args: &[String]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_diolkos"))
        .args(["call", "--output", "json"])
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().next();
    let line = line.unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    serde_json::from_str(line).unwrap()
}

pub fn eventually(within: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + within;
    loop {
        if holds() {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Ends when dropped, and by its leash (standard input) if even that does not happen.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    pub fn start(name: &str, log: &Path, mut command: Command) -> Self {
        let file = fs::File::options().create(true).append(true).open(log).unwrap();
        let child = command
            .stdin(Stdio::piped())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        Self { child, log: log.into() }
    }

    pub fn listening(mut self, address: SocketAddr) -> Self {
        let up = eventually(Duration::from_secs(20), || {
            TcpStream::connect(address).is_ok() || self.child.try_wait().unwrap().is_some()
        });
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let status = self.child.try_wait().unwrap();
        assert!(up && status.is_none(), "nothing listens on {address} ({status:?}):\n{log}");
        self
    }

    pub fn kill(mut self) {
        self.end();
    }

    /// As a kubelet tells it to end.
    pub fn terminate(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    }

    /// How it ended, if it does so in time.
    pub fn ended(mut self, within: Duration) -> Option<std::process::ExitStatus> {
        let mut status = None;
        eventually(within, || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status
    }

    fn end(&mut self) {
        // A held program must end before its holder does.
        drop(self.child.stdin.take());
        let ended = eventually(Duration::from_secs(3), || self.child.try_wait().unwrap().is_some());
        if !ended {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// A process whose lines of JSON are read as they come.
pub struct Talking {
    child: Child,
    lines: Receiver<Value>,
}

impl Talking {
    pub fn start(mut command: Command, log: &Path) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(log).unwrap())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if let Ok(value) = serde_json::from_str(&line)
                    && send.send(value).is_err()
                {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    /// All lines up to the first that is wanted.
    pub fn until(&self, what: &str, mut wanted: impl FnMut(&Value) -> bool) -> Vec<Value> {
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut seen = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    let done = wanted(&line);
                    seen.push(line);
                    if done {
                        return seen;
                    }
                }
                Err(error) => {
                    let last: Vec<_> = seen.iter().rev().take(3).collect();
                    panic!("waited until {what} ({error}); last lines: {last:#?}");
                }
            }
        }
    }
}

impl Drop for Talking {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        if !eventually(Duration::from_secs(3), || self.child.try_wait().unwrap().is_some()) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn cluster(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: diolkos-system\n  labels:\n    \
         topology.istio.io/network: {name}\n---\napiVersion: v1\nkind: Node\nmetadata:\n  \
         name: node\n  labels:\n    topology.kubernetes.io/region: isthmus\n    \
         topology.kubernetes.io/zone: isthmus-a\n"
    )
}

pub fn gateway_manifest(network: &str, addresses: &[&str]) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: eastwest\n  namespace: diolkos-system\n  \
         labels:\n    topology.istio.io/network: {network}\nspec:\n  externalIPs: [{}]\n  ports:\n  \
         - name: tls\n    port: 15443\n",
        addresses.join(", ")
    )
}

/// A service of namespace `shop`, exported, with pods `(name, address, account)`.
pub fn service_manifest(name: &str, port_name: &str, pods: &[(&str, &str, &str)]) -> String {
    let mut text = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\nspec:\n  \
         ports: [{{name: {port_name}, port: 8080}}]\n---\n\
         apiVersion: multicluster.x-k8s.io/v1alpha1\nkind: ServiceExport\n\
         metadata: {{name: {name}, namespace: shop}}\n"
    );
    for (pod, ip, account) in pods {
        text.push_str(&pod_manifest(pod, ip, account));
    }
    text.push_str(&format!(
        "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: {name}-1\n  \
         namespace: shop\n  labels: {{kubernetes.io/service-name: {name}}}\naddressType: IPv4\n\
         ports: [{{name: {port_name}, port: 8080}}]\nendpoints:{}\n",
        if pods.is_empty() { " []" } else { "" }
    ));
    for (pod, ip, _) in pods {
        text.push_str(&format!(
            "- addresses: [{ip}]\n  conditions: {{ready: true}}\n  nodeName: node\n  \
             targetRef: {{kind: Pod, namespace: shop, name: {pod}}}\n"
        ));
    }
    text
}

pub fn pod_manifest(pod: &str, ip: &str, account: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: {pod}\n  namespace: shop\n  \
         labels: {{security.istio.io/tlsMode: istio}}\nspec:\n  serviceAccountName: {account}\n  \
         nodeName: node\n  containers: []\nstatus: {{podIP: {ip}}}\n"
    )
}

/// The body of a plain HTTP answer, chunk sizes and all if it comes in chunks.
pub fn http_get(address: SocketAddr, path: &str) -> String {
    use std::io::{Read as _, Write as _};
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let host = address.ip();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    body.unwrap_or_else(|| panic!("no answer from {address}: {answer:?}"))
}
