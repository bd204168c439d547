use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use serde_json::json;

use crate::callers::Noticed;

/// One restart of one node.
pub(crate) struct Row {
    pub(crate) node: String,
    /// From the signal to the end of the process.
    pub(crate) stop: Duration,
    /// From its start until its actors were seen by the callers.
    pub(crate) start: Duration,
    pub(crate) noticed: Noticed,
}

pub(crate) fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    let header = ["node", "ends in ms", "serves in ms", "calls", "made again", "lost", "longest call in ms"];
    table.load_preset(presets::ASCII_MARKDOWN).set_header(header);
    for Row { node, stop, start, noticed } in rows {
        table.add_row([
            node.clone(),
            stop.as_millis().to_string(),
            start.as_millis().to_string(),
            noticed.calls.to_string(),
            noticed.again.to_string(),
            noticed.lost.to_string(),
            format!("{:.1}", ms(noticed.longest)),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

pub(crate) fn notes(callers: u32, kill: bool) -> String {
    let how = if kill { "SIGKILL" } else { "SIGTERM" };
    format!(
        "five core nodes, each in turn got {how} and was started again; {callers} callers on an edge node, no pauses"
    )
}

pub(crate) fn last_error(rows: &[Row]) -> String {
    let error = rows.iter().rev().find_map(|row| row.noticed.error.clone());
    error.unwrap_or_else(|| "unknown".to_owned())
}

/// Writes the longest pause to the file that figures are followed with.
pub(crate) fn write(rows: &[Row]) -> anyhow::Result<PathBuf> {
    let longest = rows.iter().map(|row| row.noticed.longest).max().unwrap_or_default();
    let figure = json!([{
        "name": "rolling_restart_longest_call", "value": ms(longest), "unit": "ms", "better": "lower",
        "conditions": "five core nodes restarted one after the other, one retry", "peers": {},
    }]);
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    let path = target.join("bench").join("rolling.json");
    fs::create_dir_all(path.parent().unwrap_or(&target))?;
    fs::write(&path, serde_json::to_vec_pretty(&figure)?)?;
    Ok(path)
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
