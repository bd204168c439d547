//! One OTP node that runs scenario after scenario.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::scenario::Scenario;

pub(crate) struct Otp {
    node: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    release: String,
}

/// Compiles the modules in memory, so that nothing is written beside the sources, then says its release and serves.
const BOOT: &str = r#"
    Load = fun(Name) ->
        {ok, Module, Code} = compile:file(filename:join(os:getenv("ORACLE_DIR"), Name), [binary, report]),
        {module, Module} = code:load_binary(Module, Name, Code)
    end,
    lists:foreach(Load, ["oracle.erl", "oracle_processes.erl", "oracle_trees.erl", "oracle_machines.erl",
                           "oracle_events.erl"]),
    io:format("~s~n", [erlang:system_info(otp_release)]),
    oracle:main().
"#;

impl Otp {
    /// Starts a node; none if there is no `erl`.
    pub(crate) fn start() -> Option<Self> {
        // One scheduler: the node shares the machine with the other tests, and its traces are the same each time.
        let node = Command::new("erl")
            .args(["+S", "1:1", "-noshell", "-kernel", "logger_level", "none", "-eval", BOOT])
            .env("ORACLE_DIR", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/oracle/erl"))
            .env("ERL_CRASH_DUMP_SECONDS", "0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut node = match node {
            Ok(node) => node,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
            Err(error) => panic!("erl does not start: {error}"),
        };
        let input = node.stdin.take().unwrap();
        let output = BufReader::new(node.stdout.take().unwrap());
        let mut otp = Self { node, input, output, release: String::new() };
        otp.release = otp.line();
        assert!(otp.release.parse::<u32>().is_ok(), "the OTP node says: {}", otp.release);
        Some(otp)
    }

    pub(crate) fn release(&self) -> &str {
        &self.release
    }

    /// Runs a scenario; returns its trace as it was written down.
    pub(crate) fn run(&mut self, scenario: &Scenario) -> Vec<String> {
        write!(self.input, "{}\n{scenario}end\n", scenario.kind).unwrap();
        self.input.flush().unwrap();
        let mut lines = Vec::new();
        loop {
            match self.line() {
                line if line == "end" => return lines,
                line => lines.push(line),
            }
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        let read = self.output.read_line(&mut line).unwrap();
        assert!(read > 0, "the OTP node ended: a bug of oracle.erl, its words are above");
        line.trim_end().to_owned()
    }
}

impl Drop for Otp {
    fn drop(&mut self) {
        let _ = self.node.kill();
        let _ = self.node.wait();
    }
}
