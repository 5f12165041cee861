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
mod event;
mod explain;
mod fact;
mod federation;
pub mod limit;
mod mirror;
mod name;
mod notice;
pub mod oracle;
mod status;
mod view;
mod work;

pub use audience::{Audience, AudienceId, ClientKind, IpFamilies};
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
pub use mirror::{PortEntry, ServiceEntry, View};
pub use name::{
    ClusterId, Epoch, GatewayName, Generation, Locality, NameError, Namespace, NetworkId, NodeName,
    PodName, Port, PortName, Seq, ServiceKey, ServiceName, ServicePort, SliceName, Source, Stamp,
    Tick,
};
pub use notice::Notice;
pub use status::{ClusterState, ClusterStatus};
pub use view::{
    Change, PRIORITY_ELSEWHERE, PRIORITY_REGION, PRIORITY_STALE, PRIORITY_ZONE, PortView,
    ServiceView, ViewDelta, ViewEndpoint, ViewGateway, WEIGHT_UNIT, What,
};
pub use work::Work;
