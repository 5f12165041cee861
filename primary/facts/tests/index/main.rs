//! The index of a cluster's objects, held to the derivation from scratch.

mod objects;
mod oracle;
mod work;
