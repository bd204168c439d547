//! Puts what OTP leaves unordered into an order, so that traces can be compared as text.
//!
//! Signals are ordered between two processes and not beyond. So what a process heard in one step is ordered by who said
//! it, and the words of each keep their order. Of the notices of one death (its exit through a link, a down for each
//! monitor) the order is not promised either.
//!
//! What a recorder heard of a tree of supervisors has one order, since a supervisor takes one step at a time. Only the
//! children of a supervisor that was killed end all at once, and those of a crowd always do.
//!
//! A process that died of a signal in this step may or may not have handled what lay before it, so what it heard in this
//! step does not count. If it ended by itself, what it did counts, and what others told it in the same step does not.
//!
//! If processes died of different reasons in one step, those that were linked to both died of the one that came first.
//! Then only who died counts, not of what.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::scenario::Kind;

struct Event<'a> {
    who: &'a str,
    source: &'a str,
    text: &'a str,
}

/// Returns the trace in comparable form.
pub(crate) fn comparable(kind: Kind, lines: &[String]) -> String {
    if matches!(kind, Kind::Machines | Kind::Events) {
        // One process that takes one step at a time.
        return lines.join("\n");
    }
    let mut text = String::new();
    for step in lines.chunk_by(|_, next| !next.starts_with("step ")) {
        // The head, and what the driver got for an answer.
        let (head, seen) = step.split_at(2.min(step.len()));
        head.iter().for_each(|line| writeln!(text, "{line}").unwrap());
        let seen = blurred(seen);
        let (events, rest): (Vec<&str>, Vec<&str>) =
            seen.iter().map(String::as_str).partition(|line| line.starts_with("event "));
        let (mut log, rest): (Vec<&str>, Vec<&str>) = rest.into_iter().partition(|line| line.starts_with("log "));
        if kind == Kind::Crowds || head[0].starts_with("step kill s") {
            log.sort_by_key(|line| line.split(' ').nth(2));
        }
        log.iter().for_each(|line| writeln!(text, "  {line}").unwrap());
        let rest: BTreeSet<_> = rest.into_iter().collect();
        let events: Vec<_> = events.into_iter().map(parse).collect();
        for (who, lines) in heard(&events, &rest) {
            lines.iter().for_each(|line| writeln!(text, "  {who} {line}").unwrap());
        }
        rest.iter().for_each(|line| writeln!(text, "  {line}").unwrap());
    }
    text
}

/// Leaves out reasons if several were about.
fn blurred(seen: &[String]) -> Vec<String> {
    let deaths = seen.iter().filter(|line| line.starts_with("died "));
    let reasons: BTreeSet<_> = deaths.filter_map(|line| line.split(' ').nth(2)).collect();
    let reasons: Vec<_> = reasons.into_iter().filter(|reason| *reason != "normal").collect();
    if reasons.len() < 2 {
        return seen.to_vec();
    }
    let blur = |word: &'_ str| if reasons.contains(&word) { "?".to_owned() } else { word.to_owned() };
    seen.iter().map(|line| line.split(' ').map(blur).collect::<Vec<_>>().join(" ")).collect()
}

fn parse(line: &str) -> Event<'_> {
    let mut words = line.splitn(4, ' ').skip(1);
    let mut word = || words.next().expect("event, who, source, text");
    Event { who: word(), source: word(), text: word() }
}

fn heard<'a>(events: &[Event<'a>], rest: &BTreeSet<&str>) -> BTreeMap<&'a str, Vec<String>> {
    let mut heard: BTreeMap<&str, BTreeMap<&str, Vec<&str>>> = BTreeMap::new();
    for Event { who, source, text } in events {
        heard.entry(who).or_default().entry(source).or_default().push(text);
    }
    heard.into_iter().map(|(who, by_source)| (who, lines(who, by_source, rest))).collect()
}

fn lines(who: &str, mut by_source: BTreeMap<&str, Vec<&str>>, rest: &BTreeSet<&str>) -> Vec<String> {
    if rest.iter().any(|line| line.starts_with(&format!("died {who} "))) {
        by_source.retain(|source, _| *source == who);
        let ended_itself = |text: &&str| *text == "crashing" || text.starts_with("terminate ");
        if !by_source.values().flatten().any(ended_itself) {
            by_source.clear();
        }
    }
    let mut lines = Vec::new();
    for (source, mut texts) in by_source {
        let is_notice = |text: &str| text.starts_with("down ") || text.starts_with("exit ");
        for run in texts.chunk_by_mut(|one, next| is_notice(one) && is_notice(next)) {
            if run.iter().any(|text| text.starts_with("down ")) {
                run.sort_unstable();
            }
        }
        // Linking twice to a process that is gone: the second finds the first still there or not.
        texts.dedup_by(|one, other| one == other && *one == "exit noproc");
        lines.extend(texts.iter().map(|text| format!("from {source}: {text}")));
    }
    lines
}
