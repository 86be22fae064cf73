//! An expression by itself, tried on values that somebody makes up, or on a user.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::MappingProblem;
use super::entries::ALWAYS_SELECTED;
use crate::expression::attribute;
use crate::expression::{self, EvaluationContext, EvaluationStop, Expression, ExpressionProblem, Resolve, text};
use crate::model::{EntraId, Selection, User, Value};

/// A compiled expression, with what it reads.
#[derive(Debug)]
pub struct Trial {
    expression: Expression,
    /// The names of its attributes: as they are written when any name goes, else Graph's properties.
    names: Selection,
}

/// What a trial comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrialResult {
    /// No value: the attribute would be cleared.
    Null,
    /// One value.
    Text(String),
    /// Several values, or a list of one.
    Texts(Vec<String>),
    /// The attribute, or the user, would be left as it is.
    NoFlow,
}

impl Trial {
    /// Compiles `text`, whose attributes may have any name, or says everything that is wrong with it.
    pub fn compile(text: &str) -> Result<Self, Vec<MappingProblem>> {
        Self::compile_with(text, attribute::any_name, Selection::default())
    }

    /// Compiles `text` to be tried on users, of whom the properties in [`Trial::selection`] have to be read.
    pub fn for_users(text: &str) -> Result<Self, Vec<MappingProblem>> {
        let mut selection = Selection::default();
        for property in ALWAYS_SELECTED {
            selection.slot(property);
        }
        Self::compile_with(text, attribute::resolve, selection)
    }

    fn compile_with(text: &str, resolve: Resolve, mut names: Selection) -> Result<Self, Vec<MappingProblem>> {
        match expression::compile(text, resolve, &mut names) {
            Ok(expression) => Ok(Self { expression, names }),
            Err(faults) => Err(faults.into_iter().map(problem).collect()),
        }
    }

    /// What has to be read of a user.
    pub fn selection(&self) -> &Selection {
        &self.names
    }

    /// Evaluates it at the time `now`; an attribute that `inputs` do not have is null.
    pub fn evaluate(
        &self,
        inputs: &BTreeMap<String, Value>,
        now: jiff::Timestamp,
    ) -> Result<TrialResult, MappingProblem> {
        let values = self.names.properties().iter().map(|name| find(inputs, name).cloned().unwrap_or(Value::Null));
        self.evaluate_for(&User { id: EntraId::from_bytes([0; 16]), enabled: true, values: values.collect() }, now)
    }

    /// Evaluates it for a user who was read with [`Trial::selection`].
    pub fn evaluate_for(&self, user: &User, now: jiff::Timestamp) -> Result<TrialResult, MappingProblem> {
        let tried = self.expression.evaluate(EvaluationContext { user, now }).and_then(tried);
        match tried {
            Err(EvaluationStop::IgnoreAttribute | EvaluationStop::IgnoreUser) => Ok(TrialResult::NoFlow),
            Err(EvaluationStop::Invalid { rule, position }) => {
                Err(MappingProblem { entry: 0, path: None, position, message: rule.into_owned() })
            }
            Ok(tried) => Ok(tried),
        }
    }
}

/// The input of this name: spelled alike, else but for letter case, else a member of one.
fn find<'a>(inputs: &'a BTreeMap<String, Value>, name: &str) -> Option<&'a Value> {
    let alike = || inputs.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    inputs.get(name).or_else(alike).or_else(|| {
        let (whole, member) = name.split_once('.')?;
        match find(inputs, whole)? {
            Value::Complex(members) => find(members, member),
            _ => None,
        }
    })
}

/// The value as texts, which all values behave as.
fn tried(value: Cow<'_, Value>) -> Result<TrialResult, EvaluationStop> {
    if let Value::List(elements) = value.as_ref() {
        let texts = elements.iter().map(|element| Ok(text(Cow::Borrowed(element))?.map(Cow::into_owned)));
        return Ok(TrialResult::Texts(texts.filter_map(Result::transpose).collect::<Result<_, EvaluationStop>>()?));
    }
    Ok(text(value)?.map_or(TrialResult::Null, |text| TrialResult::Text(text.into_owned())))
}

fn problem(fault: ExpressionProblem) -> MappingProblem {
    let ExpressionProblem { position, message } = fault;
    MappingProblem { entry: 0, path: None, position: Some(position), message }
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
    fn what_goes_wrong_has_a_place() {
        let failed = trial("Trim(ToLower(CDate([a])))", &[("a", value("soon"))]).unwrap_err();
        assert_eq!((failed.position, failed.message.as_str()), (Some(14), "argument 1 of CDate is not a date"));
        let problems = Trial::compile("Trim(Lower([a]), CDate(\"soon\"))").unwrap_err();
        assert_eq!(problems.iter().map(|problem| problem.position).collect::<Vec<_>>(), [Some(1), Some(6), Some(24)]);
    }
}
