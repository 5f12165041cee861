//! A hop between client and server that can freeze: sockets stay open, nothing passes.

use std::net::SocketAddr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

pub(crate) struct Frost {
    pub(crate) address: SocketAddr,
    frozen: watch::Sender<bool>,
}

impl Frost {
    pub(crate) async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (frozen, watched) = watch::channel(false);
        tokio::spawn(async move {
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                let mut far = TcpStream::connect(server).await.unwrap();
                let mut watched = watched.clone();
                tokio::spawn(async move {
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => return,
                        _ = watched.wait_for(|frozen| *frozen) => {}
                    }
                    // Holds both sockets until the test is over.
                    let _ = watched.wait_for(|frozen| !*frozen).await;
                });
            }
        });
        Self { address, frozen }
    }

    pub(crate) fn fall(&self) {
        self.frozen.send_replace(true);
    }
}
