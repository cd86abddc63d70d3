//! Files and functions stay short, and every file says what it is for.
//!
//! A file is measured without its tests (items under `#[cfg(test)]`; whole files of tests are not
//! measured), a function from its signature to its closing brace.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use proc_macro2::Span;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use super::Finding;
use crate::workspace;

/// The longest a file may be, in lines.
const FILE: usize = 1_000;
/// The longest a function may be, in lines.
const FUNCTION: usize = 100;
/// How many of the longest are shown.
const SHOWN: usize = 3;

/// Something with a length in lines.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Measured {
    lines: usize,
    name: String,
}

/// Measures every Rust file of the workspace.
pub(super) fn check() -> Result<Finding> {
    let mut files = Vec::new();
    let mut functions = Vec::new();
    let mut complaints = Vec::new();
    for path in workspace::files()? {
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let name = workspace::relative(&path);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {name}"))?;
        if !text.starts_with("//!") {
            complaints.push(format!("{name} does not open with `//!`"));
        }
        if is_test_file(&path) {
            continue;
        }
        let sizes = measure(&text).with_context(|| format!("cannot parse {name}"))?;
        functions.extend(sizes.functions.into_iter().map(|function| Measured {
            lines: function.lines,
            name: format!("{} in {name}", function.name),
        }));
        files.push(Measured {
            lines: sizes.lines,
            name,
        });
    }
    for (kind, found, bound) in [
        ("file", &mut files, FILE),
        ("function", &mut functions, FUNCTION),
    ] {
        found.sort_by(|a, b| b.cmp(a));
        let over = found.iter().filter(|measured| measured.lines > bound);
        complaints.extend(over.map(|measured| {
            format!(
                "{kind} of {} lines, at most {bound}: {}",
                measured.lines, measured.name
            )
        }));
    }
    let remark = format!(
        "{} files\nlongest: {}\nlongest: {}",
        files.len(),
        longest(&files),
        longest(&functions)
    );
    Ok(Finding::of(&complaints, remark))
}

fn longest(sorted: &[Measured]) -> String {
    let shown: Vec<String> = sorted
        .iter()
        .take(SHOWN)
        .map(|measured| format!("{} {}", measured.lines, measured.name))
        .collect();
    shown.join(", ")
}

fn is_test_file(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "tests.rs")
        || path.components().any(|part| part.as_os_str() == "tests")
}

/// Lengths within one file.
struct Sizes {
    /// Lines of the file that are no tests.
    lines: usize,
    /// Its functions that are no tests.
    functions: Vec<Measured>,
}

fn measure(text: &str) -> Result<Sizes> {
    let file = syn::parse_file(text)?;
    let mut visitor = Visitor {
        tests: 0,
        functions: Vec::new(),
    };
    visitor.visit_file(&file);
    Ok(Sizes {
        lines: text.lines().count() - visitor.tests,
        functions: visitor.functions,
    })
}

struct Visitor {
    /// Lines of items that only tests see.
    tests: usize,
    functions: Vec<Measured>,
}

impl Visitor {
    fn function(&mut self, signature: &syn::Signature, block: &syn::Block) {
        self.functions.push(Measured {
            lines: lines(signature.fn_token.span, block.brace_token.span.close()),
            name: signature.ident.to_string(),
        });
    }
}

impl<'ast> Visit<'ast> for Visitor {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if is_for_tests(attributes(item)) {
            self.tests += lines(item.span(), item.span());
        } else {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.function(&function.sig, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.function(&function.sig, &function.block);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        if let Some(block) = &function.default {
            self.function(&function.sig, block);
        }
        visit::visit_trait_item_fn(self, function);
    }
}

fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Const(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let syn::Meta::List(list) = &attribute.meta else {
            return false;
        };
        list.path.is_ident("cfg") && list.tokens.to_string() == "test"
    })
}

/// From the first line of `first` to the last of `last`, both counted.
fn lines(first: Span, last: Span) -> usize {
    last.end().line + 1 - first.start().line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_functions_and_leaves_tests_out() {
        let text = "//! x\n\
                    fn one() {}\n\
                    impl X {\n    pub fn four(\n        a: u8,\n    ) {\n    }\n}\n\
                    #[cfg(test)]\nmod tests {\n    fn never() {}\n}\n";
        let sizes = measure(text).expect("it parses");
        assert_eq!(sizes.lines, 8);
        let found: Vec<(usize, &str)> = sizes
            .functions
            .iter()
            .map(|f| (f.lines, f.name.as_str()))
            .collect();
        assert_eq!(found, [(1, "one"), (4, "four")]);
    }

    #[test]
    fn braces_in_text_do_not_confuse_it() {
        let sizes =
            measure("fn f() {\n    let _ = (\"}\", '{', r#\"}\n\"#);\n}\n").expect("it parses");
        assert_eq!(sizes.functions[0].lines, 4);
    }
}
