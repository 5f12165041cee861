//! One xDS resource, encoded once for every client that is sent it.

use std::fmt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use envoy_types::pb::envoy::service::discovery::v3 as discovery;
use envoy_types::pb::google::protobuf::Any;
use prost::{Message, Name};
use xxhash_rust::xxh3::xxh3_128;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceType {
    Cluster,
    Endpoint,
    Listener,
    Route,
}

impl ResourceType {
    /// What is added goes out in this order; what is removed, in the reverse.
    pub const ORDER: [Self; 4] = [Self::Cluster, Self::Endpoint, Self::Listener, Self::Route];

    pub fn url(self) -> &'static str {
        match self {
            Self::Cluster => "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            Self::Endpoint => "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            Self::Listener => "type.googleapis.com/envoy.config.listener.v3.Listener",
            Self::Route => "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
        }
    }

    pub fn from_url(url: &str) -> Option<Self> {
        Self::ORDER.into_iter().find(|kind| kind.url() == url)
    }

    /// The type of this one's followers.
    pub fn follower(self) -> Option<Self> {
        match self {
            Self::Cluster => Some(Self::Endpoint),
            Self::Listener => Some(Self::Route),
            Self::Endpoint | Self::Route => None,
        }
    }

    /// The type this one follows.
    pub fn leader(self) -> Option<Self> {
        match self {
            Self::Endpoint => Some(Self::Cluster),
            Self::Route => Some(Self::Listener),
            Self::Cluster | Self::Listener => None,
        }
    }

    pub(crate) fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for ResourceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cluster => "CDS",
            Self::Endpoint => "EDS",
            Self::Listener => "LDS",
            Self::Route => "RDS",
        })
    }
}

/// Its three byte strings are slices of one buffer.
#[derive(Clone, PartialEq, Eq)]
pub struct Resource {
    pub kind: ResourceType,
    pub name: Arc<str>,
    /// Hash of the body, in hex; of a follower, also of the version of what it warms.
    pub version: Arc<str>,
    /// `Any.value`
    pub body: Bytes,
    /// Its follower: the resource of the next type without which a client never puts it to use.
    pub warmed_by: Option<Arc<str>>,
    /// Hash of the body alone.
    pub(crate) content: u128,
    /// Field 2 of a DeltaDiscoveryResponse, tag and length included.
    pub(crate) delta: Bytes,
    /// Field 2 of a DiscoveryResponse, tag and length included.
    pub(crate) sotw: Bytes,
}

impl Resource {
    /// One that warms nothing and waits for nothing.
    pub fn new<M: Message + Name>(kind: ResourceType, name: &str, message: &M) -> Self {
        Self::of_body(kind, name, "", None, &message.encode_to_vec())
    }

    /// One that a client puts to use only after `follower` arrives.
    pub fn leader<M: Message + Name>(
        kind: ResourceType,
        name: &str,
        follower: &Arc<str>,
        message: &M,
    ) -> Self {
        Self::of_body(kind, name, "", Some(Arc::clone(follower)), &message.encode_to_vec())
    }

    /// One that warms a leader of this version. A client that was given a new leader needs this
    /// again though its body is the same (envoy#47302). One that lost its stream in between still
    /// does, and says on its next stream which version it has: therefore it is another version.
    pub fn follower<M: Message + Name>(
        kind: ResourceType,
        name: &str,
        leader_version: &str,
        message: &M,
    ) -> Self {
        Self::of_body(kind, name, leader_version, None, &message.encode_to_vec())
    }

    /// The same as another version, for a client whose leader is not this one's.
    pub(crate) fn unled(&self) -> Self {
        Self::of_body(self.kind, &self.name, "unled", None, &self.body)
    }

    fn of_body(
        kind: ResourceType,
        name: &str,
        leader_version: &str,
        warmed_by: Option<Arc<str>>,
        body: &[u8],
    ) -> Self {
        let content = xxh3_128(body);
        let version = match leader_version {
            "" => format!("{content:032x}"),
            leader => {
                let both = format!("{content:032x} {leader}");
                format!("{:032x}", xxh3_128(both.as_bytes()))
            }
        };
        // Both responses carry the Any as field 2, so one buffer that ends with it serves both;
        // protobuf lets fields come in any order.
        let any = Any { type_url: kind.url().into(), value: body.to_vec() };
        let head = discovery::Resource {
            name: name.into(),
            version: version.clone(),
            ..Default::default()
        };
        let any_len = any.encoded_len();
        let tail_len = 1 + prost::length_delimiter_len(any_len) + any_len;
        let inner_len = head.encoded_len() + tail_len;
        let mut buffer = BytesMut::with_capacity(1 + 10 + inner_len);
        append_length_delimited(&mut buffer, inner_len);
        head.encode_raw(&mut buffer);
        append_length_delimited(&mut buffer, any_len);
        any.encode_raw(&mut buffer);
        let delta = buffer.freeze();
        let sotw = delta.slice(delta.len() - tail_len..);
        let body = delta.slice(delta.len() - body.len()..);
        Self {
            kind,
            name: name.into(),
            version: version.into(),
            body,
            warmed_by,
            content,
            delta,
            sotw,
        }
    }
}

/// Tag 2, wire type "length delimited", and the length.
fn append_length_delimited(buffer: &mut BytesMut, len: usize) {
    prost::encoding::encode_key(2, prost::encoding::WireType::LengthDelimited, buffer);
    prost::encoding::encode_varint(len as u64, buffer);
}

impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} ({} bytes)", self.kind, self.name, self.version, self.body.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use envoy_types::pb::envoy::config::cluster::v3::Cluster;

    #[test]
    fn the_chunks_are_field_two_of_both_responses() {
        let cluster = Cluster { name: "c".into(), ..Default::default() };
        let made = Resource::new(ResourceType::Cluster, "c", &cluster);

        let delta = discovery::DeltaDiscoveryResponse::decode(made.delta.clone()).unwrap();
        let [inner] = delta.resources.as_slice() else { panic!("one resource") };
        assert_eq!((inner.name.as_str(), inner.version.as_str()), ("c", &*made.version));
        let any = inner.resource.clone().unwrap();
        assert_eq!(any.type_url, Cluster::type_url());
        assert_eq!(Cluster::decode(any.value.as_slice()).unwrap(), cluster);

        let sotw = discovery::DiscoveryResponse::decode(made.sotw.clone()).unwrap();
        assert_eq!(sotw.resources, [any]);
        assert_eq!(made.body, cluster.encode_to_vec());
    }

    #[test]
    fn an_empty_body_is_still_a_resource() {
        let made = Resource::of_body(ResourceType::Route, "r", "", None, &[]);
        assert!(made.body.is_empty());
        let sotw = discovery::DiscoveryResponse::decode(made.sotw).unwrap();
        assert_eq!(sotw.resources[0].type_url, ResourceType::Route.url());
    }

    #[test]
    fn a_follower_is_another_version_when_its_leader_is() {
        let cluster = Cluster::default();
        let version = |leader: &str| {
            Resource::follower(ResourceType::Endpoint, "c", leader, &cluster).version
        };
        assert_eq!(version("1"), version("1"));
        assert_ne!(version("1"), version("2"));
    }

    #[test]
    fn urls_are_those_of_the_messages() {
        for kind in ResourceType::ORDER {
            assert_eq!(ResourceType::from_url(kind.url()), Some(kind));
        }
        assert_eq!(ResourceType::from_url("type.googleapis.com/x"), None);
    }
}
