//! The dashboard: one page, rendered here, replaced as a whole by server-sent events.

use std::collections::BTreeMap;

use maud::{DOCTYPE, Markup, PreEscaped, html};
use tiebeam_api::{ClusterView, GroupStatus, MemberView, PartitionStatus};

const STYLE: &str = "
:root { color-scheme: light dark; --line: #8884; --soft: #888; --ok: #2a9d5c; --bad: #d1495b; --lead: #3a78c9; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 68rem; padding: 0 1rem; }
h1 { font-size: 1.4rem; margin: 0 0 .2rem; } h2 { font-size: 1rem; margin: 1.6rem 0 .4rem; }
p { color: var(--soft); margin: 0; } table { border-collapse: collapse; width: 100%; }
th { text-align: left; font-weight: 600; color: var(--soft); font-size: .8rem; }
td, th { padding: .3rem .6rem .3rem 0; border-bottom: 1px solid var(--line); } .n { text-align: right; }
td.n { font-variant-numeric: tabular-nums; } .up { color: var(--ok); } .down { color: var(--bad); }
.tiles { display: flex; gap: 1rem; flex-wrap: wrap; } .tile { border: 1px solid var(--line); border-radius: .5rem;
padding: .5rem .9rem; min-width: 7rem; } .tile b { display: block; font-size: 1.3rem; font-variant-numeric: tabular-nums; }
.tile span { color: var(--soft); font-size: .8rem; } .lead { color: var(--lead); font-weight: 600; }
#lost { color: var(--bad); }
";

/// Replaces the body by what the server sends; the browser reconnects by itself.
const SCRIPT: &str = "
const view = document.getElementById('view'), lost = document.getElementById('lost');
const events = new EventSource('/events');
events.onmessage = e => { view.innerHTML = e.data; lost.hidden = true; };
events.onerror = () => { lost.hidden = false; };
";

/// Renders the page with `view` in it.
pub(crate) fn whole(view: &ClusterView) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "Tiebeam" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { "Tiebeam" }
                p id="lost" hidden { "This node doesn't answer; what you see is its last word. Trying again…" }
                main id="view" { (body(view)) }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    }
}

/// Renders what changes.
pub(crate) fn body(view: &ClusterView) -> Markup {
    let names: BTreeMap<u64, &str> = view.members.iter().map(|m| (m.id, m.name.as_str())).collect();
    let name = |id: u64| names.get(&id).map_or_else(|| format!("n{id}"), |name| (*name).to_owned());
    html! {
        p { "cluster " b { (view.cluster) } ", as " (name(view.seen_by)) " sees it" }
        (workflows(view))
        h2 { "Nodes" }
        (nodes(view))
        h2 { "Topics" }
        (topics(&view.partitions()))
        h2 { "Groups" }
        (groups(&view.groups(), &name))
    }
}

fn nodes(view: &ClusterView) -> Markup {
    let leads = |m: &MemberView| view.groups().iter().filter(|g| g.leader == Some(m.id)).count();
    html! {
        table {
            tr { th { "node" } th { "role" } th { "state" } th { "address" } th.n { "starts" } th.n { "up for" }
                 th.n { "leads" } th.n { "actors" } }
            @for m in &view.members {
                tr {
                    td { (m.name) } td { (m.role) }
                    td class=(if m.up { "up" } else { "down" }) { (if m.up { "up" } else { "down" }) }
                    td { (m.address) } td.n { (m.incarnation) }
                    @if let Some(s) = &m.status {
                        td.n { (s.uptime_ms / 1000) " s" } td.n { (leads(m)) } td.n { (s.processes) }
                    } @else { td.n { "–" } td.n { (leads(m)) } td.n { "–" } }
                }
            }
        }
    }
}

fn workflows(view: &ClusterView) -> Markup {
    let w = view.workflows();
    let records: u64 = view.partitions().iter().map(|p| p.end_offset).sum();
    let tiles = [
        ("records", records),
        ("workflows started", w.started),
        ("running", w.running),
        ("completed", w.completed),
        ("compensated", w.compensated),
        ("failed", w.failed),
        ("stuck", w.stuck),
        ("retries", w.retries),
    ];
    html! {
        h2 { "Work" }
        div.tiles { @for (label, value) in tiles { div.tile { b { (grouped(value)) } span { (label) } } } }
    }
}

fn topics(partitions: &[&PartitionStatus]) -> Markup {
    let mut by_topic: BTreeMap<&str, Vec<&PartitionStatus>> = BTreeMap::new();
    for p in partitions {
        by_topic.entry(&p.topic).or_default().push(p);
    }
    html! {
        table {
            tr { th { "topic" } th.n { "partitions with a leader" } th.n { "records" } th.n { "consumed" }
                 th.n { "duplicates suppressed" } }
            @for (topic, partitions) in by_topic {
                tr {
                    td { (topic) } td.n { (partitions.len()) }
                    td.n { (grouped(partitions.iter().map(|p| p.end_offset).sum())) }
                    td.n { (grouped(partitions.iter().flat_map(|p| &p.consumers).map(|c| c.offset).sum())) }
                    td.n { (grouped(partitions.iter().map(|p| p.duplicates).sum())) }
                }
            }
        }
    }
}

fn groups(groups: &[&GroupStatus], name: &dyn Fn(u64) -> String) -> Markup {
    html! {
        table {
            tr { th { "group" } th { "leader" } th { "replicas" } th.n { "term" } th.n { "entries applied" } }
            @for g in groups {
                tr {
                    td { (g.name) }
                    @if let Some(reason) = &g.stopped { td.down { "stopped: " (reason) } }
                    @else if let Some(leader) = g.leader { td.lead { (name(leader)) } }
                    @else { td.down { "none" } }
                    td { @for (i, m) in g.members.iter().enumerate() { @if i > 0 { ", " } (name(*m)) } }
                    td.n { (g.term) } td.n { (grouped(g.applied)) }
                }
            }
        }
    }
}

/// Writes 1234567 as 1,234,567.
fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped() {
        assert_eq!([0, 999, 1000, 336_776].map(grouped), ["0", "999", "1,000", "336,776"]);
    }

    /// Would fail if a name reached the page unescaped.
    #[test]
    fn names_are_escaped() {
        let view = ClusterView { cluster: "<script>".to_owned(), ..ClusterView::default() };
        let page = whole(&view).into_string();
        assert!(page.contains("&lt;script&gt;"), "{page}");
    }
}
