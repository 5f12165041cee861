//! What stands behind `diolkos gateway`: flags, or a word.

use clap::{ArgMatches, Args, Command, FromArgMatches};

use super::{GatewayArgs, sni};

/// A gateway, or a question to one that runs. By hand: what a question needs none of, its pod's
/// environment holds, and clap's own way would then miss the rest.
#[derive(Clone, Debug)]
pub(crate) enum GatewayCommand {
    Run(Box<GatewayArgs>),
    Sni(sni::SniArgs),
}

const SNI: &str = "sni";

impl Args for GatewayCommand {
    fn augment_args(command: Command) -> Command {
        let about = "Show the names a running gateway lets through, their targets and their state";
        let sni = sni::SniArgs::augment_args(Command::new(SNI).about(about));
        GatewayArgs::augment_args(command)
            .subcommand(sni)
            .args_conflicts_with_subcommands(true)
            .subcommand_negates_reqs(true)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for GatewayCommand {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        match matches.subcommand() {
            Some((SNI, matches)) => sni::SniArgs::from_arg_matches(matches).map(Self::Sni),
            _ => GatewayArgs::from_arg_matches(matches).map(Box::new).map(Self::Run),
        }
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Asked {
        #[command(flatten)]
        command: GatewayCommand,
    }

    #[test]
    fn a_question_to_a_gateway_needs_none_of_its_flags_and_goes_with_none() {
        let asked = |args: &[&str]| {
            let parsed = Asked::try_parse_from([&["gateway"], args].concat());
            parsed.map(|asked| asked.command).map_err(|error| error.to_string())
        };
        let sni = asked(&["sni", "--name=shop"]).unwrap();
        assert!(matches!(sni, GatewayCommand::Sni(_)), "{sni:?}");
        let both = asked(&["--pod=a", "sni"]).unwrap_err();
        assert!(both.contains("sni"), "{both}");
        assert!(asked(&[]).unwrap_err().contains("--identity <FOLDER>"));
    }
}
