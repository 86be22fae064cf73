//! Words of a command line that an administrator pastes into a shell.

use super::is_visible;

/// `text` as one word, in quotes where a shell would read it in another way.
pub fn shell_word(text: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "_-./:@%+=,".contains(letter);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    if text.chars().all(is_visible) {
        return format!("'{}'", text.replace('\'', r"'\''"));
    }
    // A terminal would not paste these characters as they are.
    let mut quoted = "$'".to_owned();
    for letter in text.chars() {
        match letter {
            '\'' | '\\' => quoted.extend(['\\', letter]),
            _ if is_visible(letter) => quoted.push(letter),
            // Octal, because a hexadecimal escape would take following digits with it in some shells.
            _ => quoted.extend(letter.encode_utf8(&mut [0; 4]).bytes().map(|byte| format!("\\{byte:03o}"))),
        }
    }
    quoted.push('\'');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_the_word_as_it_was() {
        for (text, expected) in [
            ("ada@contoso.example", "ada@contoso.example"),
            ("/etc/learner-sync/secret", "/etc/learner-sync/secret"),
            ("", "''"),
            ("x; rm -rf $HOME 'q'", r"'x; rm -rf $HOME '\''q'\'''"),
            ("ada#EXT#", "'ada#EXT#'"),
            ("~root", "'~root'"),
            ("o'brien", r"'o'\''brien'"),
            ("a b", "'a b'"),
            ("a\nb\\'1", r"$'a\012b\\\'1'"),
            ("\u{1b}[2J7", r"$'\033[2J7'"),
            ("\u{202e}a", r"$'\342\200\256a'"),
            ("Åsa", "'Åsa'"),
            ("!!", "'!!'"),
        ] {
            assert_eq!(shell_word(text), expected);
            let mut shell = std::process::Command::new("bash");
            let printed = shell.arg("-c").arg(format!("printf %s {expected}")).output().unwrap();
            assert_eq!(String::from_utf8(printed.stdout).unwrap(), text);
        }
    }
}
