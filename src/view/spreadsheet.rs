//! Cells of a CSV file, which spreadsheets may run as formulas.

use serde_json::Value;

use super::words::{value_text, visible_json};
use crate::model::visible;

/// A row of cells for each of `documents`, with the values of `keys`.
pub(crate) fn csv_rows(
    keys: &[&str],
    with_header: bool,
    documents: impl Iterator<Item = Value>,
) -> std::io::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    if with_header {
        writer.write_record(keys)?;
    }
    for document in documents {
        writer.write_record(keys.iter().map(|key| cell(&document[*key])))?;
    }
    writer.into_inner().map_err(|error| error.into_error())
}

/// A list or an object stays a JSON document, whose escapes are those of JSON.
fn cell(value: &Value) -> String {
    let text = value_text(value, "");
    match value {
        Value::Array(_) | Value::Object(_) => safe_cell(&visible_json(text)),
        _ => safe_cell(&text),
    }
}

/// `text` as a cell that a spreadsheet shows and does not run: behind an apostrophe where it would be a formula, and
/// without characters that hide something.
fn safe_cell(text: &str) -> String {
    let is_ignored =
        |letter: char| letter.is_whitespace() || matches!(letter, '\'' | '"' | '\u{feff}') || letter.is_control();
    let start = text.trim_start_matches(is_ignored).chars().next();
    // Spreadsheets also take the wide forms of the signs, and a tab or a line break for the start of another cell.
    let is_formula =
        start.is_some_and(|letter| "=+-@＝＋－＠﹦﹢﹣﹫−".contains(letter)) || text.starts_with(['\t', '\r', '\n']);
    let visible = visible(text);
    if is_formula { format!("'{visible}") } else { visible.into_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_become_texts() {
        for formula in [
            "=1+1",
            "+1",
            "-1",
            "@SUM(A1)",
            "\t=1",
            "\r=1",
            "\n@a",
            "\tada",
            "  =1",
            "\"=1",
            "'=1",
            "\u{a0}=1",
            "\u{feff}=1",
            "＝1",
            "＋1",
            "－1",
            "＠a",
            "−1",
            "\u{1b}=1",
            "\" =1",
        ] {
            assert!(safe_cell(formula).starts_with('\''), "{formula:?}");
        }
        for text in
            ["ada@contoso.example", "", "a=b", "2026-01-02T03:04:05Z", "12", "[{\"old\":null}]", "O'Brien", "\"Ada\""]
        {
            assert_eq!(safe_cell(text), text);
        }
        assert_eq!(safe_cell("a\u{1b}[2J\u{202e}b"), "a\\u{1b}[2J\\u{202e}b");
        assert_eq!(safe_cell("\u{9b}=1"), "'\\u{9b}=1");
    }

    #[test]
    fn a_document_in_a_cell_stays_json() {
        let document = serde_json::json!([{ "new": "\u{1b}[31m\u{202e}evil\n\u{1f600}\u{e0041}" }]);
        let cell = cell(&document);
        assert!(!crate::model::hides_something(&cell), "{cell}");
        assert_eq!(serde_json::from_str::<Value>(&cell).unwrap(), document);
    }
}
