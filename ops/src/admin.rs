//! The admin endpoint: GET and HEAD over HTTP/1.1, one request a connection, nothing to change.

mod answer;
mod query;
mod routes;
mod serve;

pub use answer::Answer;
pub use query::Query;
pub use routes::{AdminRoutes, Reach};
pub use serve::serve_admin;
