//! The program that keeps packet rules. kube-proxy and pods that redirect their traffic call it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::{Missing, debian, given, version_of};
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

/// The machine's own, else the one of Debian's package.
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
    let names = |home: &Path| debian::with_libraries(home, "nftables", &way_out());
    debian::unpack(home, names, &way_out())?;
    let write = |cause: std::io::Error| Missing(format!("{}: {cause}", home.display()));
    let wrapper = home.join("bin/nft");
    std::fs::create_dir_all(home.join("bin")).map_err(write)?;
    std::fs::write(&wrapper, WRAPPER).map_err(write)?;
    std::fs::set_permissions(&wrapper, PermissionsExt::from_mode(0o755)).map_err(write)
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
}
