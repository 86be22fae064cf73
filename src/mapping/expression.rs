//! Compiled expressions: every name resolved, every argument count checked, so that evaluating a person only
//! reads slots and calls functions.

use std::fmt;

use super::functions::{self, Function};
use super::parse::parse;
use super::source::{self, Part, SourceAttribute};
use super::syntax::{Fault, Node, Operator, Syntax};
use crate::model::{Selection, Value};

#[derive(Debug)]
pub(super) enum Expression {
    /// A constant; null for an argument that is left out.
    Literal(Value),
    Attribute {
        attribute: SourceAttribute,
        /// Where its property stands in `User::values`; not read for the object id, which every user has.
        slot: usize,
    },
    Call {
        function: &'static Function,
        arguments: Vec<Self>,
    },
    Comparison(Box<Self>, Operator, Box<Self>),
}

/// Compiles `text`, adding the properties that it reads to `selection`; or everything that is wrong with it.
pub(super) fn compile(text: &str, selection: &mut Selection) -> Result<Expression, Vec<Fault>> {
    let node = parse(text).map_err(|fault| vec![fault])?;
    let mut faults = Vec::new();
    let expression = build(node, selection, &mut faults);
    faults.sort_by_key(|fault| fault.position);
    if faults.is_empty() { Ok(expression) } else { Err(faults) }
}

/// The expression of `node`. What cannot be compiled goes into `faults` and leaves a null behind.
fn build(node: Node, selection: &mut Selection, faults: &mut Vec<Fault>) -> Expression {
    let Node { position, syntax } = node;
    let reason = match syntax {
        Syntax::Empty => return Expression::Literal(Value::Null),
        Syntax::Text(text) => return Expression::Literal(Value::Text(text)),
        Syntax::Number(digits) => return Expression::Literal(Value::Number(digits)),
        Syntax::Comparison(left, operator, right) => {
            let left = build(*left, selection, faults);
            let right = build(*right, selection, faults);
            return Expression::Comparison(Box::new(left), operator, Box::new(right));
        }
        Syntax::Attribute(name) => match source::resolve(&name) {
            Ok(attribute) => {
                let slot = if attribute.part == Part::Id { 0 } else { selection.slot(&attribute.property) };
                return Expression::Attribute { attribute, slot };
            }
            Err(reason) => reason,
        },
        Syntax::Call(name, mut nodes) => {
            let function = functions::find(&name);
            if let Ok(function) = function {
                // A `,` too many at the end is documented use: `Trim([mail], )`.
                while !function.arguments.admits(nodes.len())
                    && nodes.pop_if(|node| node.syntax == Syntax::Empty).is_some()
                {}
            }
            let found = nodes.len();
            // The argument list is compiled in any case: its faults are worth knowing as well.
            let arguments = nodes.into_iter().map(|node| build(node, selection, faults)).collect();
            match function {
                Ok(function) if function.arguments.admits(found) => return Expression::Call { function, arguments },
                Ok(function) => format!("`{}` takes {}, here are {found}", function.name, function.arguments),
                Err(reason) => reason,
            }
        }
        Syntax::Word(word) if functions::find(&word).is_ok() => {
            format!("`{word}` is a function: its arguments in parentheses are missing")
        }
        Syntax::Word(word) => match source::resolve(&word) {
            Ok(_) => format!("an attribute stands in brackets: `[{word}]`"),
            Err(_) => format!("`{word}` is no constant; a text stands in quotes: `\"{word}\"`"),
        },
    };
    faults.push(Fault::new(position, reason));
    Expression::Literal(Value::Null)
}

/// The canonical form: equal for expressions that differ in white space or in the spelling of names only.
impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(Value::Number(digits)) => f.write_str(digits),
            Self::Literal(Value::Text(text)) => {
                write!(f, "\"{}\"", text.replace('\\', r"\\").replace('"', "\\\""))
            }
            // The parser makes no other constants than these and null.
            Self::Literal(_) => Ok(()),
            Self::Attribute { attribute, .. } => write!(f, "[{attribute}]"),
            // `F()` has no argument at all; the one that is left out needs its comma.
            Self::Call { function, arguments } if matches!(arguments[..], [Self::Literal(Value::Null)]) => {
                write!(f, "{}(,)", function.name)
            }
            Self::Call { function, arguments } => {
                write!(f, "{}(", function.name)?;
                for (index, argument) in arguments.iter().enumerate() {
                    f.write_str(if index == 0 { "" } else { "," })?;
                    argument.fmt(f)?;
                }
                f.write_str(")")
            }
            Self::Comparison(left, operator, right) => write!(f, "{left}{}{right}", operator.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_canonical_form_hides_spelling() {
        let canonical = |text: &str| compile(text, &mut Selection::default()).unwrap().to_string();
        let expected = r#"Switch([telephoneNumber],,"a\\\"b",IIF([id]<>1,[country],))"#;
        assert_eq!(canonical(expected), expected);
        assert_eq!(
            canonical("switch ( [TelephoneNumber] ,,\n\t\"a\\\\\\\"b\" , iif([objectId] <> &H1, [COUNTRY], ) , )"),
            expected
        );
        assert_eq!(canonical("Now()"), "Now()");
        assert_eq!(canonical("Trim( , )"), "Trim(,)");
    }

    #[test]
    fn only_what_is_read_is_selected_and_once() {
        let mut selection = Selection::default();
        compile("Join(\" \", [givenName], [Surname], [givenname], [objectId], [extensionAttribute2])", &mut selection)
            .unwrap();
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
            let faults = compile(text, &mut Selection::default()).unwrap_err();
            let found: Vec<_> = faults.iter().map(|fault| (fault.position, fault.message.as_str())).collect();
            assert_eq!(found, expected, "{text}");
        }
    }
}
