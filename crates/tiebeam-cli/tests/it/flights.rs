//! The demo on a part of its data, in which some rows are broken.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::site::EXE;

/// Rows of the file that are published, and cancelled flights among them, as `zstdcat | head -40001 | cut -d, -f4` counts.
const ROWS: usize = 40_000;
const CANCELLED: usize = 695;

/// Writes the first rows of the data with broken ones in between; returns where and, by reason, how many are broken.
fn broken_flights(dir: &Path) -> (PathBuf, [(&'static str, usize); 5]) {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testbed/data/flights.csv.zst");
    let text = zstd::decode_all(std::fs::File::open(data).unwrap()).unwrap();
    let rows: Vec<&[u8]> = text.split(|b| *b == b'\n').take(ROWS + 1).collect();
    let good = String::from_utf8(rows[1].to_vec()).unwrap();
    let broken: [(&str, Vec<u8>); 6] = [
        ("wrong column count", good.replacen(",UA,", ",UA,,", 1).into()),
        ("wrong column count", b"2013,1".to_vec()),
        ("not UTF-8", [good.as_bytes(), b"\xff\xfe"].concat()),
        ("number out of range", good.replacen("2013,1,1,", "2013,13,1,", 1).into()),
        ("not a number", good.replacen(",1400,", ",far,", 1).into()),
        ("too long", vec![b'9'; 5_000]),
    ];
    let mut out = Vec::new();
    for (i, row) in rows.iter().enumerate() {
        out.extend_from_slice(row);
        out.push(b'\n');
        if i % 6_000 == 17
            && let Some((_, bad)) = broken.get(i / 6_000)
        {
            assert_ne!(bad, good.as_bytes());
            out.extend_from_slice(bad);
            out.push(b'\n');
        }
    }
    let path = dir.join("flights.csv.zst");
    std::fs::write(&path, zstd::encode_all(&out[..], 1).unwrap()).unwrap();
    let counts = ["wrong column count", "not UTF-8", "number out of range", "not a number", "too long"];
    (path, counts.map(|reason| (reason, broken.iter().filter(|(why, _)| *why == reason).count())))
}

/// Runs the demo with `chaos`; the table must hold what is counted here, not only what the demo itself expects.
fn exact_with(chaos: &str, kills: usize) {
    let dir = tempfile::tempdir().unwrap();
    let (file, broken) = broken_flights(dir.path());
    let output = Command::new(EXE)
        .args(["demo", "--exit", "--free-ports", "--seed", "1", "--chaos", chaos, "--file"])
        .arg(file)
        .arg("--dir")
        .arg(dir.path().join("run"))
        .output()
        .unwrap();
    let table = String::from_utf8(output.stdout).unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{error}\n{table}");
    let figure = |name: &str| {
        let line = table.lines().find(|line| line.trim_start().starts_with(name));
        let cells =
            line.and_then(|line| line.trim_start().strip_prefix(name)).unwrap_or_else(|| panic!("{name}: {table}"));
        cells.split_whitespace().next().unwrap().parse::<usize>().unwrap()
    };
    assert_eq!(figure("rows"), ROWS);
    assert_eq!(figure("cancelled flights"), CANCELLED);
    assert_eq!(figure("workflows completed + compensated"), CANCELLED);
    assert_eq!(figure("broken rows"), 6);
    for (reason, count) in broken {
        assert_eq!(figure(reason), count, "{reason}");
    }
    assert_eq!(error.matches("with SIGKILL").count(), kills, "{error}");
    assert!(table.contains("exact: every figure is equal"), "{table}");
}

#[test]
fn broken_rows_are_dead_letters_and_all_others_exact_though_nodes_are_killed() {
    exact_with("one-by-one", 3);
}

#[test]
fn run_goes_on_after_all_nodes_were_killed_at_once() {
    exact_with("all-at-once", 1);
}
