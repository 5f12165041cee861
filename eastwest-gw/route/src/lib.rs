//! From the first bytes of a connection to the decision where it goes, and why it may not.
//!
//! ```text
//! client bytes -> HelloReader -> NeedMore | NotTls(Refusal) | Hello(ClientHello)
//!                 ClientHello + accepted ALPNs -> RouteTable -> Splice(Route) | Refuse(Refusal)
//! ```
//!
//! - **Input** is bytes as they come, in any pieces, and changes of the table, one name at a time.
//! - **Output** is a value; the bytes read are kept as they were, for the replay to the target.
//! - **Time and randomness** are the caller's: a deadline is kept outside, a random number for the
//!   choice of a target is an argument.
//! - **Limits** are in [`limit`]; every one is a refusal with a name, none is a panic.
//! - **Order** of pieces never matters: the answer to a prefix of the bytes does not depend on how
//!   they were cut.

pub mod limit;
pub mod proxy;
pub mod sni;

mod chains;
mod dialed;
mod hello;
mod name;
mod reader;
mod refusal;
mod route;
mod table;

pub use chains::{Chain, ChainTable};
pub use dialed::Dialed;
pub use hello::{Alpn, ClientHello};
pub use name::HostName;
pub use reader::{HelloReader, Progress};
pub use refusal::Refusal;
pub use route::{Candidates, Carried, Route, Target};
pub use table::{Change, Decision, RouteTable};
