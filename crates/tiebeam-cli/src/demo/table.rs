use std::time::Duration;

use comfy_table::{CellAlignment, Table, TableComponent, presets};

use super::Expected;
use super::gaps::Gap;
use crate::app::{CarrierTotals, Report};

/// Prints what was found beside what a plain reading found; returns whether all of it is equal.
#[expect(clippy::print_stdout, reason = "the table is the demo's answer")]
pub(crate) fn print(report: &Report, expected: &Expected, gaps: &[Gap], took: Duration, seed: u64) -> bool {
    let rows = figures(report, expected);
    let mut table = plain(&["figure", "found", "plain reading", ""]);
    for row in &rows {
        table.add_row([
            row.name.clone(),
            row.found.to_string(),
            row.expected.to_string(),
            mark(row.exact()).to_owned(),
        ]);
    }
    println!("{table}\n");

    let (carriers, carriers_exact) = carriers(report, expected);
    println!("{carriers}\n");

    let mut table = plain(&["how it went", ""]);
    table.add_row(["time".to_owned(), format!("{:.1} s", took.as_secs_f64())]);
    table.add_row(["chaos seed".to_owned(), seed.to_string()]);
    for Gap { kill, whole, part } in gaps {
        let seconds = |gap: &Duration| format!("{:.1} s", gap.as_secs_f64());
        table.add_row([format!("longest gap after the kill of {kill}"), seconds(whole)]);
        table.add_row(["  of one partition that had work".to_owned(), seconds(part)]);
    }
    table.add_row(["requests of the publisher's node tried again".to_owned(), report.requests_again.to_string()]);
    table.add_row(["batches suppressed as duplicates".to_owned(), report.batches_repeated.to_string()]);
    table.add_row(["workflow starts suppressed as duplicates".to_owned(), report.workflows.duplicates.to_string()]);
    table.add_row(["inventory calls suppressed as duplicates".to_owned(), report.calls_repeated.to_string()]);
    println!("{table}\n");

    let exact = carriers_exact && rows.iter().all(Figure::exact);
    println!("{}", if exact { "exact: every figure is equal" } else { "NOT EXACT: see the rows marked with !" });
    exact
}

struct Figure {
    name: String,
    found: i64,
    expected: i64,
}

impl Figure {
    const fn exact(&self) -> bool {
        self.found == self.expected
    }
}

fn figures(report: &Report, expected: &Expected) -> Vec<Figure> {
    let plain = &expected.plain;
    let ended = report.workflows.completed + report.workflows.compensated;
    let completed = expected.workflows - expected.compensated;
    let counts = [
        ("rows", report.totals.rows(), plain.rows),
        ("cancelled flights", report.totals.cancelled(), plain.cancelled),
        ("workflows started", report.workflows.started, expected.workflows),
        ("workflows completed + compensated", ended, expected.workflows),
        ("workflows completed", report.workflows.completed, completed),
        ("workflows compensated", report.workflows.compensated, expected.compensated),
        ("steps tried again", report.workflows.retries, expected.retries),
        ("seats held, as the inventory counts", report.seats_held, completed),
        ("seats ever reserved", report.seats_reserved, expected.workflows),
        ("broken rows", report.dead.values().sum(), plain.bad_rows()),
    ];
    let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let mut figures: Vec<Figure> = counts
        .into_iter()
        .map(|(name, found, expected)| Figure {
            name: name.to_owned(),
            found: signed(found),
            expected: signed(expected),
        })
        .collect();
    let delay = Figure {
        name: "sum of dep_delay, minutes".to_owned(),
        found: report.totals.delay_sum(),
        expected: plain.delay_sum(),
    };
    figures.insert(2, delay);
    let reasons: std::collections::BTreeSet<&str> =
        plain.bad.keys().copied().chain(report.dead.keys().map(String::as_str)).collect();
    figures.extend(reasons.into_iter().map(|reason| Figure {
        name: format!("  {reason}"),
        found: signed(report.dead.get(reason).copied().unwrap_or(0)),
        expected: signed(plain.bad.get(reason).copied().unwrap_or(0)),
    }));
    figures
}

fn carriers(report: &Report, expected: &Expected) -> (Table, bool) {
    let heads = ["carrier", "rows", "plainly", "cancelled", "plainly", "dep_delay, min", "plainly", ""];
    let mut table = plain(&heads);
    let mut all = true;
    let names: std::collections::BTreeSet<&String> =
        expected.plain.carriers.keys().chain(report.totals.carriers.keys()).collect();
    for name in names {
        let found = report.totals.carriers.get(name).copied().unwrap_or_default();
        let plain = expected.plain.carriers.get(name).copied().unwrap_or_default();
        let plain = CarrierTotals { rows: plain.rows, cancelled: plain.cancelled, delay_sum: plain.delay_sum };
        all &= found == plain;
        let cells = [
            name.clone(),
            found.rows.to_string(),
            plain.rows.to_string(),
            found.cancelled.to_string(),
            plain.cancelled.to_string(),
            found.delay_sum.to_string(),
            plain.delay_sum.to_string(),
            mark(found == plain).to_owned(),
        ];
        table.add_row(cells);
    }
    (table, all)
}

fn plain(heads: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_HORIZONTAL_ONLY).set_header(heads.to_vec());
    table.remove_style(TableComponent::HorizontalLines).remove_style(TableComponent::MiddleIntersections);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

const fn mark(exact: bool) -> &'static str {
    if exact { "=" } else { "!" }
}
