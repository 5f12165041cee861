//! Runs `testdata/*.txt`: one verb per line, what came of them below `----`, then an empty line.
//! `DIOLKOS_REWRITE=1 cargo test -p diolkos-topology --test scenarios` writes the goldens anew.
//!
//! ```text
//! mesh export=all stale=5000 local=HOST,!HOST
//! cluster NAME network=N trust-domain=TD addresses=CIDR,CIDR     declares, and activates 1
//!     plain | services=NS/NAME,NS/* identities=NS/SA networks=N,N|own     what it may claim
//! audience ID KIND in CLUSTER on NETWORK at REGION/ZONE families=v4|v6|both     or: down
//! service CLUSTER NS/NAME NAME:PORT[/PROTOCOL].. vip=IP created=MS
//! slice CLUSTER NS/NAME SLICE NAME:PORT.. ADDRESS[,node=N][,zone=Z][,sa=SA|noid][,td=TD]
//!       [,network=N][,plain][,notready][,terminating]
//! export CLUSTER NS/NAME created=MS consumers=C,C      gateway CLUSTER NAME ADDRESS network=N
//! node CLUSTER NAME REGION/ZONE    namespace CLUSTER NAME network=N
//! summary CLUSTER NS/NAME PORT COUNT at REGION/ZONE sa=SA network=N
//! remove export|gateway|node|service|slice CLUSTER KEY..    (also: generation=G on any fact)
//! activate CLUSTER G   begin|end CLUSTER KIND   stale|fresh|gone CLUSTER   tick MS
//! explain ID NS/NAME   clusters
//! ```
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "scenarios are files, and a test stops where its ground does not hold"
)]

mod common;
mod verb;

use std::fmt::Write as _;
use std::path::Path;

use verb::Stage;

#[test]
fn every_scenario_gives_what_its_file_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|ext| ext == "txt")).collect();
    files.sort();
    assert!(files.len() >= 14, "the scenarios are gone");
    let rewrite = std::env::var_os("DIOLKOS_REWRITE").is_some();
    let mut failed = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let now = replay(&text, &file);
        if text == now {
            continue;
        }
        if rewrite {
            std::fs::write(&file, now).unwrap();
        } else {
            failed.push(format!("{}:\n{}", file.display(), first_difference(&text, &now)));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// The file as it would be if what came of its verbs were right.
fn replay(text: &str, file: &Path) -> String {
    let mut stage = Stage::default();
    let (mut out, mut came) = (String::new(), String::new());
    let mut golden = false;
    for (number, line) in text.lines().enumerate() {
        if golden {
            golden = !line.is_empty();
            if golden {
                continue;
            }
        }
        writeln!(out, "{line}").unwrap();
        if line == "----" {
            out.push_str(if came.is_empty() { "ok\n" } else { &came });
            came.clear();
            golden = true;
        } else if !line.is_empty() && !line.starts_with('#') {
            let place = format!("{}:{}", file.display(), number + 1);
            came.push_str(&stage.run(line).unwrap_or_else(|why| panic!("{place}: {why}")));
        }
    }
    out
}

fn first_difference(old: &str, new: &str) -> String {
    let line = old.lines().zip(new.lines()).position(|(a, b)| a != b).unwrap_or_default();
    let show = |text: &str| text.lines().skip(line).take(6).collect::<Vec<_>>().join("\n");
    format!("line {}, expected\n{}\ncame\n{}", line + 1, show(old), show(new))
}
