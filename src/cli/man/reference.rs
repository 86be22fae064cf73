//! The documented configuration as roff.

use super::roff::{escaped, literal, paragraph};

/// The comments of the configuration as sections of a page, and its keys as the terms of lists.
pub(super) fn sections(text: &str) -> String {
    let mut page = String::from(".SH DESCRIPTION\n");
    for block in text.split("\n\n").map(str::trim).filter(|block| !block.is_empty()) {
        let (comments, others): (Vec<&str>, Vec<&str>) = block.lines().partition(|line| is_comment(line));
        let header = others.first().and_then(|line| line.strip_prefix('[')?.strip_suffix(']'));
        let keys = others.iter().skip(usize::from(header.is_some()));
        let is_first = page.ends_with(".SH DESCRIPTION\n");
        if let Some(name) = header {
            page.push_str(&format!(".SH \"[{}]\"\n", escaped(name)));
        }
        for (index, key) in keys.enumerate() {
            page.push_str(if index == 0 { ".TP\n" } else { ".TQ\n" });
            let (name, value) = key.trim_start_matches('#').split_once(" = ").unwrap_or((key, ""));
            page.push_str(&format!("\\fB{}\\fR = {}\n", escaped(name), escaped(value)));
        }
        let has_keys = others.len() > usize::from(header.is_some());
        let separator = if has_keys { ".IP\n" } else { ".PP\n" };
        page.push_str(&comment(&comments, separator, is_first || header.is_some() || has_keys));
    }
    page
}

/// Whether the line is prose, and not a key with its default.
fn is_comment(line: &str) -> bool {
    line == "#" || line.starts_with("# ")
}

/// Prose, with its indented lines as they are. The first paragraph begins by itself if it `continues` something.
fn comment(lines: &[&str], separator: &str, continues: bool) -> String {
    let lines: Vec<&str> = lines.iter().map(|line| line.get(2..).unwrap_or_default()).collect();
    let is_code = |line: &&str| line.starts_with("  ");
    let mut text = String::new();
    for part in lines.chunk_by(|one, other| is_code(one) == is_code(other)) {
        if part.first().is_some_and(is_code) {
            text.push_str(&literal(part.iter().map(|line| line.trim_end())));
            continue;
        }
        for lines in part.split(|line| line.is_empty()).filter(|lines| !lines.is_empty()) {
            if !(text.is_empty() && continues) {
                text.push_str(separator);
            }
            text.push_str(&paragraph(&lines.join("\n")));
        }
    }
    text
}
