//! What of a cluster is of the mesh, where several meshes share it.
//!
//! Namespaces say so by the label `istio.io/rev`, and nothing of another namespace is heard. The
//! system namespace needs no label; to the facts it goes by its usual name, whatever it is called.

use std::collections::BTreeSet;

use diolkos_facts::{Object, ObjectKind, SYSTEM_NAMESPACES, Said};
use diolkos_topology::Namespace;

use super::feed::Word;
use super::kinds::Told;
use super::plan::Name;

#[derive(Clone, Debug)]
pub(super) struct Scope {
    /// `None`: the mesh has whole clusters.
    pub(super) revision: Option<String>,
    pub(super) system: String,
}

impl Scope {
    /// Whether a namespace with this label is of the mesh.
    pub(super) fn covers(&self, namespace: &str, revision: &str) -> bool {
        let is_own = |own: &str| own == revision || namespace == self.system;
        self.revision.as_deref().is_none_or(is_own)
    }

    /// Whether a namespace is the mesh's own.
    pub(super) fn is_system(&self, namespace: &str) -> bool {
        namespace == self.system
            || self.revision.is_none() && SYSTEM_NAMESPACES.contains(&namespace)
    }
}

/// Lets through what one cluster says of the mesh.
#[derive(Debug)]
pub(super) struct Sieve {
    scope: Scope,
    /// Of the mesh; filled only where not all are.
    own: BTreeSet<String>,
    /// Namespaces were listed; until then nobody can tell whose anything is.
    knows: bool,
}

impl Sieve {
    pub(super) fn new(scope: Scope) -> Self {
        let knows = scope.revision.is_none();
        Self { scope, own: BTreeSet::new(), knows }
    }

    /// The namespaces of the mesh; `None` where all are.
    pub(super) fn own(&self) -> Option<&BTreeSet<String>> {
        self.scope.revision.as_ref().map(|_| &self.own)
    }

    /// Answers whether other namespaces are of the mesh than before: then what was not heard of
    /// them has to be listed again.
    pub(super) fn note(&mut self, kind: ObjectKind, word: &Word<Told>) -> bool {
        if kind != ObjectKind::Namespace || self.scope.revision.is_none() {
            return false;
        }
        let before = (self.knows, self.own.clone());
        match word {
            Word::Listed(_, all) => {
                self.knows = true;
                self.own.clear();
                all.iter().for_each(|(name, told)| self.see(name, told));
            }
            Word::Put(name, Some(told)) => self.see(name, told),
            Word::Put(name, None) | Word::Removed(name) => drop(self.own.remove(&name.name)),
            Word::Missing => {}
        }
        before != (self.knows, self.own.clone())
    }

    fn see(&mut self, name: &Name, told: &Told) {
        if self.scope.covers(&name.name, &told.revision) {
            self.own.insert(name.name.clone());
        } else {
            self.own.remove(&name.name);
        }
    }

    /// What is left of a word; nothing, not even that there is nothing, while that is not known.
    pub(super) fn sift(&self, kind: ObjectKind, word: Word<Told>) -> Option<Word<Told>> {
        let in_namespace = !matches!(kind, ObjectKind::Namespace | ObjectKind::Node);
        if in_namespace && !self.knows {
            return None;
        }
        let heard = |name: &Name| match kind {
            ObjectKind::Node => true,
            // No other speaks of the cluster's network.
            ObjectKind::Namespace => self.scope.is_system(&name.name),
            _ => self.own().is_none_or(|own| own.contains(&name.namespace)),
        };
        Some(match word {
            Word::Listed(how, mut all) => {
                all.retain(|(name, _)| heard(name));
                let usual = |(name, told)| (self.usual_name(kind, name), self.usual(told));
                Word::Listed(how, all.into_iter().map(usual).collect())
            }
            Word::Put(name, Some(told)) if heard(&name) => {
                Word::Put(self.usual_name(kind, name), Some(self.usual(told)))
            }
            Word::Put(name, _) | Word::Removed(name) => Word::Removed(self.usual_name(kind, name)),
            Word::Missing => Word::Missing,
        })
    }

    fn usual_name(&self, kind: ObjectKind, mut name: Name) -> Name {
        match kind {
            ObjectKind::Namespace => self.put_usual(&mut name.name),
            // Policies of the system namespace are the mesh's.
            ObjectKind::Peer => self.put_usual(&mut name.namespace),
            _ => {}
        }
        name
    }

    fn put_usual(&self, name: &mut String) {
        if *name == self.scope.system {
            SYSTEM_NAMESPACES[0].clone_into(name);
        }
    }

    fn usual(&self, mut told: Told) -> Told {
        let usual = |namespace: &mut Namespace| {
            if namespace.as_str() == self.scope.system
                && let Ok(usual) = Namespace::new(SYSTEM_NAMESPACES[0])
            {
                *namespace = usual;
            }
        };
        if let Said::Taken(object) = &mut told.said {
            match &mut **object {
                Object::Namespace(fact) => usual(&mut fact.name),
                Object::Peer(policy) => usual(&mut policy.namespace),
                _ => {}
            }
        }
        told
    }
}
