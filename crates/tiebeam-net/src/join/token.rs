use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tiebeam_wire::codec::{self, DecodeError};

use crate::Identity;
use crate::ca::{self, Authority, AuthorityError};
use crate::identity::IdentityError;

/// Longest life of a token. It is typed or pasted once; what lies around longer is found by others.
pub const TOKEN_TTL_MAX: Duration = Duration::from_secs(24 * 3600);
/// Most tokens that wait to be used; one more is refused.
pub const TOKENS_MAX: usize = 1000;
/// Wrong secrets after which a token is spent.
const ATTEMPTS_MAX: u8 = 5;

const ID_BYTES: usize = 8;
const SECRET_BYTES: usize = 16;
const HASH_BYTES: usize = 32;
/// The codec's version of a token's file.
const RECORD_VERSION: u8 = 1;
const PREFIX: &str = "tiebeam1";

/// Lets one node in, once, for a while. As text: `tiebeam1-<id>-<secret>-<hash of the authority>`, hexadecimal.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    pub(super) id: [u8; ID_BYTES],
    pub(super) secret: [u8; SECRET_BYTES],
    /// SHA-256 of the authority's certificate in DER.
    pub(super) authority: [u8; HASH_BYTES],
}

/// The only place where a token is shown whole.
impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}-{}-{}-{}", hex(&self.id), hex(&self.secret), hex(&self.authority))
    }
}

/// Never shows the secret.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({})", hex(&self.id))
    }
}

/// A text that is no token. It isn't repeated here: it may be a token with a typing error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("token is not of the form {PREFIX}-<16 digits>-<32 digits>-<64 digits>, hexadecimal")]
pub struct NotAToken;

impl FromStr for Token {
    type Err = NotAToken;

    fn from_str(text: &str) -> Result<Self, NotAToken> {
        let parts: Vec<&str> = text.trim().split('-').take(5).collect();
        let [PREFIX, id, secret, authority] = parts[..] else { return Err(NotAToken) };
        let part = (unhex(id), unhex(secret), unhex(authority));
        let (Some(id), Some(secret), Some(authority)) = part else { return Err(NotAToken) };
        Ok(Self { id, secret, authority })
    }
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// It would live too long, or not at all.
    #[error("token would live for {0:?}, expected at most {TOKEN_TTL_MAX:?} and more than nothing")]
    Ttl(Duration),
    /// The identity is of another cluster, or none.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The identity is none.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// [`TOKENS_MAX`] tokens wait already.
    #[error("{TOKENS_MAX} tokens wait to be used, the limit")]
    TooMany,
    /// The system has no randomness to give.
    #[error("system gives no randomness")]
    Entropy,
}

/// Why a token lets nobody in. For this side's log: a stranger hears one text for all.
#[derive(Debug, thiserror::Error)]
pub(super) enum Spent {
    #[error("token is unknown, used or expired")]
    Unknown,
    #[error("token of {0} with a wrong secret")]
    Wrong(Identity),
    #[error("token of {0} with a wrong secret, and that was the last attempt")]
    Burnt(Identity),
    #[error("token's file can't be read or written")]
    File,
}

/// What a token's file holds. The fields are in order and are never reordered.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    secret_hash: [u8; HASH_BYTES],
    identity: Identity,
    until_ms: i64,
    attempts: u8,
}

pub(super) fn decode_record(bytes: &[u8]) -> Result<Record, DecodeError> {
    codec::decode(RECORD_VERSION, bytes)
}

/// The tokens of one authority, a file each in `tokens/` beside its key. A file holds no secret, only its hash.
#[derive(Debug)]
pub struct Tokens {
    dir: PathBuf,
    /// Held while a file is read and changed.
    lock: Mutex<()>,
}

impl Tokens {
    /// Those of the authority in `dir`.
    #[must_use]
    pub fn of(dir: &Path) -> Self {
        Self { dir: dir.join("tokens"), lock: Mutex::new(()) }
    }

    /// Makes a token by which a node gets a certificate as `identity`, once, within `ttl`.
    ///
    /// # Errors
    /// [`TokenError`]; there is no token then.
    pub fn create(&self, authority: &Authority, identity: Identity, ttl: Duration) -> Result<Token, TokenError> {
        if ttl.is_zero() || ttl > TOKEN_TTL_MAX {
            return Err(TokenError::Ttl(ttl));
        }
        authority.check(&identity)?;
        let now = tiebeam_world::wall_clock_ms();
        if self.sweep(now) >= TOKENS_MAX {
            return Err(TokenError::TooMany);
        }
        let mut token = Token { id: [0; ID_BYTES], secret: [0; SECRET_BYTES], authority: authority.hash() };
        let random = SystemRandom::new();
        random.fill(&mut token.id).and_then(|()| random.fill(&mut token.secret)).map_err(|_| TokenError::Entropy)?;
        let until_ms = now.saturating_add(i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX));
        let record = Record { secret_hash: Sha256::digest(token.secret).into(), identity, until_ms, attempts: 0 };
        ca::write(&self.path(&token.id), &codec::encode(RECORD_VERSION, &record), 0o600)?;
        Ok(token)
    }

    /// Spends a token; returns whom it lets in. A second one who says the same hears that it is unknown.
    pub(super) fn spend(&self, id: [u8; ID_BYTES], secret: [u8; SECRET_BYTES]) -> Result<Identity, Spent> {
        let _one = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.path(&id);
        let bytes = std::fs::read(&path).map_err(|_| Spent::Unknown)?;
        let record = decode_record(&bytes).map_err(|_| Spent::File)?;
        let remove = || std::fs::remove_file(&path).map_err(|_| Spent::File);
        if record.until_ms <= tiebeam_world::wall_clock_ms() {
            remove()?;
            return Err(Spent::Unknown);
        }
        // Of equal length and a hash of random bytes: nothing is learnt from how long the comparison takes.
        if record.secret_hash == <[u8; HASH_BYTES]>::from(Sha256::digest(secret)) {
            // Removed before anything is signed: of two desks at one directory only one can remove it.
            remove()?;
            return Ok(record.identity);
        }
        let attempts = record.attempts + 1;
        if attempts >= ATTEMPTS_MAX {
            remove()?;
            return Err(Spent::Burnt(record.identity));
        }
        let record = Record { attempts, ..record };
        ca::write(&path, &codec::encode(RECORD_VERSION, &record), 0o600).map_err(|_| Spent::File)?;
        Err(Spent::Wrong(record.identity))
    }

    fn path(&self, id: &[u8; ID_BYTES]) -> PathBuf {
        self.dir.join(format!("{}.token", hex(id)))
    }

    /// Removes what has expired; returns how many are left.
    fn sweep(&self, now_ms: i64) -> usize {
        let Ok(files) = std::fs::read_dir(&self.dir) else { return 0 };
        let mut left = 0;
        for file in files.filter_map(Result::ok) {
            let record = std::fs::read(file.path()).ok().and_then(|bytes| decode_record(&bytes).ok());
            match record {
                Some(record) if record.until_ms <= now_ms => drop(std::fs::remove_file(file.path())),
                _ => left += 1,
            }
        }
        left
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; N];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use tiebeam_wire::{NodeId, Role};

    use super::*;

    fn bob() -> Identity {
        Identity { node: NodeId(7), name: "bob".into(), role: Role::Edge, cluster: "skies".into() }
    }

    struct Scene {
        dir: tempfile::TempDir,
        tokens: Tokens,
        token: Token,
    }

    fn scene() -> Scene {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::create(dir.path(), "skies").unwrap();
        let tokens = Tokens::of(dir.path());
        let token = tokens.create(&authority, bob(), Duration::from_secs(900)).unwrap();
        Scene { dir, tokens, token }
    }

    #[test]
    fn token_is_read_as_it_is_shown() {
        let token = scene().token;
        assert_eq!(token.to_string().parse(), Ok(token.clone()));
        assert_eq!(format!(" {token}\n").parse(), Ok(token.clone()));
        let text = token.to_string();
        for bad in
            ["", "tiebeam1---", &text[1..], &text[..text.len() - 1], &format!("{text}-00"), &text.replace('-', "_")]
        {
            assert_eq!(bad.parse::<Token>(), Err(NotAToken), "{bad}");
        }
        assert!(!format!("{token:?}").contains(&hex(&token.secret)));
    }

    #[test]
    fn token_is_spent_once() {
        let Scene { dir, tokens, token } = scene();
        let file = std::fs::read_dir(dir.path().join("tokens")).unwrap().next().unwrap().unwrap().path();
        let bytes = std::fs::read(file).unwrap();
        assert!(!bytes.windows(SECRET_BYTES).any(|window| window == token.secret), "the file holds the secret");
        assert_eq!(tokens.spend(token.id, token.secret).unwrap(), bob());
        assert!(matches!(tokens.spend(token.id, token.secret), Err(Spent::Unknown)));
    }

    #[test]
    fn fifth_wrong_secret_spends_the_token() {
        let Scene { dir: _dir, tokens, token } = scene();
        for _ in 0..4 {
            assert!(matches!(tokens.spend(token.id, [0; 16]), Err(Spent::Wrong(_))));
        }
        assert!(matches!(tokens.spend(token.id, [0; 16]), Err(Spent::Burnt(_))));
        assert!(matches!(tokens.spend(token.id, token.secret), Err(Spent::Unknown)));
    }

    #[test]
    fn expired_token_is_gone() {
        let Scene { dir, tokens, token } = scene();
        let path = tokens.path(&token.id);
        let record = decode_record(&std::fs::read(&path).unwrap()).unwrap();
        std::fs::write(&path, codec::encode(RECORD_VERSION, &Record { until_ms: 0, ..record })).unwrap();
        assert!(matches!(tokens.spend(token.id, token.secret), Err(Spent::Unknown)));
        assert!(!path.exists());
        let authority = Authority::load(dir.path()).unwrap();
        for ttl in [Duration::ZERO, TOKEN_TTL_MAX + Duration::from_secs(1)] {
            assert!(matches!(tokens.create(&authority, bob(), ttl), Err(TokenError::Ttl(_))));
        }
        let foreign = Identity { cluster: "seas".into(), ..bob() };
        assert!(tokens.create(&authority, foreign, Duration::from_secs(1)).is_err());
    }

    /// Golden bytes: a token must be of use after the node beside it was upgraded.
    #[test]
    fn bytes_of_a_record_are_golden() {
        let record = Record { secret_hash: [9; 32], identity: bob(), until_ms: 300, attempts: 1 };
        let bytes = codec::encode(RECORD_VERSION, &record);
        let expected = [&[1][..], &[9; 32], &[7, 3], b"bob", &[1, 5], b"skies", &[251, 88, 2, 1]].concat();
        assert_eq!(bytes, expected);
    }
}
