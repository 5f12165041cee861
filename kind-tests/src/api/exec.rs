//! Programs in pods, by the API server as `kubectl exec` does.

use anyhow::{Context as _, bail};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::Api;
use kube::api::{AttachParams, ListParams};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::{Cluster, in_time};
use crate::limit::{OUTPUT_BYTES_MAX, POD_WITHIN};

/// What a program in a pod came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ran {
    pub stdout: String,
    pub stderr: String,
    pub code: i32,
}

/// Where a program's streams go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Streams {
    /// Standard output and errors are this process's; it reads nothing.
    Out,
    /// Standard input too.
    InAndOut,
}

impl Cluster {
    /// The pod of that name, or the first that is ready of the workload of that name.
    ///
    /// # Errors
    /// When there is none for some time.
    pub async fn pod(&self, namespace: &str, name: &str) -> anyhow::Result<Pod> {
        let deadline = tokio::time::Instant::now() + POD_WITHIN;
        loop {
            if let Some(found) = self.find_pod(namespace, name).await? {
                return Ok(found);
            }
            if tokio::time::Instant::now() > deadline {
                let cluster = &self.name;
                bail!("{cluster}: no pod {namespace}/{name}, and no ready one of app {name}");
            }
            tokio::time::sleep(crate::limit::LOOK_EVERY).await;
        }
    }

    async fn find_pod(&self, namespace: &str, name: &str) -> anyhow::Result<Option<Pod>> {
        let pods: Api<Pod> = Api::namespaced(self.client(), namespace);
        if let Some(pod) = in_time(pods.get_opt(name)).await? {
            return Ok(Some(pod));
        }
        let of_app = ListParams::default().labels(&format!("app={name}"));
        let mut found = in_time(pods.list(&of_app)).await?.items;
        found.retain(is_ready);
        found.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        Ok(found.into_iter().next())
    }

    /// Runs `argv` in the container `app`, or the first one, and keeps what it prints.
    ///
    /// # Errors
    /// When it cannot be started; what it ends with is no error.
    pub async fn exec(&self, namespace: &str, pod: &str, argv: &[String]) -> anyhow::Result<Ran> {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let code = self.run(namespace, pod, argv, Streams::Out, &mut stdout, &mut stderr).await?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Ran { stdout: text(&stdout), stderr: text(&stderr), code })
    }

    /// Runs `argv` in a pod with this process's streams; returns what it ended with.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn exec_here(
        &self,
        namespace: &str,
        pod: &str,
        argv: &[String],
        streams: Streams,
    ) -> anyhow::Result<i32> {
        let (mut stdout, mut stderr) = (tokio::io::stdout(), tokio::io::stderr());
        self.run(namespace, pod, argv, streams, &mut stdout, &mut stderr).await
    }

    async fn run(
        &self,
        namespace: &str,
        pod: &str,
        argv: &[String],
        streams: Streams,
        stdout: &mut (impl AsyncWrite + Unpin),
        stderr: &mut (impl AsyncWrite + Unpin),
    ) -> anyhow::Result<i32> {
        let found = self.pod(namespace, pod).await?;
        let name = found.metadata.name.clone().context("a pod without a name")?;
        let pods: Api<Pod> = Api::namespaced(self.client(), namespace);
        let parameters = AttachParams {
            container: container(&found),
            stdin: streams == Streams::InAndOut,
            stdout: true,
            stderr: true,
            ..AttachParams::default()
        };
        let started = pods.exec(&name, argv.iter().map(String::as_str), &parameters);
        let mut process = in_time(started)
            .await
            .with_context(|| format!("{}: {namespace}/{name}: {}", self.name, argv.join(" ")))?;
        let input = process.stdin().map(|mut to| {
            tokio::spawn(async move {
                // An end of either is the end of this.
                let _ = tokio::io::copy(&mut tokio::io::stdin(), &mut to).await;
                let _ = to.shutdown().await;
            })
        });
        let status = process.take_status().context("its status was taken")?;
        let from = (process.stdout(), process.stderr());
        let (out, err) = (pass(from.0, stdout), pass(from.1, stderr));
        let (out, err, status) = tokio::join!(out, err, status);
        if let Some(input) = input {
            input.abort();
        }
        out?;
        err?;
        code(status.as_ref()).with_context(|| format!("{}: {namespace}/{name}", self.name))
    }
}

async fn pass(
    from: Option<impl AsyncRead + Unpin>,
    to: &mut (impl AsyncWrite + Unpin),
) -> std::io::Result<()> {
    if let Some(from) = from {
        tokio::io::copy(&mut from.take(OUTPUT_BYTES_MAX), to).await?;
        to.flush().await?;
    }
    Ok(())
}

pub(crate) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let mut conditions = conditions.into_iter().flatten();
    pod.metadata.deletion_timestamp.is_none()
        && conditions.any(|is| is.type_ == "Ready" && is.status == "True")
}

/// Ours first: an injected sidecar may come before it.
fn container(pod: &Pod) -> Option<String> {
    let containers = &pod.spec.as_ref()?.containers;
    let ours = containers.iter().find(|container| container.name == "app");
    ours.or(containers.first()).map(|container| container.name.clone())
}

/// As Kubernetes says it: a number among the causes of a failure.
fn code(status: Option<&Status>) -> anyhow::Result<i32> {
    let Some(status) = status else { bail!("the connection ended before the program") };
    if status.status.as_deref() == Some("Success") {
        return Ok(0);
    }
    let causes = status.details.as_ref().and_then(|details| details.causes.as_ref());
    let code = causes
        .into_iter()
        .flatten()
        .find(|cause| cause.reason.as_deref() == Some("ExitCode"))
        .and_then(|cause| cause.message.as_deref()?.parse().ok());
    match code {
        Some(code) => Ok(code),
        None => bail!("{}", status.message.as_deref().unwrap_or("it ended without saying how")),
    }
}
