//! Text as roff, the language of manual pages.

/// Text without a meaning in roff, within a line.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\\' => escaped.push_str("\\e"),
            '-' => escaped.push_str("\\-"),
            '\'' => escaped.push_str("\\(aq"),
            '`' => escaped.push_str("\\(ga"),
            '^' => escaped.push_str("\\(ha"),
            '~' => escaped.push_str("\\(ti"),
            letter => escaped.push(letter),
        }
    }
    escaped
}

/// A line of text. At its start, a dot would be a command.
pub(super) fn line(text: &str) -> String {
    let guard = if text.starts_with('.') { "\\&" } else { "" };
    format!("{guard}{text}\n")
}

/// Lines of prose in Markdown: `code`, **strong** and *emphasised* words.
pub(super) fn paragraph(text: &str) -> String {
    text.lines()
        .map(str::trim)
        .collect::<Vec<_>>()
        .join("\n")
        .split('`')
        .enumerate()
        .fold(String::new(), |paragraph, (index, part)| match index % 2 {
            1 => format!("{paragraph}\\fB{}\\fR", escaped(&part.replace('\n', " "))),
            _ => paragraph + &emphasis(part),
        })
        .lines()
        .map(line)
        .collect()
}

fn emphasis(text: &str) -> String {
    let mut shown = String::new();
    for (index, strong) in text.split("**").enumerate() {
        if index % 2 == 1 {
            shown.push_str(&format!("\\fB{}\\fR", escaped(strong)));
            continue;
        }
        for (index, part) in strong.split('*').enumerate() {
            let part = escaped(part);
            shown.push_str(&if index % 2 == 1 { format!("\\fI{part}\\fR") } else { part });
        }
    }
    shown
}

/// Lines that stay as they are.
pub(super) fn literal<'l>(lines: impl IntoIterator<Item = &'l str>) -> String {
    let lines: String = lines.into_iter().map(|text| line(&escaped(text))).collect();
    format!(".RS 4\n.nf\n{lines}.fi\n.RE\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_keeps_its_characters() {
        assert_eq!(escaped(r"a-b \ it's `^~`"), r"a\-b \e it\(aqs \(ga\(ha\(ti\(ga");
        assert_eq!(
            paragraph("Run `a-b\nc` **now**,\n.not *later*."),
            "Run \\fBa\\-b c\\fR \\fBnow\\fR,\n\\&.not \\fIlater\\fR.\n"
        );
        assert_eq!(paragraph("`*.toml` and `**`"), "\\fB*.toml\\fR and \\fB**\\fR\n");
        assert_eq!(literal(["'x'", ".y"]), ".RS 4\n.nf\n\\(aqx\\(aq\n\\&.y\n.fi\n.RE\n");
    }
}
