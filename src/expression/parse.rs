//! Text to syntax: the expression language as the Entra portal accepts it.
//!
//! An expression is an attribute in brackets, a constant, a call, a comparison or a concatenation. Arguments may be
//! omitted. Which attributes and functions exist is checked later, by `compile`. Positions are characters counted from
//! 1, as in an editor.

use super::syntax::{ComparisonOperator, ExpressionProblem, Node, Syntax};

/// The limit of the service.
const MAX_CHARACTERS: usize = 10_000;

/// Parsing, compiling, evaluating and dropping recurse once per nested call. Nested `IIF` is the documented way to write
/// OR, so real expressions can be deep.
pub(super) const MAX_DEPTH: usize = 128;

/// Parses a whole expression.
pub(super) fn parse(text: &str) -> Result<Node, ExpressionProblem> {
    let characters: Vec<char> = text.chars().collect();
    if characters.len() > MAX_CHARACTERS {
        return Err(ExpressionProblem::new(MAX_CHARACTERS + 1, "an expression has at most 10,000 characters"));
    }
    let mut parser = Parser { characters: &characters, next: 0 };
    let node = parser.expression(0)?;
    parser.skip_space();
    match parser.peek() {
        Some(')') => Err(parser.problem("unmatched `)`")),
        Some(',') => Err(parser.problem("unexpected `,`: it separates the arguments of a function")),
        Some(_) => Err(parser.unexpected("the end")),
        None if node.syntax == Syntax::Empty => Err(ExpressionProblem::new(1, "the expression is empty")),
        None => Ok(node),
    }
}

struct Parser<'a> {
    characters: &'a [char],
    next: usize,
}

impl Parser<'_> {
    fn expression(&mut self, depth: usize) -> Result<Node, ExpressionProblem> {
        let left = self.concatenation(depth)?;
        let operator_at = self.position();
        let Some(operator) = self.operator() else { return Ok(left) };
        let right = self.concatenation(depth)?;
        if left.syntax == Syntax::Empty || right.syntax == Syntax::Empty {
            let message = format!("`{}` needs a value on both sides; an empty text is \"\"", operator.as_str());
            return Err(ExpressionProblem::new(operator_at, message));
        }
        let position = left.position;
        Ok(Node { position, syntax: Syntax::Comparison(Box::new(left), operator, Box::new(right)) })
    }

    /// Operands joined by `&`, which binds closer than a comparison.
    fn concatenation(&mut self, depth: usize) -> Result<Node, ExpressionProblem> {
        let first = self.operand(depth)?;
        let position = first.position;
        let mut operands = vec![first];
        self.skip_space();
        let mut sign_at = self.position();
        while self.eat('&') {
            operands.push(self.operand(depth)?);
            if operands.iter().rev().take(2).any(|operand| operand.syntax == Syntax::Empty) {
                return Err(ExpressionProblem::new(sign_at, "`&` needs a value on both sides; an empty text is \"\""));
            }
            self.skip_space();
            sign_at = self.position();
        }
        if operands.len() > 1 {
            return Ok(Node { position, syntax: Syntax::Concatenation(operands) });
        }
        Ok(operands.remove(0))
    }

    fn operand(&mut self, depth: usize) -> Result<Node, ExpressionProblem> {
        self.skip_space();
        let position = self.position();
        let syntax = match self.peek() {
            None | Some(',' | ')' | '=' | '<' | '>') => Syntax::Empty,
            Some('"') => self.text()?,
            Some('[') => self.attribute()?,
            Some('&') => self.hexadecimal()?,
            Some('-' | '0'..='9') => self.number()?,
            Some(character) if is_word(character) => {
                let name = self.take_while(is_word);
                self.skip_space();
                if self.eat('(') {
                    Syntax::Call(name, self.arguments(position, depth + 1)?)
                } else {
                    Syntax::Word(name)
                }
            }
            Some(_) => return Err(self.unexpected("an attribute in brackets, a constant in quotes or a function")),
        };
        Ok(Node { position, syntax })
    }

    /// The arguments after a `(`, up to its `)`.
    fn arguments(&mut self, name_at: usize, depth: usize) -> Result<Vec<Node>, ExpressionProblem> {
        if depth > MAX_DEPTH {
            return Err(ExpressionProblem::new(name_at, format!("functions are nested more than {MAX_DEPTH} deep")));
        }
        self.skip_space();
        let mut arguments = Vec::new();
        if self.eat(')') {
            return Ok(arguments);
        }
        loop {
            arguments.push(self.expression(depth)?);
            self.skip_space();
            if self.eat(')') {
                return Ok(arguments);
            }
            if self.peek().is_none() {
                return Err(ExpressionProblem::new(name_at, "the closing `)` of this function is missing"));
            }
            if !self.eat(',') {
                return Err(self.unexpected("`,` or `)`"));
            }
        }
    }

    fn text(&mut self) -> Result<Syntax, ExpressionProblem> {
        let opened_at = self.position();
        self.next += 1;
        let mut text = String::new();
        while let Some(character) = self.peek() {
            self.next += 1;
            match (character, self.peek()) {
                ('"', _) => return Ok(Syntax::Text(text)),
                ('\\', Some(escaped @ ('\\' | '"'))) => {
                    self.next += 1;
                    text.push(escaped);
                }
                // Any other backslash is literal: documented patterns contain `\+` and `\d`.
                (literal, _) => text.push(literal),
            }
        }
        Err(ExpressionProblem::new(opened_at, "the closing `\"` of this text is missing"))
    }

    fn attribute(&mut self) -> Result<Syntax, ExpressionProblem> {
        let opened_at = self.position();
        self.next += 1;
        let name = self.bracketed();
        if !self.eat(']') {
            return Err(ExpressionProblem::new(opened_at, "the closing `]` of this attribute is missing"));
        }
        match name.trim() {
            "" => Err(ExpressionProblem::new(opened_at, "the attribute name between `[` and `]` is missing")),
            name => Ok(Syntax::Attribute(name.to_owned())),
        }
    }

    /// The text up to the matching `]`: a SCIM path has brackets of its own.
    fn bracketed(&mut self) -> String {
        let mut inner = 0_usize;
        let mut name = String::new();
        while let Some(character) = self.peek() {
            match character {
                '[' => inner += 1,
                ']' if inner == 0 => break,
                ']' => inner -= 1,
                _ => {}
            }
            name.push(character);
            self.next += 1;
        }
        name
    }

    fn number(&mut self) -> Result<Syntax, ExpressionProblem> {
        let started_at = self.position();
        let mut digits = String::new();
        if self.eat('-') {
            digits.push('-');
        }
        let whole = self.take_while(|character| character.is_ascii_digit());
        digits.push_str(&whole);
        let mut complete = !whole.is_empty();
        if self.eat('.') {
            let fraction = self.take_while(|character| character.is_ascii_digit());
            complete &= !fraction.is_empty();
            digits.push('.');
            digits.push_str(&fraction);
        }
        if !complete || self.peek().is_some_and(is_word) {
            return Err(ExpressionProblem::new(started_at, "this is not a number; write a text in quotes"));
        }
        Ok(Syntax::Number(digits))
    }

    fn hexadecimal(&mut self) -> Result<Syntax, ExpressionProblem> {
        let started_at = self.position();
        self.next += 1;
        if !self.eat('H') && !self.eat('h') {
            return Err(ExpressionProblem::new(started_at, "a hexadecimal number starts with `&H`"));
        }
        match u64::from_str_radix(&self.take_while(is_word), 16) {
            Ok(number) => Ok(Syntax::Number(number.to_string())),
            Err(_) => Err(ExpressionProblem::new(started_at, "`&H` is followed by 1 to 16 hexadecimal digits")),
        }
    }

    fn operator(&mut self) -> Option<ComparisonOperator> {
        if self.eat('=') {
            Some(ComparisonOperator::Equal)
        } else if self.eat('<') {
            Some(match (self.eat('>'), self.eat('=')) {
                (true, _) => ComparisonOperator::NotEqual,
                (_, true) => ComparisonOperator::LessOrEqual,
                _ => ComparisonOperator::Less,
            })
        } else if self.eat('>') {
            Some(if self.eat('=') { ComparisonOperator::GreaterOrEqual } else { ComparisonOperator::Greater })
        } else {
            None
        }
    }

    /// The problem that something else was expected here, with a hint for common mistakes.
    fn unexpected(&mut self, expected: &str) -> ExpressionProblem {
        let position = self.position();
        let Some(found) = self.peek() else { return self.problem(format!("expected {expected}")) };
        let hint = match found {
            '“' | '”' | '„' | '\'' => "; write texts in straight double quotes",
            '(' => "; parentheses follow a function name only",
            _ => match self.take_while(is_word).to_ascii_lowercase().as_str() {
                "and" | "or" => "; there are no operators AND and OR, nest IIF instead",
                _ => "",
            },
        };
        ExpressionProblem::new(position, format!("expected {expected}, found `{found}`{hint}"))
    }

    fn problem(&self, message: impl Into<String>) -> ExpressionProblem {
        ExpressionProblem::new(self.position(), message)
    }

    fn position(&self) -> usize {
        self.next + 1
    }

    fn peek(&self) -> Option<char> {
        self.characters.get(self.next).copied()
    }

    fn eat(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        self.next += usize::from(found);
        found
    }

    fn take_while(&mut self, belongs: impl Fn(char) -> bool) -> String {
        let rest = &self.characters[self.next..];
        let taken: String = rest.iter().take_while(|character| belongs(**character)).collect();
        self.next += taken.chars().count();
        taken
    }

    fn skip_space(&mut self) {
        self.take_while(char::is_whitespace);
    }
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str) -> (usize, String) {
        let ExpressionProblem { position, message } = parse(text).unwrap_err();
        (position, message)
    }

    fn text(text: &str) -> Syntax {
        Syntax::Text(text.to_owned())
    }

    #[test]
    fn constants() {
        let parsed = |text| parse(text).unwrap().syntax;
        assert_eq!(parsed(r#" "a\\b\"c\d" "#), text(r#"a\b"c\d"#));
        assert_eq!(parsed("-12.50"), Syntax::Number("-12.50".to_owned()));
        assert_eq!(parsed("&Hff"), Syntax::Number("255".to_owned()));
        assert_eq!(parsed("[ mail ]"), Syntax::Attribute("mail".to_owned()));
        let filtered = "phoneNumbers[type eq \"fax\"].value";
        assert_eq!(parsed("[phoneNumbers[type eq \"fax\"].value]"), Syntax::Attribute(filtered.to_owned()));
        assert_eq!(parsed("UTF8"), Syntax::Word("UTF8".to_owned()));
    }

    #[test]
    fn arguments_may_be_omitted() {
        let counts = |text: &str| match parse(text).unwrap().syntax {
            Syntax::Call(_, arguments) => {
                let empty = arguments.iter().filter(|node| node.syntax == Syntax::Empty).count();
                (arguments.len(), empty)
            }
            other => panic!("no call: {other:?}"),
        };
        assert_eq!(counts("F ( )"), (0, 0));
        assert_eq!(counts("F(,)"), (2, 2));
        assert_eq!(counts("F(\"a\",\n\t, [b] ,)"), (4, 2));
    }

    #[test]
    fn comparison_operators() {
        for (sign, operator) in [
            ("=", ComparisonOperator::Equal),
            ("<>", ComparisonOperator::NotEqual),
            ("<", ComparisonOperator::Less),
            ("<=", ComparisonOperator::LessOrEqual),
            (">", ComparisonOperator::Greater),
            (">=", ComparisonOperator::GreaterOrEqual),
        ] {
            let node = parse(&format!("[a]{sign}\"b\"")).unwrap();
            assert!(matches!(node.syntax, Syntax::Comparison(_, found, _) if found == operator), "{node:?}");
        }
    }

    #[test]
    fn concatenation_binds_closer_than_a_comparison() {
        let node = parse("\"a\" & [b]&&HF = 1").unwrap();
        let Syntax::Comparison(left, ComparisonOperator::Equal, _) = node.syntax else { panic!("{node:?}") };
        let Syntax::Concatenation(operands) = left.syntax else { panic!("{left:?}") };
        assert_eq!(operands.len(), 3);
        assert_eq!(operands[2].syntax, Syntax::Number("15".to_owned()));
    }

    #[test]
    fn problems_have_a_position() {
        for (text, position, words) in [
            ("", 1, "empty"),
            ("  \n", 1, "empty"),
            ("[mail", 1, "closing `]`"),
            ("Trim([mails[0])", 6, "closing `]`"),
            ("Trim([])", 6, "attribute name between"),
            ("Trim(\"é, [mail])", 6, "closing `\"`"),
            ("Join(\"é\", [a] [b])", 15, "expected `,` or `)`, found `[`"),
            ("Trim([a]", 1, "closing `)` of this function"),
            ("Trim([a]))", 10, "unmatched `)`"),
            ("[a], [b]", 4, "separates the arguments"),
            ("[a] & ", 5, "both sides"),
            ("IIF([a] & = \"b\", , )", 9, "both sides"),
            ("IIF([a]=\"x\" AND [b]=\"y\", \"1\", \"0\")", 13, "nest IIF"),
            ("IIF(([a]=\"x\"), \"1\", \"0\")", 5, "parentheses"),
            ("IIF([a]=, \"1\", \"0\")", 8, "both sides"),
            ("IIF([a]=\"b\"=\"c\", , )", 12, "expected `,` or `)`"),
            ("“mail”", 1, "straight double quotes"),
            ("12ab", 1, "not a number"),
            ("-", 1, "not a number"),
            ("1.", 1, "not a number"),
            ("&HXY", 1, "hexadecimal"),
            ("&H11111111111111111", 1, "1 to 16"),
        ] {
            let (at, message) = problem(text);
            assert!(at == position && message.contains(words), "{text}: {at} {message}");
        }
    }

    #[test]
    fn length_and_depth_are_limited() {
        assert!(parse(&format!("\"{}\"", "é".repeat(9_998))).is_ok());
        assert_eq!(problem(&"x".repeat(10_001)).0, 10_001);
        let nested = |depth: usize| format!("{}\"x\"{}", "Trim(".repeat(depth), ")".repeat(depth));
        assert!(parse(&nested(MAX_DEPTH)).is_ok());
        assert!(problem(&nested(MAX_DEPTH + 1)).1.contains("128 deep"));
        assert!(parse(&"Trim(".repeat(1_999)).is_err());
    }
}
