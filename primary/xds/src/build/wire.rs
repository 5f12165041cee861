//! Small pieces that many messages share.

use std::net::SocketAddr;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::google::protobuf::{Any, Duration, Struct, UInt32Value, Value, value};
use prost::{Message, Name};

pub(super) fn any<M: Message + Name>(message: &M) -> Any {
    Any { type_url: M::type_url(), value: message.encode_to_vec() }
}

pub(super) fn seconds(seconds: i64) -> Option<Duration> {
    Some(Duration { seconds, nanos: 0 })
}

pub(super) fn uint(value: u32) -> Option<UInt32Value> {
    Some(UInt32Value { value })
}

/// One key only: maps of the generated types have a random order.
pub(super) fn one_field(key: &str, text: &str) -> Struct {
    let value = Value { kind: Some(value::Kind::StringValue(text.into())) };
    Struct { fields: [(key.to_owned(), value)].into() }
}

pub(super) fn ads() -> Option<core::ConfigSource> {
    let specifier =
        core::config_source::ConfigSourceSpecifier::Ads(core::AggregatedConfigSource {});
    Some(config_source(specifier))
}

pub(super) fn config_source(
    specifier: core::config_source::ConfigSourceSpecifier,
) -> core::ConfigSource {
    core::ConfigSource {
        resource_api_version: core::ApiVersion::V3 as i32,
        config_source_specifier: Some(specifier),
        ..Default::default()
    }
}

pub(super) fn address(at: SocketAddr) -> core::Address {
    let socket = core::SocketAddress {
        address: at.ip().to_string(),
        port_specifier: Some(core::socket_address::PortSpecifier::PortValue(at.port().into())),
        ..Default::default()
    };
    core::Address { address: Some(core::address::Address::SocketAddress(socket)) }
}

/// Whatever was there is replaced.
pub(super) fn header(key: &str, value: &str) -> core::HeaderValueOption {
    use core::header_value_option::HeaderAppendAction;
    core::HeaderValueOption {
        header: Some(core::HeaderValue {
            key: key.into(),
            value: value.into(),
            ..Default::default()
        }),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd as i32,
        ..Default::default()
    }
}

pub(super) fn inline(text: &str) -> core::DataSource {
    core::DataSource {
        specifier: Some(core::data_source::Specifier::InlineString(text.into())),
        ..Default::default()
    }
}
