//! Distributed Erlang on loopback: TLS 1.3, both sides with a certificate of one authority.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, ensure};

use crate::peer::workers;
use crate::shape::Shape;

/// Compiles the Erlang side and makes its certificates.
///
/// # Errors
/// What is missing, for the reader of the table.
pub(crate) fn prepare() -> anyhow::Result<()> {
    let has_ssl = "case code:lib_dir(ssl) of {error, _} -> halt(1); _ -> halt(0) end.";
    let starts = Command::new("erl").args(["-noshell", "-eval", has_ssl]).status();
    ensure!(
        starts.is_ok_and(|erl| erl.success()),
        "erl does not run or lacks ssl; `make bench-peers` installs both where it may"
    );
    let folder = folder()?;
    fs::create_dir_all(&folder)?;
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("beam/bench_net.erl");
    let compiled = Command::new("erlc").arg("-o").arg(&folder).arg(source).status().context("erlc does not run")?;
    ensure!(compiled.success(), "erlc failed");
    certify(&folder).context("openssl made no certificates; `make bench-peers` installs it where it may")
}

/// Runs one shape between two fresh virtual machines.
pub(crate) fn measure(shape: Shape, count: u64) -> anyhow::Result<f64> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port().to_string();
    let mut mapper = Command::new("epmd");
    mapper.args(["-port", &port, "-address", "127.0.0.1"]);
    // A mapper of its own, so that none is left running and other nodes of the machine are left alone.
    let _mapper = Killed(mapper.spawn().context("epmd does not run")?);
    let second = erl(&port, SECOND)?.args(["-s", "bench_net", "second"]).stdout(Stdio::null()).spawn()?;
    let _second = Killed(second);
    let warm_up = shape.warm_up(count).unwrap_or(0);
    let (name, bytes) = (shape.name(), shape.body_bytes());
    let run = format!("bench_net:main({name}, {count}, {bytes}, {warm_up}, '{SECOND}').");
    let output = erl(&port, "first@localhost")?.args(["-eval", &run]).stderr(Stdio::inherit()).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "erl failed at {name}: {text}");
    text.trim().parse().with_context(|| format!("erl printed no number at {name}: {text}"))
}

/// Killed when dropped; it may have ended before.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn erl(port: &str, name: &str) -> anyhow::Result<Command> {
    let folder = folder()?;
    let mut erl = Command::new("erl");
    erl.env("ERL_EPMD_PORT", port).stdin(Stdio::null());
    erl.args(["-noshell", "-noinput", "+S", &format!("{0}:{0}", workers()), "+P", "2000000", "-pa"]).arg(&folder);
    erl.args(["-kernel", "logger_level", "none", "inet_dist_use_interface", "{127,0,0,1}"]);
    erl.args(["-start_epmd", "false", "-sname", name, "-setcookie", "bench"]);
    erl.args(["-proto_dist", "inet_tls", "-ssl_dist_optfile"]).arg(folder.join("ssl.conf"));
    Ok(erl)
}

/// Writes an authority, a certificate for both machines and Erlang's configuration of them, each time anew.
fn certify(folder: &Path) -> anyhow::Result<()> {
    let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    let authority = ["req", "-x509", "-keyout", "ca.key", "-out", "ca.pem", "-days", "30", "-subj", "/CN=ca"];
    openssl(folder, &[authority.as_slice(), &curve].concat())?;
    let request = ["req", "-keyout", "key.pem", "-out", "csr.pem", "-subj", "/CN=localhost"];
    openssl(folder, &[request.as_slice(), &curve].concat())?;
    fs::write(folder.join("names.conf"), "subjectAltName=DNS:localhost\n")?;
    let sign = ["x509", "-req", "-in", "csr.pem", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"];
    let signed = ["-out", "cert.pem", "-days", "30", "-extfile", "names.conf"];
    openssl(folder, &[sign.as_slice(), &signed].concat())?;
    let file = |name: &str| folder.join(name).display().to_string();
    let (certificate, key, authority) = (file("cert.pem"), file("key.pem"), file("ca.pem"));
    let common = format!(
        "{{certfile,\"{certificate}\"}},{{keyfile,\"{key}\"}},{{cacertfile,\"{authority}\"}},{{verify,verify_peer}},\
         {{versions,['tlsv1.3']}}"
    );
    let server = format!("{{server,[{common},{{fail_if_no_peer_cert,true}}]}}");
    let client = format!("{{client,[{common},{{server_name_indication,disable}}]}}");
    fs::write(folder.join("ssl.conf"), format!("[{server},{client}].\n"))?;
    Ok(())
}

fn openssl(folder: &Path, args: &[&str]) -> anyhow::Result<()> {
    let output = Command::new("openssl").args(args).current_dir(folder).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Returns where compiled modules and certificates go: beside this binary, in cargo's target folder.
fn folder() -> anyhow::Result<PathBuf> {
    Ok(std::env::current_exe()?.with_file_name("bench-net-beam"))
}

const SECOND: &str = "second@localhost";
