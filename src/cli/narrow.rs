//! Lists that fit the terminal: a table where it is wide enough, else two columns, or one field on a line. Lines break
//! between words; times and ids stay whole. Output to a file or pipe is as wide as it needs to be.

use comfy_table::Table;
use unicode_width::UnicodeWidthStr;

use super::output::table;

/// How far the second column is indented below a first column that takes more than half of the width.
const INDENT: usize = 4;
/// A narrower terminal has no room for a time or an id beside another column.
pub(super) const MIN_TWO_COLUMNS: usize = 60;

/// The columns of a list.
pub(super) struct ListColumns(pub(super) &'static [&'static str]);

/// A row of a list.
pub(super) struct ListRow {
    /// The cells of the table.
    pub(super) cells: Vec<String>,
    /// The same in two columns, of which the first is never broken.
    pub(super) narrow: [String; 2],
}

impl ListColumns {
    /// The rows as wide as the terminal.
    pub(super) fn list(&self, rows: Vec<ListRow>) -> String {
        self.list_in(table(self.0), rows, None)
    }

    /// Like [`Self::list`], but a text that does not fit its line takes `most_lines` at most.
    pub(super) fn list_within(&self, rows: Vec<ListRow>, most_lines: usize) -> String {
        self.list_in(table(self.0), rows, Some(most_lines))
    }

    fn list_in(&self, mut lines: Table, rows: Vec<ListRow>, most_lines: Option<usize>) -> String {
        for ListRow { cells, narrow: _ } in &rows {
            lines.add_row(cells);
        }
        match lines.width().map(usize::from) {
            Some(width) if width < MIN_TWO_COLUMNS => {
                let cells: Vec<_> = rows.into_iter().map(|row| row.cells).collect();
                in_fields(self.0, &cells, width, most_lines)
            }
            Some(width) if table_width(&lines.column_max_content_widths()) > width => {
                let narrow: Vec<_> = rows.into_iter().map(|row| row.narrow).collect();
                in_two_columns(&narrow, width, most_lines)
            }
            Some(_) | None => lines.trim_fmt(),
        }
    }
}

/// The blanks on both sides of a column.
pub(super) const PADDING: u16 = 2;

/// The width of a table with columns of these widths.
pub(super) fn table_width(columns: &[u16]) -> usize {
    columns.iter().map(|width| usize::from(width.saturating_add(PADDING))).sum()
}

/// One field on a line, and an empty line between two rows. Fields without a text are left out.
pub(super) fn in_fields(headers: &[&str], rows: &[Vec<String>], width: usize, most_lines: Option<usize>) -> String {
    let row = |cells: &Vec<String>| {
        let fields = headers.iter().zip(cells).filter(|(_, cell)| !cell.is_empty());
        let fields = fields.map(|(header, cell)| wrap_within(&format!("{header}: {cell}"), width, most_lines));
        fields.collect::<Vec<_>>().join("\n")
    };
    rows.iter().map(row).collect::<Vec<_>>().join("\n\n")
}

/// Two columns within `width`, or one below the other where the first takes more than half of it.
pub(super) fn in_two_columns(rows: &[[String; 2]], width: usize, most_lines: Option<usize>) -> String {
    let first_width = rows.iter().map(|[first, _]| first.width()).max().unwrap_or_default();
    let mut lines = Vec::new();
    for [first, second] in rows {
        if first_width > width / 2 {
            lines.extend(wrap(first, width).lines().map(str::to_owned));
            let indented = wrap_within(second, width.saturating_sub(INDENT), most_lines);
            lines.extend(indented.lines().map(|line| format!("{:INDENT$}{line}", "")));
            continue;
        }
        let left = width.saturating_sub(first_width + 2);
        for (number, line) in wrap_within(second, left, most_lines).lines().enumerate() {
            let first = if number == 0 { first } else { "" };
            let padding = first_width.saturating_sub(first.width());
            lines.push(format!("{first}{:padding$}  {line}", ""));
        }
    }
    lines.join("\n")
}

/// A label before the first line of a text; the other lines begin below its end.
pub(super) fn labelled(label: &str, text: &str, width: Option<usize>) -> String {
    let indent = label.width();
    // A narrow terminal has no room for an id beside the label.
    if let Some(width) = width.filter(|width| *width < MIN_TWO_COLUMNS)
        && wrap(text, width.saturating_sub(indent)).lines().any(|line| line.width() > width.saturating_sub(indent))
    {
        let indent = INDENT;
        let label = if label.trim().is_empty() { String::new() } else { format!("{}\n", label.trim_end()) };
        let text = wrap(text, width.saturating_sub(indent)).replace('\n', &format!("\n{:indent$}", ""));
        return format!("{label}{:indent$}{text}", "");
    }
    let text = width.map_or_else(|| text.to_owned(), |width| wrap(text, width.saturating_sub(indent)));
    format!("{label}{}", text.replace('\n', &format!("\n{:indent$}", "")))
}

/// Like [`wrap`], with an ellipsis where a line of `text` would take more than `most_lines`.
fn wrap_within(text: &str, width: usize, most_lines: Option<usize>) -> String {
    let Some(most_lines) = most_lines else { return wrap(text, width) };
    let mut kept = Vec::new();
    for line in text.split('\n') {
        let wrapped = wrap(line, width);
        let lines: Vec<&str> = wrapped.lines().collect();
        let (shown, others) = lines.split_at(lines.len().min(most_lines));
        kept.extend(shown.iter().map(|line| (*line).to_owned()));
        if let (Some(last), false) = (kept.last_mut(), others.is_empty()) {
            const MORE: &str = " …";
            while last.width() + MORE.width() > width
                && let Some(end) = last.rfind(' ')
            {
                last.truncate(end);
            }
            last.push_str(MORE);
        }
    }
    kept.join("\n")
}

/// Breaks lines between words. A word that is longer than a line breaks after a slash, such as a source, which consists of
/// two ids, or a path; a SCIM path breaks after a colon.
pub(super) fn wrap(text: &str, width: usize) -> String {
    let mut wrapped = String::with_capacity(text.len());
    for (number, line) in text.split('\n').enumerate() {
        if number > 0 {
            wrapped.push('\n');
        }
        let mut used = 0;
        for word in words(line) {
            let ends: &[char] = match word.trim_end().width() > width {
                true if word.starts_with("urn:") => &[':'],
                true => &['/'],
                false => &[],
            };
            for piece in word.split_inclusive(ends) {
                let length = piece.trim_end().width();
                if used > 0 && used + length > width {
                    wrapped.truncate(wrapped.trim_end_matches(' ').len());
                    wrapped.push('\n');
                    used = 0;
                }
                wrapped.push_str(piece);
                used += piece.width();
            }
        }
    }
    wrapped
}

/// The words of a line with the blanks behind them. A SCIM path such as `emails[type eq "work"].value` is one word.
fn words(line: &str) -> impl Iterator<Item = &str> {
    let mut rest = line;
    std::iter::from_fn(move || {
        let is_end = |(at, _): &(usize, &str)| !["[type", "[type eq"].iter().any(|open| rest[..*at].ends_with(open));
        let end = rest.match_indices(' ').find(is_end).map_or(rest.len(), |(at, blank)| at + blank.len());
        let (word, others) = rest.split_at(end);
        rest = others;
        (!word.is_empty()).then_some(word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_between_words_and_in_long_ones() {
        assert_eq!(wrap("one two three", 7), "one two\nthree");
        assert_eq!(wrap("of aaaa-bbbb/cccc-dddd, active", 10), "of\naaaa-bbbb/\ncccc-dddd,\nactive");
        assert_eq!(wrap("see /etc/file", 10), "see\n/etc/file");
        let path = "emails[type eq \"work\"].value";
        assert_eq!(wrap(&format!("from {path} on"), 30), format!("from\n{path}\non"));
        assert_eq!(wrap("short\nsecond line", 6), "short\nsecond\nline");
        assert_eq!(wrap("unbreakable", 4), "unbreakable");
        assert_eq!(wrap("李小龙 李小龙", 9), "李小龙\n李小龙");
        assert_eq!(wrap("urn:ietf:params:name: A", 16), "urn:ietf:params:\nname: A");
        assert_eq!(wrap("urn:ietf:params:name: A", 30), "urn:ietf:params:name: A");
    }

    const COLUMNS: ListColumns = ListColumns(&["since", "user", "detail"]);
    const SINCE: &str = "2026-01-02T03:04:05Z";
    const USER: &str = "0a1b2c3d-0000-4000-8000-000000000001";

    fn list(width: Option<u16>, detail: &str) -> String {
        let mut lines = table(COLUMNS.0);
        if let Some(width) = width {
            lines.set_width(width);
        }
        let narrow = [SINCE.to_owned(), format!("{USER}\n{detail}")];
        let row = ListRow { cells: vec![SINCE.to_owned(), USER.to_owned(), detail.to_owned()], narrow };
        COLUMNS.list_in(lines, vec![row], None)
    }

    #[test]
    fn every_width_keeps_times_ids_and_words_whole() {
        let detail = "12 deactivations now and 0 in the last 24 hours exceed 20 % of 40 active learners";
        for width in 36..220 {
            let text = list(Some(width), detail);
            for whole in [SINCE, USER].into_iter().chain(detail.split(' ')) {
                assert!(text.contains(whole), "{whole} at {width}:\n{text}");
            }
            assert!(text.lines().all(|line| line.width() <= width.into()), "{width}:\n{text}");
        }
        assert_eq!(list(None, detail).lines().count(), 2);
        assert_eq!(list(Some(160), detail), list(None, detail));
        assert_eq!(list(Some(80), "short"), list(None, "short"));
    }

    #[test]
    fn a_terminal_without_room_for_two_columns_gets_a_field_on_each_line() {
        let expected = format!("since: {SINCE}\nuser:\n{USER}\ndetail: short");
        assert_eq!(list(Some(36), "short"), expected);
        let rows = [vec!["1".to_owned(), String::new()], vec!["2".to_owned(), "b".to_owned()]];
        assert_eq!(in_fields(&["id", "name"], &rows, 40, None), "id: 1\n\nid: 2\nname: b");
        let label = "Source        ";
        assert_eq!(labelled(label, USER, Some(45)), format!("Source\n    {USER}"));
        assert_eq!(labelled(label, "two words", Some(45)), format!("{label}two words"));
        assert_eq!(labelled("              ", USER, Some(45)), format!("    {USER}"));
    }

    #[test]
    fn a_long_text_takes_some_lines_and_ends_at_a_word() {
        assert_eq!(wrap_within("one two three four five", 9, Some(3)), "one two\nthree\nfour five");
        assert_eq!(wrap_within("one two three four five six", 9, Some(3)), "one two\nthree\nfour …");
        assert_eq!(wrap_within("name\none two three", 5, Some(1)), "name\none …");
        assert_eq!(wrap_within("one two three", 5, None), "one\ntwo\nthree");
    }

    #[test]
    fn the_lines_of_a_labelled_text_begin_at_the_same_column() {
        assert_eq!(labelled("ok  state  ", "one two three", Some(18)), "ok  state  one two\n           three");
        assert_eq!(labelled("ok  state  ", "one two three", None), "ok  state  one two three");
        assert_eq!(labelled("map  ", "one\ntwo", None), "map  one\n     two");
    }

    #[test]
    fn a_long_first_column_stands_above_the_second() {
        let rows = [["a-long-first-column".to_owned(), "the second one".to_owned()]];
        assert_eq!(in_two_columns(&rows, 20, None), "a-long-first-column\n    the second one");
        assert_eq!(in_two_columns(&rows, 40, None), "a-long-first-column  the second one");
    }
}
