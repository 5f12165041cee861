//! A cluster's API server, as its operator reaches it: by the kubeconfig that kubectl uses.
//!
//! Unlike the kubeconfig of a remote secret this one is trusted: it may name files, and programs
//! that bring a credential. kube reads it; the connection is made here, with rustls and ring.

mod tls;
mod wire;

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use http::Uri;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use crate::exit::{Unreachable, Usage};

/// An API server that answers at all does so well within this.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Which cluster, and how to reach it.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ClusterArgs {
    /// The kubeconfig's context of the cluster [default: the current one]
    #[arg(long)]
    pub(crate) context: Option<String>,
    /// [default: KUBECONFIG, else ~/.kube/config]
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
}

/// One cluster, and what is known of the way to it.
pub(crate) struct Cluster {
    pub(crate) client: Client,
    /// As the operator calls it.
    pub(crate) context: String,
    pub(crate) server: Uri,
    /// What vouches for the server: PEM, if the kubeconfig says.
    pub(crate) roots: Option<String>,
    pub(crate) tls_server_name: Option<String>,
}

impl ClusterArgs {
    /// Reads the kubeconfig, and runs what it names for a credential; nothing is dialled yet.
    pub(crate) async fn cluster(&self) -> anyhow::Result<Cluster> {
        let kubeconfig = self.read().map_err(Usage::of)?;
        let context = self.context.clone().or_else(|| kubeconfig.current_context.clone());
        let context = context
            .context("the kubeconfig has no current context; give --context")
            .map_err(Usage::of)?;
        let options = KubeConfigOptions { context: Some(context.clone()), ..Default::default() };
        let named = || format!("context {context}");
        let config = Config::from_custom_kubeconfig(kubeconfig, &options)
            .await
            .with_context(named)
            .map_err(Usage::of)?;
        connect(&config, &context).with_context(named).map_err(Usage::of)
    }

    fn read(&self) -> anyhow::Result<Kubeconfig> {
        match &self.kubeconfig {
            Some(path) => Kubeconfig::read_from(path).with_context(|| path.display().to_string()),
            None => Kubeconfig::read().context("no kubeconfig can be read; give --kubeconfig"),
        }
    }
}

fn connect(config: &Config, context: &str) -> anyhow::Result<Cluster> {
    let server = config.cluster_url.clone();
    if server.scheme_str() != Some("https") {
        bail!("its server {server} is not asked by https; a token would be read on the way");
    }
    if config.accept_invalid_certs {
        bail!(
            "it says insecure-skip-tls-verify, and whoever answers would get the credential; give \
             certificate-authority-data instead"
        );
    }
    if config.proxy_url.is_some() {
        bail!("it says proxy-url, which is not served here; reach the server without a proxy");
    }
    Ok(Cluster {
        client: wire::client(config)?,
        context: context.to_owned(),
        roots: config.root_cert.as_deref().map(tls::pem),
        tls_server_name: config.tls_server_name.clone(),
        server,
    })
}

/// What an API server answers, within a time; that it does not is told apart from a no.
pub(crate) async fn answer<T>(
    what: &str,
    asked: impl Future<Output = kube::Result<T>>,
) -> anyhow::Result<T> {
    match tokio::time::timeout(ANSWER_MAX, asked).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(kube::Error::Api(status))) => {
            let told = format!("{what}: {}", said(&status));
            Err(Refused { code: status.code, told }.into())
        }
        Ok(Err(error)) => Err(Unreachable::of(anyhow!("{what}: {}", chain(&error)))),
        Err(_) => {
            let seconds = ANSWER_MAX.as_secs();
            Err(Unreachable::of(anyhow!("{what}: no answer within {seconds} s")))
        }
    }
}

/// Whether the API server knows no such thing.
pub(crate) fn is_missing(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Refused>().is_some_and(|refused| refused.code == 404)
}

/// An API server's no.
#[derive(Debug, thiserror::Error)]
#[error("{told}")]
struct Refused {
    code: u16,
    told: String,
}

/// What an API server says of a refusal, with the way out of the usual ones.
fn said(status: &kube::core::Status) -> String {
    let message = diolkos_ops::printable(&status.message).into_owned();
    match status.code {
        401 => "your credential is not known (401); sign in anew, or use another context".into(),
        403 => format!("you may not (403): {message}"),
        _ => message,
    }
}

/// An error with what caused it, each once.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let told = cause.to_string();
        if !text.contains(&told) {
            text = format!("{text}: {told}");
        }
        next = cause.source();
    }
    diolkos_ops::printable(&text).into_owned()
}
