//! What a gateway that ends tunnels is told of callers, beside Envoy's own fields: which CA signs
//! for which cluster, and of which service who may be its consumer. It stands in the metadata of
//! the listener and of clusters, under [`METADATA`], where Envoy keeps it and does not look.
//!
//! Lists of lists of texts: maps of the generated messages have a random order.

use envoy_types::pb::envoy::config::core::v3::Metadata;
use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::protobuf::{ListValue, Struct, Value};

/// The key of everything of ours.
pub const METADATA: &str = "diolkos.dev";

const CALLERS: &str = "callers";
const CONSUMERS: &str = "consumers";

/// Who is told apart by whose signature. Keys are `diolkos_tls::IssuerKey` in text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Callers {
    /// Of CAs that sign for several clusters and write which one into the subject.
    pub own: Vec<String>,
    /// Every cluster of the mesh, with the keys of the CAs that sign for it alone.
    pub clusters: Vec<Named>,
}

/// A cluster, and what is said of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub cluster: String,
    /// Keys of CAs, or consumers.
    pub texts: Vec<String>,
}

impl Callers {
    /// The first list is of no cluster: it holds `own`.
    pub(crate) fn metadata(&self) -> Metadata {
        let own = Named { cluster: String::new(), texts: self.own.clone() };
        metadata(CALLERS, std::iter::once(&own).chain(&self.clusters))
    }

    /// `None` where nothing is said.
    ///
    /// # Errors
    /// With the reason, in words for whoever runs the primary.
    pub fn read(from: Option<&Metadata>) -> Result<Option<Self>, String> {
        let Some(mut lists) = read(from, CALLERS)? else { return Ok(None) };
        if lists.first().is_none_or(|first| !first.cluster.is_empty()) {
            return Err(format!(
                "its {METADATA} {CALLERS} do not begin with the list of no cluster"
            ));
        }
        let own = lists.remove(0).texts;
        Ok(Some(Self { own, clusters: lists }))
    }
}

pub(crate) fn consumers(exports: &[Named]) -> Option<Metadata> {
    (!exports.is_empty()).then(|| metadata(CONSUMERS, exports))
}

/// The exports of a service that name their consumers, by exporting cluster. `None` where all are
/// for everybody.
///
/// # Errors
/// With the reason, in words for whoever runs the primary.
pub fn read_consumers(from: Option<&Metadata>) -> Result<Option<Vec<Named>>, String> {
    read(from, CONSUMERS)
}

fn metadata<'a>(field: &str, lists: impl IntoIterator<Item = &'a Named>) -> Metadata {
    let text = |text: &String| Value { kind: Some(Kind::StringValue(text.clone())) };
    let list = |values| Value { kind: Some(Kind::ListValue(ListValue { values })) };
    let named = |one: &Named| {
        list(std::iter::once(&one.cluster).chain(&one.texts).map(text).collect::<Vec<_>>())
    };
    let lists = list(lists.into_iter().map(named).collect());
    let fields = Struct { fields: [(field.to_owned(), lists)].into() };
    Metadata { filter_metadata: [(METADATA.to_owned(), fields)].into(), ..Default::default() }
}

fn read(from: Option<&Metadata>, field: &str) -> Result<Option<Vec<Named>>, String> {
    let ours = from.and_then(|metadata| metadata.filter_metadata.get(METADATA));
    let Some(found) = ours.and_then(|ours| ours.fields.get(field)) else { return Ok(None) };
    let wrong = || format!("its {METADATA} {field} are not lists of a cluster and texts");
    let named = |value: &Value| {
        let mut texts = list(value)?.iter().map(text).collect::<Option<Vec<String>>>()?;
        if texts.is_empty() {
            return None;
        }
        let cluster = texts.remove(0);
        Some(Named { cluster, texts })
    };
    let lists = list(found).ok_or_else(wrong)?;
    lists.iter().map(named).collect::<Option<Vec<Named>>>().ok_or_else(wrong).map(Some)
}

fn list(value: &Value) -> Option<&[Value]> {
    match &value.kind {
        Some(Kind::ListValue(list)) => Some(&list.values),
        _ => None,
    }
}

fn text(value: &Value) -> Option<String> {
    match &value.kind {
        Some(Kind::StringValue(text)) => Some(text.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(cluster: &str, texts: &[&str]) -> Named {
        let texts = texts.iter().map(|text| (*text).to_owned()).collect();
        Named { cluster: cluster.into(), texts }
    }

    #[test]
    fn what_is_written_is_read() {
        let callers = Callers {
            own: vec!["0a".into()],
            clusters: vec![named("east", &[]), named("west", &["0b", "0c"])],
        };
        assert_eq!(Callers::read(Some(&callers.metadata())), Ok(Some(callers)));
        let nobody = Callers::default();
        assert_eq!(Callers::read(Some(&nobody.metadata())), Ok(Some(nobody)));
        let exports = [named("east", &["west"]), named("north", &[])];
        let written = consumers(&exports).unwrap();
        assert_eq!(read_consumers(Some(&written)), Ok(Some(exports.to_vec())));
        assert_eq!(consumers(&[]), None);
    }

    #[test]
    fn what_is_not_said_is_none_and_what_is_said_wrongly_is_a_fault() {
        assert_eq!(read_consumers(None), Ok(None));
        assert_eq!(read_consumers(Some(&Callers::default().metadata())), Ok(None));
        let text = |text: &str| Value { kind: Some(Kind::StringValue(text.into())) };
        let list = |values| Value { kind: Some(Kind::ListValue(ListValue { values })) };
        for wrong in [text("east"), list(vec![text("east")]), list(vec![list(vec![])])] {
            for field in [CALLERS, CONSUMERS] {
                let fields = Struct { fields: [(field.to_owned(), wrong.clone())].into() };
                let filter_metadata = [(METADATA.to_owned(), fields)].into();
                let said = Some(Metadata { filter_metadata, ..Default::default() });
                let refused = match field {
                    CALLERS => Callers::read(said.as_ref()).map(drop),
                    _ => read_consumers(said.as_ref()).map(drop),
                };
                assert!(refused.is_err(), "{field}: {said:?}");
            }
        }
        let only = metadata(CALLERS, &[named("east", &["0a"])]);
        assert!(Callers::read(Some(&only)).is_err(), "without the list of no cluster");
    }
}
