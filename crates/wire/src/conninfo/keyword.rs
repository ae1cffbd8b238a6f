//! The `key = 'value'` form of a connection string.
//!
//! Source: PostgreSQL's manual, section 32.1.1.1.

use std::iter::Peekable;
use std::str::Chars;

use pghaul_stage::{Error, Result};

use super::parameters::Parameters;

/// Reads the text; a later value of a key replaces an earlier one.
pub(super) fn parse(text: &str) -> Result<Parameters> {
    let mut parameters = Parameters::default();
    let mut rest = text.chars().peekable();
    loop {
        skip_space(&mut rest);
        if rest.peek().is_none() {
            return Ok(parameters);
        }
        let key = take_key(&mut rest);
        skip_space(&mut rest);
        // The word is not shown: it may be the second half of an unquoted password.
        if rest.next() != Some('=') || key.is_empty() {
            return Err(
                Error::input("a word in the connection string has no \"=\" after it")
                    .remedy("write key=value, and put values with spaces in single quotes"),
            );
        }
        skip_space(&mut rest);
        let value = take_value(&mut rest)?;
        parameters.set(&key, value)?;
    }
}

fn skip_space(rest: &mut Peekable<Chars<'_>>) {
    while rest
        .next_if(|character| character.is_ascii_whitespace())
        .is_some()
    {}
}

fn take_key(rest: &mut Peekable<Chars<'_>>) -> String {
    let mut key = String::new();
    while let Some(character) =
        rest.next_if(|character| *character != '=' && !character.is_ascii_whitespace())
    {
        key.push(character);
    }
    key
}

fn take_value(rest: &mut Peekable<Chars<'_>>) -> Result<String> {
    let quoted = rest.next_if_eq(&'\'').is_some();
    let mut value = String::new();
    loop {
        match rest.peek().copied() {
            None if quoted => {
                return Err(Error::input(
                    "a quoted value in the connection string has no end",
                ));
            }
            None => return Ok(value),
            Some('\'') if quoted => {
                rest.next();
                return Ok(value);
            }
            Some(space) if !quoted && space.is_ascii_whitespace() => return Ok(value),
            Some('\\') => {
                rest.next();
                value.extend(rest.next());
            }
            Some(character) => {
                rest.next();
                value.push(character);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_may_be_quoted_and_escaped() {
        let got =
            parse(r"host = a  user='it\'s me' password=x\ y dbname='' port=1 port=2").unwrap();
        assert_eq!(got.get("host"), Some("a"));
        assert_eq!(got.get("user"), Some("it's me"));
        assert_eq!(got.get("password"), Some("x y"));
        assert_eq!(got.get("dbname"), None);
        assert_eq!(got.get("port"), Some("2"));
    }

    #[test]
    fn mistakes_are_named_without_secrets() {
        let error = parse("password=my secret").unwrap_err();
        assert!(!format!("{error:?}").contains("secret"));
        assert!(parse("user='x").is_err());
        assert!(parse("=x").is_err());
        assert!(
            parse("colour=red")
                .unwrap_err()
                .to_string()
                .contains("\"colour\"")
        );
    }
}
