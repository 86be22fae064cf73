//! Distinguished names of Active Directory, such as `CN=Ada,OU=Crew,DC=harbour,DC=example`.

use std::borrow::Cow;

use crate::model::Value;

use crate::expression::constant::Integer;
use crate::expression::evaluate::{Call, Evaluated, null};

/// `DNComponent(dn, componentNumber)`: the value of a component, counted from the left and from 1; null when there are
/// fewer.
pub(super) fn component(call: Call<'_>) -> Evaluated<'_> {
    let Some(name) = call.text(0)? else { return Ok(null()) };
    let wanted = call.required_argument::<Integer>(1)?.0;
    let found = usize::try_from(wanted - 1).ok().and_then(|index| components(&name).nth(index));
    let value = found.and_then(|component| component.split_once('='));
    Ok(value.map_or_else(null, |(_, value)| Cow::Owned(Value::Text(unescape(value)))))
}

/// Splits at commas that are not escaped.
fn components(name: &str) -> impl Iterator<Item = &str> {
    let mut escaped = false;
    name.split(move |letter| {
        let ends = letter == ',' && !escaped;
        escaped = letter == '\\' && !escaped;
        ends
    })
}

/// Resolves escapes: a backslash and a character, or a byte of UTF-8 in two hexadecimal digits.
fn unescape(value: &str) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((before, after)) = rest.split_once('\\') {
        bytes.extend_from_slice(before.as_bytes());
        let digits = after.get(..2).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        if let Some(byte) = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            bytes.push(byte);
            rest = &after[2..];
        } else {
            let letter = after.chars().next().map_or(0, char::len_utf8);
            bytes.extend_from_slice(&after.as_bytes()[..letter]);
            rest = &after[letter..];
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use crate::expression::tests::{check, problems};

    #[test]
    fn components_are_counted_from_the_left() {
        check(
            &[
                ("onPremisesDistinguishedName", r"CN=Åkesson\, Ada\2B1 \c3\85,OU=Crew=Deck,DC=harbour"),
                ("city", "Kiruna"),
                ("state", "\\"),
            ],
            &[
                ("DNComponent([onPremisesDistinguishedName], 1)", "Åkesson, Ada+1 Å"),
                ("DNComponent(CRef([onPremisesDistinguishedName]), \"2\")", "Crew=Deck"),
                ("DNComponent([onPremisesDistinguishedName], 3)", "harbour"),
                ("DNComponent([onPremisesDistinguishedName], 4)", "null"),
                ("DNComponent([onPremisesDistinguishedName], 0)", "null"),
                ("DNComponent([city], 1)", "null"),
                ("DNComponent([country], 1)", "null"),
                ("DNComponent(Append(\"cn=a\", [state]), 1)", "a"),
                ("CRef([city])", "Kiruna"),
                ("CRef([country])", "null"),
            ],
        );
        assert_eq!(problems("DNComponent([city], \"first\")")[0].position, 21);
    }
}
