//! The Markdown of the guide as roff: headings, paragraphs, lists, tables and code.

use super::roff::{escaped, literal, paragraph};

/// A cell that is longer than this is wrapped.
const WIDE_CELL: usize = 28;

/// The topic as sections of a page.
pub(super) fn sections(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let mut page = blocks(&lines);
    // The first heading names the topic.
    if !page.starts_with(".SH") {
        page.insert_str(0, ".SH DESCRIPTION\n");
    }
    // A paragraph begins after each heading anyway.
    page.replace("\"\n.PP\n", "\"\n").replace(".SH DESCRIPTION\n.PP\n", ".SH DESCRIPTION\n")
}

fn blocks(lines: &[&str]) -> String {
    let mut page = String::new();
    let mut rest = lines;
    while let Some((first, after)) = rest.split_first() {
        let text = first.trim();
        if text.is_empty() || text.starts_with("# ") {
            rest = after;
        } else if let Some(heading) = text.strip_prefix("## ") {
            page.push_str(&format!(".SH \"{}\"\n", escaped(&heading.replace('`', "")).replace('"', "\\(dq")));
            rest = after;
        } else if text.starts_with("```") {
            let end = after.iter().position(|line| line.trim() == "```").unwrap_or(after.len());
            page.push_str(".PP\n");
            page.push_str(&literal(after[..end].iter().copied()));
            rest = after.get(end + 1..).unwrap_or_default();
        } else if text.starts_with('|') {
            let end = after.iter().position(|line| !line.trim().starts_with('|')).unwrap_or(after.len());
            page.push_str(&table(&rest[..=end]));
            rest = &after[end..];
        } else if let Some((mark, width)) = list_mark(first) {
            let end = after.iter().position(|line| !line.is_empty() && !line.starts_with(' ')).unwrap_or(after.len());
            let item: Vec<&str> = std::iter::once(&first[width..])
                .chain(after[..end].iter().map(|line| line.get(width..).unwrap_or_default()))
                .collect();
            page.push_str(&list_item(&mark, &item));
            rest = &after[end..];
        } else {
            let end = after.iter().position(|line| ends_paragraph(line)).unwrap_or(after.len());
            page.push_str(&format!(".PP\n{}", paragraph(&rest[..=end].join("\n"))));
            rest = &after[end..];
        }
    }
    page
}

fn ends_paragraph(line: &str) -> bool {
    let text = line.trim();
    text.is_empty() || text.starts_with("```") || text.starts_with('|') || list_mark(line).is_some()
}

/// The mark of a list item, and the width of what precedes its text.
fn list_mark(line: &str) -> Option<(String, usize)> {
    if line.starts_with("- ") {
        return Some(("\\(bu".to_owned(), 2));
    }
    let (number, _) = line.split_once(". ")?;
    let is_number = !number.is_empty() && number.len() < 3 && number.chars().all(|letter| letter.is_ascii_digit());
    is_number.then(|| (format!("{number}."), number.len() + 2))
}

/// The lines of an item without their indentation.
fn list_item(mark: &str, lines: &[&str]) -> String {
    let end = lines.iter().skip(1).position(|line| ends_paragraph(line)).map_or(lines.len(), |end| end + 1);
    let mut item = format!(".IP {mark} 4\n{}", paragraph(&lines[..end].join("\n")));
    let more = blocks(&lines[end..]);
    if !more.is_empty() {
        item.push_str(&format!(".RS 4\n{more}.RE\n"));
    }
    item
}

fn table(lines: &[&str]) -> String {
    let cells = |line: &str| -> Vec<String> {
        let inside = line.trim().trim_start_matches('|').trim_end_matches('|');
        inside.split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let mut rows: Vec<Vec<String>> = Vec::new();
    for line in lines.iter().filter(|line| !line.contains("|--")) {
        let row = cells(line);
        match rows.last_mut() {
            // A row without its first cell continues the one above.
            Some(above) if row.first().is_some_and(String::is_empty) && rows_continue(&row) => {
                for (cell, more) in above.iter_mut().zip(row).filter(|(_, more)| !more.is_empty()) {
                    *cell = format!("{cell} {more}");
                }
            }
            _ => rows.push(row),
        }
    }
    let columns = rows.first().map_or(0, Vec::len);
    let is_wide =
        |column: usize| rows.iter().skip(1).any(|row| row.get(column).is_some_and(|cell| cell.len() > WIDE_CELL));
    let wide: Vec<bool> = (0..columns).map(is_wide).collect();
    let format = |letters: &str| {
        wide.iter().map(|wide| format!("{letters}{}", if *wide { "x" } else { "" })).collect::<Vec<_>>().join(" ")
    };
    let mut table = format!(".PP\n.TS\ntab(|);\n{}\n{}.\n", format("lb"), format("l"));
    for row in &rows {
        let cells = row.iter().zip(&wide).map(|(cell, wide)| {
            let text = paragraph(cell);
            if *wide && cell.len() > WIDE_CELL { format!("T{{\n{text}T}}") } else { text.trim_end().to_owned() }
        });
        table.push_str(&format!("{}\n", cells.collect::<Vec<_>>().join("|")));
    }
    table + ".TE\n"
}

/// Whether the row has text at all.
fn rows_continue(row: &[String]) -> bool {
    row.iter().any(|cell| !cell.is_empty())
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    #[test]
    fn every_form_of_the_guide_is_converted() {
        let text = "# Topic\n\nFirst `a-b`\nparagraph.\n\n## Part \"two\"\n\n1. One\n   more:\n\n   ```sh\n   learner-sync check\n   ```\n\n   After.\n2. Two\n\n- a\n  b\n- c\n\n| Key | Meaning |\n|-----|---------|\n| `a` | a long explanation that\n|     | goes on |\n| b | short |\n\nEnd.\n";
        assert_snapshot!(sections(text), @r#"
        .SH DESCRIPTION
        First \fBa\-b\fR
        paragraph.
        .SH "Part \(dqtwo\(dq"
        .IP 1. 4
        One
        more:
        .RS 4
        .PP
        .RS 4
        .nf
        learner\-sync check
        .fi
        .RE
        .PP
        After.
        .RE
        .IP 2. 4
        Two
        .IP \(bu 4
        a
        b
        .IP \(bu 4
        c
        .PP
        .TS
        tab(|);
        lb lbx
        l lx.
        Key|Meaning
        \fBa\fR|T{
        a long explanation that goes on
        T}
        b|short
        .TE
        .PP
        End.
        "#);
    }
}
