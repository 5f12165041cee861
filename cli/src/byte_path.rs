//! Flags of `diolkos gateway` on how it moves bytes, and for how many.

use std::num::NonZeroUsize;

use clap::Args;
use diolkos_eastwest_gw::limit::{PROXY_NETWORKS_MAX, THREADS_MAX};
use diolkos_eastwest_gw::{BytePath, Limits, Moves};
use ipnet::IpNet;

#[derive(Args, Clone, Debug)]
pub(crate) struct BytePathArgs {
    /// Event loops, each a thread; default: one for each core that it may use
    #[arg(long, value_name = "COUNT", value_parser = threads)]
    threads: Option<NonZeroUsize>,
    /// Never splice: copy every byte
    #[arg(long)]
    copy_only: bool,
    /// Load balancers, that have to say for whom they connect, by PROXY protocol of version 2
    /// (commas between, or repeated)
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    proxy_protocol_from: Vec<IpNet>,
    /// Connections at one time
    #[arg(long, value_name = "COUNT", default_value_t = Limits::default().connections_max)]
    max_connections: usize,
    /// The same to one name, which is a service, its port and its subset
    #[arg(long, value_name = "COUNT",
          default_value_t = Limits::default().connections_per_route_max)]
    max_connections_per_service: usize,
    /// Unknown names that one source may ask for in a minute, before it is reset at once until it
    /// calms down; 0: no limit
    #[arg(long, value_name = "COUNT",
          default_value_t = Limits::default().unknown_names_per_minute_max)]
    max_unknown_names: u32,
}

impl BytePathArgs {
    pub(crate) fn path(&self) -> anyhow::Result<BytePath> {
        if self.proxy_protocol_from.len() > PROXY_NETWORKS_MAX {
            anyhow::bail!(
                "--proxy-protocol-from names {} networks, at most {PROXY_NETWORKS_MAX} are \
                 believed; name larger ones",
                self.proxy_protocol_from.len()
            );
        }
        let mut path = BytePath {
            moves: if self.copy_only { Moves::Copy } else { Moves::Adaptive },
            proxy_protocol_from: self.proxy_protocol_from.clone(),
            ..BytePath::default()
        };
        path.threads = self.threads.unwrap_or(path.threads);
        Ok(path)
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits {
            connections_max: self.max_connections,
            connections_per_route_max: self.max_connections_per_service,
            unknown_names_per_minute_max: self.max_unknown_names,
            ..Limits::default()
        }
    }
}

fn threads(text: &str) -> Result<NonZeroUsize, String> {
    let read = text.parse().ok().filter(|threads: &NonZeroUsize| threads.get() <= THREADS_MAX);
    read.ok_or_else(|| format!("{text:?} is no number of threads from 1 to {THREADS_MAX}"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        path: BytePathArgs,
    }

    fn parsed(args: &[&str]) -> Result<BytePathArgs, String> {
        let parsed = Cli::try_parse_from(["gateway"].iter().chain(args));
        parsed.map(|cli| cli.path).map_err(|error| error.to_string())
    }

    #[test]
    fn without_flags_it_is_the_documented_default() {
        let args = parsed(&[]).unwrap();
        assert_eq!(args.path().unwrap(), BytePath::default());
        assert_eq!(args.limits(), Limits::default());
    }

    #[test]
    fn every_flag_says_what_it_says() {
        let flags = [
            "--threads=3",
            "--copy-only",
            "--proxy-protocol-from=10.0.0.0/8,fd00::/8",
            "--max-connections=5",
            "--max-connections-per-service=4",
            "--max-unknown-names=0",
        ];
        let args = parsed(&flags).unwrap();
        let path = args.path().unwrap();
        assert_eq!((path.threads.get(), path.moves), (3, Moves::Copy));
        assert_eq!(path.proxy_protocol_from.len(), 2);
        let limits = args.limits();
        assert_eq!((limits.connections_max, limits.connections_per_route_max), (5, 4));
        assert_eq!(limits.unknown_names_per_minute_max, 0);
    }

    #[test]
    fn as_many_as_the_limits_and_not_one_more() {
        assert!(parsed(&["--threads=256"]).is_ok());
        for threads in ["0", "257", "x", "-1"] {
            let told = parsed(&[&format!("--threads={threads}")]).unwrap_err();
            assert!(told.contains("from 1 to 256") || told.contains("unexpected"), "{told}");
        }
        let networks = |count: u8| {
            let all: Vec<_> = (0..count).map(|number| format!("10.{number}.0.0/16")).collect();
            parsed(&[&format!("--proxy-protocol-from={}", all.join(","))]).unwrap().path()
        };
        assert!(networks(64).is_ok());
        assert!(networks(65).unwrap_err().to_string().contains("at most 64"));
        assert!(parsed(&["--proxy-protocol-from=10.0.0.1"]).is_err());
    }
}
