//! Results of a compiled expression that are known without reading a user.

use super::attribute::{AttributePart, SourceAttribute};
use super::compile::Expression;
use super::evaluate::{EvaluationContext, EvaluationStop};
use super::functions::{Arguments, replace};
use super::inspect::TimeDependence;
use super::steps::Steps;
use crate::model::{APP_ROLE_ASSIGNMENTS, EntraId, User, Value};

/// Multi-valued properties.
pub(super) const LISTS: &[&str] =
    &["businessPhones", "imAddresses", "otherMails", "proxyAddresses", APP_ROLE_ASSIGNMENTS];

/// Properties that are true or false.
pub(super) const BOOLEANS: &[&str] = &["isResourceAccount", "onPremisesSyncEnabled", "showInAddressList"];

/// Properties with the same value for many users.
pub(super) const SHARED: &[&str] = &[
    "accountEnabled",
    "ageGroup",
    "city",
    "companyName",
    "country",
    "creationType",
    "department",
    "employeeOrgData",
    "employeeType",
    "externalUserState",
    "isResourceAccount",
    "jobTitle",
    "legalAgeGroupClassification",
    "officeLocation",
    "onPremisesDomainName",
    "onPremisesSyncEnabled",
    "passwordPolicies",
    "postalCode",
    "preferredDataLocation",
    "preferredLanguage",
    "showInAddressList",
    "state",
    "streetAddress",
    "usageLocation",
    "userType",
];

/// The most characters of `extensionAttribute1` and its like; other attributes are shorter.
const SAMPLE_LENGTH: usize = 1_024;
const SAMPLES: [(&str, &str); 3] = [
    ("1,024 times `a`", "a"),
    ("1,024 digits", "0123456789"),
    ("1,024 mixed characters", "Åsa-Maria O'Neil (42) <asa.oneil@harbour.example>, "),
];

/// Long but ordinary values of an attribute, and what they are.
pub(crate) fn samples() -> impl Iterator<Item = (&'static str, String)> {
    SAMPLES.into_iter().map(|(what, text)| (what, text.chars().cycle().take(SAMPLE_LENGTH).collect()))
}

/// The warning about a regular expression that takes too many steps on a sample.
pub(crate) fn too_many_steps(sample: &str) -> String {
    format!(
        "a regular expression takes too many steps on {sample}, and users with such a value are rejected; simplify it"
    )
}

impl SourceAttribute {
    fn is_list(&self) -> bool {
        self.part == AttributePart::Whole && LISTS.contains(&self.property.as_ref())
    }

    fn is_boolean(&self) -> bool {
        let property = self.property.as_ref();
        matches!(self.part, AttributePart::Enabled | AttributePart::SoftDeleted)
            || BOOLEANS.contains(&property)
            // Their types and values are not known here.
            || property.starts_with("extension_")
            || matches!(self.part, AttributePart::Member(member) if member.starts_with("extensionAttribute"))
    }
}

/// A user without attributes.
fn nobody() -> User {
    User { id: EntraId::from_bytes([0; 16]), enabled: true, is_agent: false, values: Vec::new() }
}

impl Expression {
    /// The result for every user whose account is enabled, unless it depends on the user or the time. Disabled accounts
    /// are never mapped.
    pub(crate) fn for_every_user(&self) -> Option<Result<Value, EvaluationStop>> {
        let mut is_fixed = self.time_dependence() == TimeDependence::Never;
        self.visit(&mut |part| {
            is_fixed &= match part {
                Self::Attribute { attribute, .. } => {
                    matches!(attribute.part, AttributePart::Enabled | AttributePart::SoftDeleted)
                }
                _ => true,
            }
        });
        let context =
            EvaluationContext { user: &nobody(), now: jiff::Timestamp::UNIX_EPOCH, steps: &Steps::for_one_user() };
        is_fixed.then(|| self.evaluate(context).map(std::borrow::Cow::into_owned))
    }

    /// The parts that can be the result, unchanged.
    pub(crate) fn outcomes(&self) -> Vec<&Self> {
        match self {
            Self::Call { function, arguments, .. } if !matches!(function.results, Arguments::None) => {
                let results = arguments.iter().enumerate().filter(|(index, _)| function.results.contains(*index));
                results.flat_map(|(_, argument)| argument.outcomes()).collect()
            }
            other => vec![other],
        }
    }

    /// The constant texts that can be the result.
    pub(crate) fn constant_outcomes(&self) -> impl Iterator<Item = &Value> {
        self.outcomes().into_iter().filter_map(Self::constant)
    }

    /// Whether a `Switch` or `IIF` has no value for some users, because its default or a branch is left out.
    pub(crate) fn leaves_out_users(&self) -> bool {
        !self.calls("Coalesce") && self.constant_outcomes().any(|value| *value == Value::Null)
    }

    /// An attribute that can be the result and is neither true nor false.
    pub(crate) fn text_outcome(&self) -> Option<String> {
        self.outcomes().into_iter().find_map(|outcome| match outcome {
            Self::Attribute { attribute, .. } if !attribute.is_boolean() => Some(attribute.to_string()),
            _ => None,
        })
    }

    /// The attribute that is the result for all users, if many share its values.
    pub(crate) fn shared_outcome(&self) -> Option<String> {
        match self.outcomes().as_slice() {
            [Self::Attribute { attribute, .. }] if SHARED.contains(&attribute.property.as_ref()) => {
                Some(attribute.to_string())
            }
            _ => None,
        }
    }

    /// A sample on which a regular expression takes more steps than one user has.
    pub(crate) fn exhausting_sample(&self) -> Option<&'static str> {
        let exhausts = |text: String| {
            let (user, mut is_exhausted) = (self.user_with(&Value::Text(text)), false);
            self.visit(&mut |part| {
                if let Self::Call { arguments, .. } = part {
                    is_exhausted |= replace::exhausts_steps(arguments, &user);
                }
            });
            is_exhausted
        };
        samples().find_map(|(what, text)| exhausts(text).then_some(what))
    }

    /// A user with `value` in each attribute that the expression reads.
    fn user_with(&self, value: &Value) -> User {
        let mut values = Vec::new();
        self.visit(&mut |part| {
            let Self::Attribute { attribute, slot } = part else { return };
            if values.len() <= *slot {
                values.resize(slot + 1, Value::Null);
            }
            match (attribute.part, &mut values[*slot]) {
                (AttributePart::Member(member), Value::Complex(members)) => {
                    members.insert(member.to_owned(), value.clone());
                }
                (AttributePart::Member(member), other) => {
                    *other = Value::Complex([(member.to_owned(), value.clone())].into());
                }
                (_, other) => *other = value.clone(),
            }
        });
        User { values, ..nobody() }
    }

    /// The sources of several values that are used where one is needed.
    pub(crate) fn lists_as_one_value(&self) -> Vec<String> {
        let mut found = Vec::new();
        self.find_lists(true, &mut found);
        found
    }

    fn find_lists(&self, one_is_needed: bool, found: &mut Vec<String>) {
        if one_is_needed
            && let Some(list) = self.list_source()
            && !found.contains(&list)
        {
            found.push(list);
        }
        match self {
            Self::Call { function, arguments, .. } => {
                for (index, argument) in arguments.iter().enumerate() {
                    let takes_lists = [function.lists, function.elements, function.results]
                        .into_iter()
                        .any(|arguments| arguments.contains(index));
                    argument.find_lists(!takes_lists, found);
                }
            }
            Self::Concatenation(operands) => operands.iter().for_each(|operand| operand.find_lists(true, found)),
            Self::Comparison(left, _, right) => {
                left.find_lists(true, found);
                right.find_lists(true, found);
            }
            Self::Literal(_) | Self::Prepared { .. } | Self::Attribute { .. } | Self::Ignore(_) => {}
        }
    }

    /// The source of several values of this expression.
    fn list_source(&self) -> Option<String> {
        match self {
            Self::Attribute { attribute, .. } => attribute.is_list().then(|| format!("[{attribute}]")),
            Self::Call { function, .. } if function.makes_list => Some(function.name.to_owned()),
            Self::Call { function, arguments, .. } => {
                let passed = arguments
                    .iter()
                    .enumerate()
                    .filter(|(index, _)| function.elements.contains(*index) || function.results.contains(*index));
                passed.into_iter().find_map(|(_, argument)| argument.list_source())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::attribute::resolve;
    use super::super::compile::compile;
    use super::*;
    use crate::model::Selection;

    fn compiled(text: &str) -> Expression {
        compile(text, resolve, &mut Selection::default()).unwrap()
    }

    #[test]
    fn several_values_where_one_is_needed() {
        for (text, expected) in [
            ("[businessPhones]", &["[businessPhones]"][..]),
            ("[telephoneNumber]", &[]),
            ("Trim([otherMails])", &["[otherMails]"]),
            ("Coalesce([mail], [otherMails])", &["[otherMails]"]),
            ("IIF([accountEnabled], ToLower([proxyAddresses]), [mail])", &["[proxyAddresses]"]),
            ("Switch([imAddresses], [mail], \"a\", \"b\")", &["[imAddresses]"]),
            ("IIF([otherMails] = \"a\", \"b\", \"c\")", &["[otherMails]"]),
            ("[mail] & [otherMails]", &["[otherMails]"]),
            ("Split([city], \",\")", &["Split"]),
            ("Append(\"a\", [otherMails])", &["[otherMails]"]),
            ("[appRoleAssignments]", &["[appRoleAssignments]"]),
            ("Item([otherMails], 1)", &[]),
            ("Join(\",\", [otherMails], Split([city], \",\"))", &[]),
            ("Item(Trim([proxyAddresses]), Contains([proxyAddresses], \"SMTP:\"))", &[]),
            ("Coalesce([mail], Item([otherMails], 1), [userPrincipalName])", &[]),
            ("IIF(IsPresent([otherMails]), \"a\", \"b\")", &[]),
            ("SingleAppRoleAssignment([appRoleAssignments])", &[]),
        ] {
            assert_eq!(compiled(text).lists_as_one_value(), expected, "{text}");
        }
    }

    #[test]
    fn results_that_are_the_same_for_all() {
        let result = |text: &str| compiled(text).for_every_user().map(Result::ok);
        let text = |text: &str| Some(Some(Value::Text(text.to_owned())));
        assert_eq!(result("Switch([IsSoftDeleted], , \"False\", \"True\", \"True\", \"False\")"), text("True"));
        assert_eq!(result("IIF([accountEnabled], \"a\", [IsSoftDeleted])"), text("a"));
        assert_eq!(result("Not([IsSoftDeleted])"), Some(Some(Value::Boolean(true))));
        assert_eq!(result("Error(\"no\")"), Some(None));
        for text in ["[mail]", "[objectId]", "Now()", "IIF(Now() > \"2029-01-01\", \"a\", \"b\")"] {
            assert_eq!(result(text), None, "{text}");
        }
    }
}
