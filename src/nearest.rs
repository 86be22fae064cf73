//! "Did you mean": the known word closest to an unknown one.

/// The candidate with the fewest edits from `word`, ignoring case; `None` when all differ too much for a typing mistake.
pub(crate) fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let word: Vec<char> = word.to_lowercase().chars().collect();
    let allowed = match word.len() {
        0..=3 => 1,
        4..=8 => 2,
        length => length / 4,
    };
    candidates
        .filter(|candidate| candidate.len().abs_diff(word.len()) <= 2 * allowed)
        .map(|candidate| (edits(&word, candidate), candidate))
        .filter(|(edits, _)| *edits <= allowed)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// `; did you mean ...?`, or nothing.
pub(crate) fn did_you_mean(suggestion: Option<impl std::fmt::Display>) -> String {
    suggestion.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
}

/// The Levenshtein distance.
fn edits(word: &[char], candidate: &str) -> usize {
    let mut row: Vec<usize> = (0..=word.len()).collect();
    for (line, wanted) in candidate.chars().flat_map(char::to_lowercase).enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, found) in word.iter().enumerate() {
            let replaced = diagonal + usize::from(*found != wanted);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[word.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_mistakes_have_a_suggestion_and_other_words_have_none() {
        let near = |word| nearest(word, ["mail", "mobilePhone", "department", "city"].into_iter());
        assert_eq!(near("mial"), Some("mail"));
        assert_eq!(near("Departement"), Some("department"));
        assert_eq!(near("mobilphone"), Some("mobilePhone"));
        assert_eq!(near("costCenter"), None);
        assert_eq!(near(""), None);
    }
}
