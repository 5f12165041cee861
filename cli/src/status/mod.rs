//! `diolkos status`: what a running primary sees, and whom it serves.

mod page;
mod show;

use std::process::ExitCode;
use std::time::SystemTime;

use clap::Args;
use serde::Deserialize as _;
use serde_json::{Value, json};

use crate::admin::{Primary, PrimaryArgs};
use crate::call::Output;
use crate::exit;
use page::Page;
use show::Shown;

/// Flags of `diolkos status`.
#[derive(Args, Clone, Debug)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    primary: PrimaryArgs,
    /// List every client, not only those that refused something
    #[arg(long)]
    clients: bool,
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// Ends with a code of its own if something is amiss, see docs/install.md.
pub(crate) async fn run(args: StatusArgs) -> anyhow::Result<ExitCode> {
    let (mut answers, mut silent) = (Vec::new(), Vec::new());
    for primary in args.primary.all().await? {
        match read(&primary).await {
            Ok((value, page)) => answers.push((primary.name, value, page)),
            Err(error) => silent.push((primary.name, error)),
        }
    }
    if answers.is_empty()
        && let Some((_, error)) = silent.pop()
    {
        return Err(error);
    }
    let is_amiss = !silent.is_empty() || answers.iter().any(|(_, _, page)| page.is_amiss());
    match args.output {
        Output::Json => println!("{}", as_json(answers, &silent)),
        Output::Text => {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            let now = now.unwrap_or_default().as_secs();
            for (name, _, page) in &answers {
                print!("{}", Shown { name, page, now, all_clients: args.clients });
            }
            for (_, error) in &silent {
                println!("{error:#}");
            }
        }
    }
    Ok(if is_amiss { ExitCode::from(exit::AMISS) } else { ExitCode::SUCCESS })
}

/// As it came, and as far as it is understood.
async fn read(primary: &Primary) -> anyhow::Result<(Value, Page)> {
    let value: Value = primary.page("/debug/diolkos.json").await?;
    let page = Page::deserialize(&value)?;
    Ok((value, page))
}

fn as_json(answers: Vec<(String, Value, Page)>, silent: &[(String, anyhow::Error)]) -> Value {
    let primaries = answers.into_iter().map(|(name, mut value, page)| {
        value["name"] = json!(name);
        value["amiss"] = json!(page.is_amiss());
        value
    });
    let silent = silent.iter().map(|(name, why)| json!({"name": name, "why": format!("{why:#}")}));
    json!({
        "primaries": primaries.collect::<Vec<_>>(),
        "unreachable": silent.collect::<Vec<_>>(),
    })
}
