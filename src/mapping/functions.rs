//! The function table: one row and one function for each name of the expression language.
//!
//! Reference: <https://learn.microsoft.com/entra/identity/app-provisioning/functions-for-customizing-application-data>

mod date;
mod logic;
mod text;

use std::fmt;

use super::evaluate::{Call, Outcome};
use crate::nearest::{did_you_mean, nearest};

/// A function of the expression language. It evaluates the arguments that it asks for, no others.
pub(super) struct Function {
    pub(super) name: &'static str,
    pub(super) arguments: Arguments,
    pub(super) evaluate: for<'a> fn(Call<'a>) -> Outcome<'a>,
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// How many arguments a function takes.
#[derive(Clone, Copy)]
pub(super) enum Arguments {
    Exactly(usize),
    Between(usize, usize),
    AtLeast(usize),
    /// An even number, and at least this one.
    Even(usize),
}

use Arguments::{AtLeast, Between, Even, Exactly};

/// Every function, in alphabetical order.
pub(super) const FUNCTIONS: &[Function] = &[
    Function { name: "Append", arguments: Exactly(2), evaluate: text::append },
    Function { name: "Coalesce", arguments: AtLeast(1), evaluate: logic::coalesce },
    Function { name: "IIF", arguments: Exactly(3), evaluate: logic::iif },
    Function { name: "IgnoreFlowIfNullOrEmpty", arguments: Exactly(1), evaluate: logic::ignore_flow_if_null_or_empty },
    Function { name: "IsNull", arguments: Exactly(1), evaluate: logic::is_null },
    Function { name: "IsNullOrEmpty", arguments: Exactly(1), evaluate: logic::is_null_or_empty },
    Function { name: "IsPresent", arguments: Exactly(1), evaluate: logic::is_present },
    Function { name: "Join", arguments: AtLeast(2), evaluate: text::join },
    Function { name: "Not", arguments: Exactly(1), evaluate: logic::not },
    Function { name: "Now", arguments: Exactly(0), evaluate: date::now },
    Function { name: "Switch", arguments: Even(4), evaluate: logic::switch },
    Function { name: "ToLower", arguments: Between(1, 2), evaluate: text::to_lower },
    Function { name: "ToUpper", arguments: Between(1, 2), evaluate: text::to_upper },
    Function { name: "Trim", arguments: Exactly(1), evaluate: text::trim },
];

/// The function that `name` means, or why there is none. The language is case-sensitive, but its documentation
/// is not (`switch(`), and mappings are copied from there.
pub(super) fn find(name: &str) -> Result<&'static Function, String> {
    let exact = FUNCTIONS.iter().find(|function| function.name == name);
    let found = exact.or_else(|| FUNCTIONS.iter().find(|function| function.name.eq_ignore_ascii_case(name)));
    found.ok_or_else(|| {
        let suggestion = nearest(name, FUNCTIONS.iter().map(|function| function.name));
        format!("unknown function `{name}`{}", did_you_mean(suggestion))
    })
}

impl Arguments {
    pub(super) fn admits(self, count: usize) -> bool {
        match self {
            Self::Exactly(wanted) => count == wanted,
            Self::Between(least, most) => (least..=most).contains(&count),
            Self::AtLeast(least) => count >= least,
            Self::Even(least) => count >= least && count.is_multiple_of(2),
        }
    }
}

impl fmt::Display for Arguments {
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
    fn the_table_is_in_order_and_without_twins() {
        let names: Vec<_> = FUNCTIONS.iter().map(|function| function.name).collect();
        assert!(names.windows(2).all(|pair| pair[0] < pair[1]), "{names:?}");
    }
}
