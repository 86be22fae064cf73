//! Texts as bytes: base64 and hexadecimal.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::text::{each, try_each};
use crate::expression::evaluate::{Call, Evaluated, EvaluationStop};
use crate::expression::keyword::Encoding;

/// `ConvertFromBase64(source, encoding)`: UTF-16 by default.
pub(super) fn from_base64(call: Call<'_>) -> Evaluated<'_> {
    let source = call.value(0)?;
    let encoding = call.argument::<Encoding>(1)?.map_or_else(Encoding::default, Cow::into_owned);
    try_each(source, |text| {
        // .NET ignores white space.
        let digits: String = text.split_ascii_whitespace().collect();
        let bytes = STANDARD.decode(digits).map_err(|_| EvaluationStop::invalid("the text is not base64"))?;
        Ok(encoding.decode(&bytes))
    })
}

/// `ConvertToBase64(source)`: encodes the text as UTF-16.
pub(super) fn to_base64(call: Call<'_>) -> Evaluated<'_> {
    each(call.value(0)?, |text| STANDARD.encode(text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>()))
}

/// `ConvertToUTF8Hex(source)`.
pub(super) fn to_hexadecimal(call: Call<'_>) -> Evaluated<'_> {
    each(call.value(0)?, |text| text.bytes().map(|byte| format!("{byte:02X}")).collect())
}

#[cfg(test)]
mod tests {
    use crate::expression::tests::check;

    #[test]
    fn texts_to_bytes_and_back() {
        check(
            &[("city", "Åre"), ("mail", "xQByAGUA")],
            &[
                ("ConvertToBase64([city])", "xQByAGUA"),
                ("ConvertToBase64(\"\")", ""),
                ("ConvertFromBase64([mail])", "Åre"),
                ("ConvertFromBase64(\" xQBy AGUA \", Unicode)", "Åre"),
                ("ConvertFromBase64(\"w4VyZQ==\", UTF8)", "Åre"),
                ("ConvertFromBase64(\"w4VyZQ==\", \"ascii\")", "??re"),
                ("ConvertFromBase64([city])", "invalid: the text is not base64"),
                ("ConvertFromBase64(\"w4VyZQ\")", "invalid: the text is not base64"),
                ("ConvertFromBase64([country])", "null"),
                ("ConvertToUTF8Hex([city])", "C3857265"),
                ("ConvertToUTF8Hex([country])", "null"),
            ],
        );
    }
}
