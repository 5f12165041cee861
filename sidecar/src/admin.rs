//! Questions to Envoy's own admin port, on loopback.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::limit::{ADMIN_BYTES_MAX, ADMIN_MAX};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Admin(pub(crate) SocketAddr);

impl Admin {
    pub(crate) async fn get(self, path: &str) -> Result<String, String> {
        self.ask(Method::GET, path).await
    }

    pub(crate) async fn post(self, path: &str) -> Result<String, String> {
        self.ask(Method::POST, path).await
    }

    /// The body of a 200; everything else is a reason.
    async fn ask(self, method: Method, path: &str) -> Result<String, String> {
        let (status, body) = timeout(ADMIN_MAX, self.exchange(method, path))
            .await
            .map_err(|_| format!("no answer within {} s", ADMIN_MAX.as_secs()))??;
        match status {
            StatusCode::OK => Ok(body),
            status => Err(format!("{status}: {}", body.trim())),
        }
    }

    async fn exchange(self, method: Method, path: &str) -> Result<(StatusCode, String), String> {
        let tcp = TcpStream::connect(self.0).await.map_err(|error| error.to_string())?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tcp))
            .await
            .map_err(|error| error.to_string())?;
        let driver = tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", self.0.to_string())
            .body(Empty::<Bytes>::new())
            .map_err(|error| error.to_string())?;
        let answer = async {
            let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ADMIN_BYTES_MAX).collect().await;
            let body = body.map_err(|error| error.to_string())?.to_bytes();
            Ok((status, String::from_utf8_lossy(&body).into_owned()))
        };
        let answer = answer.await;
        driver.abort();
        answer
    }

    /// The sum of the counters or gauges whose names match, of Envoy's `name: value` lines.
    pub(crate) async fn sum(
        self,
        filter: &str,
        counts: impl Fn(&str) -> bool,
    ) -> Result<u64, String> {
        Ok(sum_of(&self.get(&format!("/stats?filter={filter}")).await?, counts))
    }
}

fn sum_of(stats: &str, counts: impl Fn(&str) -> bool) -> u64 {
    stats
        .lines()
        .filter_map(|line| line.rsplit_once(": "))
        .filter(|(name, _)| counts(name))
        .filter_map(|(_, value)| value.trim().parse::<u64>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_of_the_names_that_count() {
        let stats = "listener.0.0.0.0_15006.downstream_cx_active: 3\n\
                     listener.0.0.0.0_15006.worker_0.downstream_cx_active: 3\n\
                     listener.admin.downstream_cx_active: 1\n\
                     listener.[__]_15001.downstream_cx_active: 2\nnonsense\na: b\n";
        let counts = |name: &str| !name.contains("admin") && !name.contains(".worker_");
        assert_eq!(sum_of(stats, counts), 5);
    }
}
