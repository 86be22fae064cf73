//! The syntax tree of an expression, before anybody asks whether its names exist.

/// What is wrong with an expression, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExpressionProblem {
    /// The character it is about, counted from 1.
    pub(crate) position: usize,
    /// What is wrong.
    pub(crate) message: String,
}

impl ExpressionProblem {
    pub(super) fn new(position: usize, message: impl Into<String>) -> Self {
        Self { position, message: message.into() }
    }
}

/// A piece of syntax and where it starts.
#[derive(Debug, PartialEq)]
pub(crate) struct Node {
    pub(super) position: usize,
    pub(super) syntax: Syntax,
}

#[derive(Debug, PartialEq)]
pub(crate) enum Syntax {
    /// An argument that is left out.
    Empty,
    /// What stands between `[` and `]`.
    Attribute(String),
    /// A constant in quotes, escapes resolved.
    Text(String),
    /// A number in decimal digits, also when it was written as `&H..`.
    Number(String),
    /// A name that is not called.
    Word(String),
    Call(String, Vec<Node>),
    Comparison(Box<Node>, ComparisonOperator, Box<Node>),
    /// Two or more operands with `&` between them.
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
