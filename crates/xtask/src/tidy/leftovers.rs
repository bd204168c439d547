//! Nothing half done stays: no stray notes, no debugging macros, no tests that are switched off or expect a panic.

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

use crate::{Finding, Tree};

/// Split, so that this file doesn't report itself.
const NOTE: &str = concat!("TO", "DO");
const URGENT_NOTE: &str = concat!("FIX", "ME");
const MACROS: [&str; 3] = ["dbg", "todo", "unimplemented"];
const ATTRIBUTES: [&str; 2] = ["ignore", "should_panic"];

/// Checks every source for leftovers, and scripts and manifests for stray notes.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    // Prose may speak of notes; code may not leave them.
    for (path, text) in tree.texts().filter(|(path, _)| !path.ends_with(".md")) {
        for (number, line) in (1..).zip(text.lines()) {
            findings.extend(note(line).map(|message| Finding::line(path, number, message)));
        }
    }
    for (path, text) in tree.sources() {
        // What is no Rust at all is the compiler's to report, and `lengths` says so too.
        let Ok(tokens) = text.parse::<TokenStream>() else { continue };
        scan(&tokens, &mut |line, message| findings.push(Finding::line(path, line, message)));
    }
    findings
}

fn note(line: &str) -> Option<String> {
    if words(line, URGENT_NOTE).next().is_some() {
        return Some(format!("{URGENT_NOTE}: do it now, or open an issue and write {NOTE}(#number)"));
    }
    let numbered =
        |rest: &str| rest.strip_prefix("(#").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    let stray = words(line, NOTE).any(|rest| !numbered(rest));
    stray.then(|| format!("{NOTE} without an issue: write {NOTE}(#number)"))
}

/// Returns what follows each occurrence of `word` as a whole word.
fn words<'a>(line: &'a str, word: &'a str) -> impl Iterator<Item = &'a str> {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).filter_map(move |(start, _)| {
        let (before, rest) = (&line[..start], &line[start + word.len()..]);
        (!before.ends_with(part_of_word) && !rest.starts_with(part_of_word)).then_some(rest)
    })
}

/// Walks the tokens, so that strings and comments don't count and the insides of macros do.
fn scan(tokens: &TokenStream, report: &mut impl FnMut(usize, String)) {
    let tokens: Vec<TokenTree> = tokens.clone().into_iter().collect();
    for pair in tokens.windows(2) {
        match pair {
            [TokenTree::Ident(name), TokenTree::Punct(mark)]
                if mark.as_char() == '!' && MACROS.iter().any(|known| name == known) =>
            {
                report(name.span().start().line, format!("{name}! is a leftover"));
            }
            [TokenTree::Punct(mark), TokenTree::Group(group)] if mark.as_char() == '#' => {
                if let Some(name) = switched_off(group) {
                    report(group.span_open().start().line, message_for(&name));
                }
            }
            _ => {}
        }
    }
    for token in &tokens {
        if let TokenTree::Group(group) = token {
            scan(&group.stream(), report);
        }
    }
}

fn message_for(attribute: &str) -> String {
    match attribute {
        "ignore" => "#[ignore]: a test that nobody runs is no test; mend or remove it".to_owned(),
        _ => format!("#[{attribute}]: assert on an error or a caught panic instead, any panic satisfies this"),
    }
}

/// Returns the attribute if it is one of ours, directly or under a condition.
fn switched_off(group: &Group) -> Option<String> {
    if group.delimiter() != Delimiter::Bracket {
        return None;
    }
    let mut tokens = group.stream().into_iter();
    let Some(TokenTree::Ident(name)) = tokens.next() else { return None };
    if ATTRIBUTES.iter().any(|known| name == known) {
        return Some(name.to_string());
    }
    let Some(TokenTree::Group(arguments)) = tokens.next().filter(|_| name == "cfg_attr") else { return None };
    arguments.stream().into_iter().find_map(|token| match token {
        TokenTree::Ident(name) if ATTRIBUTES.iter().any(|known| name == known) => Some(name.to_string()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::assert_found;

    #[test]
    fn notes_without_an_issue_are_reported() {
        let text = format!(
            "// {NOTE}: later\n// {NOTE}(#12): later\n// {NOTE}(soon)\n// {URGENT_NOTE}\n// {NOTE}S {URGENT_NOTE}D\n"
        );
        let stray = format!("{NOTE} without an issue: write {NOTE}(#number)");
        let urgent = format!("{URGENT_NOTE}: do it now, or open an issue and write {NOTE}(#number)");
        assert_found(
            check,
            &[("crates/a/src/lib.rs", &text), ("docs/style.md", &text)],
            &[
                &format!("crates/a/src/lib.rs:1: {stray}"),
                &format!("crates/a/src/lib.rs:3: {stray}"),
                &format!("crates/a/src/lib.rs:4: {urgent}"),
            ],
        );
    }

    /// Catches a scan of text instead of tokens, and one that doesn't look into macros.
    #[test]
    fn debugging_macros_are_reported_wherever_they_hide() {
        let source = "fn f() {\n    vec![dbg!(1)];\n    std::todo!();\n    unimplemented!()\n}\n\
                      // dbg!(1)\nconst A: &str = \"todo!()\";\nfn dbg() -> bool { dbg() != true }\n";
        assert_found(
            check,
            &[("a.rs", source)],
            &["a.rs:3: todo! is a leftover", "a.rs:4: unimplemented! is a leftover", "a.rs:2: dbg! is a leftover"],
        );
    }

    #[test]
    fn tests_switched_off_or_waiting_for_a_panic_are_reported() {
        let source = "#[test]\n#[ignore = \"slow\"]\nfn a() {}\nmod tests {\n    #[test]\n    #[should_panic]\n    fn b() {}\n}\n\
                      #[cfg_attr(windows, ignore)]\nfn c() {}\n#[derive(Clone)]\nstruct Ignore;\n";
        assert_found(
            check,
            &[("a.rs", source)],
            &[
                "a.rs:2: #[ignore]: a test that nobody runs is no test; mend or remove it",
                "a.rs:9: #[ignore]: a test that nobody runs is no test; mend or remove it",
                "a.rs:6: #[should_panic]: assert on an error or a caught panic instead, any panic satisfies this",
            ],
        );
    }
}
