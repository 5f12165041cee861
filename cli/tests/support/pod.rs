//! Pods as network namespaces on one bridge, with the redirect of an injected pod. Everything is
//! made by the test and taken down by it, also when it fails.
#![allow(
    clippy::unwrap_used,
    dead_code,
    missing_debug_implementations,
    unreachable_pub,
    reason = "as beside it: each test file uses its part, and stops where its ground does not hold"
)]

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::netns::Netns;
use crate::plain;
use crate::support::{Process, Talking, World};

/// The uid that Envoy has in a pod.
const ENVOY_UID: u32 = 1337;

/// The node: a bridge that its pods are on, and whatever the pods call that is in no mesh.
pub struct Node {
    pub netns: Netns,
}

pub const NODE_V4: &str = "10.77.0.1";

impl Node {
    pub fn new() -> Self {
        let netns = Netns::new();
        netns.ip("link add br0 type bridge");
        netns.ip(&format!("addr add {NODE_V4}/24 dev br0"));
        netns.ip("addr add fd77::1/64 dev br0 nodad");
        netns.ip("link set br0 up");
        Self { netns }
    }

    pub fn pod(&self, name: &str, last: u8) -> Pod {
        let netns = Netns::new();
        let outer = format!("v{last}");
        self.netns.ip(&format!("link add {outer} type veth peer name eth0 netns {}", netns.name));
        self.netns.ip(&format!("link set {outer} master br0"));
        self.netns.ip(&format!("link set {outer} up"));
        netns.ip(&format!("addr add 10.77.0.{last}/24 dev eth0"));
        netns.ip(&format!("addr add fd77::{last:x}/64 dev eth0 nodad"));
        netns.ip("link set eth0 up");
        netns.ip(&format!("route add default via {NODE_V4}"));
        netns.ip("-6 route add default via fd77::1");
        Pod { netns, name: name.into(), last }
    }
}

pub struct Pod {
    pub netns: Netns,
    pub name: String,
    last: u8,
}

impl Pod {
    pub fn v4(&self) -> IpAddr {
        [10, 77, 0, self.last].into()
    }

    pub fn v6(&self) -> IpAddr {
        format!("fd77::{:x}", self.last).parse().unwrap()
    }

    /// An application that knows of no mesh.
    pub fn app(&self, world: &World) -> Process {
        let mut command = self.netns.command(&plain::program());
        plain::role(&mut command, &serde_json::json!({ "role": "app", "pod": self.name }));
        let name = format!("app-{}", self.name);
        Process::start(&name, &world.path(&format!("{name}.log")), command)
    }

    /// What an injected pod has: the redirect, and Envoy beside the application.
    pub fn join(&self, world: &World, account: &str, tools: &(PathBuf, PathBuf)) -> Process {
        let (envoy, nft) = tools;
        self.redirect(nft);

        let identity = world.leaf(&self.name, "west", &format!("shop/{account}"), &[]);
        let dir = world.path(&format!("envoy-{}", self.name));
        let wrote = Command::new(env!("CARGO_BIN_EXE_diolkos"))
            .args(["bootstrap", "--redirected", "--cluster", "west", "--pod", &self.name])
            .args(["--ip", &self.v4().to_string(), "--ip", &self.v6().to_string()])
            .args(["--primary", &format!("{NODE_V4}:15012")])
            .arg("--dir")
            .arg(&dir)
            .arg("--identity")
            .arg(&identity)
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(wrote.success());
        fs::set_permissions(world.path(""), fs::Permissions::from_mode(0o755)).unwrap();
        for path in [&identity, &dir] {
            own(path);
        }
        let mut command = self.netns.command(Path::new("setpriv"));
        let uid = ENVOY_UID.to_string();
        command.args(["--reuid", &uid, "--regid", &uid, "--clear-groups"]);
        command.arg(env!("CARGO_BIN_EXE_diolkos")).args(["leash", "--"]).arg(envoy);
        command.args(["-c", "bootstrap.json", "--disable-hot-restart", "--concurrency", "1"]);
        command.args(["--log-level", "warning"]).current_dir(&dir);
        let name = format!("envoy-{}", self.name);
        Process::start(&name, &world.path(&format!("{name}.log")), command)
    }

    /// As the init container of an injected pod does it.
    pub fn redirect(&self, nft: &Path) {
        let run = |more: &[&str]| {
            let mut command = self.netns.command(Path::new(env!("CARGO_BIN_EXE_diolkos")));
            let output = command.arg("redirect").arg("--nft").arg(nft).args(more).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        };
        run(&[]);
        run(&["--check"]);
    }

    /// One answer of the role.
    pub fn ask(&self, role: &Value) -> Value {
        ask(&self.netns, role)
    }

    /// A role that goes on talking.
    pub fn talk(&self, role: &Value, log: &Path) -> Talking {
        let mut command = self.netns.command(&plain::program());
        plain::role(&mut command, role);
        Talking::start(command, log)
    }
}

pub fn ask(netns: &Netns, role: &Value) -> Value {
    let mut command = netns.command(&plain::program());
    plain::role(&mut command, role);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text.lines().filter(|line| line.starts_with('{'));
    let answer = lines.filter_map(|line| serde_json::from_str(line).ok()).next();
    answer.unwrap_or_else(|| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)))
}

/// Envoy's user's, with all that is below.
fn own(path: &Path) {
    chown(path, Some(ENVOY_UID), Some(ENVOY_UID)).unwrap();
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            own(&entry.unwrap().path());
        }
    }
}
