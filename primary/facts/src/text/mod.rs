//! From text to typed objects, with a line for everything.

mod bare;
mod decode;
mod fault;
mod split;
mod tree;

pub(crate) use bare::{Bounds, Illegible, parse_bare};
pub(crate) use decode::decode;
pub(crate) use fault::{Fault, Field, Step, at};
pub(crate) use split::split;
pub(crate) use tree::{Node, Value, parse};
