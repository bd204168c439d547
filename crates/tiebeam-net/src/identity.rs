use std::fmt;

use serde::{Deserialize, Serialize};
use tiebeam_wire::{NodeId, Role};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Longest name of a node or of a cluster, in bytes: gossip repeats names in every digest.
pub const NAME_BYTES_MAX: usize = 16;

/// Who a node is, as its certificate says.
///
/// Written into the certificate as one DNS name, `<name>.<id>.<role>.<cluster>.tiebeam`.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// The node's number.
    pub node: NodeId,
    /// The node's name for people: 1 to 16 of `a-z`, `0-9` and `-`, no `-` at either end.
    pub name: String,
    /// What the node may do.
    pub role: Role,
    /// The cluster it belongs to; the same alphabet as `name`.
    pub cluster: String,
}

/// Why an identity was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// A name is empty, too long or has a character that DNS labels don't.
    #[error("{what} {name:?} is not 1 to {NAME_BYTES_MAX} of a-z, 0-9 and -, without - at either end")]
    Name {
        /// `node name` or `cluster name`.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// Node 0 stands for nobody.
    #[error("node id is 0; ids start at 1")]
    Zero,
    /// The certificate's DNS name isn't of the form that names a node.
    #[error("certificate names {0:?}, expected <name>.<id>.<role>.<cluster>.tiebeam")]
    Form(String),
    /// The certificate doesn't have exactly one subject alternative name.
    #[error("certificate has {0} alternative names, expected 1")]
    Names(usize),
    /// The bytes aren't a certificate.
    #[error("certificate can't be parsed")]
    Certificate,
}

impl Identity {
    /// Checks both names and the number.
    ///
    /// # Errors
    /// The first part that is out of its range.
    pub fn check(&self) -> Result<(), IdentityError> {
        check_name("node name", &self.name)?;
        check_name("cluster name", &self.cluster)?;
        if self.node == NodeId(0) { Err(IdentityError::Zero) } else { Ok(()) }
    }

    /// Returns the DNS name that stands for this identity in a certificate.
    #[must_use]
    pub fn dns_name(&self) -> String {
        format!("{}.{}.{}.{}.tiebeam", self.name, self.node.0, self.role, self.cluster)
    }

    /// Parses what [`Identity::dns_name`] made. Only the canonical spelling is accepted, so that no two names stand for
    /// one node.
    ///
    /// # Errors
    /// [`IdentityError::Form`], or what [`Identity::check`] refuses.
    pub fn parse(dns_name: &str) -> Result<Self, IdentityError> {
        let form = || IdentityError::Form(dns_name.to_owned());
        let parts: Vec<&str> = dns_name.split('.').collect();
        let [name, node, role, cluster, "tiebeam"] = parts[..] else { return Err(form()) };
        let identity = Self {
            node: NodeId(node.parse().map_err(|_| form())?),
            name: name.to_owned(),
            role: role.parse().map_err(|_| form())?,
            cluster: cluster.to_owned(),
        };
        identity.check()?;
        if identity.dns_name() == dns_name { Ok(identity) } else { Err(form()) }
    }

    /// Reads the identity from a certificate in DER. Says nothing about who signed it.
    ///
    /// # Errors
    /// [`IdentityError`] if the certificate doesn't name exactly one node.
    pub fn from_certificate(der: &[u8]) -> Result<Self, IdentityError> {
        let (rest, certificate) = X509Certificate::from_der(der).map_err(|_| IdentityError::Certificate)?;
        if !rest.is_empty() {
            return Err(IdentityError::Certificate);
        }
        let extension = certificate.subject_alternative_name().map_err(|_| IdentityError::Certificate)?;
        let names = extension.map_or(&[][..], |e| &e.value.general_names[..]);
        match names {
            [GeneralName::DNSName(name)] => Self::parse(name),
            [other] => Err(IdentityError::Form(other.to_string())),
            names => Err(IdentityError::Names(names.len())),
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} {}, cluster {})", self.node, self.role, self.name, self.cluster)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

pub(crate) fn check_name(what: &'static str, name: &str) -> Result<(), IdentityError> {
    let alphabet = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    let ends = name.starts_with('-') || name.ends_with('-');
    if alphabet && !ends && (1..=NAME_BYTES_MAX).contains(&name.len()) {
        Ok(())
    } else {
        Err(IdentityError::Name { what, name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_survives_its_dns_name() {
        let identity = Identity { node: NodeId(12), name: "ada-1".into(), role: Role::Edge, cluster: "skies".into() };
        assert_eq!(identity.dns_name(), "ada-1.12.edge.skies.tiebeam");
        assert_eq!(Identity::parse(&identity.dns_name()), Ok(identity));
    }

    /// Each of these would otherwise let one certificate pass for two nodes, or two for one.
    #[test]
    fn names_that_are_not_canonical_are_refused() {
        for name in [
            "",
            "tiebeam",
            "ada.012.core.skies.tiebeam",
            "ada.+12.core.skies.tiebeam",
            "ada.0.core.skies.tiebeam",
            "Ada.1.core.skies.tiebeam",
            "ada.1.king.skies.tiebeam",
            "ada.1.core.skies.tiebeam.",
            "x.ada.1.core.skies.tiebeam",
            "ada.1.core.skies.example",
            "*.1.core.skies.tiebeam",
            "-ada.1.core.skies.tiebeam",
            "seventeen-letters.1.core.skies.tiebeam",
            ".1.core.skies.tiebeam",
        ] {
            assert!(Identity::parse(name).is_err(), "{name}");
        }
    }
}
