//! What happens in the demo, in order, told as it happens.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};

use super::cast::{self, Cast, Stock};
use super::ground::{Ground, expected_id};
use super::plan::{PODS, SERVICE_PORT, Side};
use super::refusals;
use super::report::Report;
use super::traffic::{Path, Traffic, ns, path, split};
use crate::call::Line;

/// From just before the gateway was killed until it was seen dead.
#[derive(Clone, Copy, Debug)]
struct Span {
    from: u64,
    to: u64,
}

#[derive(Debug)]
pub(crate) struct Story<'a> {
    ground: &'a Ground,
    stock: &'a Stock,
    report: &'a mut Report,
}

impl<'a> Story<'a> {
    pub(crate) fn new(ground: &'a Ground, stock: &'a Stock, report: &'a mut Report) -> Self {
        Self { ground, stock, report }
    }

    pub(crate) fn places(&self) {
        let plan = &self.ground.plan;
        say("two clusters, two networks, one root:");
        for side in Side::BOTH {
            let gateways: Vec<String> =
                plan.gateways(side).iter().map(ToString::to_string).collect();
            let pods: Vec<String> =
                PODS.iter().filter(|pod| pod.side == side).map(|pod| pod.name()).collect();
            say(&format!(
                "  {:5} network {} on {:14} primary {}, gateways {}",
                side.name(),
                side.name(),
                plan.range(side),
                plan.primary(side),
                gateways.join(" "),
            ));
            say(&format!("        pods {}", pods.join(" ")));
        }
        let part = |stock: &Option<_>| if stock.is_some() { "a stock Envoy" } else { "diolkos" };
        say(&format!(
            "  client: {}; gateways: {}",
            part(&self.stock.proxy),
            part(&self.stock.gateway)
        ));
        say(&format!("  manifests, certificates and logs: {}", self.ground.dir.display()));
    }

    pub(crate) async fn tell(&mut self, cast: &mut Cast) -> anyhow::Result<()> {
        let traffic = Traffic::start(self.ground, &caller(self.ground, self.stock))?;
        traffic
            .until("both services answered", STEP, |lines| {
                URLS.iter().all(|url| lines.iter().any(|l| l.url == *url && l.failure.is_none()))
            })
            .await
            .with_context(|| first_failure(&traffic.lines()))?;
        self.steady(&traffic).await?;
        self.scale_away(&traffic, cast).await?;
        let killed = self.kill_gateway(&traffic, cast).await?;
        self.restart_primary(&traffic, cast).await?;
        self.scale_back(&traffic, cast).await?;
        let lines = traffic.lines();
        drop(traffic);
        self.count(&lines, killed);
        refusals::tell(self.ground, self.stock, self.report).await
    }

    /// While nothing changes: who is reached, by which way, in which proportion.
    async fn steady(&mut self, traffic: &Traffic) -> anyhow::Result<()> {
        let before = traffic.lines().len();
        traffic.more(&URLS, STEADY_REQUESTS).await?;
        let lines = traffic.lines().split_off(before);
        say("\nrequests from west, nothing changing:");
        for url in URLS {
            let of: Vec<Line> = lines.iter().filter(|line| line.url == url).cloned().collect();
            for (path, count) in split(self.ground, &of) {
                let sample = of
                    .iter()
                    .find(|line| super::traffic::path(self.ground, line).as_ref() == Some(&path));
                say(&format!("  {url}  {}  {count} requests", way(&path)));
                if let Some(echo) = sample.and_then(|line| line.echo.as_ref()) {
                    say(&format!("      {} answered as {}", echo.pod, echo.identity));
                    say(&format!("      and saw {}", echo.peer));
                }
            }
        }
        self.check_split(&lines);
        Ok(())
    }

    /// Two pods at home, two behind two gateways: a half, a quarter, a quarter.
    fn check_split(&mut self, lines: &[Line]) {
        let of: Vec<Line> = lines.iter().filter(|line| line.url == URLS[0]).cloned().collect();
        let split = split(self.ground, &of);
        let total: usize = split.values().sum();
        let mut expected = BTreeMap::from([(Path::Direct, 50.0)]);
        for gateway in self.ground.plan.gateways(Side::East) {
            expected.insert(Path::Gateway(gateway.ip()), 25.0);
        }
        say(&format!("  split of {} (bound: {SPLIT_BOUND} points):", URLS[0]));
        for (path, expected) in expected {
            let count = split.get(&path).copied().unwrap_or(0);
            let percent = 100.0 * count as f64 / total.max(1) as f64;
            say(&format!("      {percent:5.1} %  {} (expected {expected})", way(&path)));
            self.report.split.insert(way(&path), percent);
            if (percent - expected).abs() > SPLIT_BOUND {
                self.report.fault(format!(
                    "{} got {percent:.1} % of the requests, expected {expected} within {SPLIT_BOUND}",
                    way(&path)
                ));
            }
        }
    }

    async fn scale_away(&mut self, traffic: &Traffic, cast: &mut Cast) -> anyhow::Result<()> {
        let file = self.ground.catalog_manifest(Side::West);
        say(&format!("\nscale west's catalog away: {} loses its pods", file.display()));
        let edited = ns(self.ground.scale_catalog(Side::West, 0)?);
        // Settled: thirty requests in a row that all began after the edit and none of them direct.
        let settled = |lines: &[Line]| {
            let after: Vec<&Line> =
                lines.iter().filter(|l| l.url == URLS[0] && l.started_ns > edited).collect();
            let last = after.len().checked_sub(SETTLED_REQUESTS);
            last.is_some_and(|from| after[from..].iter().all(|line| !self.direct(line)))
        };
        traffic.until("no request went to west's catalog any more", STEP, settled).await?;
        let lines = traffic.lines();
        let old = lines.iter().filter(|l| l.url == URLS[0] && self.direct(l));
        let last = old.map(|line| line.started_ns).max().unwrap_or(edited).max(edited);
        self.converged("last request on the old route", last - edited);
        for process in cast.west_catalog.drain(..) {
            process.kill().await?;
        }
        Ok(())
    }

    async fn kill_gateway(&mut self, traffic: &Traffic, cast: &mut Cast) -> anyhow::Result<Span> {
        let Some((address, process)) = cast.gateways.last_mut() else { bail!("no gateway") };
        let address = *address;
        say(&format!("\nkill gateway {address} of east, without a goodbye"));
        let Some(process) = process.take() else { bail!("gateway {address} does not run") };
        let from = ns(SystemTime::now());
        process.kill().await?;
        let to = ns(SystemTime::now());
        traffic.more(&URLS, STEADY_REQUESTS).await?;
        let lines = traffic.lines();
        let after: Vec<&Line> = lines.iter().filter(|line| line.started_ns > from).collect();
        let failed = after.iter().filter(|line| line.failure.is_some()).count();
        say(&format!("  {} requests since, {failed} failed", after.len()));
        Ok(Span { from, to })
    }

    async fn restart_primary(&mut self, traffic: &Traffic, cast: &mut Cast) -> anyhow::Result<()> {
        say("\nkill west's primary, without a goodbye, and start it again a second later");
        let Some(process) = cast.west_primary.take() else { bail!("no primary") };
        process.kill().await?;
        let before = traffic.lines().len();
        traffic.more(&URLS, AWAY_REQUESTS).await?;
        let lines = traffic.lines().split_off(before);
        let failed = lines.iter().filter(|line| line.failure.is_some()).count();
        say(&format!("  {} requests while it was away, {failed} failed", lines.len()));
        let mut process = cast::primary(self.ground, Side::West)?;
        process.listening(self.ground.plan.primary(Side::West)).await?;
        cast.west_primary = Some(process);
        Ok(())
    }

    async fn scale_back(&mut self, traffic: &Traffic, cast: &mut Cast) -> anyhow::Result<()> {
        say("\nscale west's catalog back, under the new primary");
        for it in PODS.iter().filter(|it| it.side == Side::West) {
            let mut process = cast::echo(self.ground, it)?;
            process.listening(self.ground.plan.pod(it)).await?;
            cast.west_catalog.push(process);
        }
        let edited = ns(self.ground.scale_catalog(Side::West, usize::MAX)?);
        let back = |lines: &[Line]| lines.iter().any(|l| l.started_ns > edited && self.direct(l));
        traffic.until("a request went to west's catalog again", STEP, back).await?;
        let lines = traffic.lines();
        let new = lines.iter().filter(|l| l.started_ns > edited && self.direct(l));
        let first = new.map(|line| line.started_ns).min().unwrap_or(edited);
        self.converged(
            "first request on the new route (clients reconnected meanwhile)",
            first - edited,
        );
        traffic.more(&URLS, SETTLED_REQUESTS).await
    }

    fn converged(&mut self, what: &str, ns: u64) {
        let ms = ns as f64 / 1e6;
        say(&format!("  {ms:.1} ms from the edit to the {what}"));
        self.report.convergence_ms.push(ms);
    }

    fn direct(&self, line: &Line) -> bool {
        path(self.ground, line) == Some(Path::Direct)
    }

    fn count(&mut self, lines: &[Line], killed: Span) {
        self.report.requests = lines.len();
        for line in lines {
            match &line.failure {
                Some(failure) => {
                    self.report.failed += 1;
                    let ended = line.started_ns + line.took_us * 1000;
                    if line.started_ns <= killed.to && killed.from <= ended {
                        self.report.failed_in_flight_on_killed_gateway += 1;
                    } else if self.report.faults.len() < FAULTS_MAX {
                        self.report
                            .fault(format!("a request to {} failed: {}", line.url, failure.why));
                    }
                }
                None if path(self.ground, line).is_none() => {
                    self.report.fault(format!("a request to {} took an unknown way", line.url));
                }
                None if verified(line) => self.report.identities_verified += 1,
                None => self.report.fault(format!("{}: an identity was not as expected", line.url)),
            }
        }
        for (path, count) in split(self.ground, lines) {
            match path {
                Path::Direct => self.report.direct += count,
                Path::Gateway(_) => self.report.cross_network += count,
            }
            self.report.paths.insert(way(&path), count);
        }
        let gateways = self.ground.plan.gateways(Side::East);
        let ways = gateways.iter().map(|it| Path::Gateway(it.ip())).chain([Path::Direct]);
        let ways: Vec<String> = ways.map(|path| way(&path)).collect();
        for way in ways {
            if !self.report.paths.contains_key(&way) {
                self.report.fault(format!("no request went {way}"));
            }
        }
    }
}

fn way(path: &Path) -> String {
    match path {
        Path::Direct => "direct".into(),
        Path::Gateway(ip) => format!("gateway {ip}"),
    }
}

/// The server is who the service should be, and saw the client as who it is. With our own client
/// the server's identity is what the client verified; a stock Envoy verifies it the same way but
/// passes only the server's own word.
fn verified(line: &Line) -> bool {
    let Some(echo) = &line.echo else { return false };
    let service = if line.url == URLS[0] { "catalog" } else { "payments" };
    let server = line.server.as_deref().unwrap_or(&echo.identity);
    server == expected_id(service) && echo.identity == server && echo.peer == expected_id("client")
}

/// Arguments of the caller: through the mesh by itself, or through its sidecar.
pub(crate) fn caller(ground: &Ground, stock: &Stock) -> Vec<String> {
    let mut args = match &stock.proxy {
        Some(_) => vec!["--proxy".into(), ground.plan.sidecar().to_string()],
        None => refusals::as_client(ground, "client"),
    };
    args.extend(["--rate".into(), RATE.to_string()]);
    args.extend(URLS.map(str::to_owned));
    args
}

fn first_failure(lines: &[Line]) -> String {
    match lines.iter().find_map(|line| line.failure.as_ref()) {
        Some(failure) => format!("the first failure: {} ({})", failure.why, failure.refused_by),
        None => "no request was answered at all".into(),
    }
}

pub(crate) fn closing(report: &Report) {
    say(&format!(
        "\n{} requests, {} failed ({} of them under way on the killed gateway), {} direct, {} across \
         networks, {} with both identities verified, {} refusals as expected, {:.0} s",
        report.requests,
        report.failed,
        report.failed_in_flight_on_killed_gateway,
        report.direct,
        report.cross_network,
        report.identities_verified,
        report.refused_as_expected,
        report.seconds,
    ));
    for fault in &report.faults {
        say(&format!("FAULT: {fault}"));
    }
}

pub(crate) fn commands(ground: &Ground, stock: &Stock) {
    let plan = &ground.plan;
    say("\neverything is left running; interrupt to end it. Try, in another terminal:");
    say(&format!("  diolkos call --count 10 {}", caller(ground, stock).join(" ")));
    say(&format!("  edit {}", ground.catalog_manifest(Side::West).display()));
    let admin = plan.admin(plan.primary(Side::West).ip());
    say(&format!("  curl http://{admin}/debug/diolkos.json"));
    say(&format!(
        "  curl 'http://{admin}/debug/explain?kind=sidecar&cluster=west&namespace=shop&service=shop/catalog'"
    ));
}

/// Progress is for people: it goes to standard error, results to standard output.
pub(crate) fn say(text: &str) {
    eprintln!("{text}");
}

pub(crate) const URLS: [&str; 2] = ["http://catalog.shop:8080/", "http://payments.shop:8080/"];
const _: () = assert!(SERVICE_PORT == 8080);
const RATE: u32 = 100;
const STEADY_REQUESTS: usize = 200;
const SETTLED_REQUESTS: usize = 30;
const AWAY_REQUESTS: usize = 100;
/// Percentage points.
const SPLIT_BOUND: f64 = 5.0;
const STEP: Duration = Duration::from_secs(15);
const FAULTS_MAX: usize = 5;
