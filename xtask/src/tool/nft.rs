//! The program that keeps packet rules. kube-proxy and pods that redirect their traffic call it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Missing, given, step, version_of};
use crate::workshop::Workshop;

/// Where a test finds nft.
pub(crate) const NFT: &str = "DIOLKOS_TEST_NFT";

/// kube-proxy refuses an older one.
const VERSION_MIN: [u32; 3] = [1, 0, 1];

const PLACES: &[&str] = &["/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft"];

/// Finds its libraries beside itself, wherever the folder is mounted.
const WRAPPER: &str = r#"#!/bin/sh
home=$(dirname "$(readlink -f "$0")")/../root
for folder in "$home"/usr/lib/*-linux-* "$home"/lib/*-linux-*; do
    libraries="$libraries:$folder"
done
LD_LIBRARY_PATH="${libraries#:}" exec "$home/usr/sbin/nft" "$@"
"#;

/// The machine's own, else the one of Debian's package, unpacked into `.tools` and not installed:
/// that takes no root and changes nothing else.
pub(crate) fn nft(workshop: &Workshop) -> Result<PathBuf, Missing> {
    if let Some(given) = given(NFT)? {
        return Ok(given);
    }
    let home = workshop.path(".tools/nft");
    let own = home.join("bin/nft");
    let installed = PLACES.iter().map(PathBuf::from);
    if let Some(found) = installed.chain([own.clone()]).find(|path| works(path)) {
        return Ok(found);
    }
    unpack(&home)?;
    if works(&own) {
        return Ok(own);
    }
    Err(Missing(format!("the unpacked {} does not run; {}", own.display(), way_out())))
}

fn works(path: &Path) -> bool {
    path.is_file() && version_of(path).is_some_and(|text| is_new_enough(&text))
}

/// What nft says of itself: `nftables v1.0.6 (Lester Gooch #5)`.
fn is_new_enough(text: &str) -> bool {
    let version = text.split_whitespace().find_map(|word| word.strip_prefix('v'));
    let numbers = version.map(|version| version.split('.').map_while(|part| part.parse().ok()));
    numbers.is_some_and(|numbers| numbers.collect::<Vec<u32>>().as_slice() >= &VERSION_MIN)
}

fn way_out() -> String {
    format!("install nftables, or set {NFT} to an nft of 1.0.1 or later")
}

fn unpack(home: &Path) -> Result<(), Missing> {
    println!("unpacking Debian's nftables into .tools/nft");
    let packages = home.join("packages");
    let write = |cause: std::io::Error| Missing(format!("{}: {cause}", home.display()));
    for folder in
        ["packages", "root", "bin", "apt/state/lists/partial", "apt/cache/archives/partial"]
    {
        std::fs::create_dir_all(home.join(folder)).map_err(write)?;
    }
    step(apt(home, "apt-get").args(["--quiet=2", "update"]), "apt and its archive", &way_out())?;
    let names = closure(home)?;
    let mut download = apt(home, "apt-get");
    download.args(["--quiet=2", "download"]).args(&names).current_dir(&packages);
    step(&mut download, "the package nftables and its libraries", &way_out())?;
    for entry in std::fs::read_dir(&packages).map_err(write)?.flatten() {
        let mut unpack = Command::new("dpkg-deb");
        unpack.arg("--extract").arg(entry.path()).arg(home.join("root"));
        step(&mut unpack, "dpkg-deb", &way_out())?;
    }
    let wrapper = home.join("bin/nft");
    std::fs::write(&wrapper, WRAPPER).map_err(write)?;
    std::fs::set_permissions(&wrapper, PermissionsExt::from_mode(0o755)).map_err(write)
}

/// apt with lists and a cache of its own: a fresh machine has none, and only root may fill them.
fn apt(home: &Path, program: &str) -> Command {
    let mut command = Command::new(program);
    for (option, folder) in [("Dir::State", "apt/state"), ("Dir::Cache", "apt/cache")] {
        command.arg("--option").arg(format!("{option}={}", home.join(folder).display()));
    }
    // Its own user could not write here.
    command.args(["--option", "APT::Sandbox::User=root"]);
    command
}

/// nftables and all libraries it needs, but for those that every machine has.
fn closure(home: &Path) -> Result<Vec<String>, Missing> {
    let mut depends = apt(home, "apt-cache");
    depends.args(["depends", "--recurse", "--no-recommends", "--no-suggests", "--no-conflicts"]);
    depends.args(["--no-breaks", "--no-replaces", "--no-enhances", "nftables"]);
    let output = depends.stderr(Stdio::null()).output();
    let names = match output {
        Ok(output) if output.status.success() => named(&String::from_utf8_lossy(&output.stdout)),
        _ => Vec::new(),
    };
    if names.iter().any(|name| name == "nftables") {
        Ok(names)
    } else {
        Err(Missing(format!("apt knows no package nftables; {}", way_out())))
    }
}

/// Packages stand at the start of a line; what they depend on is indented.
fn named(depends: &str) -> Vec<String> {
    let everywhere = ["libc6", "libgcc-s1", "libcrypt1", "libtinfo6", "debconf"];
    let package = |line: &&str| line.starts_with(|c: char| c.is_ascii_alphanumeric());
    depends
        .lines()
        .filter(package)
        .filter(|name| *name == "nftables" || name.starts_with("lib"))
        .filter(|name| !everywhere.contains(name))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_nft_that_kube_proxy_would_refuse_is_not_taken() {
        for (says, taken) in [
            ("nftables v1.0.6 (Lester Gooch #5)", true),
            ("nftables v1.0.1", true),
            ("nftables v1.1", true),
            ("nftables v1.0.0 (x)", false),
            ("nftables v0.9.8 (E.D.S.)", false),
            ("nonsense", false),
        ] {
            assert_eq!(is_new_enough(says), taken, "{says}");
        }
    }

    #[test]
    fn nftables_and_its_own_libraries_are_taken() {
        let depends = "nftables\n  Depends: libc6\n  Depends: libnftables1\nlibc6\n\
                       libnftables1\n  Depends: <virtual>\n<virtual>\ngcc-12-base\ndebconf\nlibmnl0\n";
        assert_eq!(named(depends), ["nftables", "libnftables1", "libmnl0"]);
    }
}
