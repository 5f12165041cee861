//! Why there is no stream: away, refused and not trusted are told apart, each in one line.

use std::net::SocketAddr;

use diolkos_tls::Roots;
use diolkos_trust::TrustDomain;
use diolkos_xds::ResourceType::Cluster;
use diolkos_xds_client::{ClientSettings, Credential, Incoming, Subscription, Why, connect};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::server::{Server, issue};
use crate::{next, quick};

async fn why(settings: ClientSettings) -> Why {
    let (_handle, mut incoming) = connect(settings, vec![(Cluster, Subscription::Wildcard)]);
    match next(&mut incoming).await {
        Incoming::Disconnected { why } => why,
        other => panic!("expected to hear why not, got {other:?}"),
    }
}

#[tokio::test]
async fn nobody_there_is_away() {
    let mut settings = quick(Server::start().await.settings());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    settings.place = listener.local_addr().unwrap().into();
    drop(listener);
    let at = settings.place.clone();
    assert_eq!(
        why(settings).await,
        Why::Away(format!(
            "the primary at {at} is away: connection refused; start it, or correct its address"
        ))
    );
}

#[tokio::test]
async fn a_name_without_an_address_is_away() {
    let mut settings = quick(Server::start().await.settings());
    settings.place = "primary.invalid:15012".parse().unwrap();
    match why(settings).await {
        Why::Away(text) => {
            let told = "the primary's name primary.invalid has no address: ";
            assert!(text.starts_with(told), "{text}");
            assert!(text.ends_with("; correct it, or what should resolve it"), "{text}");
        }
        other => panic!("{other:?}"),
    }
}

/// Accepts, reads something, says this, and hangs up.
async fn says(words: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut tcp, _) = listener.accept().await.unwrap();
            // Whole, so that hanging up resets nothing.
            let mut hello = [0; 16 * 1024];
            let _ = tcp.read(&mut hello).await;
            tcp.write_all(words).await.unwrap();
        }
    });
    address
}

#[tokio::test]
async fn one_who_hangs_up_on_tls_is_away_and_one_who_speaks_something_else_is_no_primary() {
    let settings = quick(Server::start().await.settings());
    let silent = ClientSettings { place: says(b"").await.into(), ..settings.clone() };
    match why(silent).await {
        Why::Away(text) => assert!(text.contains("it hung up on our TLS"), "{text}"),
        other => panic!("{other:?}"),
    }
    let plain =
        ClientSettings { place: says(b"HTTP/1.1 400 Bad\r\n\r\n").await.into(), ..settings };
    let at = plain.place.clone();
    match why(plain).await {
        Why::Untrusted(text) => {
            assert!(text.starts_with(&format!("what answers at {at} is not trusted")), "{text}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_server_without_the_name_in_its_certificate_is_not_trusted() {
    let server = Server::start().await;
    let mut settings = quick(server.settings());
    settings.server = "primary.of.someone.else".into();
    let at = settings.place.clone();
    assert_eq!(
        why(settings).await,
        Why::Untrusted(format!(
            "what answers at {at} is not trusted as the primary: the certificate is for \
             [primary.test], not for \"primary.of.someone.else\"; correct its address, the name \
             expected of it, or our root certificates"
        ))
    );
}

#[tokio::test]
async fn a_server_of_another_root_is_not_trusted() {
    let server = Server::start().await;
    let elsewhere = tempfile::tempdir().unwrap();
    issue(&elsewhere);
    let mut settings = quick(server.settings());
    settings.roots = Roots::load(elsewhere.path(), &TrustDomain::new("test").unwrap()).unwrap();
    match why(settings).await {
        Why::Untrusted(text) => {
            assert!(text.contains("signed by a root this mesh does not trust"), "{text}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn who_is_refused_hears_by_whom_and_as_whom_each_time() {
    let server = Server::start().await;
    let elsewhere = tempfile::tempdir().unwrap();
    let credential = Credential::Certificate(issue(&elsewhere));
    let settings = ClientSettings { credential, ..quick(server.settings()) };
    let at = settings.place.clone();
    let expected = Why::Refused(format!(
        "the primary at {at} refuses us, spiffe://test/ns/shop/sa/web: certificate unknown; its \
         log says why"
    ));
    // The alert is on its way while our requests are: whichever is first, it is the alert.
    let (_handle, mut incoming) = connect(settings, vec![(Cluster, Subscription::Wildcard)]);
    for round in 0..50 {
        match next(&mut incoming).await {
            Incoming::Disconnected { why } => assert_eq!(why, expected, "round {round}"),
            other => panic!("round {round}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn what_the_primary_says_against_a_stream_is_told_in_its_words() {
    let mut server = Server::start().await;
    let settings = quick(server.settings());
    let at = settings.place.clone();
    let (_handle, mut incoming) = connect(settings, vec![(Cluster, Subscription::Wildcard)]);
    let mut stream = server.stream().await;
    stream.request().await;
    stream.refuse(tonic::Status::permission_denied("NETWORK claims \"a\"")).await;
    loop {
        match next(&mut incoming).await {
            Incoming::Connected => {}
            Incoming::Disconnected { why } => {
                let text = format!("the primary at {at} refuses us: NETWORK claims \"a\"");
                assert_eq!(why, Why::Refused(text));
                return;
            }
            Incoming::Update(update) => panic!("{update:?}"),
        }
    }
}

#[tokio::test]
async fn a_token_is_sent_with_each_stream_as_the_file_is_then() {
    let mut server = Server::start().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "a.b.c").unwrap();
    let credential = Credential::Token(file.clone());
    let settings = ClientSettings { credential, ..quick(server.settings()) };
    let (_handle, mut incoming) = connect(settings, vec![(Cluster, Subscription::Wildcard)]);
    let stream = server.stream().await;
    assert_eq!(stream.metadata.get("authorization").unwrap(), "Bearer a.b.c");
    assert_eq!(stream.metadata.get("clusterid").unwrap(), "west");

    std::fs::write(&file, "").unwrap();
    drop(stream);
    let own = loop {
        match next(&mut incoming).await {
            Incoming::Disconnected { why: Why::Own(text) } => break text,
            Incoming::Disconnected { .. } | Incoming::Connected => {}
            Incoming::Update(update) => panic!("{update:?}"),
        }
    };
    let empty = "it is empty; write a service-account token into it";
    assert_eq!(own, format!("token file {}: {empty}", file.display()));
    std::fs::write(&file, "d.e.f\n").unwrap();
    let stream = server.stream().await;
    assert_eq!(stream.metadata.get("authorization").unwrap(), "Bearer d.e.f");
}
