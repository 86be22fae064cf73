//! Compiled expressions: every name resolved, every argument count checked and every constant read, so that evaluating
//! a user only reads slots and calls functions.

use std::fmt;

use super::attribute::{self, AttributePart, SourceAttribute};
use super::constant::{ConstantArgument, Parameter};
use super::functions::{self, Function};
use super::parse::parse;
use super::syntax::{ComparisonOperator, ExpressionProblem, Node, Syntax};
use crate::model::{Selection, Value};

#[derive(Debug)]
pub(crate) enum Expression {
    /// A constant; null for an argument that is left out.
    Literal(Value),
    Attribute {
        attribute: SourceAttribute,
        /// Where its property stands in `User::values`; not read for the object id, which every user has.
        slot: usize,
    },
    /// A constant argument that was read as something else than text.
    Prepared {
        /// As it stands in the mapping.
        literal: Value,
        constant: ConstantArgument,
    },
    Call {
        function: &'static Function,
        arguments: Vec<Self>,
        /// The character that the name starts at.
        position: usize,
    },
    Comparison(Box<Self>, ComparisonOperator, Box<Self>),
    /// Two or more operands with `&` between them.
    Concatenation(Vec<Self>),
    Ignore(IgnoreFlow),
}

/// What a branch can leave as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IgnoreFlow {
    Attribute,
    User,
}

impl IgnoreFlow {
    fn as_str(self) -> &'static str {
        match self {
            Self::Attribute => "IgnoreAttributeFlow",
            Self::User => "IgnoreObjectFlow",
        }
    }

    fn find(word: &str) -> Option<Self> {
        [Self::Attribute, Self::User].into_iter().find(|flow| flow.as_str().eq_ignore_ascii_case(word))
    }
}

/// Finds the attribute that a name in brackets means.
pub(crate) type Resolve = fn(&str) -> Result<SourceAttribute, String>;

/// Compiles `text`, adding the properties that it reads to `selection`; or everything that is wrong with it.
pub(crate) fn compile(
    text: &str,
    resolve: Resolve,
    selection: &mut Selection,
) -> Result<Expression, Vec<ExpressionProblem>> {
    let node = parse(text).map_err(|problem| vec![problem])?;
    let mut builder = Compiler { resolve, selection, problems: Vec::new() };
    let expression = builder.build(node);
    let mut problems = builder.problems;
    problems.sort_by_key(|problem| problem.position);
    if problems.is_empty() { Ok(expression) } else { Err(problems) }
}

/// From syntax to an expression. What cannot be compiled goes into `problems` and leaves a null behind.
struct Compiler<'a> {
    resolve: Resolve,
    selection: &'a mut Selection,
    problems: Vec<ExpressionProblem>,
}

impl Compiler<'_> {
    fn build(&mut self, node: Node) -> Expression {
        let Node { position, syntax } = node;
        let reason = match syntax {
            Syntax::Empty => return Expression::Literal(Value::Null),
            Syntax::Text(text) => return Expression::Literal(Value::Text(text)),
            Syntax::Number(digits) => return Expression::Literal(Value::Number(digits)),
            Syntax::Comparison(left, operator, right) => {
                let (left, right) = (self.build(*left), self.build(*right));
                return Expression::Comparison(Box::new(left), operator, Box::new(right));
            }
            Syntax::Concatenation(operands) => {
                return Expression::Concatenation(operands.into_iter().map(|node| self.build(node)).collect());
            }
            Syntax::Attribute(name) => match (self.resolve)(&name) {
                Ok(attribute) => {
                    let slot =
                        if attribute.part == AttributePart::Id { 0 } else { self.selection.slot(&attribute.property) };
                    return Expression::Attribute { attribute, slot };
                }
                Err(reason) => reason,
            },
            Syntax::Call(name, nodes) => match self.call(position, &name, nodes) {
                Ok(call) => return call,
                Err(reason) => reason,
            },
            Syntax::Word(word) => match IgnoreFlow::find(&word) {
                Some(flow) => return Expression::Ignore(flow),
                None => wrong_word(&word),
            },
        };
        self.problems.push(ExpressionProblem::new(position, reason));
        Expression::Literal(Value::Null)
    }

    /// A call, or what is wrong with the call itself. The arguments are compiled in any case: their faults are worth
    /// knowing as well.
    fn call(&mut self, position: usize, name: &str, mut nodes: Vec<Node>) -> Result<Expression, String> {
        let function = functions::find(name);
        if let Ok(function) = function {
            (function.arrange)(&mut nodes);
            // A `,` too many at the end is documented use: `Trim([mail], )`.
            while !function.arguments.admits(nodes.len()) && nodes.pop_if(|node| node.syntax == Syntax::Empty).is_some()
            {
            }
        }
        let known_faults = self.problems.len();
        let places: Vec<usize> = nodes.iter().map(|node| node.position).collect();
        let slots = function.as_ref().map_or(&[][..], |function| function.slots);
        let mut arguments = Vec::with_capacity(nodes.len());
        for (index, mut node) in nodes.into_iter().enumerate() {
            let slot = slots.iter().find(|slot| slot.index == index);
            match node.syntax {
                Syntax::Word(word) if slot.is_some_and(|slot| slot.kind.is_word()) => node.syntax = Syntax::Text(word),
                syntax => node.syntax = syntax,
            }
            let place = node.position;
            let problems = self.problems.len();
            let mut argument = self.build(node);
            if let Some(slot) = slot.filter(|_| self.problems.len() == problems) {
                argument = prepare(*slot, name, argument).unwrap_or_else(|reason| {
                    self.problems.push(ExpressionProblem::new(place, reason));
                    Expression::Literal(Value::Null)
                });
            }
            arguments.push(argument);
        }
        let function = function?;
        let found = arguments.len();
        if !function.arguments.admits(found) {
            return Err(format!("`{}` takes {}, here are {found}", function.name, function.arguments));
        }
        // What is wrong in itself stands for nothing here.
        if self.problems.len() == known_faults
            && let Err((index, reason)) = (function.check)(&arguments)
        {
            self.problems.push(ExpressionProblem::new(places.get(index).copied().unwrap_or(position), reason));
        }
        Ok(Expression::Call { function, arguments, position })
    }
}

/// Reads a constant argument; one that depends on the user stays as it is.
fn prepare(slot: Parameter, function: &str, argument: Expression) -> Result<Expression, String> {
    let Expression::Literal(literal) = argument else {
        return Ok(argument);
    };
    match &literal {
        Value::Text(text) | Value::Number(text) if !text.is_empty() => {
            let constant = slot.kind.parse(text)?;
            Ok(Expression::Prepared { literal, constant })
        }
        _ if slot.required => {
            Err(format!("argument {} of `{function}` must be {}", slot.index + 1, slot.kind.expected()))
        }
        _ => Ok(Expression::Literal(literal)),
    }
}

/// Why a word stands for nothing, and what was meant.
fn wrong_word(word: &str) -> String {
    if functions::find(word).is_ok() {
        return format!("`{word}` is a function: its arguments in parentheses are missing");
    }
    match attribute::resolve(word) {
        Ok(_) => format!("an attribute stands in brackets: `[{word}]`"),
        Err(_) => format!("`{word}` is no constant; a text stands in quotes: `\"{word}\"`"),
    }
}

/// The canonical form: equal for expressions that differ in white space or in the spelling of names only.
impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prepared { literal, constant } => match constant.word() {
                Some(word) => f.write_str(word),
                None => write_literal(literal, f),
            },
            Self::Literal(literal) => write_literal(literal, f),
            Self::Attribute { attribute, .. } => write!(f, "[{attribute}]"),
            // `F()` has no argument at all; the one that is left out needs its comma.
            Self::Call { function, arguments, .. } if matches!(arguments[..], [Self::Literal(Value::Null)]) => {
                write!(f, "{}(,)", function.name)
            }
            Self::Call { function, arguments, .. } => {
                write!(f, "{}(", function.name)?;
                for (index, argument) in arguments.iter().enumerate() {
                    f.write_str(if index == 0 { "" } else { "," })?;
                    argument.fmt(f)?;
                }
                f.write_str(")")
            }
            Self::Comparison(left, operator, right) => write!(f, "{left}{}{right}", operator.as_str()),
            Self::Concatenation(operands) => {
                for (index, operand) in operands.iter().enumerate() {
                    f.write_str(if index == 0 { "" } else { "&" })?;
                    operand.fmt(f)?;
                }
                Ok(())
            }
            Self::Ignore(flow) => f.write_str(flow.as_str()),
        }
    }
}

fn write_literal(literal: &Value, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match literal {
        Value::Number(digits) => f.write_str(digits),
        Value::Text(text) => write!(f, "\"{}\"", text.replace('\\', r"\\").replace('"', "\\\"")),
        // The parser makes no other constants than these and null.
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_canonical_form_hides_spelling() {
        let canonical = |text: &str| compile(text, attribute::resolve, &mut Selection::default()).unwrap().to_string();
        let expected = r#"Switch([telephoneNumber],,"a\\\"b",IIF([id]<>1,[country],))"#;
        assert_eq!(canonical(expected), expected);
        assert_eq!(
            canonical("switch ( [TelephoneNumber] ,,\n\t\"a\\\\\\\"b\" , iif([objectId] <> &H1, [COUNTRY], ) , )"),
            expected
        );
        assert_eq!(canonical("Now()"), "Now()");
        assert_eq!(canonical("Trim( , )"), "Trim(,)");
        assert_eq!(canonical("InStr([mail], \"@\", , \"VBTextCompare\")"), "InStr([mail],\"@\",,vbTextCompare)");
        assert_eq!(canonical("\"a\" & [mail] &&HF = ignoreattributeflow"), "\"a\"&[mail]&15=IgnoreAttributeFlow");
        assert_eq!(canonical("FormatDateTime([mail], \"yyyy\", \"MM\", )"), "FormatDateTime([mail],,\"yyyy\",\"MM\")");
    }

    #[test]
    fn only_what_is_read_is_selected_and_once() {
        let mut selection = Selection::default();
        let text = "Join(\" \", [givenName], [Surname], [givenname], [objectId], [extensionAttribute2])";
        compile(text, attribute::resolve, &mut selection).unwrap();
        assert_eq!(selection.properties(), ["givenName", "surname", "onPremisesExtensionAttributes"]);
    }

    #[test]
    fn every_fault_is_reported() {
        for (text, expected) in [
            ("Swich([mail], , \"a\", \"b\")", &[(1, "unknown function `Swich`; did you mean `Switch`?")][..]),
            (
                "Join(\"\", Lower([mial]), [manager])",
                &[
                    (10, "unknown function `Lower`; did you mean `ToLower`?"),
                    (16, "unknown attribute `mial`; did you mean `mail`?"),
                    (25, "`manager` is a reference to another person and is not supported"),
                ],
            ),
            ("IIF([mail] = \"a\", \"b\")", &[(1, "`IIF` takes 3 arguments, here are 2")]),
            ("ToLower()", &[(1, "`ToLower` takes 1 to 2 arguments, here are 0")]),
            ("Trim([mail], [mail])", &[(1, "`Trim` takes 1 argument, here are 2")]),
            ("Join(\",\")", &[(1, "`Join` takes at least 2 arguments, here are 1")]),
            (
                "Switch([city], \"a\", \"b\", \"c\", \"d\")",
                &[(1, "`Switch` takes an even number of arguments and at least 4, here are 5")],
            ),
            ("mail", &[(1, "an attribute stands in brackets: `[mail]`")]),
            ("ToLower", &[(1, "`ToLower` is a function: its arguments in parentheses are missing")]),
            ("IIF(True, \"a\", \"b\")", &[(5, "`True` is no constant; a text stands in quotes: `\"True\"`")]),
        ] {
            let problems = compile(text, attribute::resolve, &mut Selection::default()).unwrap_err();
            let found: Vec<_> = problems.iter().map(|problem| (problem.position, problem.message.as_str())).collect();
            assert_eq!(found, expected, "{text}");
        }
    }
}
