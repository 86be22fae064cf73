//! A single expression, evaluated on given values or on a user.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::MappingProblem;
use super::entries::ALWAYS_SELECTED;
use crate::expression::attribute::{self, AttributePart, SourceAttribute};
use crate::expression::{self, EvaluationContext, EvaluationStop, Expression, ExpressionProblem, Resolve, Steps, text};
use crate::model::{APP_ROLE_ASSIGNMENTS, EntraId, Selection, User, Value};

/// A compiled expression and its source attributes.
#[derive(Debug)]
pub struct Trial {
    expression: Expression,
    /// Its attributes: as written, or Graph's properties for [`Trial::for_users`].
    names: Selection,
}

/// The result of a trial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrialResult {
    /// Null: the attribute would be cleared.
    Null,
    /// One value.
    Text(String),
    /// Several values, or a list of one.
    Texts(Vec<String>),
    /// The attribute or the user would be ignored.
    NoFlow,
}

impl Trial {
    /// Compiles `text`; its attributes may have any name.
    ///
    /// # Errors
    /// Every problem.
    pub fn compile(text: &str) -> Result<Self, Vec<MappingProblem>> {
        Self::compile_with(text, attribute::any_name, Selection::default())
    }

    /// Compiles `text` for users that are read with [`Trial::selection`].
    ///
    /// # Errors
    /// Every problem.
    pub fn for_users(text: &str) -> Result<Self, Vec<MappingProblem>> {
        let mut selection = Selection::default();
        for property in ALWAYS_SELECTED {
            selection.slot(property);
        }
        Self::compile_with(text, attribute::resolve, selection)
    }

    fn compile_with(text: &str, resolve: Resolve, mut names: Selection) -> Result<Self, Vec<MappingProblem>> {
        let expression = expression::compile(text, resolve, &mut names).map_err(|problems| {
            let problems = problems.into_iter().map(|ExpressionProblem { position, message }| MappingProblem {
                entry: 0,
                path: None,
                position: Some(position),
                message,
            });
            problems.collect::<Vec<_>>()
        })?;
        Ok(Self { expression, names })
    }

    /// The properties to read.
    pub fn selection(&self) -> &Selection {
        &self.names
    }

    /// A warning for each attribute that is neither in `inputs` nor in Entra.
    pub fn unknown(&self, inputs: &BTreeMap<String, Value>) -> Vec<String> {
        let missing = self.names.properties().iter().filter(|name| input_value(inputs, name).is_none());
        missing.filter_map(|name| Some(format!("[{name}] is null: {}", attribute::resolve(name).err()?))).collect()
    }

    /// A warning for each attribute that is not in `inputs`.
    pub fn missing(&self, inputs: &BTreeMap<String, Value>) -> Vec<String> {
        let missing = self.names.properties().iter().filter(|name| input_value(inputs, name).is_none());
        missing
            .map(|name| match attribute::resolve(name) {
                Ok(attribute) if attribute.property == APP_ROLE_ASSIGNMENTS => {
                    format!("[{name}] comes from the assignments and is not in the input, so it is null")
                }
                Ok(attribute) => {
                    let property = attribute.property;
                    format!("[{name}] is not in the input, so it is null; Graph returns it with $select={property}")
                }
                Err(reason) => format!("[{name}] is not in the input, so it is null: {reason}"),
            })
            .collect()
    }

    /// Evaluates the expression at the time `now`. An attribute that is not in `inputs` is null.
    ///
    /// # Errors
    /// The broken rule and its position.
    pub fn evaluate(
        &self,
        inputs: &BTreeMap<String, Value>,
        now: jiff::Timestamp,
    ) -> Result<TrialResult, MappingProblem> {
        let values = self.names.properties().iter().map(|name| input_value(inputs, name).unwrap_or(Value::Null));
        self.evaluate_for(
            &User { id: EntraId::from_bytes([0; 16]), enabled: true, is_agent: false, values: values.collect() },
            now,
        )
    }

    /// Evaluates the expression for a user that was read with [`Trial::selection`].
    ///
    /// # Errors
    /// The broken rule and its position.
    pub fn evaluate_for(&self, user: &User, now: jiff::Timestamp) -> Result<TrialResult, MappingProblem> {
        let context = EvaluationContext { user, now, steps: &Steps::for_one_user() };
        let result = self.expression.evaluate_entry(context).and_then(to_result);
        match result {
            Err(EvaluationStop::IgnoreAttribute | EvaluationStop::IgnoreUser) => Ok(TrialResult::NoFlow),
            Err(EvaluationStop::Invalid { rule, position }) => {
                Err(MappingProblem { entry: 0, path: None, position, message: rule.into_owned() })
            }
            Ok(result) => Ok(result),
        }
    }
}

/// Whether `inputs` has attributes of a user, as Graph returns them.
pub fn is_user_document(inputs: &BTreeMap<String, Value>) -> bool {
    inputs.keys().any(|name| name.starts_with("@odata.") || attribute::resolve(name).is_ok())
}

/// The input called `name`, else the one of the Graph property that the portal calls `name`.
fn input_value(inputs: &BTreeMap<String, Value>, name: &str) -> Option<Value> {
    if let Some(value) = find_input(inputs, name) {
        return Some(value.clone());
    }
    let SourceAttribute { property, part } = attribute::resolve(name).ok()?;
    let value = find_input(inputs, &property)?;
    match (part, value) {
        (AttributePart::First, Value::List(elements)) => Some(elements.first().cloned().unwrap_or(Value::Null)),
        (AttributePart::Member(member), Value::Complex(members)) => find_input(members, member).cloned(),
        (AttributePart::SoftDeleted, Value::Boolean(enabled)) => Some(Value::Boolean(!enabled)),
        (_, value) => Some(value.clone()),
    }
}

/// The input called `name`: exactly, else ignoring case, else as a member of a complex input.
fn find_input<'a>(inputs: &'a BTreeMap<String, Value>, name: &str) -> Option<&'a Value> {
    let alike = || inputs.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    inputs.get(name).or_else(alike).or_else(|| {
        let (whole, member) = name.split_once('.')?;
        match find_input(inputs, whole)? {
            Value::Complex(members) => find_input(members, member),
            _ => None,
        }
    })
}

/// Converts a value to texts.
fn to_result(value: Cow<'_, Value>) -> Result<TrialResult, EvaluationStop> {
    if let Value::List(elements) = value.as_ref() {
        let texts = elements.iter().map(|element| Ok(text(Cow::Borrowed(element))?.map(Cow::into_owned)));
        return Ok(TrialResult::Texts(texts.filter_map(Result::transpose).collect::<Result<_, EvaluationStop>>()?));
    }
    Ok(text(value)?.map_or(TrialResult::Null, |text| TrialResult::Text(text.into_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expression::tests::{now, value};

    fn trial(text: &str, inputs: &[(&str, Value)]) -> Result<TrialResult, MappingProblem> {
        let inputs = inputs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        Trial::compile(text).unwrap().evaluate(&inputs, now())
    }

    #[test]
    fn attributes_have_any_name() {
        let cost = Value::Complex(BTreeMap::from([("centre".to_owned(), value("C7"))]));
        let inputs = [("Shoe Size", value("43")), ("cost", cost), ("worker", Value::Boolean(true))];
        let one = |text: &str| Ok(TrialResult::Text(text.to_owned()));
        assert_eq!(trial("[Shoe Size]", &inputs), one("43"));
        assert_eq!(trial("[shoe size]", &inputs), one("43"));
        assert_eq!(trial("[cost.centre]", &inputs), one("C7"));
        assert_eq!(trial("[worker]", &inputs), one("True"));
        assert_eq!(trial("Count([none])", &inputs), one("0"));
        assert_eq!(trial("[none]", &inputs), Ok(TrialResult::Null));
        assert_eq!(trial("Split([Shoe Size], \"x\")", &inputs), Ok(TrialResult::Texts(vec!["43".to_owned()])));
        assert_eq!(trial("IgnoreFlowIfNullOrEmpty([none])", &inputs), Ok(TrialResult::NoFlow));
    }

    #[test]
    fn a_user_of_graph_is_known_by_the_names_of_the_portal() {
        let members = |name: &str, text: &str| Value::Complex(BTreeMap::from([(name.to_owned(), value(text))]));
        let inputs: BTreeMap<String, Value> = [
            ("@odata.context", value("https://graph.example/v1.0/$metadata#users/$entity")),
            ("id", value("11111111-1111-1111-1111-111111111111")),
            ("accountEnabled", Value::Boolean(false)),
            ("mobilePhone", value("+46 1")),
            ("businessPhones", Value::List(vec![value("+46 2"), value("+46 3")])),
            ("officeLocation", Value::Null),
            ("userPrincipalName", value("a_b.example#EXT#@t.example")),
            ("employeeOrgData", members("costCenter", "C7")),
            ("onPremisesExtensionAttributes", members("extensionAttribute3", "x")),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        let evaluate = |text: &str| Trial::compile(text).unwrap().evaluate(&inputs, now());
        for (text, expected) in [
            ("[mobile]", Some("+46 1")),
            ("[objectId]", Some("11111111-1111-1111-1111-111111111111")),
            ("[TelephoneNumber]", Some("+46 2")),
            ("[IsSoftDeleted]", Some("True")),
            ("[physicalDeliveryOfficeName]", None),
            ("[employeeOrgData.costCenter]", Some("C7")),
            ("[extensionAttribute3]", Some("x")),
            ("[originalUserPrincipalName]", Some("a_b.example#EXT#@t.example")),
            ("[userPrincipalName]", Some("a@b.example")),
        ] {
            let expected = expected.map_or(TrialResult::Null, |text| TrialResult::Text(text.to_owned()));
            assert_eq!(evaluate(text), Ok(expected), "{text}");
            assert_eq!(Trial::compile(text).unwrap().missing(&inputs), Vec::<String>::new());
        }
        for (text, words) in [
            ("[companyName]", "$select=companyName"),
            ("[facsimileTelephoneNumber]", "$select=faxNumber"),
            ("[extensionAttribute4]", "$select=onPremisesExtensionAttributes"),
            ("[shoeSize]", "unknown attribute `shoeSize`"),
            ("[manager]", "not supported"),
            ("[appRoleAssignments]", "comes from the assignments"),
        ] {
            let missing = Trial::compile(text).unwrap().missing(&inputs);
            assert!(missing.len() == 1 && missing[0].contains(words), "{text}: {missing:?}");
            assert_eq!(evaluate(text), Ok(TrialResult::Null));
        }
        assert!(
            is_user_document(&inputs) && !is_user_document(&BTreeMap::from([("Shoe size".to_owned(), Value::Null)]))
        );
    }

    #[test]
    fn users_are_read_with_the_selection() {
        let trial = Trial::for_users("Join(\"/\", [objectId], [country], [mail])").unwrap();
        let properties = ["accountEnabled", "userPrincipalName", "displayName", "country", "mail"];
        assert_eq!(trial.selection().properties(), properties);
        let values = properties.iter().map(|name| value(name)).collect();
        let user = User { id: EntraId::from_bytes([0x11; 16]), enabled: true, is_agent: false, values };
        let expected = "11111111-1111-1111-1111-111111111111/country/mail";
        assert_eq!(trial.evaluate_for(&user, now()), Ok(TrialResult::Text(expected.to_owned())));
        assert_eq!(Trial::for_users("[shoeSize]").unwrap_err()[0].position, Some(1));
    }

    #[test]
    fn a_list_becomes_texts_without_nulls() {
        let list = |elements: Vec<Value>| trial("[list]", &[("list", Value::List(elements))]);
        let texts = |texts: &[&str]| Ok(TrialResult::Texts(texts.iter().map(|text| (*text).to_owned()).collect()));
        assert_eq!(list(vec![value("a"), Value::Null, Value::Boolean(true)]), texts(&["a", "True"]));
        assert_eq!(list(Vec::new()), texts(&[]));
        let nested = list(vec![Value::Complex(BTreeMap::new())]).unwrap_err();
        assert_eq!(nested.message, "expected a text, found a complex value");
        assert_eq!(trial("IIF([none] = \"\", IgnoreObjectFlow, )", &[]), Ok(TrialResult::NoFlow));
    }

    #[test]
    fn problems_have_a_position() {
        let failed = trial("Trim(ToLower(CDate([a])))", &[("a", value("soon"))]).unwrap_err();
        assert_eq!((failed.position, failed.message.as_str()), (Some(14), "argument 1 of CDate is not a date"));
        let problems = Trial::compile("Trim(Lower([a]), CDate(\"soon\"))").unwrap_err();
        assert_eq!(problems.iter().map(|problem| problem.position).collect::<Vec<_>>(), [Some(1), Some(6), Some(24)]);
    }
}
