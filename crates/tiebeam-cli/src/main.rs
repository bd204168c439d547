//! The `tiebeam` command: run a node, start a local cluster, make certificates, see it all work.

mod app;
mod demo;
mod flights;
mod join;
mod local;

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use tiebeam_node::ca::Authority;
use tiebeam_node::join::Tokens;
use tiebeam_node::wire::{NodeId, Role};
use tiebeam_node::{Config, Identity, Node, StartError};

use self::local::{LocalCluster, Ports};

/// Exit status of a command that did what it was told, but found something wrong.
const FAILED: u8 = 1;

/// A clustered runtime with the semantics of Erlang/OTP: one binary, no database beside it.
#[derive(Debug, Parser)]
#[command(name = "tiebeam", version, after_help = "Example: tiebeam dev --cores 3 --edges 2")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a node in the foreground.
    #[command(subcommand)]
    Node(NodeCommand),
    /// Start a local cluster as child processes, until Ctrl-C; its data stays.
    #[command(after_help = "Example: tiebeam dev --cores 3 --edges 2 --dir .tiebeam/dev")]
    Dev {
        /// Nodes that vote.
        #[arg(long, default_value_t = 3)]
        cores: usize,
        /// Nodes that host services.
        #[arg(long, default_value_t = 2)]
        edges: usize,
        /// Where the nodes keep their data.
        #[arg(long, default_value = ".tiebeam/dev")]
        dir: PathBuf,
    },
    /// Stream 336,776 real flights through five nodes, kill some on the way, and check every figure.
    #[command(after_help = "Example: CHAOS_SEED=7 DEMO_EXIT=1 tiebeam demo")]
    Demo(demo::Args),
    /// Make certificates.
    #[command(subcommand)]
    Ca(CaCommand),
}

#[derive(Debug, Subcommand)]
enum NodeCommand {
    /// Get a certificate by token and write a directory that a node can run on; prints the command that runs it.
    #[command(after_help = "Example: tiebeam node join --token tiebeam1-... --address 10.0.0.1:4401 --dir edge-7")]
    Join(join::Args),
    /// Run one node until SIGTERM or Ctrl-C.
    #[command(after_help = "Example: tiebeam node run --config configs/core-1.toml")]
    Run {
        /// The node's configuration. Without one: a single node on loopback, with its data in .tiebeam/single.
        #[arg(long)]
        config: Option<PathBuf>,
        /// Stop when standard input ends: for nodes that must not outlive their parent.
        #[arg(long, hide = true)]
        exit_with_stdin: bool,
    },
}

#[derive(Debug, Subcommand)]
enum CaCommand {
    /// Make a certificate authority for a new cluster.
    #[command(after_help = "Example: tiebeam ca init --dir ca --cluster prod")]
    Init {
        /// Where the authority's certificate and key go.
        #[arg(long, default_value = "ca")]
        dir: PathBuf,
        /// The cluster's name, at most 16 lower-case letters, digits or hyphens.
        #[arg(long)]
        cluster: String,
    },
    /// Issue a node's certificate.
    #[command(after_help = "Example: tiebeam ca issue --role core --name core-1 --id 1 --cluster prod")]
    Issue {
        /// Where the authority is.
        #[arg(long, default_value = "ca")]
        dir: PathBuf,
        /// What the bearer may do: core, edge or admin.
        #[arg(long)]
        role: Role,
        /// The node's name, at most 16 lower-case letters, digits or hyphens.
        #[arg(long)]
        name: String,
        /// The node's id, from 1; never given to another node. Administrators have 0.
        #[arg(long, default_value_t = 0)]
        id: u64,
        /// The cluster's name.
        #[arg(long)]
        cluster: String,
    },
    /// Make a token by which a node gets its certificate itself, once, from a core node with section [join]; prints it.
    #[command(
        after_help = "Example: tiebeam ca token --dir ca --cluster skies --role edge --name edge-7 --id 7 --ttl 15m"
    )]
    Token {
        /// Directory of the authority; the core node's join.authority.
        #[arg(long, default_value = "ca")]
        dir: PathBuf,
        /// What the node may do: core or edge.
        #[arg(long)]
        role: Role,
        /// The node's name, at most 16 lower-case letters, digits or hyphens.
        #[arg(long)]
        name: String,
        /// The node's id, from 1; never given to another node.
        #[arg(long)]
        id: u64,
        /// The cluster's name.
        #[arg(long)]
        cluster: String,
        /// How long the token can be used: a number with s, m or h, at most 24h.
        #[arg(long, default_value = "15m", value_parser = join::duration)]
        ttl: std::time::Duration,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            fail(&error);
            ExitCode::from(FAILED)
        }
    }
}

#[expect(clippy::print_stderr, reason = "errors of commands belong on standard error")]
fn fail(error: &anyhow::Error) {
    let hint = error.downcast_ref::<StartError>().and_then(StartError::hint);
    let hint = hint.map(|hint| format!("; hint: {hint}")).unwrap_or_default();
    eprintln!("error: {error:#}{hint}");
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Node(NodeCommand::Run { config, exit_with_stdin }) => node(config, exit_with_stdin)?,
        Command::Dev { cores, edges, dir } => dev(cores, edges, &dir)?,
        Command::Demo(args) => {
            let exact = demo::run(&args)?;
            return Ok(if exact { ExitCode::SUCCESS } else { ExitCode::from(FAILED) });
        }
        Command::Node(NodeCommand::Join(args)) => say(&join::join(&args)?),
        Command::Ca(CaCommand::Token { dir, role, name, id, cluster, ttl }) => {
            if role == Role::Admin {
                bail!("an administrator is no node and can't join; hint: tiebeam ca issue --role admin");
            }
            let identity = Identity { node: NodeId(id), name, role, cluster };
            say(&Tokens::of(&dir).create(&Authority::load(&dir)?, identity, ttl)?.to_string());
        }
        Command::Ca(CaCommand::Init { dir, cluster }) => drop(Authority::create(&dir, &cluster)?),
        Command::Ca(CaCommand::Issue { dir, role, name, id, cluster }) => {
            let authority = Authority::load(&dir)?;
            drop(authority.issue(Identity { node: NodeId(id), name, role, cluster })?.write(&dir)?);
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[expect(clippy::print_stdout, reason = "the command's answer")]
fn say(text: &str) {
    println!("{text}");
}

fn node(config: Option<PathBuf>, exit_with_stdin: bool) -> Result<()> {
    let path = match config {
        Some(path) => path,
        None => {
            let single = LocalCluster::lay_out(".tiebeam/single".as_ref(), 1, 0, Ports::Default, |_| String::new())?;
            single.config_of(0)
        }
    };
    let config = Config::load(&path, std::env::vars())?;
    tiebeam_node::telemetry::install();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(async {
        let node = Node::start(config, app::registry()).await?;
        tokio::select! {
            () = stop_signal(exit_with_stdin) => {}
            never = reload_on_hangup(&node, &path) => match never {},
        }
        node.stop().await;
        anyhow::Ok(())
    });
    // Whatever still blocks must not keep a stopped node alive.
    runtime.shutdown_background();
    result
}

/// Reads the configuration again at each SIGHUP. What can't be used is said, and the node goes on with what it has.
async fn reload_on_hangup(node: &Node, path: &Path) -> Infallible {
    // Without a handler SIGHUP ends the process, which is what it did before anybody thought of reloading.
    let Ok(mut hangup) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()) else {
        return std::future::pending().await;
    };
    loop {
        // None comes only if the runtime ends.
        let Some(()) = hangup.recv().await else { return std::future::pending().await };
        let reloaded = match Config::load(path, std::env::vars()) {
            Ok(config) => node.reload(config).await.map_err(anyhow::Error::from),
            Err(error) => Err(error.into()),
        };
        if let Err(error) = reloaded {
            tracing::error!(
                error = format!("{error:#}"),
                "configuration can't be used; the one before stays in effect"
            );
        }
    }
}

/// Waits for SIGTERM, Ctrl-C, or the end of standard input if that is asked for.
async fn stop_signal(exit_with_stdin: bool) {
    // Without a handler SIGTERM ends the process, which is what it asks for.
    let Ok(mut terminate) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    let stdin = async move {
        match exit_with_stdin {
            true => end_of_stdin().await,
            false => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = terminate.recv() => tracing::info!("told to stop by SIGTERM"),
        _ = tokio::signal::ctrl_c() => tracing::info!("told to stop by Ctrl-C"),
        () = stdin => tracing::info!("parent is gone"),
    }
}

/// Waits on a plain thread: a read of standard input can't be cancelled, and must not hold up the runtime's end.
async fn end_of_stdin() {
    let (tx, rx) = tokio::sync::oneshot::channel::<()>();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        drop(tx);
    });
    // Nothing is ever sent; the end is the thread's own.
    let _ = rx.await;
}

#[expect(clippy::print_stdout, reason = "the command's answer")]
fn dev(cores: usize, edges: usize, dir: &Path) -> Result<()> {
    let mut cluster = LocalCluster::lay_out(dir, cores, edges, Ports::Default, |_| String::new())?;
    cluster.start_all()?;
    for node in &cluster.nodes {
        println!("{:8} {:5} http://{}/", node.name, node.role, node.http);
    }
    println!("trace lines: {}; Ctrl-C stops the nodes", cluster.logs().display());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        loop {
            let look = tiebeam_node::world::timeout(std::time::Duration::from_secs(1), tokio::signal::ctrl_c());
            match look.await {
                Ok(signal) => return signal.context("Ctrl-C can't be waited for"),
                Err(_) => cluster.check()?,
            }
        }
    })
}
