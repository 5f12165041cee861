//! The certificate API on the port of the ADS: from a token to configuration.

use std::sync::Arc;
use std::time::SystemTime;

use diolkos_ops::metrics::Registry;
use diolkos_primary::{Beside, OwnIdentity};
use diolkos_tls::{Expect, Identity, anonymous_client_config};
use diolkos_trust::TrustDomain;
use diolkos_trust_service::{
    ApiSettings, Boxed, CertificateApi, LiveAuthority, OwnCertificate, OwnNames, Review,
    ReviewError, Reviewed, Reviewer, Token,
};
use diolkos_trust_wire::{Answer, CREATE_CERTIFICATE, IstioCertificateRequest, SERVICE_PREFIX};
use diolkos_xds::ResourceType::Cluster;
use diolkos_xds_client::{ClientSettings, Credential, Subscription, connect};
use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use http::uri::PathAndQuery;
use rcgen::{CertificateParams, KeyPair};
use tokio_rustls::TlsConnector;
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

use crate::raw;
use crate::world::{DOMAIN, Running, World, start, update};

/// Every token is `shop/web`'s.
#[derive(Debug)]
struct Trusting;

impl Reviewer for Trusting {
    fn review<'a>(
        &'a self,
        cluster: &'a str,
        _: &'a Token,
        _: &'a [&'a str],
    ) -> Boxed<'a, Result<Reviewed, ReviewError>> {
        let one =
            |key: &str| (format!("authentication.kubernetes.io/{key}"), vec!["web-1".to_owned()]);
        let review = Review {
            authenticated: true,
            audiences: vec!["diolkos-ca".into()],
            username: "system:serviceaccount:shop:web".into(),
            groups: vec!["system:serviceaccounts".into(), "system:serviceaccounts:shop".into()],
            extra: [one("pod-name"), one("pod-uid")].into(),
            ..Review::default()
        };
        let reviewed = Reviewed { cluster: cluster.into(), review };
        Box::pin(std::future::ready(Ok(reviewed)))
    }
}

struct Ground {
    world: World,
    running: Running,
    _own: OwnCertificate,
}

impl Ground {
    /// A primary with west's CA, whose certificate it issued itself; `north` has no CA at all.
    async fn new() -> Self {
        let world = World::new();
        world.mesh(
            "  - {name: west, addresses: [127.1.0.0/16], caCertificate: ca/west/ca-cert.pem}
  - {name: east, addresses: [127.2.0.0/16]}
",
        );
        let domain = TrustDomain::new(DOMAIN).unwrap();
        let ca = diolkos_trust_service::Authority::load(&world.path("ca/west")).unwrap();
        let live = LiveAuthority::new(ca).unwrap();
        let mut names = OwnNames::in_cluster(&domain, "diolkos-system", "diolkos-primary").unwrap();
        names.dns.push("primary.test".into());
        let own = OwnCertificate::keep(&live, names).unwrap();
        let mut registry = Registry::new();
        let api = CertificateApi::new(
            ApiSettings {
                authority: live.clone(),
                trust_domain: domain,
                reviewer: Arc::new(Trusting),
                grants: Arc::new(|_: &str, _: &str, _: &str| Ok(())),
            },
            &mut registry,
        );
        let mut settings = world.settings();
        settings.identity =
            OwnIdentity::Live { identity: own.identity.clone(), roots: own.roots.clone() };
        settings.own_issuers = live.issuers();
        settings.beside = Some(Beside::new(SERVICE_PREFIX, api));
        settings.registry = Some(registry);
        let running = start(settings).await;
        running.until_ready().await;
        Self { world, running, _own: own }
    }

    /// As a workload without a certificate does it.
    async fn certificate(&self, cluster: &str) -> Result<Identity, Status> {
        let key = KeyPair::generate().unwrap();
        let csr = CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap();
        let message = IstioCertificateRequest { csr, ..IstioCertificateRequest::default() };
        let mut request = tonic::Request::new(message);
        request.metadata_mut().insert("authorization", "Bearer t".parse().unwrap());
        request.metadata_mut().insert("clusterid", cluster.parse().unwrap());
        let origin = raw::origin(&self.world.sidecar(&self.running, "west"));
        let mut grpc = tonic::client::Grpc::with_origin(self.anonymous().await, origin);
        grpc.ready().await.unwrap();
        let path = PathAndQuery::from_static(CREATE_CERTIFICATE);
        let response = grpc.unary(request, path, ProstCodec::default()).await?;
        let answer = Answer::of(response.get_ref()).unwrap();
        let key = key.serialize_pem();
        Ok(Identity::of_pem(answer.chain_pem.as_bytes(), key.as_bytes(), SystemTime::now())
            .unwrap())
    }

    async fn anonymous(&self) -> raw::Calls {
        let settings = self.world.sidecar(&self.running, "west");
        let expect = Expect::Dns(settings.server.clone());
        let config = anonymous_client_config(&settings.roots, expect, &["h2"]);
        raw::calls(&settings, TlsConnector::from(config), raw::WINDOW).await.unwrap()
    }
}

#[tokio::test]
async fn a_token_becomes_a_certificate_and_the_certificate_its_clusters_view() {
    let ground = Ground::new().await;
    for cluster in ["west", "east"] {
        let identity = ground.certificate(cluster).await.unwrap();
        let settings = ClientSettings {
            credential: Credential::Certificate(identity),
            ..ground.world.sidecar(&ground.running, cluster)
        };
        let subscribe = vec![(Cluster, Subscription::Wildcard)];
        let (_handle, mut incoming) = connect(settings, subscribe);
        update(&mut incoming, Cluster).await.accept();
        let debug = ground.running.debug().await;
        let seen = debug["streams"].as_array().unwrap().iter();
        assert!(seen.clone().any(|stream| stream["cluster"] == cluster), "{debug:#}");
    }
    assert!(ground.running.metric("diolkos_ca_issued_total{by=\"token\"}").await >= 2.0);
    ground.running.stop().await;
}

#[tokio::test]
async fn a3_a_certificate_for_a_cluster_that_the_mesh_does_not_have_opens_nothing() {
    let ground = Ground::new().await;
    let identity = ground.certificate("south").await.unwrap();
    let settings = ClientSettings {
        credential: Credential::Certificate(identity),
        ..ground.world.sidecar(&ground.running, "west")
    };
    let first = DeltaDiscoveryRequest {
        node: Some(raw::node(&settings)),
        type_url: Cluster.url().into(),
        ..DeltaDiscoveryRequest::default()
    };
    let told = raw::delta(&settings, raw::WINDOW, first).await.err().unwrap();
    assert_eq!(told.code(), Code::PermissionDenied);
    assert!(told.message().contains("is for cluster \"south\", which this mesh does not have"));
    ground.running.stop().await;
}

#[tokio::test]
async fn a10_who_has_no_certificate_is_given_one_and_no_configuration() {
    let ground = Ground::new().await;
    let calls = ground.anonymous().await;
    let origin = raw::origin(&ground.world.sidecar(&ground.running, "west"));
    let mut client = AggregatedDiscoveryServiceClient::with_origin(calls, origin);
    let told = client.delta_aggregated_resources(tokio_stream::pending()).await.unwrap_err();
    assert_eq!(told.code(), Code::Unauthenticated);
    assert!(told.message().contains("neither a certificate nor a token"), "{told}");
    ground.running.stop().await;
}
