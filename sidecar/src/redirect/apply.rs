//! The rules into the kernel, by `nft`, and what is there of them.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::address::{self, HandedOn};
use super::ruleset::{TABLE, fingerprint, in_rules, out_rules, removal, ruleset};
use super::{Nft, RedirectSettings};

#[derive(Debug, thiserror::Error)]
pub enum RedirectError {
    #[error(
        "{} cannot be started: {cause}; install nftables, or name its nft with --nft or DIOLKOS_NFT",
        program.display()
    )]
    NoNft { program: PathBuf, cause: io::Error },
    #[error(
        "the kernel lets this process change no rules ({cause}); run it as root with capability \
         NET_ADMIN, in the pod's network namespace"
    )]
    NotAllowed { cause: String },
    #[error("nft refuses the rules: {0}")]
    Refused(String),
    #[error(
        "address ::6 cannot be {what} lo: {cause}; IPv6 traffic would be redirected in circles"
    )]
    Address { what: &'static str, cause: io::Error },
    #[error("{0}; run diolkos redirect again")]
    Missing(String),
}

/// Lays the rules, in the place of any that are there.
///
/// # Errors
/// When nothing, or not all of it, could be laid; the rules themselves are all or nothing.
pub fn apply(settings: &RedirectSettings, nft: &Nft) -> Result<(), RedirectError> {
    // Before the rules: from then on Envoy may hand something on.
    if address::family_is_on() {
        let put = address::put(HandedOn::Added);
        put.map_err(|cause| denied_or("put on", cause))?;
    }
    run(nft, &ruleset(settings))
}

/// Takes everything away that [`apply`] brought; nothing there is fine.
///
/// # Errors
/// When it could not be taken away.
pub fn undo(nft: &Nft) -> Result<(), RedirectError> {
    run(nft, &removal())?;
    if address::is_there() {
        let put = address::put(HandedOn::Removed);
        put.map_err(|cause| denied_or("taken from", cause))?;
    }
    Ok(())
}

/// # Errors
/// What is not as [`apply`] would have it.
pub fn check(settings: &RedirectSettings, nft: &Nft) -> Result<(), RedirectError> {
    let listed = list(nft)?;
    let missing = |what: String| Err(RedirectError::Missing(what));
    if !listed.contains(&format!("comment \"{}\"", fingerprint(settings))) {
        return missing(format!("table inet {TABLE} was laid for other settings"));
    }
    let RedirectSettings { outbound_port, inbound_port, uid, .. } = settings;
    for (chain, hook, rules) in [
        ("out", "hook output", out_rules(settings, *uid, *inbound_port, *outbound_port).len()),
        ("in", "hook prerouting", in_rules(settings, *inbound_port).len()),
    ] {
        let Some((hooked, found)) = chain_of(&listed, chain) else {
            return missing(format!("chain {chain} of table inet {TABLE} is gone"));
        };
        if !hooked.contains(hook) || found != rules {
            return missing(format!(
                "chain {chain} of table inet {TABLE} has {found} rules at {hooked:?}, not {rules} \
                 at {hook:?}"
            ));
        }
    }
    if address::family_is_on() && !address::is_there() {
        return missing("address ::6 is not on lo".into());
    }
    Ok(())
}

/// Of a listing: how the chain is hooked, and how many rules it has. Each rule is one line.
fn chain_of<'l>(listed: &'l str, chain: &str) -> Option<(&'l str, usize)> {
    let opening = format!("chain {chain} {{");
    let mut lines = listed.lines().map(str::trim).skip_while(|line| *line != opening).skip(1);
    let hooked = lines.next()?;
    Some((hooked, lines.take_while(|line| *line != "}").filter(|line| !line.is_empty()).count()))
}

fn list(nft: &Nft) -> Result<String, RedirectError> {
    let output = command(nft, &["list", "table", "inet", TABLE])
        .stdin(Stdio::null())
        .output()
        .map_err(|cause| absent(nft, cause))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    match judged(&output.stderr) {
        RedirectError::Refused(cause) if cause.contains("No such file") => {
            Err(RedirectError::Missing(format!("there is no table inet {TABLE}")))
        }
        other => Err(other),
    }
}

/// One transaction.
fn run(nft: &Nft, rules: &str) -> Result<(), RedirectError> {
    let mut child = command(nft, &["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|cause| absent(nft, cause))?;
    // A nft that ended early says why on stderr.
    if let Some(mut stdin) = child.stdin.take() {
        let _ = stdin.write_all(rules.as_bytes());
    }
    let output = child.wait_with_output().map_err(|cause| absent(nft, cause))?;
    if output.status.success() {
        return Ok(());
    }
    Err(judged(&output.stderr))
}

fn command(nft: &Nft, args: &[&str]) -> Command {
    let mut command = Command::new(&nft.0);
    // What it says is read here.
    command.args(args).env("LC_ALL", "C");
    command
}

fn absent(nft: &Nft, cause: io::Error) -> RedirectError {
    RedirectError::NoNft { program: nft.0.clone(), cause }
}

fn judged(stderr: &[u8]) -> RedirectError {
    let told = String::from_utf8_lossy(stderr);
    let cause = told.lines().map(str::trim).find(|line| !line.is_empty());
    let cause: String = cause.unwrap_or("no reason given").chars().take(CAUSE_CHARS_MAX).collect();
    match told.contains("Operation not permitted") || told.contains("Permission denied") {
        true => RedirectError::NotAllowed { cause },
        false => RedirectError::Refused(cause),
    }
}

const CAUSE_CHARS_MAX: usize = 300;

fn denied_or(what: &'static str, cause: io::Error) -> RedirectError {
    match cause.kind() {
        io::ErrorKind::PermissionDenied => RedirectError::NotAllowed { cause: cause.to_string() },
        _ => RedirectError::Address { what, cause },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTED: &str = "table inet diolkos {
	comment \"x\"
	chain out {
		type nat hook output priority -100; policy accept;
		meta skuid 1337 return
		tcp dport { 1, 2 } return
	}

	chain in {
		type nat hook prerouting priority dstnat; policy accept;
	}
}
";

    #[test]
    fn rules_are_counted_of_a_listing() {
        let (hooked, rules) = chain_of(LISTED, "out").unwrap();
        assert!(hooked.contains("hook output"));
        assert_eq!(rules, 2);
        assert_eq!(chain_of(LISTED, "in").unwrap().1, 0);
        assert_eq!(chain_of(LISTED, "other"), None);
    }

    #[test]
    fn what_nft_says_is_told_with_the_way_out() {
        let denied = judged(b"Error: Could not process rule: Operation not permitted\n");
        assert!(denied.to_string().contains("capability NET_ADMIN"), "{denied}");
        let denied =
            judged(b"netlink: Error: cache initialization failed: Operation not permitted");
        assert!(matches!(denied, RedirectError::NotAllowed { .. }));
        let refused = judged(b"\n/dev/stdin:3:1-4: Error: syntax error\n").to_string();
        assert!(refused.starts_with("nft refuses the rules: /dev/stdin:3:1-4"), "{refused}");
        assert!(judged(b"").to_string().contains("no reason given"));
    }
}
