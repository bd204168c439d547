//! `tiebeam node join`: from a token to a directory that a node can run on.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tiebeam_node::join::{Joined, Token};

/// What `tiebeam node join` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The token that `tiebeam ca token` printed.
    #[arg(long, env = "TIEBEAM_TOKEN", hide_env_values = true)]
    token: Token,
    /// Where a core node lets newcomers in, ADDRESS:PORT.
    #[arg(long)]
    address: SocketAddr,
    /// Where the node keeps its configuration, its certificate and its data; new, or empty.
    #[arg(long)]
    dir: PathBuf,
    /// UDP address on which the node listens for other nodes.
    #[arg(long, default_value = "0.0.0.0:4400")]
    quic: SocketAddr,
    /// TCP address on which the node serves HTTP.
    #[arg(long, default_value = "127.0.0.1:4000")]
    http: SocketAddr,
}

/// Gets a certificate and writes what a node needs; returns the command that starts it.
pub(crate) fn join(args: &Args) -> Result<String> {
    let config = args.dir.join("node.toml");
    // Before the token is spent.
    if config.exists() {
        bail!("directory {} has a node already; hint: say another one with --dir", args.dir.display());
    }
    fs::create_dir_all(&args.dir).with_context(|| format!("directory {} can't be made", args.dir.display()))?;
    let dir = args.dir.canonicalize()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let joined = runtime.block_on(tiebeam_node::join::join(args.address, &args.token))?;
    write(&dir, "node.key", &joined.key, 0o600)?;
    write(&dir, "node.pem", &joined.certificate, 0o644)?;
    write(&dir, "ca.pem", &joined.authority, 0o644)?;
    // It holds the cookie. Last, so that a directory with it is whole.
    write(&dir, "node.toml", &text(&dir, args, &joined)?, 0o600)?;
    Ok(format!("tiebeam node run --config {}", config.display()))
}

fn text(dir: &Path, args: &Args, joined: &Joined) -> Result<String> {
    let identity = &joined.identity;
    let path = |name: &str| toml::Value::String(dir.join(name).display().to_string());
    let mut text = String::new();
    writeln!(text, "[node]\nid = {}\nname = \"{}\"", identity.node.0, identity.name)?;
    writeln!(text, "role = \"{}\"\ndir = {}\n", identity.role, path("data"))?;
    writeln!(text, "[listen]\nquic = \"{}\"\nhttp = \"{}\"\n", args.quic, args.http)?;
    writeln!(text, "[tls]\nca = {}\ncert = {}\nkey = {}\n", path("ca.pem"), path("node.pem"), path("node.key"))?;
    text.push_str(&joined.settings);
    Ok(text)
}

fn write(dir: &Path, name: &str, text: &str, mode: u32) -> Result<()> {
    let path = dir.join(name);
    let attempt = || {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    attempt().with_context(|| format!("file {} can't be written", path.display()))
}

/// Reads a length of time such as `15m`: a number with `s`, `m` or `h` behind it.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("{text:?} is no length of time; expected a number with s, m or h behind it, such as 15m");
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(bad)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(bad()),
    };
    let number: u32 = number.parse().map_err(|_| bad())?;
    Ok(Duration::from_secs(u64::from(number) * seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_read_as_people_write_them() {
        assert_eq!(duration("15m"), Ok(Duration::from_secs(900)));
        assert_eq!(duration("24h"), Ok(Duration::from_secs(86_400)));
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        for bad in ["", "m", "15", "-1m", "1d", "1.5h", "15µ", "99999999999h"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
