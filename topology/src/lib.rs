//! Facts in, views out.
//!
//! A [`Federation`] is told what clusters say ([`Event`]) and who asks ([`Audience`]), and answers
//! with what changes for whom ([`ViewDelta`]), what someone should know ([`Notice`]), and what
//! someone should write ([`StatusWish`]).
//!
//! ```text
//!  facts of cluster A ─┐                                  ┌─> ViewDelta  for each live audience
//!  facts of cluster B ─┼─> Federation::apply(now, event) ─┼─> Notice     for people
//!  audiences come, go ─┘                                  └─> StatusWish for whoever may write
//! ```
//!
//! - Deterministic: no I/O, clock, randomness or hash order. Time is an argument and never goes
//!   back; an earlier tick counts as the latest seen.
//! - `apply` cannot fail. What a cluster says wrongly becomes a notice and spoils nothing else.
//! - Facts are kept as said. Health, export and reachability select when a view is derived.
//! - Per source the last writer by [`Stamp`] wins, so a repeated or late event changes nothing.
//! - Work follows the change, not the size of the service or the mesh; [`Work`] counts it.

mod audience;
mod change;
mod classify;
mod derive;
mod event;
mod explain;
mod fact;
mod facts;
mod families;
mod federation;
mod gateway;
mod grant;
mod home;
mod index;
mod intern;
mod keys;
mod ledger;
pub mod limit;
mod local;
mod merge;
mod mirror;
mod name;
mod notice;
pub mod oracle;
mod pattern;
mod priority;
mod rows;
mod scope;
mod show;
mod sketch;
mod slices;
mod spread;
mod status;
mod told;
mod traffic;
mod units;
mod view;
mod work;

pub use audience::{Audience, AudienceId, ClientKind, IpFamilies};
pub use classify::Reason;
pub use event::{
    ClusterLocalRule, ClusterSettings, Deadlines, Effects, Event, ExportMode, MeshSettings,
    StatusWish,
};
pub use explain::{Explanation, Subject, Verdict};
pub use fact::{
    AppProtocol, Consumers, EndpointFact, ExportFact, Fact, FactKey, FactKind, GatewayFact,
    GatewayKey, Health, Mtls, NamespaceFact, NodeFact, ServiceFact, ServicePortFact, SliceFact,
    SummaryFact, SummaryGroup, Workload,
};
pub use federation::Federation;
pub use grant::{Grants, Names, Networks, Refusal, special_address};
pub use mirror::{PortEntry, ServiceEntry, View};
pub use name::{
    ClusterId, Epoch, GatewayName, Generation, Locality, NameError, Namespace, NetworkId, NodeName,
    PodName, Port, PortName, Seq, ServiceKey, ServiceName, ServicePort, SliceName, Source, Stamp,
    Tick,
};
pub use notice::Notice;
pub use pattern::{NamePattern, PatternError, RESERVED_NAMESPACES};
pub use spread::{GatewayShare, Group, spread};
pub use status::{ClusterState, ClusterStatus, GatewayStatus, NetworkStatus, Refused};
pub use traffic::{MtlsMode, OutboundTraffic, PodPorts};
pub use view::{
    Change, PRIORITY_ELSEWHERE, PRIORITY_REGION, PRIORITY_STALE, PRIORITY_ZONE, PortView,
    Restricted, ServiceView, ViewDelta, ViewEndpoint, ViewGateway, WEIGHT_MAX, WEIGHT_UNIT, What,
};
pub use work::Work;
