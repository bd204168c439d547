use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::peer::{Peer, workers};
use crate::rounds::{Row, Samples};
use crate::shape::Shape;

/// One row of the file that figures are followed with.
#[derive(Debug, Serialize)]
struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    better: &'static str,
    conditions: String,
    peers: BTreeMap<String, f64>,
}

/// Returns the table for people: medians with the least and the greatest value, and ours as a multiple of each peer's.
pub(crate) fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN).set_header([
        "row",
        "unit",
        "who",
        "median",
        "min",
        "max",
        "ours / peer",
    ]);
    for row in rows {
        let ours = ours(row).map(Samples::median);
        for (peer, samples) in &row.columns {
            let is_ours = *peer == Peer::Tiebeam;
            let (name, unit) = if is_ours { (row.shape.name(), row.shape.unit()) } else { Default::default() };
            let ratio = ours.filter(|_| !is_ours).map(|ours| format!("{:.2}", ours / samples.median()));
            let [median, min, max] =
                [samples.median(), samples.min(), samples.max()].map(|value| format!("{value:.1}"));
            table.add_row([name, unit.to_owned(), peer.name(), median, min, max, ratio.unwrap_or_default()]);
        }
    }
    for column in table.column_iter_mut().skip(3) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Says what all figures were measured under, and below that what is special about a row.
pub(crate) fn notes(rows: &[Row], rounds: u32) -> String {
    let special = rows.iter().filter_map(|row| Some(format!("\n- {}: {}", row.shape.name(), row.shape.condition()?)));
    common(rounds) + &special.collect::<String>() + &slowdowns(rows)
}

fn common(rounds: u32) -> String {
    format!(
        "two processes on loopback, {} workers each, system allocator, release; ours: QUIC with certificates on both \
         sides, beam: TLS 1.3 with certificates on both sides; median of {rounds} interleaved rounds, fresh processes each; \
         callers and senders are actors",
        workers()
    )
}

/// Says by how much a flood slows pings down, of each peer.
fn slowdowns(rows: &[Row]) -> String {
    let row = |shape| rows.iter().find(|row| row.shape == shape);
    let (Some(idle), Some(flood)) = (row(Shape::PingIdle), row(Shape::PingInFlood)) else { return String::new() };
    let both = idle.columns.iter().zip(&flood.columns);
    let slowdown = |((peer, idle), (_, flood)): (&(Peer, Samples), &(Peer, Samples))| {
        format!(
            "\n- p99 of a ping in a flood, by that of an idle one, {}: {:.1}",
            peer.name(),
            flood.median() / idle.median()
        )
    };
    both.map(slowdown).collect()
}

/// Writes `bench/net.json` to cargo's target folder and returns its path.
pub(crate) fn write(rows: &[Row], rounds: u32) -> anyhow::Result<PathBuf> {
    let figures: Vec<_> = rows.iter().filter_map(|row| figure(row, rounds)).collect();
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository.join("target"), PathBuf::from);
    let folder = target.join("bench");
    fs::create_dir_all(&folder)?;
    let path = folder.join("net.json");
    fs::write(&path, serde_json::to_string_pretty(&figures)? + "\n")?;
    Ok(path)
}

fn figure(row: &Row, rounds: u32) -> Option<Figure> {
    let peers = row.columns.iter().filter(|(peer, _)| *peer != Peer::Tiebeam);
    Some(Figure {
        name: row.shape.name(),
        value: rounded(ours(row)?.median()),
        unit: row.shape.unit(),
        better: row.shape.better(),
        conditions: [Some(common(rounds).as_str()), row.shape.condition()]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join("; "),
        peers: peers.map(|(peer, samples)| (peer.name(), rounded(samples.median()))).collect(),
    })
}

fn ours(row: &Row) -> Option<&Samples> {
    row.columns.iter().find(|(peer, _)| *peer == Peer::Tiebeam).map(|(_, samples)| samples)
}

/// Rounds to a tenth, which is finer than any two runs agree.
fn rounded(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}
