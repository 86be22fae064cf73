//! The syntax tree of an expression. Its names may not exist.

use crate::model::foreign_message;

/// A problem with an expression, and its position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExpressionProblem {
    /// The character, counted from 1.
    pub(crate) position: usize,
    pub(crate) message: String,
}

impl ExpressionProblem {
    pub(super) fn new(position: usize, message: impl Into<String>) -> Self {
        Self { position, message: foreign_message(&message.into()) }
    }
}

/// A syntax element and the character at which it starts.
#[derive(Debug, PartialEq)]
pub(crate) struct Node {
    pub(super) position: usize,
    pub(super) syntax: Syntax,
}

#[derive(Debug, PartialEq)]
pub(crate) enum Syntax {
    /// An omitted argument.
    Empty,
    /// The name between `[` and `]`.
    Attribute(String),
    /// A text in quotes, escapes resolved.
    Text(String),
    /// A number in decimal digits, even if it was written as `&H..`.
    Number(String),
    /// A bare word.
    Word(String),
    Call(String, Vec<Node>),
    Comparison(Box<Node>, ComparisonOperator, Box<Node>),
    /// Two or more operands joined by `&`.
    Concatenation(Vec<Node>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ComparisonOperator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl ComparisonOperator {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "<>",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }
}
