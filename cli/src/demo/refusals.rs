//! What must fail, and by whom it is refused.

use std::fs;
use std::process::Stdio;

use anyhow::Context as _;
use tokio::process::Command;

use super::cast::Stock;
use super::children::own_binary;
use super::ground::{Ground, expected_id};
use super::plan::{PODS, Side};
use super::report::{Refusal, Report};
use super::story::{URLS, say};
use crate::call::{FailureLine, Line};

/// One attempt that must not succeed.
struct Attempt {
    what: String,
    args: Vec<String>,
    /// Whether this failure is the refusal that was meant.
    meant: fn(&FailureLine) -> bool,
    by: String,
    /// The refuser's log must say so too.
    witness: Option<(String, &'static str)>,
}

pub(crate) async fn tell(
    ground: &Ground,
    stock: &Stock,
    report: &mut Report,
) -> anyhow::Result<()> {
    say("\nwhat must fail:");
    for attempt in attempts(ground, stock) {
        let line = once(&attempt.args).await?;
        let failure = line.failure.as_ref();
        let mut refused = failure.is_some_and(attempt.meant);
        let mut why = failure.map_or_else(|| "it was let in".into(), |f| f.why.clone());
        if let Some((name, word)) = &attempt.witness
            && !fs::read_to_string(ground.log(name)).unwrap_or_default().contains(word)
        {
            refused = false;
            why = format!("{why}; but the log of {name} does not say {word:?}");
        }
        say(&format!(
            "  {}: {} {}",
            attempt.what,
            if refused { "refused by" } else { "NOT refused by" },
            attempt.by
        ));
        say(&format!("      {why}"));
        if refused {
            report.refused_as_expected += 1;
        } else {
            report.fault(format!("{} was not refused by {}: {why}", attempt.what, attempt.by));
        }
        report.refusals.push(Refusal { attempt: attempt.what, refused, by: attempt.by, why });
    }
    Ok(())
}

fn attempts(ground: &Ground, stock: &Stock) -> Vec<Attempt> {
    let plan = &ground.plan;
    let catalog = PODS[2];
    let gateway = plan.gateways(Side::East)[0];
    let direct = |identity: &str, to: String| {
        let mut args = with_identity(ground, identity);
        args.extend(["--direct".into(), to, "--expect".into(), expected_id("catalog")]);
        args.push(URLS[0].into());
        args
    };
    let ledger_url = "http://ledger.shop:8080/".to_owned();
    let wrong_identity = match &stock.proxy {
        Some(_) => Attempt {
            what: "a server with the wrong identity".into(),
            args: vec!["--proxy".into(), plan.sidecar().to_string(), ledger_url],
            meant: |failure| failure.why.contains("503"),
            by: "the client's Envoy".into(),
            witness: None,
        },
        None => Attempt {
            what: "a server with the wrong identity".into(),
            args: [as_client(ground, "client"), vec![ledger_url]].concat(),
            meant: |failure| failure.refused_by == "client",
            by: "the client".into(),
            witness: None,
        },
    };
    vec![
        Attempt {
            what: "a request round the gateway, straight to a pod of east".into(),
            args: direct("client", plan.pod(&catalog).to_string()),
            meant: |failure| failure.refused_by == "peer",
            by: format!("the server {}", catalog.name()),
            witness: Some((catalog.name(), "outside the allowed ranges")),
        },
        wrong_identity,
        Attempt {
            what: "a client of another root, at the server".into(),
            args: direct("stranger", gateway.to_string()),
            meant: |failure| failure.refused_by == "server",
            by: "the server behind the gateway".into(),
            witness: None,
        },
        Attempt {
            what: "a client of another root, at the primary".into(),
            args: [as_client(ground, "stranger"), vec![URLS[0].into()]].concat(),
            meant: |failure| failure.refused_by == "primary",
            by: "west's primary".into(),
            witness: None,
        },
    ]
}

async fn once(args: &[String]) -> anyhow::Result<Line> {
    let output = Command::new(own_binary()?)
        .args(["call", "--output", "json"])
        .args(args)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .context("cannot start the caller")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().next().context("the caller said nothing")?;
    serde_json::from_str(line).with_context(|| format!("the caller said {line:?}"))
}

fn with_identity(ground: &Ground, name: &str) -> Vec<String> {
    let identity = ground.identity(name).display().to_string();
    let source = ground.plan.client().to_string();
    vec!["--identity".into(), identity, "--source".into(), source]
}

/// A caller of west that asks west's primary.
pub(crate) fn as_client(ground: &Ground, name: &str) -> Vec<String> {
    let mut args = with_identity(ground, name);
    let primary = ground.plan.primary(Side::West).to_string();
    args.extend(["--primary".into(), primary, "--cluster".into(), "west".into()]);
    args.extend(["--pod".into(), "client".into()]);
    args
}
