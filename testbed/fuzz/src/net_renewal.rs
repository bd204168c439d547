//! A new certificate on a connection in use.
#![no_main]

use std::sync::LazyLock;

use tiebeam_net::ca::Authority;
use tiebeam_net::{Credentials, Identity};
use tiebeam_wire::{NodeId, Role};

static CREDENTIALS: LazyLock<Credentials> = LazyLock::new(|| {
    let authority = Authority::ephemeral("skies").expect("it is a name");
    let identity = Identity { node: NodeId(2), name: "bob".into(), role: Role::Edge, cluster: "skies".into() };
    let issued = authority.issue(identity).expect("it is one of the cluster");
    let (certificate, key) = (issued.certificate.as_bytes(), issued.key.as_bytes());
    Credentials::from_pem(authority.pem().as_bytes(), certificate, key).expect("they fit")
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tiebeam_net::testkit::read_renewals(bytes, &CREDENTIALS));
