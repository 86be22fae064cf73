//! The supported filters: one comparison, `name eq 'value'`, `name in ('a','b')` or `startswith(name,'value')`.

use crate::reply::GraphError;

/// Graph's limit of values in one `in`.
const MAX_VALUES: usize = 15;

/// A comparison of one attribute with one or several values.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Filter {
    pub(super) name: String,
    pub(super) values: Vec<String>,
    /// Whether the values are only the start of the attribute.
    pub(super) is_prefix: bool,
}

impl Filter {
    pub(super) fn parse(text: &str) -> Result<Self, GraphError> {
        let filter = read(text).ok_or_else(|| GraphError::bad_request("Invalid filter clause"))?;
        if filter.values.len() > MAX_VALUES {
            let message = "Too many child clauses specified in search filter expression containing 'OR' operators";
            let count = filter.values.len();
            return Err(GraphError::unsupported_query(format!("{message}: {count}. Max allowed: {MAX_VALUES}.")));
        }
        Ok(filter)
    }

    pub(super) fn is_about(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}

fn read(text: &str) -> Option<Filter> {
    if let Some(arguments) = text.trim().strip_prefix("startswith(").and_then(|rest| rest.strip_suffix(')')) {
        let (name, value) = arguments.split_once(',')?;
        let (value, rest) = quoted(value.trim_start())?;
        let filter = Filter { name: name.trim().to_owned(), values: vec![value], is_prefix: true };
        return rest.is_empty().then_some(filter);
    }
    let (name, rest) = text.trim().split_once(' ')?;
    let (operator, rest) = rest.trim_start().split_at_checked(2)?;
    let rest = rest.trim();
    let values = match operator.to_ascii_lowercase().as_str() {
        "eq" => vec![quoted(rest)?].into_iter().filter(|(_, rest)| rest.is_empty()).map(|(value, _)| value).collect(),
        "in" => list(rest.strip_prefix('(')?.strip_suffix(')')?)?,
        _ => return None,
    };
    (!values.is_empty()).then(|| Filter { name: name.to_owned(), values, is_prefix: false })
}

fn list(mut text: &str) -> Option<Vec<String>> {
    let mut values = Vec::new();
    loop {
        let (value, rest) = quoted(text.trim_start())?;
        values.push(value);
        match rest.trim_start().strip_prefix(',') {
            Some(rest) => text = rest,
            None => return rest.trim().is_empty().then_some(values),
        }
    }
}

/// Parses a value in single quotes (doubled inside) and returns it with the rest.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut rest = text.strip_prefix('\'')?;
    let mut value = String::new();
    loop {
        let (part, tail) = rest.split_once('\'')?;
        value.push_str(part);
        match tail.strip_prefix('\'') {
            Some(tail) => {
                value.push('\'');
                rest = tail;
            }
            None => return Some((value, tail)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn supported_filters_are_parsed_and_others_refused() {
        let check = |text: &str, expect: Option<(&str, &[&str])>| {
            let read = Filter::parse(text).ok().map(|filter| (filter.name, filter.values));
            let expect =
                expect.map(|(name, values)| (name.to_owned(), values.iter().map(|&value| value.to_owned()).collect()));
            assert_eq!(read, expect, "{text}");
        };
        check("id in ('a', 'b','c')", Some(("id", &["a", "b", "c"])));
        check("userPrincipalName eq 'o''brien@x.example'", Some(("userPrincipalName", &["o'brien@x.example"])));
        check("id in ('a'", None);
        check("id in ()", None);
        check("id eq a", None);
        check("id eq 'a' or id eq 'b'", None);
        check("startswith(userPrincipalName,'a_b#EXT#@')", Some(("userPrincipalName", &["a_b#EXT#@"])));
        check("startswith(displayName,a)", None);
    }
}
