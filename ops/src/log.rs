//! Logs go to stderr, so that what a command prints on stdout stays its answer alone.

use std::fmt;
use std::io::IsTerminal;
use std::str::FromStr;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One line for people; coloured only when stderr is a terminal.
    Text,
    /// One JSON object a line.
    Json,
}

#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error(
        "log level \"{level}\": {cause}; write a level (error, warn, info, debug, trace) or a list like info,diolkos_xds=debug"
    )]
    Level { level: String, cause: String },
    #[error("log format \"{0}\" is neither text nor json")]
    Format(String),
    #[error("logs were set up before, they can be only once in a process")]
    Twice,
}

/// Sends this process's events to stderr. `level` is a level or a list of `target=level`; it comes
/// from an argument, the environment is not looked at.
///
/// # Errors
/// When `level` cannot be read, or logs were set up before.
pub fn init_logs(format: LogFormat, level: &str) -> Result<(), LogError> {
    let filter = filter(level)?;
    let registry = tracing_subscriber::registry().with(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match format {
        LogFormat::Text => {
            registry.with(lines.with_ansi(std::io::stderr().is_terminal())).try_init()
        }
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init(),
    }
    .map_err(|_| LogError::Twice)
}

fn filter(level: &str) -> Result<EnvFilter, LogError> {
    let refuse = |cause: String| LogError::Level { level: level.to_owned(), cause };
    if level.trim().is_empty() {
        return Err(refuse("empty".to_owned()));
    }
    EnvFilter::builder().parse(level).map_err(|cause| refuse(cause.to_string()))
}

impl FromStr for LogFormat {
    type Err = LogError;

    fn from_str(text: &str) -> Result<Self, LogError> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            other => Err(LogError::Format(other.to_owned())),
        }
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_a_word_or_a_list_by_target() {
        for level in ["info", "WARN", "info,diolkos_xds=debug", "diolkos_ops[session]=trace"] {
            assert!(filter(level).is_ok(), "{level}");
        }
    }

    #[test]
    fn a_bad_level_is_refused_with_the_way_out() {
        for level in ["", " ", "info,diolkos=loudly", "a=b=c"] {
            let error = filter(level).err().unwrap_or_else(|| panic!("{level:?} was accepted"));
            assert!(error.to_string().contains("write a level"), "{error}");
        }
    }

    #[test]
    fn a_format_reads_as_it_is_written() {
        for format in [LogFormat::Text, LogFormat::Json] {
            assert_eq!(format.to_string().parse::<LogFormat>().unwrap(), format);
        }
        assert!("xml".parse::<LogFormat>().is_err());
    }
}
