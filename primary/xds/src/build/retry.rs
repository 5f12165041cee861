//! Which requests are tried again, and when.
//!
//! | | nobody has begun to answer | somebody may have begun |
//! |---|---|---|
//! | GET, HEAD, OPTIONS, TRACE, PUT, DELETE | tried again | tried again |
//! | all others, gRPC with them | tried again | not |
//!
//! A gateway that passes mutual TLS through cannot announce to HTTP that it goes: its connections
//! break in the middle of requests. That is what the second column is for. What may be repeated is
//! RFC 9110's word (9.2.2), not a guess about the application.
//!
//! An application's own answer is never a reason, whatever its status: it has been asked, and
//! asking others as well turns a service's trouble into three times its load. What a server's proxy
//! says in the place of an application that it could not reach is told apart by a header of ours.

use envoy_types::pb::envoy::config::route::v3 as route;
use envoy_types::pb::envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate;
use envoy_types::pb::envoy::r#type::matcher::v3::{
    RegexMatcher, StringMatcher, string_matcher::MatchPattern,
};
use route::retry_policy::{RetryHostPredicate, retry_host_predicate::ConfigType};

use super::route::everything;
use super::wire::{any, uint};

/// In a server's proxy's own answers: how far the request came. Never shown to an application.
pub(crate) const REACHED: &str = "x-diolkos-reached";
pub(crate) const REACHED_NOT: &str = "no";
pub(crate) const REACHED_PERHAPS: &str = "perhaps";

const REPEATABLE_METHODS: &str = "GET|HEAD|OPTIONS|TRACE|PUT|DELETE";

/// What is safe for every request: nothing was sent, or nothing was taken.
const NOT_BEGUN: &str = "connect-failure,refused-stream,reset-before-request";

/// The methods that may be repeated, then all others.
pub(super) fn routes(
    repeatable: route::RouteAction,
    once: route::RouteAction,
) -> Vec<route::Route> {
    let mut first = everything(route::route::Action::Route(repeatable));
    if let Some(matches) = &mut first.r#match {
        matches.headers = vec![header(
            ":method",
            MatchPattern::SafeRegex(RegexMatcher {
                regex: REPEATABLE_METHODS.into(),
                ..Default::default()
            }),
        )];
    }
    vec![first, everything(route::route::Action::Route(once))]
}

/// Of a client's side, for another endpoint.
pub(super) fn repeatable() -> route::RetryPolicy {
    route::RetryPolicy {
        retry_on: format!("{NOT_BEGUN},reset,retriable-headers"),
        retriable_headers: vec![reached(REACHED_NOT), reached(REACHED_PERHAPS)],
        ..elsewhere()
    }
}

pub(super) fn once() -> route::RetryPolicy {
    route::RetryPolicy {
        retry_on: format!("{NOT_BEGUN},retriable-headers"),
        retriable_headers: vec![reached(REACHED_NOT)],
        ..elsewhere()
    }
}

/// Of a server's side, for the one application there is: it may close a connection that it kept
/// just as a request is about to be sent. Whatever else breaks is the client's side's to repeat; if
/// both did, each request would come nine times to an application that falls over it.
pub(super) fn local() -> route::RetryPolicy {
    route::RetryPolicy {
        retry_on: "refused-stream,reset-before-request".into(),
        num_retries: uint(2),
        ..Default::default()
    }
}

fn elsewhere() -> route::RetryPolicy {
    route::RetryPolicy {
        num_retries: uint(2),
        retry_host_predicate: vec![RetryHostPredicate {
            name: "envoy.retry_host_predicates.previous_hosts".into(),
            config_type: Some(ConfigType::TypedConfig(any(&PreviousHostsPredicate {}))),
        }],
        host_selection_retry_max_attempts: 5,
        ..Default::default()
    }
}

fn reached(word: &str) -> route::HeaderMatcher {
    header(REACHED, MatchPattern::Exact(word.into()))
}

fn header(name: &str, pattern: MatchPattern) -> route::HeaderMatcher {
    route::HeaderMatcher {
        name: name.into(),
        header_match_specifier: Some(route::header_matcher::HeaderMatchSpecifier::StringMatch(
            StringMatcher { match_pattern: Some(pattern), ..Default::default() },
        )),
        ..Default::default()
    }
}
