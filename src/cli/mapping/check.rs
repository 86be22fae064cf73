//! `learner-sync mapping check`: shows the compiled mapping. Its problems are already reported when the configuration is
//! loaded.

use serde_json::{Value, json};

use crate::cli::Context;
use crate::cli::narrow::{ListColumns, ListRow};
use crate::cli::output::{DONE, Failure, print, print_json, print_sentences, shown};
use crate::cycle::Rules;
use crate::mapping::DescribedEntry;
use crate::model::{Attribute, Selection};
use crate::runtime::compile_rules;
use crate::scope::Scope;
use crate::view::{apply_in_words, kind_in_words, options_in_words};

#[derive(Debug, clap::Args)]
pub(in super::super) struct MappingCheckArguments {
    /// Print one JSON document.
    #[arg(long)]
    pub(in super::super) json: bool,
}

pub(in super::super) fn run(context: &Context, arguments: &MappingCheckArguments) -> Result<u8, Failure> {
    let Rules { mapping, scope, selection, limits, .. } = compile_rules(&context.config)?;
    let lines: Vec<DescribedEntry<'_>> = mapping.describe().collect();
    let warnings = mapping.warnings(limits.match_attribute);
    if arguments.json {
        print_json(&as_json(&lines, &selection, &warnings, &scope))?;
        return Ok(DONE);
    }
    print(&COLUMNS.list(lines.iter().map(row).collect()))?;
    print_sentences(&format!("Read for every user: {}.", selection.properties().join(", ")))?;
    for (attribute, words) in &warnings {
        print_sentences(&shown(&format!("warning: {}: {words}", attribute.path())))?;
    }
    for words in scope.warnings() {
        print_sentences(&shown(&format!("warning: {words}")))?;
    }
    Ok(DONE)
}

const COLUMNS: ListColumns = ListColumns(&["attribute", "type", "expression", "reads", "options"]);

fn row(line: &DescribedEntry<'_>) -> ListRow {
    let (path, kind) = (line.attribute.path().to_owned(), kind_in_words(line.attribute).to_owned());
    let (expression, reads, options) =
        (shown(&line.expression), line.properties.join(", "), shown(&options_in_words(line)));
    let reads_words = if reads.is_empty() { String::new() } else { format!("; reads {reads}") };
    let option_words = if options.is_empty() { String::new() } else { format!("; {options}") };
    let narrow = [path.clone(), format!("{expression}\n{kind}{reads_words}{option_words}")];
    ListRow { cells: vec![path, kind, expression, reads, options], narrow }
}

fn as_json(
    lines: &[DescribedEntry<'_>],
    selection: &Selection,
    warnings: &[(Attribute, String)],
    scope: &Scope,
) -> Value {
    let attributes: Vec<Value> = lines
        .iter()
        .map(|line| {
            json!({
                "attribute": line.attribute.path(),
                "column": line.attribute.column(),
                "type": kind_in_words(line.attribute),
                "expression": line.expression,
                "properties": line.properties,
                "default": line.default,
                "apply": apply_in_words(line.apply),
                "required": line.required,
                "redacted": line.redacted,
            })
        })
        .collect();
    let of_mapping =
        warnings.iter().map(|(attribute, words)| json!({ "attribute": attribute.path(), "message": words }));
    let of_scope = scope.warnings().map(|words| json!({ "attribute": null, "message": words }));
    let warnings: Vec<Value> = of_mapping.chain(of_scope).collect();
    json!({ "ok": true, "attributes": attributes, "selected": selection.properties(), "warnings": warnings })
}
