//! A connection that outlives its requests, as databases and queues have them.

use std::time::Instant;

use anyhow::Context as _;
use tokio::io::BufReader;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::client::{Call, Line};

#[derive(Debug, Default)]
pub(super) struct Connection {
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    stream: BufReader<TcpStream>,
    since: Instant,
    requests: u64,
}

impl Connection {
    /// One request. After a failure, also of patience, the next one has a new connection.
    pub(super) async fn perform(&mut self, call: &Call) -> Line {
        let mut line = call.begin();
        let walked = timeout(call.patience, self.walk(call, &mut line)).await;
        let line = line.end(walked, call.patience);
        if line.is_failure() {
            self.open = None;
        }
        line
    }

    async fn walk(&mut self, call: &Call, line: &mut Line) -> anyhow::Result<()> {
        let open = match &mut self.open {
            Some(open) => open,
            none => none.insert(Open {
                stream: BufReader::new(call.connect(line).await?),
                since: Instant::now(),
                requests: 0,
            }),
        };
        line.address = open.stream.get_ref().peer_addr().ok();
        line.stage = "answer";
        let answer = call.exchange_line(&mut open.stream).await;
        let age = open.since.elapsed().as_secs_f64();
        let told = || format!("after {age:.1} s and {} answers", open.requests);
        line.heard(&answer.with_context(told)?);
        open.requests += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use clap::Parser;
    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::call::CallArgs;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        call: CallArgs,
    }

    /// Answers two lines of each connection, then ends it; with the number of the connection.
    async fn fickle(listener: TcpListener) {
        for number in 1.. {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = BufReader::new(stream);
            for _ in 0..2 {
                stream.read_line(&mut String::new()).await.unwrap();
                stream.get_mut().write_all(format!("{number}\n").as_bytes()).await.unwrap();
            }
        }
    }

    #[tokio::test]
    async fn requests_share_a_connection_until_it_fails() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("tcp://{}", listener.local_addr().unwrap());
        tokio::spawn(fickle(listener));
        let flags = Flags::parse_from(["call", "--plain", "--keep", &url]);
        let call = Arc::new(Call::read(&url, &flags.call).unwrap());
        let mut connection = Connection::default();
        let mut seen = Vec::new();
        let six = async {
            for _ in 0..6 {
                let line = serde_json::to_value(connection.perform(&call).await).unwrap();
                let why = line["failure"]["why"].as_str().map(str::to_owned);
                seen.push(why.unwrap_or_else(|| line["answer"].to_string()));
            }
        };
        tokio::time::timeout(Duration::from_secs(20), six).await.unwrap();
        assert_eq!(seen[..2], ["1", "1"]);
        assert!(seen[2].starts_with("after ") && seen[2].contains(" and 2 answers: "), "{seen:?}");
        assert_eq!(seen[3..5], ["2", "2"]);
        assert!(seen[5].contains("2 answers"), "{seen:?}");
    }
}
