//! The entries of a mapping in words.

use crate::mapping::{ApplyMode, DescribedEntry};
use crate::model::{Attribute, AttributeKind};

pub(crate) fn kind_in_words(attribute: Attribute) -> &'static str {
    match attribute.kind() {
        AttributeKind::Text => "text",
        AttributeKind::Boolean => "boolean",
    }
}

pub(crate) fn apply_in_words(apply: ApplyMode) -> &'static str {
    match apply {
        ApplyMode::Always => "always",
        ApplyMode::OnCreate => "on-create",
    }
}

/// The options that differ from their defaults.
pub(crate) fn options_in_words(line: &DescribedEntry<'_>) -> String {
    let default = line.default.map(|default| format!("default {default:?}"));
    let on_create = (line.apply == ApplyMode::OnCreate).then(|| apply_in_words(line.apply).to_owned());
    let required = line.required.then(|| "required".to_owned());
    let redacted = line.redacted.then(|| "redacted in logs".to_owned());
    [default, on_create, required, redacted].into_iter().flatten().collect::<Vec<_>>().join(", ")
}
