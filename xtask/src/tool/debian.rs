//! Debian's packages, unpacked into a folder of the project and not installed: that takes no root and
//! changes nothing else.

use std::path::Path;
use std::process::{Command, Stdio};

use super::{Missing, step};

/// Unpacks packages below `<home>/root`. `way_out` says what else helps.
pub(super) fn unpack(
    home: &Path,
    names: impl FnOnce(&Path) -> Result<Vec<String>, Missing>,
    way_out: &str,
) -> Result<(), Missing> {
    let packages = home.join("packages");
    let write = |cause: std::io::Error| Missing(format!("{}: {cause}", home.display()));
    for folder in ["packages", "root", "apt/state/lists/partial", "apt/cache/archives/partial"] {
        std::fs::create_dir_all(home.join(folder)).map_err(write)?;
    }
    step(apt(home, "apt-get").args(["--quiet=2", "update"]), "apt and its archive", way_out)?;
    let names = names(home)?;
    let mut download = apt(home, "apt-get");
    download.args(["--quiet=2", "download"]).args(&names).current_dir(&packages);
    step(&mut download, &format!("from Debian's archive: {}", names.join(", ")), way_out)?;
    for entry in std::fs::read_dir(&packages).map_err(write)?.flatten() {
        let mut unpack = Command::new("dpkg-deb");
        unpack.arg("--extract").arg(entry.path()).arg(home.join("root"));
        step(&mut unpack, "dpkg-deb", way_out)?;
    }
    Ok(())
}

/// A package and all libraries it needs, but for those that every machine has.
pub(super) fn with_libraries(
    home: &Path,
    package: &str,
    way_out: &str,
) -> Result<Vec<String>, Missing> {
    let mut depends = apt(home, "apt-cache");
    depends.args(["depends", "--recurse", "--no-recommends", "--no-suggests", "--no-conflicts"]);
    depends.args(["--no-breaks", "--no-replaces", "--no-enhances", package]);
    let output = depends.stderr(Stdio::null()).output();
    let names = match output {
        Ok(output) if output.status.success() => {
            named(&String::from_utf8_lossy(&output.stdout), package)
        }
        _ => Vec::new(),
    };
    if names.iter().any(|name| name == package) {
        Ok(names)
    } else {
        Err(Missing(format!("apt knows no package {package}; {way_out}")))
    }
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

/// Packages stand at the start of a line; what they depend on is indented.
fn named(depends: &str, package: &str) -> Vec<String> {
    let everywhere = ["libc6", "libgcc-s1", "libcrypt1", "libtinfo6", "debconf"];
    let is_package = |line: &&str| line.starts_with(|c: char| c.is_ascii_alphanumeric());
    depends
        .lines()
        .filter(is_package)
        .filter(|name| *name == package || name.starts_with("lib"))
        .filter(|name| !everywhere.contains(name))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_and_its_own_libraries_are_taken() {
        let depends = "nftables\n  Depends: libc6\n  Depends: libnftables1\nlibc6\n\
                       libnftables1\n  Depends: <virtual>\n<virtual>\ngcc-12-base\ndebconf\nlibmnl0\n";
        assert_eq!(named(depends, "nftables"), ["nftables", "libnftables1", "libmnl0"]);
    }
}
