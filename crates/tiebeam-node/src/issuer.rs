//! What a core node with the authority's key does for others: it lets newcomers in by token, and issues the certificates
//! of nodes again before they end.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use tiebeam_cluster::{Cluster, PeerIdentity, Service};
use tiebeam_net::Identity;
use tiebeam_net::ca::{Authority, valid_for};
use tiebeam_net::join::{Office, Tokens};
use tiebeam_wire::{Instant, NodeId};
use tiebeam_world::TaskGuard;
use tokio::sync::watch;

use crate::config::{Config, JoinSection};
use crate::error::StartError;

/// A node gets one certificate a minute. It needs one in days; more would be somebody who fills the log.
const PAUSE: Duration = Duration::from_secs(60);
/// Largest request to sign, in bytes.
const REQUEST_BYTES_MAX: usize = 2048;

/// Opens the desk and serves nodes, if the configuration has a section `[join]`.
pub(crate) fn open(
    config: &Config,
    running: &watch::Sender<Config>,
    cluster: &Cluster,
) -> Result<Option<TaskGuard>, StartError> {
    let Some(join) = &config.join else { return Ok(None) };
    let load = || {
        Authority::load(&join.authority)
            .map_err(|source| StartError::Authority { path: join.authority.clone(), source })
    };
    let lifetime = lifetime(join);
    let running = running.subscribe();
    let settings = Box::new(move || settings(&running.borrow()));
    let office = Office { authority: load()?, tokens: Tokens::of(&join.authority), lifetime, settings };
    let desk = cluster.open_desk(join.listen, office).map_err(StartError::Desk)?;
    let issuer = Arc::new(Issuer { authority: load()?, lifetime, issued: Mutex::default() });
    let handler = move |peer: PeerIdentity, request: Bytes| {
        let issuer = Arc::clone(&issuer);
        async move { issuer.issue(&peer, &request).map(Bytes::from) }.boxed()
    };
    cluster.serve(Service::CERTIFICATE, Arc::new(handler));
    tracing::info!(address = %join.listen, "lets newcomers in by token");
    Ok(Some(tiebeam_world::spawn("node.desk", desk.run()).into_guard()))
}

fn lifetime(join: &JoinSection) -> Duration {
    Duration::from_secs(u64::from(join.certificate_hours) * 3600)
}

/// What a newcomer writes into its own configuration: the section `[cluster]`, with the cookie.
fn settings(config: &Config) -> String {
    let cluster = &config.cluster;
    let cores: Vec<String> = cluster.cores.iter().map(|(id, at)| format!("{id} = \"{at}\"")).collect();
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let mut text = format!("[cluster]\nname = {}\ncookie = {}\n", quoted(&cluster.name), quoted(&cluster.cookie));
    if let Some(previous) = &cluster.cookie_previous {
        let _ = writeln!(text, "cookie_previous = {}", quoted(previous));
    }
    let _ = writeln!(text, "cores = {{ {} }}", cores.join(", "));
    text
}

struct Issuer {
    authority: Authority,
    lifetime: Duration,
    /// When each node got its last one. Members are bounded, and so is this.
    issued: Mutex<BTreeMap<NodeId, Instant>>,
}

impl Issuer {
    /// Signs a request for whom the peer's own certificate names, and for nobody else.
    fn issue(&self, peer: &PeerIdentity, request: &[u8]) -> Result<String, String> {
        if request.len() > REQUEST_BYTES_MAX {
            return Err(format!("request has {} bytes, more than {REQUEST_BYTES_MAX}", request.len()));
        }
        let now = tiebeam_world::now();
        let mut issued = self.issued.lock().unwrap_or_else(PoisonError::into_inner);
        if issued.get(&peer.node).is_some_and(|last| now.since(*last) < PAUSE) {
            return Err(format!("{} got a certificate within the last minute", peer.node));
        }
        let cluster = self.authority.cluster().to_owned();
        let identity = Identity { node: peer.node, name: peer.name.clone(), role: peer.role, cluster };
        let certificate = self.authority.sign(identity.clone(), request, valid_for(self.lifetime));
        let certificate = certificate.map_err(|error| error.to_string())?;
        issued.insert(peer.node, now);
        tracing::info!(peer = %identity, "issued a node's certificate again");
        Ok(certificate)
    }
}

#[cfg(test)]
mod tests {
    use tiebeam_wire::{Incarnation, Role};

    use super::*;

    #[test]
    fn certificate_is_issued_for_the_peer_itself_once_a_minute() {
        let authority = Authority::ephemeral("skies").unwrap();
        let key = authority.issue(Identity {
            node: NodeId(4),
            name: "bob".into(),
            role: Role::Edge,
            cluster: "skies".into(),
        });
        let request = tiebeam_net::ca::request_for(&key.unwrap().key).unwrap();
        let issuer = Issuer { authority, lifetime: Duration::from_secs(3600), issued: Mutex::default() };
        let peer = |node| PeerIdentity {
            node: NodeId(node),
            incarnation: Incarnation(1),
            role: Role::Edge,
            name: "bob".into(),
        };
        assert!(issuer.issue(&peer(4), b"no request").is_err());
        assert!(issuer.issue(&peer(4), &request).unwrap().contains("BEGIN CERTIFICATE"));
        assert!(issuer.issue(&peer(4), &request).unwrap_err().contains("within the last minute"));
        assert!(issuer.issue(&peer(5), &request).is_ok());
        assert!(issuer.issue(&peer(6), &[0; 3000]).unwrap_err().contains("more than 2048"));
    }
}
