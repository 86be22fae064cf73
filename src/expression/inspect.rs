//! Questions about a compiled expression that need no user: what it reads, and what its value depends on.

use super::attribute::AttributePart;
use super::compile::Expression;
use crate::model::Value;

/// The functions that may read the time of the cycle.
pub(super) const READ_CLOCK: [&str; 2] = ["Now", "FormatDateTime"];

/// Whether the value of an expression depends on the time of the cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeDependence {
    /// The value changes only when the user changes.
    Never,
    /// `Now()` decides between values.
    Sometimes,
    /// `Now()` is part of the value, so every cycle gives another one.
    Always,
}

impl Expression {
    /// Calls `see` with this expression and everything in it, from left to right.
    pub(super) fn visit<'a>(&'a self, see: &mut dyn FnMut(&'a Self)) {
        see(self);
        match self {
            Self::Call { arguments, .. } | Self::Concatenation(arguments) => {
                arguments.iter().for_each(|argument| argument.visit(see));
            }
            Self::Comparison(left, _, right) => {
                left.visit(see);
                right.visit(see);
            }
            Self::Literal(_) | Self::Prepared { .. } | Self::Attribute { .. } | Self::Ignore(_) => {}
        }
    }

    /// Whether the expression calls the function `name`.
    pub(crate) fn calls(&self, name: &str) -> bool {
        let mut found = false;
        self.visit(&mut |part| found |= matches!(part, Self::Call { function, .. } if function.name == name));
        found
    }

    /// Whether the value may depend on the time of the cycle: also the part of a date that a format leaves out does.
    pub(crate) fn reads_clock(&self) -> bool {
        READ_CLOCK.iter().any(|name| self.calls(name))
    }

    /// The value of an expression that is a single constant.
    pub(crate) fn constant(&self) -> Option<&Value> {
        match self {
            Self::Literal(value) => Some(value),
            _ => None,
        }
    }

    /// The Graph properties that the expression reads, each once. The object id needs none.
    pub(crate) fn properties(&self) -> Vec<String> {
        let mut properties = Vec::new();
        self.visit(&mut |part| {
            if let Self::Attribute { attribute, .. } = part
                && attribute.part != AttributePart::Id
                && !properties.iter().any(|known| *known == attribute.property)
            {
                properties.push(attribute.property.to_string());
            }
        });
        properties
    }

    /// Whether the value depends on the time of the cycle.
    pub(crate) fn time_dependence(&self) -> TimeDependence {
        match (self.calls("Now"), self.carries_time()) {
            (false, _) => TimeDependence::Never,
            (true, false) => TimeDependence::Sometimes,
            (true, true) => TimeDependence::Always,
        }
    }

    /// Whether the time of the cycle gets into the value itself, not just into a decision.
    fn carries_time(&self) -> bool {
        match self {
            Self::Call { function, arguments, .. } => match function.name {
                "Now" => true,
                // A difference changes rarely, and tests give only true or false.
                "DateDiff" | "CBool" | "Count" | "IsNothing" | "IsNull" | "IsNullOrEmpty" | "IsPresent"
                | "IsString" => false,
                "IIF" => arguments.iter().skip(1).any(Self::carries_time),
                _ => arguments.iter().any(Self::carries_time),
            },
            Self::Concatenation(operands) => operands.iter().any(Self::carries_time),
            Self::Literal(_)
            | Self::Prepared { .. }
            | Self::Attribute { .. }
            | Self::Comparison(..)
            | Self::Ignore(_) => false,
        }
    }

    /// Whether the value may be a date from a date function, in the service's own notation.
    pub(super) fn returns_date(&self) -> bool {
        match self {
            Self::Call { function, arguments, .. } => {
                let mut results = arguments.iter().enumerate().filter(|(index, _)| function.results.contains(*index));
                function.returns_date || results.any(|(_, argument)| argument.returns_date())
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::attribute::resolve;
    use super::super::compile::compile;
    use super::*;
    use crate::model::Selection;

    #[test]
    fn time_dependence() {
        use TimeDependence::{Always, Never, Sometimes};
        for (text, expected) in [
            ("[mail]", Never),
            ("CDate([employeeHireDate])", Never),
            ("Now()", Always),
            ("Append(Now(), \"!\")", Always),
            ("\"since \" & Now()", Always),
            ("Now() > [employeeHireDate]", Sometimes),
            ("CBool(Now())", Sometimes),
            ("DateDiff(\"d\", Now(), [employeeHireDate])", Sometimes),
            ("IIF(Now() > [employeeHireDate], [mail], )", Sometimes),
            ("IIF([accountEnabled], [mail], Now())", Always),
            ("Trim(IIF(IsPresent(Now()), [mail], IgnoreAttributeFlow))", Sometimes),
        ] {
            let expression = compile(text, resolve, &mut Selection::default()).unwrap();
            assert_eq!(expression.time_dependence(), expected, "{text}");
        }
    }

    #[test]
    fn properties_and_constants() {
        for (text, properties, is_constant) in [
            ("[objectId]", &[][..], false),
            ("[mail] & [Mail] = [IsSoftDeleted]", &["mail", "accountEnabled"], false),
            (
                "Join(\",\", [extensionAttribute1], Trim([city]), [extensionAttribute2])",
                &["onPremisesExtensionAttributes", "city"],
                false,
            ),
            ("\"text\"", &[], true),
            ("7", &[], true),
            ("IgnoreAttributeFlow", &[], false),
        ] {
            let expression = compile(text, resolve, &mut Selection::default()).unwrap();
            assert_eq!(expression.properties(), properties, "{text}");
            assert_eq!(expression.constant().is_some(), is_constant, "{text}");
        }
    }

    #[test]
    fn dates_of_functions_are_recognized() {
        for (text, expected) in [
            ("Now()", true),
            ("IIF([accountEnabled], Now(), [mail])", true),
            ("Coalesce([mail], CDate([mail]))", true),
            ("Trim(Now())", false),
            ("[employeeHireDate]", false),
        ] {
            assert_eq!(compile(text, resolve, &mut Selection::default()).unwrap().returns_date(), expected, "{text}");
        }
    }
}
