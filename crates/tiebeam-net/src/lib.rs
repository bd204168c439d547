//! Carry frames between two nodes over QUIC.

pub mod config;
pub mod identity;
mod service;

pub use config::{Config, Cookie, Credentials, CredentialsError};
pub use identity::{Identity, IdentityError};
pub use service::Service;
