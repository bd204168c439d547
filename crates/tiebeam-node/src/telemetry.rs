//! Installs the one subscriber of the process: text lines on standard error.

use tracing_subscriber::EnvFilter;

/// What is written when `TIEBEAM_TRACE` says nothing. openraft tells every step of every group at `info`, and all of it
/// that an operator needs is told by `tiebeam_log`.
const DEFAULT: &str = "info,openraft=error,chitchat=warn,quinn=warn";

/// Writes events to standard error from now on; `TIEBEAM_TRACE` holds directives as `info,tiebeam_log=debug`. Colours
/// only on a terminal, and not if `NO_COLOR` is set. A second call does nothing.
pub fn install() {
    let filter = EnvFilter::try_from_env("TIEBEAM_TRACE").unwrap_or_else(|_| EnvFilter::new(DEFAULT));
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr()) && std::env::var_os("NO_COLOR").is_none();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours);
    // Already installed: by a test, or by a program that brought its own.
    let _ = builder.try_init();
}
