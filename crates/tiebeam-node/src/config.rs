//! A node's configuration: one TOML file, overridden by `TIEBEAM_SECTION_KEY`, every key checked before anything starts.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tiebeam_cluster::standing::Strategy;
use tiebeam_cluster::{Seed, ZONE_BYTES_MAX};
use tiebeam_wire::{NodeId, Role};

/// Longest name of a node or a cluster, in bytes: gossip repeats names in every digest.
pub const NAME_BYTES_MAX: usize = 16;
/// Longest that a node may drain, in milliseconds: what stops nodes soon loses its patience.
const DRAIN_MS_MAX: u64 = 60_000;
/// How many seeds a configuration names.
const SEEDS_MAX: usize = 64;

/// All sections, as read from the file.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Config {
    /// `[node]`
    pub node: NodeSection,
    /// `[listen]`
    pub listen: ListenSection,
    /// `[tls]`
    pub tls: TlsSection,
    /// `[cluster]`
    pub cluster: ClusterSection,
    /// `[join]`: lets newcomers in by token. A core node with the authority's key may have it; without it a node lets nobody
    /// in who has no certificate.
    #[serde(default)]
    pub join: Option<JoinSection>,
    /// `[apps.NAME]`: what the applications compiled into the binary are told; each knows its own keys. An application
    /// without a section doesn't run.
    #[serde(default)]
    pub apps: BTreeMap<String, toml::Table>,
}

/// Who the node is.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct NodeSection {
    /// Number of the node, from 1; unique for ever, never used again with an empty directory.
    pub id: u64,
    /// Name for people, at most 16 bytes; the one in the certificate.
    pub name: String,
    /// `core` or `edge`; the one in the certificate.
    pub role: String,
    /// Where the node is, for callers of services that prefer what is near: a data centre, a rack. At most 64 bytes. Default
    /// none.
    #[serde(default)]
    pub zone: String,
    /// Where the node keeps everything. Default `/var/lib/tiebeam`.
    #[serde(default = "default_dir")]
    pub dir: PathBuf,
    /// For how long the node serves on when it is told to stop, after it took itself out of groups, names, presence and
    /// services, in milliseconds. Nobody finds its actors then, and what is under way can end. Default 500, at most 60,000.
    #[serde(default = "default_drain_ms")]
    pub drain_ms: u64,
}

/// Where the node listens.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct ListenSection {
    /// UDP address for other nodes. Default 0.0.0.0:4400.
    #[serde(default = "default_quic")]
    pub quic: SocketAddr,
    /// TCP address for the dashboard, `/api` and `/metrics`. Default 127.0.0.1:4000.
    #[serde(default = "default_http")]
    pub http: SocketAddr,
}

/// Files of the node's identity, in PEM.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct TlsSection {
    /// Certificate of the cluster's authority.
    pub ca: PathBuf,
    /// The node's certificate.
    pub cert: PathBuf,
    /// The node's private key.
    pub key: PathBuf,
}

/// The cluster that the node belongs to.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct ClusterSection {
    /// Name, at most 16 bytes; the one in the certificate.
    pub name: String,
    /// A secret that all nodes share, at least 16 bytes.
    pub cookie: String,
    /// The former cookie, accepted while nodes change to the new one. Default none.
    #[serde(default)]
    pub cookie_previous: Option<String>,
    /// Numbers of nodes that are denied, whatever certificate they show. At most 10,000 with the serials. Default none.
    #[serde(default)]
    pub revoked_nodes: Vec<u64>,
    /// Serial numbers of certificates that are denied, in hexadecimal as `openssl x509 -serial` prints them. Default none.
    #[serde(default)]
    pub revoked_serials: Vec<String>,
    /// The core nodes that vote, `ID = "ADDRESS"`; the same on every node. 1 to 9, an odd number is best.
    pub cores: BTreeMap<String, SocketAddr>,
    /// Where else to ask for the others: `"ADDRESS:PORT"`, `"NAME:PORT"` or `"file:PATH"`; in the environment separated by
    /// commas. At most 64. Default none.
    #[serde(default)]
    pub seeds: OneOrMany,
    /// Which part of a split cluster goes on: `majority`, the one that reaches a majority of `cores`, or `none`, for those who
    /// don't care; the same on every node. Default `majority`.
    #[serde(default = "default_split")]
    pub split: String,
}

/// A list, or one text with its items separated by commas.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum OneOrMany {
    /// A text.
    One(String),
    /// A list.
    Many(Vec<String>),
}

impl Default for OneOrMany {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl OneOrMany {
    fn items(&self) -> Vec<&str> {
        match self {
            Self::One(text) => text.split(',').map(str::trim).filter(|item| !item.is_empty()).collect(),
            Self::Many(items) => items.iter().map(String::as_str).collect(),
        }
    }
}

/// Where newcomers ask for certificates, and by what they get them.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct JoinSection {
    /// UDP address for newcomers. Default 0.0.0.0:4401.
    #[serde(default = "default_join")]
    pub listen: SocketAddr,
    /// Directory of the authority, as `tiebeam ca init` made it: `ca.pem`, `ca.key` and `tokens/`.
    pub authority: PathBuf,
    /// How long the certificates are good that this node issues, in hours, from 24 to 168. Default 168. Nodes have them
    /// issued again when two thirds are over.
    #[serde(default = "default_certificate_hours")]
    pub certificate_hours: u32,
}

fn default_split() -> String {
    "majority".to_owned()
}

fn default_join() -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], 4401))
}

const fn default_certificate_hours() -> u32 {
    168
}

const fn default_drain_ms() -> u64 {
    500
}

fn default_dir() -> PathBuf {
    PathBuf::from("/var/lib/tiebeam")
}

fn default_quic() -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], 4400))
}

fn default_http() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 4000))
}

/// Every key that a configuration may hold. `apps.*` is free below its second level: applications check their own.
const KEYS: &[&str] = &[
    "node.id",
    "node.name",
    "node.role",
    "node.zone",
    "node.dir",
    "node.drain_ms",
    "listen.quic",
    "listen.http",
    "tls.ca",
    "tls.cert",
    "tls.key",
    "cluster.name",
    "cluster.cookie",
    "cluster.cookie_previous",
    "cluster.revoked_nodes",
    "cluster.revoked_serials",
    "cluster.cores",
    "cluster.seeds",
    "cluster.split",
    "join.listen",
    "join.authority",
    "join.certificate_hours",
];

/// Why a configuration was refused; nothing was started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file can't be read.
    #[error("configuration file {path} can't be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the disk said.
        #[source]
        source: std::io::Error,
    },
    /// It is no TOML, a key is missing, or a value is of the wrong kind.
    #[error("configuration {path} is not valid: {reason}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong where.
        reason: String,
    },
    /// A key that nobody reads.
    #[error("configuration {path} has unknown key {key:?}{}", nearest.map(|n| format!("; did you mean {n:?}?")).unwrap_or_default())]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The key, with its section.
        key: String,
        /// The known key that is written most alike.
        nearest: Option<&'static str>,
    },
    /// A value is out of its range.
    #[error("configuration key {key} is {value:?}: {reason}")]
    Value {
        /// The key, with its section.
        key: &'static str,
        /// What it holds.
        value: String,
        /// What it may hold.
        reason: String,
    },
}

impl Config {
    /// Reads and checks the file at `path`, after `overrides` (names and values of `TIEBEAM_SECTION_KEY` variables)
    /// took the place of what it holds.
    ///
    /// # Errors
    /// [`ConfigError`] names the file, the key and what was expected.
    pub fn load(path: &Path, overrides: impl IntoIterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse(path, &text, overrides)
    }

    fn parse(
        path: &Path,
        text: &str,
        overrides: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let invalid = |reason: String| ConfigError::Parse { path: path.to_owned(), reason };
        let mut table: toml::Table = text.parse().map_err(|e: toml::de::Error| invalid(e.to_string()))?;
        for (name, value) in overrides {
            override_key(&mut table, &name, &value);
        }
        check_keys(path, &table)?;
        let config: Self = serde_path_to_error::deserialize(table).map_err(|e| {
            let path = e.path().to_string();
            invalid(format!("{}: {}", if path == "." { "file" } else { &path }, e.inner().message()))
        })?;
        config.validate()?;
        Ok(config)
    }

    fn validate(&self) -> Result<(), ConfigError> {
        let bad = |key, value: &str, reason: &str| {
            Err(ConfigError::Value { key, value: value.to_owned(), reason: reason.to_owned() })
        };
        if self.node.id == 0 {
            return bad("node.id", "0", "ids count from 1");
        }
        for (key, name) in [("node.name", &self.node.name), ("cluster.name", &self.cluster.name)] {
            let fits = (1..=NAME_BYTES_MAX).contains(&name.len());
            if !fits || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
                return bad(key, name, "a name has 1 to 16 lower-case letters, digits or hyphens");
            }
        }
        match self.node.role.parse::<Role>() {
            Ok(Role::Core | Role::Edge) => {}
            _ => return bad("node.role", &self.node.role, "a node is core or edge"),
        }
        if self.node.drain_ms > DRAIN_MS_MAX {
            return bad("node.drain_ms", &self.node.drain_ms.to_string(), "expected 0 to 60000");
        }
        if self.cluster.cookie.len() < 16 {
            return bad("cluster.cookie", "(secret)", "a cookie has at least 16 bytes");
        }
        if let Err(error) = crate::certificates::denied(self) {
            return bad("cluster.revoked_serials", &self.cluster.revoked_serials.join(", "), &error.to_string());
        }
        if self.node.zone.len() > ZONE_BYTES_MAX {
            return bad("node.zone", &self.node.zone, "a zone has at most 64 bytes");
        }
        let seeds = self.cluster.seeds.items();
        if seeds.len() > SEEDS_MAX {
            return bad("cluster.seeds", &seeds.join(", "), "expected at most 64 seeds");
        }
        if let Some(error) = seeds.iter().find_map(|seed| seed.parse::<Seed>().err()) {
            return bad("cluster.seeds", &error.seed, error.why);
        }
        if !["majority", "none"].contains(&&*self.cluster.split) {
            return bad("cluster.split", &self.cluster.split, "expected majority or none");
        }
        if let Some(join) = &self.join {
            if self.role() != Role::Core {
                return bad(
                    "join.authority",
                    &join.authority.display().to_string(),
                    "only a core node issues certificates",
                );
            }
            if !(24..=168).contains(&join.certificate_hours) {
                return bad("join.certificate_hours", &join.certificate_hours.to_string(), "expected 24 to 168");
            }
        }
        let cores = self.cores();
        if cores.len() != self.cluster.cores.len() || !(1..=9).contains(&cores.len()) {
            let keys: Vec<_> = self.cluster.cores.keys().cloned().collect();
            return bad("cluster.cores", &keys.join(", "), "expected 1 to 9 core nodes as ID = \"ADDRESS\"");
        }
        let listed = cores.contains_key(&self.id());
        match (self.role(), listed) {
            (Role::Core, false) => bad("cluster.cores", &self.node.id.to_string(), "this core node is not listed"),
            (Role::Edge, true) => bad("node.role", "edge", "this node's id is listed in cluster.cores"),
            _ => Ok(()),
        }
    }

    /// Says whether `other` differs in nothing but what a running node can change.
    pub(crate) fn can_become(&self, other: &Self) -> bool {
        let mut changed = self.clone();
        changed.take_secrets(other);
        changed == *other
    }

    /// Takes over what a running node can change.
    pub(crate) fn take_secrets(&mut self, other: &Self) {
        self.tls = other.tls.clone();
        let (cluster, new) = (&mut self.cluster, &other.cluster);
        cluster.cookie.clone_from(&new.cookie);
        cluster.cookie_previous.clone_from(&new.cookie_previous);
        cluster.revoked_nodes.clone_from(&new.revoked_nodes);
        cluster.revoked_serials.clone_from(&new.revoked_serials);
    }

    /// The node's id.
    #[must_use]
    pub const fn id(&self) -> NodeId {
        NodeId(self.node.id)
    }

    /// The node's role.
    #[must_use]
    pub fn role(&self) -> Role {
        if self.node.role == "core" { Role::Core } else { Role::Edge }
    }

    /// Where to ask for the others, beside the core nodes.
    #[must_use]
    pub fn seeds(&self) -> Vec<Seed> {
        self.cluster.seeds.items().into_iter().filter_map(|seed| seed.parse().ok()).collect()
    }

    /// Which part of a split cluster goes on.
    #[must_use]
    pub fn split(&self) -> Strategy {
        if self.cluster.split == "none" { Strategy::None } else { Strategy::Majority }
    }

    /// The core nodes and where they listen, in order of id.
    #[must_use]
    pub fn cores(&self) -> BTreeMap<NodeId, SocketAddr> {
        let parsed = self.cluster.cores.iter().filter_map(|(id, at)| Some((NodeId(id.parse().ok()?), *at)));
        parsed.filter(|(id, _)| id.0 > 0).collect()
    }
}

/// Puts the value of `TIEBEAM_SECTION_KEY` in its place. What is no known key is left alone: the environment belongs to
/// others, too.
fn override_key(table: &mut toml::Table, name: &str, value: &str) {
    let Some(rest) = name.strip_prefix("TIEBEAM_") else { return };
    let Some(key) = KEYS.iter().find(|key| key.replace('.', "_").eq_ignore_ascii_case(rest)) else { return };
    let (section, key) = key.split_once('.').expect("every known key has a section");
    let value = value.parse::<i64>().map_or_else(|_| toml::Value::String(value.to_owned()), toml::Value::Integer);
    let section = table.entry(section).or_insert_with(|| toml::Value::Table(toml::Table::new()));
    if let Some(section) = section.as_table_mut() {
        section.insert(key.to_owned(), value);
    }
}

fn check_keys(path: &Path, table: &toml::Table) -> Result<(), ConfigError> {
    for (section, value) in table {
        if section == "apps" {
            continue;
        }
        let Some(inner) = value.as_table() else { return Err(unknown(path, section.clone())) };
        for key in inner.keys() {
            let full = format!("{section}.{key}");
            if !KEYS.contains(&full.as_str()) {
                return Err(unknown(path, full));
            }
        }
    }
    Ok(())
}

fn unknown(path: &Path, key: String) -> ConfigError {
    let nearest =
        KEYS.iter().copied().max_by(|a, b| strsim::jaro_winkler(&key, a).total_cmp(&strsim::jaro_winkler(&key, b)));
    ConfigError::UnknownKey { path: path.to_owned(), key, nearest }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        [node]
        id = 1
        name = "core-1"
        role = "core"
        [listen]
        [tls]
        ca = "ca.pem"
        cert = "cert.pem"
        key = "key.pem"
        [cluster]
        name = "test"
        cookie = "0123456789abcdef"
        cores = { 1 = "127.0.0.1:4400" }
    "#;

    fn parse(text: &str, overrides: &[(&str, &str)]) -> Result<Config, String> {
        let overrides = overrides.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Config::parse(Path::new("node.toml"), text, overrides).map_err(|e| e.to_string())
    }

    #[test]
    fn defaults_are_the_documented_ones() {
        let config = parse(GOOD, &[]).unwrap();
        assert_eq!(config.node.dir, Path::new("/var/lib/tiebeam"));
        assert_eq!(config.listen.quic.to_string(), "0.0.0.0:4400");
        assert_eq!(config.listen.http.to_string(), "127.0.0.1:4000");
    }

    #[test]
    fn running_node_can_change_secrets_and_revocations_alone() {
        let old = parse(GOOD, &[]).unwrap();
        let becomes = |from: &str, to: &str| old.can_become(&parse(&GOOD.replace(from, to), &[]).unwrap());
        assert!(becomes("ca.pem", "other.pem") && becomes("0123456789abcdef", "another cookie of 16"));
        assert!(becomes("cores = {", "revoked_nodes = [7]\ncores = {"));
        assert!(!becomes("[listen]", "[listen]\nhttp = \"127.0.0.1:1\""));
        assert!(!becomes("name = \"test\"", "name = \"other\""));
    }

    #[test]
    fn unknown_key_names_the_nearest() {
        let error = parse(&GOOD.replace("cookie =", "cokie ="), &[]).unwrap_err();
        assert_eq!(
            error,
            "configuration node.toml has unknown key \"cluster.cokie\"; did you mean \"cluster.cookie\"?"
        );
    }

    #[test]
    fn unknown_section_is_refused() {
        let error = parse(&format!("{GOOD}\n[listn]\nquic = \"x\""), &[]).unwrap_err();
        assert!(error.contains("did you mean \"listen.quic\""), "{error}");
    }

    #[test]
    fn environment_overrides_the_file() {
        let config = parse(GOOD, &[("TIEBEAM_LISTEN_HTTP", "127.0.0.1:9"), ("TIEBEAM_NODE", "other")]).unwrap();
        assert_eq!(config.listen.http.port(), 9);
    }

    /// In Kubernetes all that differs is said by the environment, which knows no lists.
    #[test]
    fn seeds_are_a_list_or_one_text() {
        let shown = |config: Config| config.seeds().iter().map(ToString::to_string).collect::<Vec<_>>();
        let listed = GOOD.replace("cores = {", "seeds = [\"10.0.0.1:4400\", \"file:seeds\"]\ncores = {");
        assert_eq!(shown(parse(&listed, &[]).unwrap()), ["10.0.0.1:4400", "file:seeds"]);
        let text = ("TIEBEAM_CLUSTER_SEEDS", "dns:core.ns.svc:4400, 10.0.0.2:4400");
        assert_eq!(shown(parse(&listed, &[text]).unwrap()), ["dns:core.ns.svc:4400", "10.0.0.2:4400"]);
        assert_eq!(shown(parse(GOOD, &[]).unwrap()), [""; 0]);
    }

    #[test]
    fn values_out_of_range_are_named() {
        let cases = [
            ("id = 1", "id = 0", "node.id"),
            ("core-1", "Core 1", "node.name"),
            ("role = \"core\"", "role = \"admin\"", "node.role"),
            ("0123456789abcdef", "short", "cluster.cookie"),
            ("1 = \"127", "x = \"127", "cluster.cores"),
            ("[cluster]", "[join]\nauthority = \"ca\"\ncertificate_hours = 5\n[cluster]", "join.certificate_hours"),
            ("cores = {", "revoked_serials = [\"7A:0B\"]\ncores = {", "cluster.revoked_serials"),
            ("1 = \"127", "2 = \"127", "cluster.cores"),
            (
                "cores = {",
                "seeds = [\"core\"]\ncores = {",
                "cluster.seeds is \"core\": expected ADDRESS:PORT, NAME:PORT or",
            ),
            ("cores = {", "split = \"oldest\"\ncores = {", "cluster.split"),
            ("role = \"core\"", "role = \"core\"\ndrain_ms = 60001", "node.drain_ms is \"60001\""),
        ];
        for (from, to, key) in cases {
            let error = parse(&GOOD.replace(from, to), &[]).unwrap_err();
            assert!(error.contains(key), "{to}: {error}");
        }
    }
}
