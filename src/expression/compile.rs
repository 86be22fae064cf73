//! Syntax to compiled expression: names are resolved, argument counts checked and constants parsed here, so that
//! evaluation only reads slots and calls functions.

use std::fmt;

use super::attribute::{self, SourceAttribute};
use super::constant::{ConstantArgument, Parameter};
use super::functions::{self, Function};
use super::parse::parse;
use super::syntax::{ComparisonOperator, ExpressionProblem, Node, Syntax};
use crate::model::{Selection, Value};

/// A compiled expression. `Display` gives its canonical form.
#[derive(Debug)]
pub(crate) enum Expression {
    /// A constant; null for an omitted argument.
    Literal(Value),
    Attribute {
        attribute: SourceAttribute,
        /// The index of its property in `User::values`; unused for the object id.
        slot: usize,
    },
    /// A constant argument, already parsed to what the function needs.
    Prepared {
        /// As written in the mapping.
        literal: Value,
        constant: ConstantArgument,
    },
    Call {
        function: &'static Function,
        arguments: Vec<Self>,
        /// The character at which the name starts, counted from 1.
        position: usize,
    },
    Comparison(Box<Self>, ComparisonOperator, Box<Self>),
    /// Two or more operands joined by `&`.
    Concatenation(Vec<Self>),
    Ignore(IgnoreFlow),
}

/// The keywords that stop a branch from writing anything.
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

/// Finds the attribute for a name in brackets, or says why there is none.
pub(crate) type Resolve = fn(&str) -> Result<SourceAttribute, String>;

/// Compiles `text` and adds the properties that it reads to `selection`.
///
/// # Errors
/// Every problem, in the order of the text.
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

/// Collects problems and puts a null in place of what cannot be compiled.
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
                    let slot = attribute.select(self.selection);
                    return Expression::Attribute { attribute, slot };
                }
                Err(reason) => reason,
            },
            Syntax::Call(name, nodes) => match self.call(position, &name, nodes) {
                Ok(call) => return call,
                Err(reason) => reason,
            },
            Syntax::Word(word) if is_null(&word) => return Expression::Literal(Value::Null),
            Syntax::Word(word) => match IgnoreFlow::find(&word) {
                Some(flow) => return Expression::Ignore(flow),
                None => wrong_word(&word),
            },
        };
        self.problems.push(ExpressionProblem::new(position, reason));
        Expression::Literal(Value::Null)
    }

    /// Compiles a call. The arguments are compiled even when the call itself is wrong, to report their problems too.
    fn call(&mut self, position: usize, name: &str, mut nodes: Vec<Node>) -> Result<Expression, String> {
        let function = functions::find_function(name);
        for node in &mut nodes {
            if matches!(&node.syntax, Syntax::Word(word) if is_null(word)) {
                node.syntax = Syntax::Empty;
            }
        }
        if let Ok(function) = function {
            (function.arrange)(&mut nodes);
            // Documented examples have a superfluous `,` at the end: `Trim([mail], )`.
            while !function.arguments.admits(nodes.len()) && nodes.pop_if(|node| node.syntax == Syntax::Empty).is_some()
            {
            }
        }
        let earlier_problems = self.problems.len();
        let positions: Vec<usize> = nodes.iter().map(|node| node.position).collect();
        let parameters = function.as_ref().map_or(&[][..], |function| function.parameters);
        let mut arguments = Vec::with_capacity(nodes.len());
        for (index, mut node) in nodes.into_iter().enumerate() {
            let parameter = parameters.iter().find(|parameter| parameter.index == index);
            match node.syntax {
                Syntax::Word(word) if parameter.is_some_and(|parameter| parameter.kind.is_word()) => {
                    node.syntax = Syntax::Text(word)
                }
                syntax => node.syntax = syntax,
            }
            let argument_at = node.position;
            let problems_before = self.problems.len();
            let mut argument = self.build(node);
            if let Some(parameter) = parameter.filter(|_| self.problems.len() == problems_before) {
                argument = parse_constant(*parameter, name, argument).unwrap_or_else(|reason| {
                    self.problems.push(ExpressionProblem::new(argument_at, reason));
                    Expression::Literal(Value::Null)
                });
            }
            arguments.push(argument);
        }
        let function = function?;
        let found = arguments.len();
        if !function.arguments.admits(found) {
            return Err(format!("`{}` takes {}, found {found}", function.name, function.arguments));
        }
        // A null in place of a faulty argument would only cause a second, misleading problem.
        if self.problems.len() == earlier_problems
            && let Err((index, reason)) = (function.check)(&arguments)
        {
            self.problems.push(ExpressionProblem::new(positions.get(index).copied().unwrap_or(position), reason));
        }
        Ok(Expression::Call { function, arguments, position })
    }
}

/// Parses a constant argument; one that depends on the user is left alone.
fn parse_constant(parameter: Parameter, function: &str, argument: Expression) -> Result<Expression, String> {
    let Expression::Literal(literal) = argument else { return Ok(argument) };
    match &literal {
        Value::Text(text) | Value::Number(text) if !text.is_empty() => {
            let constant = parameter.kind.parse(text)?;
            Ok(Expression::Prepared { literal, constant })
        }
        _ if parameter.required => {
            Err(format!("argument {} of `{function}` must be {}", parameter.index + 1, parameter.kind.expected()))
        }
        _ => Ok(Expression::Literal(literal)),
    }
}

/// Whether a bare word is the null of Visual Basic, on which the language is modelled.
fn is_null(word: &str) -> bool {
    word.eq_ignore_ascii_case("null")
}

/// The problem with a bare word, with a suggestion.
fn wrong_word(word: &str) -> String {
    if ["dbnull", "empty", "nil", "none", "nothing", "undefined", "vbnull", "vbnullstring"]
        .contains(&word.to_ascii_lowercase().as_str())
    {
        return format!("`{word}` is not a constant; for no value leave the argument empty");
    }
    if functions::find_function(word).is_ok() {
        return format!("`{word}` is a function; its arguments in parentheses are missing");
    }
    match attribute::resolve(word) {
        Ok(_) => format!("write an attribute in brackets: `[{word}]`"),
        Err(_) => format!("`{word}` is not a constant; write a text in quotes: `\"{word}\"`"),
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
            // `F()` has no arguments; one omitted argument needs its comma.
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
            Self::Comparison(left, operator, right) => {
                write_operand(left, f)?;
                f.write_str(operator.as_str())?;
                write_operand(right, f)
            }
            Self::Concatenation(operands) => {
                for (index, operand) in operands.iter().enumerate() {
                    f.write_str(if index == 0 { "" } else { "&" })?;
                    write_operand(operand, f)?;
                }
                Ok(())
            }
            Self::Ignore(flow) => f.write_str(flow.as_str()),
        }
    }
}

/// Only an argument can be left out.
fn write_operand(operand: &Expression, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match operand {
        Expression::Literal(Value::Null) => f.write_str("NULL"),
        operand => write!(f, "{operand}"),
    }
}

fn write_literal(literal: &Value, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match literal {
        Value::Number(digits) => f.write_str(digits),
        Value::Text(text) => write!(f, "\"{}\"", text.replace('\\', r"\\").replace('"', "\\\"")),
        // The parser produces no other constants except null.
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
        for (text, expected) in [
            ("IIF([mail] = NULL, Null, null)", "IIF([mail]=NULL,,)"),
            ("\"a\" & null", "\"a\"&NULL"),
            ("Trim([mail], NULL)", "Trim([mail])"),
            ("InStr([mail], \"@\", NULL, null)", "InStr([mail],\"@\",,)"),
            ("FormatDateTime([mail], NULL, \"yyyy\", \"MM\")", "FormatDateTime([mail],,\"yyyy\",\"MM\")"),
            ("Replace([mail], \"a\", NULL, NULL, \"b\", NULL, NULL)", "Replace([mail],\"a\",,,\"b\",,)"),
        ] {
            assert_eq!(canonical(text), expected);
            assert_eq!(canonical(expected), expected);
        }
    }

    #[test]
    fn each_property_is_selected_once() {
        let mut selection = Selection::default();
        let text = "Join(\" \", [givenName], [Surname], [givenname], [objectId], [extensionAttribute2])";
        compile(text, attribute::resolve, &mut selection).unwrap();
        assert_eq!(selection.properties(), ["givenName", "surname", "onPremisesExtensionAttributes"]);
    }

    #[test]
    fn every_problem_is_reported() {
        for (text, expected) in [
            ("Swich([mail], , \"a\", \"b\")", &[(1, "unknown function `Swich`; did you mean `Switch`?")][..]),
            (
                "Join(\"\", Lower([mial]), [manager])",
                &[
                    (10, "unknown function `Lower`; did you mean `ToLower`?"),
                    (16, "unknown attribute `mial`; did you mean `mail`?"),
                    (25, "`manager` refers to another user and is not supported"),
                ],
            ),
            ("IIF([mail] = \"a\", \"b\")", &[(1, "`IIF` takes 3 arguments, found 2")]),
            ("ToLower()", &[(1, "`ToLower` takes 1 to 2 arguments, found 0")]),
            ("Trim([mail], [mail])", &[(1, "`Trim` takes 1 argument, found 2")]),
            ("Join(\",\")", &[(1, "`Join` takes at least 2 arguments, found 1")]),
            (
                "Switch([city], \"a\", \"b\", \"c\", \"d\")",
                &[(1, "`Switch` takes an even number of arguments and at least 4, found 5")],
            ),
            ("mail", &[(1, "write an attribute in brackets: `[mail]`")]),
            ("ToLower", &[(1, "`ToLower` is a function; its arguments in parentheses are missing")]),
            ("Left([city], NULL)", &[(14, "argument 2 of `Left` must be a whole number")]),
            (
                "IIF([city] = \"a\", \"b\", Nothing)",
                &[(24, "`Nothing` is not a constant; for no value leave the argument empty")],
            ),
            ("Coalesce([mail], NULL())", &[(18, "`NULL` is not a function; for no value leave the argument empty")]),
            ("Coalesce([mail], [null])", &[(18, "`null` is not an attribute; for no value leave the argument empty")]),
            ("IIF(True, \"a\", \"b\")", &[(5, "`True` is not a constant; write a text in quotes: `\"True\"`")]),
        ] {
            let problems = compile(text, attribute::resolve, &mut Selection::default()).unwrap_err();
            let found: Vec<_> = problems.iter().map(|problem| (problem.position, problem.message.as_str())).collect();
            assert_eq!(found, expected, "{text}");
        }
    }
}
