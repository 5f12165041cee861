//! `diolkos gateway sni`: by which names a running gateway lets clients through, and whereto.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::Context as _;
use clap::Args;
use diolkos_ops::printable;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::admin::{escaped, gateway_page};
use crate::call::Output;
use crate::exit;
use crate::table::{Table, span};

/// Names that are asked for; a gateway has a tenth of them when it is large.
const NAMES_MAX: usize = 1_000_000;

/// Flags of `diolkos gateway sni`.
#[derive(Args, Clone, Debug)]
pub(crate) struct SniArgs {
    /// The gateway's admin address; the default is that of its pods, from inside
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:15014")]
    admin: SocketAddr,
    /// The names of the way out, and the gateways of other networks that they lead to
    #[arg(long)]
    egress: bool,
    /// Only names that contain this
    #[arg(long, value_name = "PART", default_value = "")]
    name: String,
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Debug, Deserialize, Serialize)]
struct Named {
    name: String,
    cluster: Option<String>,
    targets: Vec<Target>,
    why: Option<String>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Target {
    address: String,
    weight: u32,
    priority: u32,
    last_dial: Option<Dial>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Dial {
    connected: bool,
    at_seconds: u64,
}

#[derive(Debug, Deserialize)]
struct Ways {
    /// Where it is one.
    egress: Option<State>,
}

#[derive(Debug, Deserialize)]
struct State {
    listener: Option<IgnoredAny>,
    not_in_force: Vec<NotInForce>,
    xds: Stream,
}

#[derive(Debug, Deserialize, Serialize)]
struct NotInForce {
    #[serde(rename = "type")]
    kind: String,
    resource: String,
    chain: Option<String>,
    refused: bool,
    reason: String,
}

#[derive(Debug, Deserialize)]
struct Stream {
    connected: bool,
    last_disconnect: Option<String>,
}

/// Ends with a code of its own where the gateway refused something it was sent.
pub(crate) async fn run(args: SniArgs) -> anyhow::Result<ExitCode> {
    let state = state(&args).await?;
    let names = names(&args).await?;
    let is_amiss = state.not_in_force.iter().any(|one| one.refused);
    match args.output {
        Output::Json => {
            let page = json!({
                "connected": state.xds.connected,
                "names": names,
                "not_in_force": state.not_in_force,
            });
            println!("{page}");
        }
        Output::Text => {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            print!("{}", text(&state, &names, now.unwrap_or_default().as_secs()));
        }
    }
    Ok(if is_amiss { ExitCode::from(exit::AMISS) } else { ExitCode::SUCCESS })
}

async fn state(args: &SniArgs) -> anyhow::Result<State> {
    const PAGE: &str = "/debug/diolkos.json";
    if !args.egress {
        return gateway_page(args.admin, PAGE).await;
    }
    let ways: Ways = gateway_page(args.admin, PAGE).await?;
    ways.egress.context("this gateway is no way out: it was started without --egress")
}

/// Page by page.
async fn names(args: &SniArgs) -> anyhow::Result<Vec<Named>> {
    let mut names: Vec<Named> = Vec::new();
    loop {
        let after = names.last().map_or("", |last| last.name.as_str());
        let (part, after) = (escaped(&args.name), escaped(after));
        let table = if args.egress { "egress" } else { "routes" };
        let path = format!("/debug/{table}?name={part}&after={after}");
        let page: Vec<Named> = gateway_page(args.admin, &path).await?;
        if page.is_empty() {
            return Ok(names);
        }
        names.extend(page);
        anyhow::ensure!(names.len() <= NAMES_MAX, "more than {NAMES_MAX} names; give --name");
    }
}

fn text(state: &State, names: &[Named], now: u64) -> String {
    let mut text = String::new();
    let listener = if state.listener.is_some() { "" } else { ", and no listener yet" };
    let whose = match (state.xds.connected, &state.xds.last_disconnect) {
        (true, _) => "as its control plane says now".to_owned(),
        (false, Some(why)) => format!("as its control plane said last ({})", printable(why)),
        (false, None) => "without a control plane so far".to_owned(),
    };
    let _ = writeln!(text, "{} names {whose}{listener}\n", names.len());
    let mut table = Table::new(&["NAME", "TARGET", "WEIGHT", "PRIORITY", "LAST DIAL"]);
    for named in names {
        let shown = match &named.cluster {
            Some(cluster) => format!("{} ({cluster})", named.name),
            None => named.name.clone(),
        };
        if let Some(why) = &named.why {
            table.row([shown.clone(), format!("none: {why}"), "".into(), "".into(), "".into()]);
        }
        for target in &named.targets {
            let (weight, priority) = (target.weight.to_string(), target.priority.to_string());
            let dial = dial(target.last_dial.as_ref(), now);
            table.row([shown.clone(), target.address.clone(), weight, priority, dial]);
        }
    }
    text.push_str(&table.text());
    for one in &state.not_in_force {
        let part = one.chain.as_ref().map(|chain| format!(", filter chain {chain}"));
        let said = if one.refused { "refused" } else { "left aside" };
        let line = format!(
            "{} {}{}: {said}: {}",
            one.kind,
            one.resource,
            part.unwrap_or_default(),
            one.reason
        );
        let _ = write!(text, "\n{}", printable(&line));
    }
    if !state.not_in_force.is_empty() {
        text.push('\n');
    }
    text
}

fn dial(last: Option<&Dial>, now: u64) -> String {
    match last {
        None => "never".to_owned(),
        Some(Dial { connected, at_seconds }) => {
            let what = if *connected { "ok" } else { "failed" };
            format!("{what}, {} ago", span(now.saturating_sub(*at_seconds)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_out_is_shown_like_the_way_in_where_there_is_one() {
        let of = |egress: serde_json::Value| -> Option<State> {
            serde_json::from_value::<Ways>(json!({ "ready": true, "egress": egress }))
                .unwrap()
                .egress
        };
        assert!(of(json!(null)).is_none());
        let told = of(json!({
            "routes": 1, "tunnels": 0, "listener": null, "not_in_force": [],
            "xds": { "connected": true, "last_disconnect": null },
        }));
        let text = text(&told.unwrap(), &[], 100);
        assert!(text.starts_with("0 names as its control plane says now, and no listener yet"));
    }

    #[test]
    fn every_target_has_a_line_with_its_last_dial_and_every_name_without_one_its_reason() {
        let state: State = serde_json::from_value(json!({
            "listener": { "address": "0.0.0.0:15443" },
            "not_in_force": [{
                "type": "LDS", "resource": "0.0.0.0_15443", "chain": "odd", "refused": true,
                "reason": "its tcp_proxy tunnels",
            }],
            "xds": { "connected": false, "last_disconnect": "\u{1b}[31mreset" },
        }))
        .unwrap();
        let target = |address: &str, last_dial| {
            json!({
                "address": address, "weight": 2, "priority": 0, "last_dial": last_dial,
            })
        };
        let names: Vec<Named> = serde_json::from_value(json!([
            { "name": "a.test", "cluster": null, "why": null, "targets": [
                target("10.0.0.1:80", json!(null)),
                target("10.0.0.2:80", json!({ "connected": true, "at_seconds": 90 })),
                target("10.0.0.3:80", json!({ "connected": false, "at_seconds": 95 })),
            ]},
            { "name": "b.test", "cluster": "c", "why": "it is not known", "targets": [] },
        ]))
        .unwrap();
        let text = text(&state, &names, 100);
        let lines: Vec<Vec<&str>> =
            text.lines().map(|line| line.split("  ").map(str::trim).collect()).collect();
        let row = |line: &[&str]| {
            let cells = line.iter().filter(|cell| !cell.is_empty());
            cells.copied().collect::<Vec<_>>().join("|")
        };
        let rows: Vec<String> = lines.iter().map(|line| row(line)).collect();
        assert_eq!(rows[0], "2 names as its control plane said last (\\u{1b}[31mreset)");
        assert_eq!(rows[3], "a.test|10.0.0.1:80|2|0|never");
        assert_eq!(rows[4], "a.test|10.0.0.2:80|2|0|ok, 10 s ago");
        assert_eq!(rows[5], "a.test|10.0.0.3:80|2|0|failed, 5 s ago");
        assert_eq!(rows[6], "b.test (c)|none: it is not known|-|-|-");
        let refused = "LDS 0.0.0.0_15443, filter chain odd: refused: its tcp_proxy tunnels";
        assert_eq!(rows.last().unwrap(), refused);
        assert!(!text.contains('\u{1b}'));
    }
}
