//! Istio's checklist for what registers clusters, by the names of Istio's own tests
//! (docs/istio-checklist.md).

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use diolkos_ops::Shutdown;
use diolkos_primary::{Primary, PrimarySettings, SourceSettings};
use diolkos_trust::{SpiffeId, TrustDomain};
use diolkos_trust_service::{Authority, LeafRequest, Validity};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::fake::{FakeApi, NAMESPACES, PODS, SECRETS, SERVICES, SLICES, TOKEN};
use crate::world::{Heard, PATIENCE, World, fill, secret};

/// `web` in the own cluster and, registered by files, in west.
struct Mounted {
    world: World,
    folder: PathBuf,
    west: FakeApi,
    heard: Heard,
}

impl Mounted {
    async fn new() -> Self {
        let mut world = World::new().await;
        let folder = world.dir.path().join("remotes");
        std::fs::create_dir(&folder).unwrap();
        world.directory = Some(folder.clone());
        let west = FakeApi::start("uid-west").await;
        fill(&world.own, "web", 1, &[1]);
        fill(&west, "web", 2, &[1]);
        std::fs::write(folder.join("west.yaml"), west.kubeconfig("west", TOKEN)).unwrap();
        let mut heard = world.start();
        heard.until("both are reached", |heard| heard.count("web") == 2).await;
        heard.forget();
        Self { world, folder, west, heard }
    }

    /// Whole and at once, as a mounted Secret changes.
    fn write(&self, file: &str, text: &str) {
        let draft = self.folder.join(".draft");
        std::fs::write(&draft, text).unwrap();
        std::fs::rename(draft, self.folder.join(file)).unwrap();
    }

    async fn refused(&mut self, file: &'static str, why: &'static str) {
        let told = |heard: &Heard| {
            let mut lines = heard.told("mesh");
            lines.any(|line| line.contains(&format!("file {file}")) && line.contains(why))
        };
        self.heard.until("the file is refused", told).await;
    }

    /// It is heard, and nothing of it ever left.
    async fn west_is_whole(&mut self) {
        fill(&self.west, "web", 2, &[1, 2]);
        self.heard.until("west is still heard", |heard| heard.count("web") == 3).await;
        assert_eq!((self.heard.left.len(), self.heard.gone.len()), (0, 0), "{:?}", self.heard.left);
    }
}

#[tokio::test]
async fn test_traffic_with_mounted_remote_kubeconfigs() {
    let Mounted { world, heard, .. } = Mounted::new().await;
    assert_eq!(heard.endpoints("web"), ["10.1.0.1:8080", "10.2.0.1:8080"]);
    assert_eq!(world.own.count(|request| request.contains(SECRETS)), 0, "by files alone");
}

#[tokio::test]
async fn test_mounted_remote_kubeconfig_updates_removing_a_file_removes_the_cluster() {
    let mut mounted = Mounted::new().await;
    let path = mounted.folder.join("west.yaml");
    let before = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    mounted.heard.until("the own one is left", |heard| heard.count("web") == 1).await;
    assert_eq!(mounted.heard.left, ["shop/web 10.2.0.1:8080"]);
    assert_eq!(mounted.heard.state("west"), None);
    mounted.write("west.yaml", &before);
    mounted.heard.until("both are reached again", |heard| heard.count("web") == 2).await;
}

#[tokio::test]
async fn test_mounted_remote_kubeconfig_updates_a_duplicate_id_keeps_the_existing() {
    let mut mounted = Mounted::new().await;
    let other = FakeApi::start("uid-other").await;
    fill(&other, "web", 3, &[1]);
    // First by name, and later all the same.
    mounted.write("a.yaml", &other.kubeconfig("west", TOKEN));
    mounted.refused("a.yaml", "cluster west is already that of file west.yaml").await;
    mounted.west_is_whole().await;
    assert_eq!(other.lock().requests.len(), 0);
}

#[tokio::test]
async fn test_mounted_remote_kubeconfig_updates_a_rewrite_with_the_same_id_keeps_the_cluster() {
    let mut mounted = Mounted::new().await;
    mounted.west.change(|state| state.tokens.extend(["rotated".to_owned()]));
    mounted.write("west.yaml", &mounted.west.kubeconfig("west", "rotated"));
    let west = |heard: &Heard| heard.activated.iter().filter(|(name, _)| name == "west").count();
    mounted.heard.until("the new credential is in use", |heard| west(heard) == 2).await;
    mounted.west.change(|state| state.tokens.retain(|token| token != TOKEN));
    mounted.west_is_whole().await;
}

#[tokio::test]
async fn test_mounted_remote_kubeconfig_updates_a_malformed_rewrite_keeps_the_existing() {
    let mut mounted = Mounted::new().await;
    mounted.write("west.yaml", "half a kubecon");
    mounted.refused("west.yaml", "").await;
    mounted.west_is_whole().await;
}

#[tokio::test]
async fn test_mounted_remote_kubeconfig_updates_another_id_removes_the_old_and_adds_the_new() {
    let mut mounted = Mounted::new().await;
    mounted.write("west.yaml", &mounted.west.kubeconfig("south", TOKEN));
    mounted.heard.until("the old one goes", |heard| heard.gone.len() == 1).await;
    assert_eq!(mounted.heard.gone[0].as_str(), "west");
    mounted.heard.until("both are reached", |heard| heard.count("web") == 2).await;
    assert_eq!(mounted.heard.state("west"), None);
    assert!(mounted.heard.state("south").is_some());
}

#[tokio::test]
async fn a_directory_takes_the_place_of_secrets_and_takes_nothing_away_when_it_vanishes() {
    let mut mounted = Mounted::new().await;
    let east = FakeApi::start("uid-east").await;
    mounted.world.register("ignored", &east, TOKEN);
    std::fs::rename(&mounted.folder, mounted.world.dir.path().join("elsewhere")).unwrap();
    mounted.west_is_whole().await;
    assert!(!mounted.heard.mesh.contains("ignored"));
}

/// How long a primary waits for the first word of a registered cluster: hardly, or as good as for
/// ever, so that whoever is ready did not wait for it.
const HARDLY: Duration = Duration::from_secs(1);
const FOR_EVER: Duration = Duration::from_secs(3600);

/// Over the whole of the source: what a pod of it runs.
async fn primary(world: &World, ready_max: Duration, shutdown: Shutdown) -> Primary {
    let identity = world.dir.path().join("identity");
    let now = SystemTime::now();
    let hour = Duration::from_secs(3600);
    let validity = Validity { not_before: now - hour, not_after: now + hour };
    let domain = TrustDomain::new("mesh.test").unwrap();
    let request = LeafRequest {
        id: SpiffeId::workload(&domain, "diolkos-system", "primary").unwrap(),
        dns: vec!["primary.test".into()],
        ips: vec![],
        validity,
    };
    let root = Authority::new_root("test", validity).unwrap();
    root.issue(&request).unwrap().write(&identity).unwrap();
    let any = "127.0.0.1:0".parse().unwrap();
    let mesh = world.dir.path().join("mesh.yaml");
    let mut settings = PrimarySettings::new(mesh, "home".into(), any, identity);
    settings.source = SourceSettings::Kubernetes(Box::new(world.settings()));
    settings.admin = Some(any);
    settings.ready_max = ready_max;
    Primary::start(settings, shutdown).await.unwrap()
}

async fn debug(primary: &Primary) -> Value {
    let mut tcp = TcpStream::connect(primary.admin().unwrap()).await.unwrap();
    let request = "GET /debug/diolkos.json HTTP/1.1\r\nHost: localhost\r\n\r\n";
    tcp.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).await.unwrap();
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

/// With these secrets beside that of a good cluster a fresh primary becomes ready, hears the good one
/// and says this of the others.
async fn becomes_ready(ready_max: Duration, bad: &[(&str, String)], says: &str) {
    let world = World::new().await;
    fill(&world.own, "web", 1, &[1]);
    let good = world.remote("good").await;
    fill(&good, "web", 2, &[1]);
    for (cluster, kubeconfig) in bad {
        let name = format!("istio-remote-secret-{cluster}");
        let secret = secret("diolkos-system", &name, &[(cluster, kubeconfig)]);
        world.own.put(SECRETS, secret);
    }
    let (_trigger, shutdown) = Shutdown::new();
    let started = Instant::now();
    let primary = primary(&world, ready_max, shutdown).await;
    loop {
        let state = debug(&primary).await;
        let good = shown(&state, "good").contains("\"synced\"");
        if state["ready"] == true && good && state.to_string().contains(says) {
            return;
        }
        assert!(started.elapsed() < PATIENCE, "no {says:?} of a primary that is ready: {state:#}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What the state says of a cluster.
fn shown(state: &Value, cluster: &str) -> String {
    let clusters = state["clusters"].as_array().unwrap();
    clusters.iter().find(|one| one["name"] == cluster).map(ToString::to_string).unwrap_or_default()
}

#[tokio::test]
async fn test_bad_remote_secret_unreachable() {
    let nobody = FakeApi::start("uid-nobody").await;
    nobody.set_up(false);
    let broadcast = nobody.kubeconfig_to("255.255.255.255", &nobody.ca, "broadcast", TOKEN);
    let secrets = [("nobody", nobody.kubeconfig("nobody", TOKEN))];
    becomes_ready(HARDLY, &secrets, "\"syncing: ").await;

    // Istio's own case is known to lead nowhere before it is tried, so nobody waits.
    let secrets = [("broadcast", broadcast)];
    becomes_ready(FOR_EVER, &secrets, "255.255.255.255 is multicast or broadcast").await;
}

#[tokio::test]
async fn test_bad_remote_secret_no_permissions() {
    let west = FakeApi::start("uid-west").await;
    west.change(|state| state.forbidden.extend([SERVICES, SLICES, PODS, NAMESPACES]));
    let secrets = [("west", west.kubeconfig("west", TOKEN))];
    becomes_ready(HARDLY, &secrets, "\"refused because it does not allow it (403)").await;
}

#[tokio::test]
async fn test_bad_remote_secret_exec_auth() {
    let west = FakeApi::start("uid-west").await;
    let plain = west.kubeconfig("bad", TOKEN);
    let ran = tempfile::tempdir().unwrap();
    let trace = ran.path().join("trace");
    let command = format!("command: /bin/sh, args: [-c, 'touch {}']", trace.display());
    let exec = format!("exec: {{apiVersion: client.authentication.k8s.io/v1, {command}}}");
    let kubeconfig = plain.replace(&format!("token: {TOKEN}"), &exec);
    assert_ne!(kubeconfig, plain);
    becomes_ready(FOR_EVER, &[("bad", kubeconfig)], "it would run a program on the primary").await;
    assert!(!trace.exists(), "it was run");
    assert_eq!(west.lock().requests.len(), 0);
}
