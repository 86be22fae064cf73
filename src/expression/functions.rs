//! The function table: one row and one Rust function for each function of the expression language.
//!
//! <https://learn.microsoft.com/entra/identity/app-provisioning/functions-for-customizing-application-data>

mod convert;
mod date;
mod diacritics;
mod distinguished_name;
mod encoding;
mod list;
mod logic;
pub(super) mod replace;
mod substring;
mod text;
mod title_case;

use std::fmt;

use super::compile::Expression;
use super::constant::ConstantKind::{CompareType, Date, DateInterval, Encoding, Integer, Pattern};
use super::constant::{Parameter, accepts, needs};
use super::evaluate::{Call, Evaluated};
use super::syntax::Node;
use crate::nearest::{did_you_mean, nearest};

/// A function of the expression language.
pub(crate) struct Function {
    pub(super) name: &'static str,
    pub(super) arguments: ArgumentCount,
    pub(super) evaluate: for<'a> fn(Call<'a>) -> Evaluated<'a>,
    /// The arguments that are more than text.
    pub(super) parameters: &'static [Parameter],
    /// Rearranges the arguments of an older form of the function.
    pub(super) arrange: fn(&mut Vec<Node>),
    /// Checks arguments against each other.
    pub(super) check: fn(&[Expression]) -> Checked,
    /// Whether the result is a date in the service's notation.
    pub(super) returns_date: bool,
    /// The arguments that can be the result, unchanged.
    pub(super) results: Arguments,
    /// The arguments that may have several values.
    pub(super) lists: Arguments,
    /// The arguments whose values are changed one by one.
    pub(super) elements: Arguments,
    /// Whether the function makes several values of one.
    pub(super) makes_list: bool,
}

/// Some arguments of a function, by index.
#[derive(Clone, Copy)]
pub(super) enum Arguments {
    None,
    All,
    Only(usize),
    From(usize),
    Odd,
}

/// The error is the index of an argument and what is wrong with it.
pub(crate) type Checked = Result<(), (usize, String)>;

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

const fn function(
    name: &'static str,
    arguments: ArgumentCount,
    evaluate: for<'a> fn(Call<'a>) -> Evaluated<'a>,
) -> Function {
    const fn keep_order(_: &mut Vec<Node>) {}
    const fn no_check(_: &[Expression]) -> Checked {
        Ok(())
    }
    Function {
        name,
        arguments,
        evaluate,
        parameters: &[],
        arrange: keep_order,
        check: no_check,
        returns_date: false,
        results: Arguments::None,
        lists: Arguments::None,
        elements: Arguments::None,
        makes_list: false,
    }
}

impl Function {
    const fn parses(self, parameters: &'static [Parameter]) -> Self {
        Self { parameters, ..self }
    }

    const fn returns_date(self) -> Self {
        Self { returns_date: true, ..self }
    }

    const fn passes_through(self, results: Arguments) -> Self {
        Self { results, ..self }
    }

    const fn takes_lists(self, lists: Arguments) -> Self {
        Self { lists, ..self }
    }

    const fn changes_each(self, elements: Arguments) -> Self {
        Self { elements, ..self }
    }
}

impl Arguments {
    pub(super) fn contains(self, index: usize) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Only(only) => index == only,
            Self::From(first) => index >= first,
            Self::Odd => index % 2 == 1,
        }
    }
}

/// How many arguments a function takes.
#[derive(Clone, Copy)]
pub(crate) enum ArgumentCount {
    Exactly(usize),
    Between(usize, usize),
    AtLeast(usize),
    /// An even number, at least this many.
    Even(usize),
}

use ArgumentCount::{AtLeast, Between, Even, Exactly};
use Arguments::{All, From, Odd, Only};

/// Every function, in alphabetical order.
pub(super) const FUNCTIONS: &[Function] = &[
    function("Append", Exactly(2), text::append).changes_each(Only(0)),
    function("BitAnd", Exactly(2), convert::bit_and).parses(&[needs(0, Integer), needs(1, Integer)]),
    function("CBool", Exactly(1), logic::c_bool),
    function("CDate", Exactly(1), date::c_date).parses(&[needs(0, Date)]).returns_date(),
    // References are handled as texts.
    function("CRef", Exactly(1), convert::c_str),
    function("CStr", Exactly(1), convert::c_str),
    function("Coalesce", AtLeast(1), logic::coalesce).passes_through(All),
    function("Contains", Between(2, 3), list::contains).takes_lists(Only(0)).parses(&[accepts(2, CompareType)]),
    function("ConvertFromBase64", Between(1, 2), encoding::from_base64).parses(&[accepts(1, Encoding)]),
    function("ConvertToBase64", Exactly(1), encoding::to_base64),
    function("ConvertToUTF8Hex", Exactly(1), encoding::to_hexadecimal),
    function("Count", Exactly(1), list::count).takes_lists(Only(0)),
    function("DNComponent", Exactly(2), distinguished_name::component).parses(&[needs(1, Integer)]),
    function("DateAdd", Exactly(3), date::add)
        .parses(&[needs(0, DateInterval), needs(1, Integer), needs(2, Date)])
        .returns_date(),
    function("DateDiff", Exactly(3), date::difference).parses(&[
        needs(0, DateInterval),
        needs(1, Date),
        needs(2, Date),
    ]),
    function("DateFromNum", Exactly(1), date::from_number).parses(&[needs(0, Integer)]).returns_date(),
    Function { check: logic::check_error, ..function("Error", Exactly(1), logic::error) },
    Function {
        parameters: date::FORMAT_PARAMETERS,
        arrange: date::arrange_format,
        ..function("FormatDateTime", Exactly(4), date::format)
    },
    function("IIF", Exactly(3), logic::iif).passes_through(From(1)),
    function("IgnoreFlowIfNullOrEmpty", Exactly(1), logic::ignore_flow_if_null_or_empty).passes_through(All),
    function("InStr", Between(2, 4), substring::in_str).parses(&[accepts(2, Integer), accepts(3, CompareType)]),
    function("IsNothing", Exactly(1), logic::is_null).takes_lists(Only(0)),
    function("IsNull", Exactly(1), logic::is_null).takes_lists(Only(0)),
    function("IsNullOrEmpty", Exactly(1), logic::is_null_or_empty).takes_lists(Only(0)),
    function("IsPresent", Exactly(1), logic::is_present).takes_lists(Only(0)),
    function("IsString", Exactly(1), logic::is_string).takes_lists(Only(0)),
    function("Item", Exactly(2), list::item).takes_lists(Only(0)).parses(&[needs(1, Integer)]),
    function("Join", AtLeast(2), text::join).takes_lists(From(1)),
    function("Left", Exactly(2), substring::left).changes_each(Only(0)).parses(&[needs(1, Integer)]),
    function("Mid", Between(2, 3), substring::mid)
        .changes_each(Only(0))
        .parses(&[needs(1, Integer), accepts(2, Integer)]),
    function("NormalizeDiacritics", Exactly(1), diacritics::normalize).changes_each(Only(0)),
    function("Not", Exactly(1), logic::not),
    function("Now", Exactly(0), date::now).returns_date(),
    function("NumFromDate", Exactly(1), date::to_number).parses(&[needs(0, Date)]),
    function("PCase", Between(1, 2), title_case::p_case).changes_each(Only(0)),
    function("Prepend", Exactly(2), text::prepend).changes_each(Only(1)),
    function("Redact", Exactly(1), convert::redact).passes_through(All),
    function("RemoveDuplicates", Exactly(1), list::remove_duplicates).changes_each(Only(0)),
    Function {
        check: replace::check,
        ..function("Replace", Between(5, 7), replace::replace).changes_each(Only(0)).parses(&[accepts(2, Pattern)])
    },
    function("SingleAppRoleAssignment", Exactly(1), list::single_app_role_assignment).takes_lists(Only(0)),
    Function { check: list::check_split, makes_list: true, ..function("Split", Exactly(2), list::split) },
    function("StripSpaces", Exactly(1), text::strip_spaces).changes_each(Only(0)),
    // The default, then keys and values.
    function("Switch", Even(4), logic::switch).passes_through(Odd),
    function("ToLower", Between(1, 2), text::to_lower).changes_each(Only(0)),
    function("ToUpper", Between(1, 2), text::to_upper).changes_each(Only(0)),
    function("Trim", Exactly(1), text::trim).changes_each(Only(0)),
    function("Word", Exactly(3), substring::word).changes_each(Only(0)).parses(&[needs(1, Integer)]),
];

/// Functions of Entra ID that are refused, and the reason.
const REFUSED: &[(&str, &str)] = &[
    ("AppRoleAssignments", "returns several roles, but a learner attribute takes one; use `SingleAppRoleAssignment`"),
    (
        "AppRoleAssignmentsComplex",
        "returns complex values, but a learner attribute takes texts; use `SingleAppRoleAssignment`",
    ),
    (
        "AssertiveAppRoleAssignmentsComplex",
        "returns complex values, but a learner attribute takes texts; use `SingleAppRoleAssignment`",
    ),
    ("DefaultDomain", "is not supported: the domains of the tenant are not read; write the domain in quotes"),
    ("Guid", "is not supported: it returns a new value in every cycle"),
    ("RandomString", "is not supported: it returns a new value in every cycle"),
    (
        "SelectUniqueValue",
        "is not supported: Entra ID offers it for Active Directory only, and its value depends on other users",
    ),
    ("StringFromSid", "is not needed: Graph returns the identifier as text; write `[onPremisesSecurityIdentifier]`"),
];

/// Finds the function called `name`. The language is case-sensitive, but its documentation is not (`switch(`), and
/// mappings are copied from there.
///
/// # Errors
/// Why there is no such function, with a suggestion.
pub(super) fn find_function(name: &str) -> Result<&'static Function, String> {
    let exact = FUNCTIONS.iter().find(|function| function.name == name);
    let found = exact.or_else(|| FUNCTIONS.iter().find(|function| function.name.eq_ignore_ascii_case(name)));
    found.ok_or_else(|| match REFUSED.iter().find(|(refused, _)| refused.eq_ignore_ascii_case(name)) {
        Some((refused, reason)) => format!("`{refused}` {reason}"),
        None if name.eq_ignore_ascii_case("null") => {
            format!("`{name}` is not a function; for no value leave the argument empty")
        }
        None => {
            let suggestion = nearest(name, FUNCTIONS.iter().map(|function| function.name));
            format!("unknown function `{name}`{}", did_you_mean(suggestion))
        }
    })
}

impl ArgumentCount {
    pub(super) fn admits(self, count: usize) -> bool {
        match self {
            Self::Exactly(wanted) => count == wanted,
            Self::Between(least, most) => (least..=most).contains(&count),
            Self::AtLeast(least) => count >= least,
            Self::Even(least) => count >= least && count.is_multiple_of(2),
        }
    }
}

impl fmt::Display for ArgumentCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(1) => f.write_str("1 argument"),
            Self::Exactly(wanted) => write!(f, "{wanted} arguments"),
            Self::Between(least, most) => write!(f, "{least} to {most} arguments"),
            Self::AtLeast(1) => f.write_str("at least 1 argument"),
            Self::AtLeast(least) => write!(f, "at least {least} arguments"),
            Self::Even(least) => write!(f, "an even number of arguments and at least {least}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_unique() {
        let names: Vec<_> = FUNCTIONS.iter().map(|function| function.name).collect();
        assert!(names.windows(2).all(|pair| pair[0] < pair[1]), "{names:?}");
    }

    #[test]
    fn unsupported_functions_are_refused_with_a_reason() {
        for (name, words) in [
            ("Guid", "a new value in every cycle"),
            ("randomstring", "`RandomString` is not supported"),
            ("SelectUniqueValue", "Active Directory only"),
            ("stringfromsid", "write `[onPremisesSecurityIdentifier]`"),
            ("AppRoleAssignmentsComplex", "use `SingleAppRoleAssignment`"),
            ("Cdat", "did you mean `CDate`?"),
        ] {
            let reason = find_function(name).unwrap_err();
            assert!(reason.contains(words), "{name}: {reason}");
        }
    }
}
