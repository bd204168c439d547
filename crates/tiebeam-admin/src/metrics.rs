//! The node's figures in Prometheus' text format, version 0.0.4.

use std::fmt::Write;

use tiebeam_api::NodeStatus;

/// Renders `status`. Labels are bounded: groups, topics, partitions and consumers, never instances or actors.
pub(crate) fn render(status: &NodeStatus) -> String {
    let mut text = String::new();
    let mut family = |name: &str, kind: &str, help: &str, rows: &[(String, u64)]| {
        // Writing to a string doesn't fail.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in rows {
            let _ = writeln!(text, "{name}{labels} {value}");
        }
    };
    let plain = |value: u64| vec![(String::new(), value)];
    family("tiebeam_node_uptime_milliseconds", "gauge", "Time since the node started.", &plain(status.uptime_ms));
    family("tiebeam_node_incarnation", "gauge", "How often the node has started.", &plain(status.incarnation));
    family("tiebeam_actor_processes", "gauge", "Actors alive on the node.", &plain(status.processes));

    let groups = |value: &dyn Fn(&tiebeam_api::GroupStatus) -> u64| {
        status.groups.iter().map(|g| (format!("{{group=\"{}\"}}", escape(&g.name)), value(g))).collect::<Vec<_>>()
    };
    let leads = |g: &tiebeam_api::GroupStatus| u64::from(g.leader == Some(status.id));
    family("tiebeam_log_leader", "gauge", "1 if this node leads the group.", &groups(&leads));
    family("tiebeam_log_term", "gauge", "Newest term the replica knows.", &groups(&|g| g.term));
    family("tiebeam_log_applied_entries", "counter", "Entries applied by the replica.", &groups(&|g| g.applied));
    let stopped = |g: &tiebeam_api::GroupStatus| u64::from(g.stopped.is_some());
    family("tiebeam_log_stopped", "gauge", "1 if the replica is stopped for good.", &groups(&stopped));

    let partition =
        |p: &tiebeam_api::PartitionStatus| format!("topic=\"{}\",partition=\"{}\"", escape(&p.topic), p.partition);
    let rows = |value: &dyn Fn(&tiebeam_api::PartitionStatus) -> u64| {
        status.partitions.iter().map(|p| (format!("{{{}}}", partition(p)), value(p))).collect::<Vec<_>>()
    };
    family("tiebeam_topics_end_offset", "gauge", "Offset of the next record.", &rows(&|p| p.end_offset));
    family(
        "tiebeam_topics_duplicates",
        "counter",
        "Records sent again and not stored again.",
        &rows(&|p| p.duplicates),
    );
    let lags: Vec<_> = status
        .partitions
        .iter()
        .flat_map(|p| p.consumers.iter().map(move |c| (p, c)))
        .map(|(p, c)| {
            let labels = format!("{{{},consumer=\"{}\"}}", partition(p), escape(&c.name));
            (labels, p.end_offset.saturating_sub(c.offset))
        })
        .collect();
    family("tiebeam_topics_lag_records", "gauge", "Records that the consumer has not committed yet.", &lags);

    let w = status.workflows.iter().fold(tiebeam_api::WorkflowCounts::default(), |sum, w| sum.plus(w.counts));
    let states =
        [("running", w.running), ("completed", w.completed), ("compensated", w.compensated), ("stuck", w.stuck)];
    let rows: Vec<_> = states.iter().map(|(state, n)| (format!("{{state=\"{state}\"}}"), *n)).collect();
    family("tiebeam_workflow_instances", "gauge", "Workflow instances in groups led by this node.", &rows);
    family("tiebeam_workflow_retries", "counter", "Attempts of steps that were tried again.", &plain(w.retries));
    text
}

fn escape(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A label that could end its own quotes would let a topic's name forge figures.
    #[test]
    fn label_values_are_escaped() {
        assert_eq!(escape("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
    }
}
