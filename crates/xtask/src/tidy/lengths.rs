//! Files stay below a thousand lines and functions fit on a screen.
//!
//! A function beyond the limit must stand in `ratchet.txt` with its exact length: it may shrink, with the file, and
//! never grow; nor may a new one be added without somebody reading that line in review.

use std::collections::BTreeMap;

use syn::visit::{self, Visit};

use crate::{Finding, Tree};

const FILE_LINES_MAX: usize = 1_000;
const FUNCTION_LINES_MAX: usize = 70;
/// Lines of `path function lines`; `#` begins a comment.
const RATCHET: &str = "crates/xtask/ratchet.txt";
/// What people don't write by hand.
const GENERATED: [&str; 4] = [".lock", ".csv", ".json", ".jsonl"];

/// Checks the lengths of files and functions.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.texts().filter(|(path, _)| !GENERATED.iter().any(|end| path.ends_with(end))) {
        let lines = text.lines().count();
        if lines > FILE_LINES_MAX {
            findings.push(Finding::file(path, format!("has {lines} lines, the limit is {FILE_LINES_MAX}")));
        }
    }
    let mut ratchet = read_ratchet(tree, &mut findings);
    for (path, text) in tree.sources() {
        let mut functions = Functions::default();
        match syn::parse_file(text) {
            Ok(file) => functions.visit_file(&file),
            Err(error) => {
                findings.push(Finding::line(path, error.span().start().line, format!("does not parse: {error}")))
            }
        }
        for Function { name, line, lines } in functions.found {
            let allowed = ratchet.remove(&(path.to_owned(), name.clone()));
            findings.extend(verdict(&name, lines, allowed).map(|message| Finding::line(path, line, message)));
        }
    }
    for (path, name) in ratchet.into_keys() {
        findings.push(Finding::file(RATCHET, format!("{path} has no function {name} any more: remove the line")));
    }
    findings
}

fn verdict(name: &str, lines: usize, allowed: Option<usize>) -> Option<String> {
    match allowed {
        None if lines <= FUNCTION_LINES_MAX => None,
        None => Some(format!("function {name} has {lines} lines, the limit is {FUNCTION_LINES_MAX}")),
        Some(allowed) if lines > allowed => Some(format!("function {name} grew from {allowed} to {lines} lines")),
        Some(_) if lines <= FUNCTION_LINES_MAX => {
            Some(format!("function {name} fits now ({lines} lines): remove its line from {RATCHET}"))
        }
        Some(allowed) if lines < allowed => {
            Some(format!("function {name} shrank to {lines} lines: write that into {RATCHET}"))
        }
        Some(_) => None,
    }
}

fn read_ratchet(tree: &Tree, findings: &mut Vec<Finding>) -> BTreeMap<(String, String), usize> {
    let mut ratchet = BTreeMap::new();
    for (number, line) in (1..).zip(tree.text(RATCHET).unwrap_or_default().lines()) {
        let words: Vec<&str> = line.split('#').next().unwrap_or_default().split_whitespace().collect();
        match words[..] {
            [] => {}
            [path, name, lines] if lines.parse::<usize>().is_ok() => {
                ratchet.insert((path.to_owned(), name.to_owned()), lines.parse().unwrap_or_default());
            }
            _ => findings.push(Finding::line(RATCHET, number, "is not `path function lines`")),
        }
    }
    ratchet
}

struct Function {
    /// `Type::name` for a method.
    name: String,
    line: usize,
    /// From the signature to the closing brace; attributes and prose don't count.
    lines: usize,
}

/// Collects functions with a body, nested ones too.
#[derive(Default)]
struct Functions {
    owner: Option<String>,
    found: Vec<Function>,
}

impl Functions {
    fn add(&mut self, signature: &syn::Signature, body: &syn::Block) {
        let (first, last) = (signature.fn_token.span.start().line, body.brace_token.span.close().end().line);
        let name = match &self.owner {
            Some(owner) => format!("{owner}::{}", signature.ident),
            None => signature.ident.to_string(),
        };
        self.found.push(Function { name, line: first, lines: last + 1 - first });
    }

    fn within(&mut self, owner: String, visit: impl FnOnce(&mut Self)) {
        let outer = self.owner.replace(owner);
        visit(self);
        self.owner = outer;
    }
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.add(&item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.add(&item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(body) = &item.default {
            self.add(&item.sig, body);
        }
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        let owner = match &*item.self_ty {
            syn::Type::Path(path) => path.path.segments.last().map(|segment| segment.ident.to_string()),
            _ => None,
        };
        self.within(owner.unwrap_or_else(|| "impl".to_owned()), |this| visit::visit_item_impl(this, item));
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.within(item.ident.to_string(), |this| visit::visit_item_trait(this, item));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::assert_found;

    /// Spells a method of exactly `lines` lines, with prose and an attribute that must not count.
    fn method(lines: usize) -> String {
        let body = "        let _ = 1;\n".repeat(lines - 2);
        format!("impl<T> Group<T> {{\n    /// Prose.\n    #[must_use]\n    pub fn run(&self) {{\n{body}    }}\n}}\n")
    }

    #[test]
    fn file_beyond_the_limit_is_reported() {
        let long = "//\n".repeat(1_001);
        assert_found(check, &[("a.rs", &long), ("Cargo.lock", &long)], &["a.rs: has 1001 lines, the limit is 1000"]);
        assert_found(check, &[("a.rs", &"//\n".repeat(1_000))], &[]);
    }

    #[test]
    fn function_beyond_the_limit_is_reported() {
        assert_found(check, &[("a.rs", &method(70))], &[]);
        assert_found(check, &[("a.rs", &method(71))], &["a.rs:4: function Group::run has 71 lines, the limit is 70"]);
        let nested =
            format!("trait A {{\n    fn a() {{\n        fn b() {{\n{}        }}\n    }}\n}}\n", "\n".repeat(69));
        assert_found(
            check,
            &[("a.rs", &nested)],
            &[
                "a.rs:2: function A::a has 73 lines, the limit is 70",
                "a.rs:3: function A::b has 71 lines, the limit is 70",
            ],
        );
    }

    #[test]
    fn ratchet_lets_a_function_shrink_and_never_grow() {
        let ratchet = (RATCHET, "# path function lines\na.rs Group::run 80\n");
        assert_found(check, &[("a.rs", &method(80)), ratchet], &[]);
        for (lines, message) in [
            (81, "grew from 80 to 81 lines"),
            (79, "shrank to 79 lines: write that into crates/xtask/ratchet.txt"),
            (70, "fits now (70 lines): remove its line from crates/xtask/ratchet.txt"),
        ] {
            let expected = format!("a.rs:4: function Group::run {message}");
            assert_found(check, &[("a.rs", &method(lines)), ratchet], &[&expected]);
        }
    }

    #[test]
    fn ratchet_with_a_stale_or_broken_line_is_reported() {
        assert_found(
            check,
            &[("a.rs", ""), (RATCHET, "a.rs gone 90\nnonsense\n")],
            &[
                "crates/xtask/ratchet.txt:2: is not `path function lines`",
                "crates/xtask/ratchet.txt: a.rs has no function gone any more: remove the line",
            ],
        );
    }

    #[test]
    fn file_that_does_not_parse_is_reported() {
        let found = check(&Tree::of(&[("a.rs", "fn f() {}\nfn {}\n")]));
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].line, &found[0].message[..16]), (Some(2), "does not parse: "));
    }
}
