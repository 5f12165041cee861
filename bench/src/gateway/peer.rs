//! Whoever passes connections on by their SNI, each as a process of its own on the measured core.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::load::Call;
use super::routes::{DOMAIN, Primary, SERVER_NAME, route_name};
use crate::process::{AS_IN_A_POD, Process, diolkos, free};

const START_MAX: Duration = Duration::from_secs(60);
/// So long with a hundredth of a core at most.
const REST: Duration = Duration::from_millis(250);
/// More than any stage has. HAProxy reserves two files for each, of 20,000 where nobody raised that.
const CONNECTIONS_MAX: usize = 9_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// The backend itself: what the load costs without anybody between.
    Direct,
    Diolkos,
    Envoy,
    Haproxy,
    /// It has to be forced: `splice-auto` does not engage.
    HaproxySplice,
    Nginx,
}

impl Kind {
    pub(super) const ALL: [Self; 6] =
        [Self::Direct, Self::Diolkos, Self::Envoy, Self::Haproxy, Self::HaproxySplice, Self::Nginx];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Diolkos => "diolkos",
            Self::Envoy => "envoy",
            Self::Haproxy => "haproxy",
            Self::HaproxySplice => "haproxy, forced splice",
            Self::Nginx => "nginx",
        }
    }

    /// Where its program is, if it is here.
    pub(super) fn program(self, envoy: Option<&Path>) -> Option<PathBuf> {
        let installed = |name: &str| {
            let places = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"];
            places.iter().map(|place| Path::new(place).join(name)).find(|path| path.is_file())
        };
        match self {
            Self::Direct => None,
            Self::Diolkos => diolkos().ok().filter(|path| path.is_file()),
            Self::Envoy => envoy.filter(|path| path.is_file()).map(Path::to_owned),
            Self::Haproxy | Self::HaproxySplice => installed("haproxy"),
            Self::Nginx => installed("nginx"),
        }
    }
}

/// One that runs, with so many routes.
pub(super) struct Peer {
    pub(super) process: Option<Process>,
    pub(super) call: Call,
    pub(super) primary: Option<Primary>,
    admin: Option<SocketAddr>,
    _folder: tempfile::TempDir,
}

pub(super) struct Launch<'l> {
    pub(super) kind: Kind,
    pub(super) program: &'l Path,
    pub(super) core: usize,
    pub(super) routes: usize,
    pub(super) backend: SocketAddr,
    pub(super) certificates: &'l Path,
}

impl Launch<'_> {
    pub(super) fn start(&self) -> anyhow::Result<Peer> {
        let folder = tempfile::Builder::new().prefix("diolkos-bench-").tempdir()?;
        let listen = free(Ipv4Addr::LOCALHOST)?;
        let name = route_name(0);
        let mut peer = Peer {
            process: None,
            call: Call { to: listen, name },
            primary: None,
            admin: None,
            _folder: folder,
        };
        if self.kind == Kind::Direct {
            peer.call.to = self.backend;
            return Ok(peer);
        }
        let home = peer._folder.path().to_owned();
        let arguments = match self.kind {
            Kind::Direct | Kind::Diolkos => {
                let primary = Primary::start(self.certificates, self.routes, listen, self.backend)?;
                let admin = free(Ipv4Addr::LOCALHOST)?;
                let arguments = self.diolkos(&primary, listen, admin);
                (peer.primary, peer.admin) = (Some(primary), Some(admin));
                arguments
            }
            Kind::Envoy => self.envoy(&home, listen)?,
            Kind::Haproxy | Kind::HaproxySplice => self.haproxy(&home, listen)?,
            Kind::Nginx => self.nginx(&home, listen)?,
        };
        let name = self.kind.name();
        let core = Some(self.core);
        let process = Process::start_on(core, name, self.program, &arguments, &AS_IN_A_POD, &home)?;
        peer.process = Some(process);
        peer.wait_until_it_serves(self.routes)?;
        peer.wait_until_it_rests();
        Ok(peer)
    }

    fn diolkos(&self, primary: &Primary, listen: SocketAddr, admin: SocketAddr) -> Vec<String> {
        let identity = self.certificates.join("gateway");
        let text = format!(
            "gateway --primary {} --primary-name {SERVER_NAME} --identity {} --trust-domain {DOMAIN} \
             --cluster east --network east --pod gateway --ip 127.0.0.1 --listen {listen} \
             --admin {admin}",
            primary.address,
            identity.display()
        );
        text.split_whitespace().map(str::to_owned).collect()
    }

    /// One route: by `sni_cluster`. More: a filter chain each, as istiod sends them.
    fn envoy(&self, home: &Path, listen: SocketAddr) -> anyhow::Result<Vec<String>> {
        let proxy = json!({
            "name": "tcp", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
                "stat_prefix": "bench", "cluster": "backend",
            },
        });
        let chain = |number: usize| {
            json!({
                "filter_chain_match": { "server_names": [route_name(number)] },
                "filters": [proxy.clone()],
            })
        };
        let socket = |at: SocketAddr| json!({ "socket_address": { "address": at.ip().to_string(), "port_value": at.port() } });
        let inspector = "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.\
                         TlsInspector";
        let breaker = json!({
            "max_connections": CONNECTIONS_MAX, "max_pending_requests": CONNECTIONS_MAX,
        });
        let config = json!({
            "static_resources": {
                "listeners": [{
                    "name": "sni", "address": socket(listen),
                    "listener_filters": [
                        { "name": "tls", "typed_config": { "@type": inspector } },
                    ],
                    "filter_chains": (0..self.routes).map(chain).collect::<Vec<Value>>(),
                }],
                "clusters": [{
                    "name": "backend", "type": "STATIC", "connect_timeout": "2s",
                    "circuit_breakers": { "thresholds": [breaker] },
                    "load_assignment": {
                        "cluster_name": "backend",
                        "endpoints": [{ "lb_endpoints": [
                            { "endpoint": { "address": socket(self.backend) } },
                        ] }],
                    },
                }],
            },
        });
        let path = write(home, "envoy.json", &config.to_string())?;
        let flags = "--concurrency 1 --disable-hot-restart --log-level error --config-path";
        let mut arguments: Vec<String> = flags.split(' ').map(str::to_owned).collect();
        arguments.push(path);
        Ok(arguments)
    }

    fn haproxy(&self, home: &Path, listen: SocketAddr) -> anyhow::Result<Vec<String>> {
        let mut map = String::new();
        (0..self.routes).for_each(|number| {
            let _ = writeln!(map, "{} backend", route_name(number));
        });
        let map = write(home, "routes.map", &map)?;
        let splice = match self.kind {
            Kind::HaproxySplice => "  option splice-request\n  option splice-response\n",
            _ => "",
        };
        let config = format!(
            "global\n  nbthread 1\n  maxconn {CONNECTIONS_MAX}\n  maxpipes 500\n\
             defaults\n  mode tcp\n  timeout connect 2s\n  timeout client 1h\n  timeout server 1h\n\
             {splice}\
             frontend sni\n  bind {listen} backlog 16384\n  tcp-request inspect-delay 3s\n  \
             tcp-request content accept if {{ req.ssl_hello_type 1 }}\n  \
             use_backend %[req.ssl_sni,lower,map({map})]\n\
             backend backend\n  server one {}\n",
            self.backend
        );
        Ok(vec!["-db".into(), "-f".into(), write(home, "haproxy.cfg", &config)?])
    }

    fn nginx(&self, home: &Path, listen: SocketAddr) -> anyhow::Result<Vec<String>> {
        let modules = "/usr/lib/nginx/modules/ngx_stream_module.so";
        let load = match Path::new(modules).is_file() {
            true => format!("load_module {modules};\n"),
            false => String::new(),
        };
        let mut map = String::new();
        (0..self.routes).for_each(|number| {
            let _ = writeln!(map, "    {} {};", route_name(number), self.backend);
        });
        let config = format!(
            "{load}daemon off;\nmaster_process off;\nworker_processes 1;\npid nginx.pid;\n\
             error_log stderr error;\nworker_rlimit_nofile {};\n\
             events {{ worker_connections {}; }}\n\
             stream {{\n  map_hash_max_size 1048576;\n  map_hash_bucket_size 256;\n  \
             map $ssl_preread_server_name $backend {{\n{map}  }}\n  \
             server {{\n    listen {listen} backlog=16384;\n    ssl_preread on;\n    \
             proxy_pass $backend;\n  }}\n}}\n",
            4 * CONNECTIONS_MAX,
            2 * CONNECTIONS_MAX,
        );
        let path = write(home, "nginx.conf", &config)?;
        let home = home.display().to_string();
        Ok(vec!["-p".into(), home, "-c".into(), path, "-e".into(), "stderr".into()])
    }
}

impl Peer {
    fn wait_until_it_serves(&mut self, routes: usize) -> anyhow::Result<()> {
        let begin = Instant::now();
        loop {
            if let Some(process) = &mut self.process {
                process.expect_alive()?;
            }
            match TcpStream::connect(self.call.to) {
                Ok(_) if self.admin.is_none_or(|admin| routes_of(admin) == Some(routes)) => {
                    return Ok(());
                }
                Ok(_) if begin.elapsed() < START_MAX => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Ok(_) => {
                    let said = self.process.as_ref().map(Process::last_words);
                    let said = said.unwrap_or_default();
                    bail!("it has not its {routes} routes after {START_MAX:?}:{said}");
                }
                Err(cause) if begin.elapsed() > START_MAX => {
                    let said = self.process.as_ref().map(Process::last_words);
                    bail!(
                        "nobody listens on {}: {cause}{}",
                        self.call.to,
                        said.unwrap_or_default()
                    );
                }
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    /// What it still learns is not what a connection costs.
    fn wait_until_it_rests(&self) {
        let begin = Instant::now();
        let mut ran = self.cpu_ns();
        while begin.elapsed() < START_MAX {
            std::thread::sleep(REST);
            let now = self.cpu_ns();
            if now - ran < REST.as_nanos() as u64 / 100 {
                return;
            }
            ran = now;
        }
    }

    /// Without a process, the calling thread's: it is all there is.
    pub(super) fn cpu_ns(&self) -> u64 {
        self.process.as_ref().map_or_else(crate::clock::thread_ns, Process::scheduled_ns)
    }

    pub(super) fn bytes(&self) -> f64 {
        self.process.as_ref().map_or(f64::NAN, Process::proportional_bytes)
    }
}

/// By its own metrics.
fn routes_of(admin: SocketAddr) -> Option<usize> {
    let mut stream = TcpStream::connect(admin).ok()?;
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut page = String::new();
    stream.read_to_string(&mut page).ok()?;
    let mut lines = page.lines().filter(|line| !line.starts_with('#'));
    let line = lines.find(|line| line.contains("gateway_routes "))?;
    line.rsplit_once(' ')?.1.trim().parse().ok()
}

fn write(home: &Path, name: &str, text: &str) -> anyhow::Result<String> {
    let path = home.join(name);
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path.display().to_string())
}
