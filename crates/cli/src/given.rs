//! Arguments as a command line gives them: `VALUE` and `NAME=VALUE`, which the service's own description turns into
//! values.

use std::ffi::OsString;
use std::io::{self, Read};

use panpipe::{Bytes, Named, Value};
use serde::ser::{Serialize, SerializeTuple, Serializer};

use crate::description::{Description, Method, Parameter, spelled, text, type_of};
use crate::json;

/// What stands for all of stdin.
const STDIN: &str = "-";

/// The arguments of a call: some by position, then some by name.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Given {
    positional: Vec<Value>,
    named: Vec<(String, Value)>,
}

/// A tuple of them, the last of which names some: what `panpipe` takes for several arguments.
impl Serialize for Given {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let has_named = usize::from(!self.named.is_empty());
        let mut tuple = to.serialize_tuple(self.positional.len() + has_named)?;
        for value in &self.positional {
            tuple.serialize_element(value)?;
        }
        if has_named > 0 {
            let named = self.named.iter().map(|(name, value)| (name.as_str(), value.clone()));
            tuple.serialize_element(&Named(Value::map(named)))?;
        }
        tuple.end()
    }
}

impl Given {
    /// Reads the words of a command line for a method, with what is known of it; the error is a text that says what it
    /// takes.
    pub(crate) fn read(
        words: Vec<OsString>,
        known: Option<(&Description, Method<'_>)>,
        stdin: &mut dyn Read,
    ) -> Result<Self, String> {
        let mut given = Given::default();
        for word in words {
            let word = word.into_string().map_err(|word| format!("{word:?} is no UTF-8; give it to stdin, and -"))?;
            match word.split_once('=').filter(|(name, _)| is_name(name)) {
                Some((name, value)) => {
                    let parameter = given.named_parameter(name, known)?;
                    given.named.push((name.to_owned(), value_of(value, name, parameter, stdin)?));
                }
                None if !given.named.is_empty() => {
                    return Err(format!("{word:?} stands behind arguments with names; those without come first"));
                }
                None => {
                    let place = given.positional.len();
                    let parameter = known.and_then(|(_, method)| method.parameters().nth(place));
                    let name = parameter.map_or_else(|| (place + 1).to_string(), |found| found.name().to_owned());
                    let parameter = known.zip(parameter).map(|((description, _), found)| (description, found));
                    given.positional.push(value_of(&word, &name, parameter, stdin)?);
                }
            }
        }
        match known {
            Some((_, method)) => given.check_whole(method).map(|()| given),
            None => Ok(given),
        }
    }

    fn named_parameter<'d>(
        &self,
        name: &str,
        known: Option<(&'d Description, Method<'d>)>,
    ) -> Result<Option<(&'d Description, Parameter<'d>)>, String> {
        if self.named.iter().any(|(given, _)| given == name) {
            return Err(format!("the argument {name} is given twice"));
        }
        let Some((description, method)) = known else { return Ok(None) };
        let signature = method.signature();
        if !method.has_names() {
            return Err(format!("its parameters have no names: {signature}"));
        }
        match method.parameters().position(|found| found.name() == name) {
            Some(place) if place < self.positional.len() => Err(format!("the argument {name} is given twice")),
            Some(place) => Ok(method.parameters().nth(place).map(|found| (description, found))),
            None => Err(match method.parameters().next() {
                Some(first) => {
                    let first = first.name();
                    format!("no parameter is called {name:?}: {signature}; a text with = in it is written {first}=…")
                }
                None => format!("no parameter is called {name:?}: {signature}"),
            }),
        }
    }

    fn check_whole(&self, method: Method<'_>) -> Result<(), String> {
        let is_given = |name: &str| self.named.iter().any(|(given, _)| given == name);
        let missing: Vec<_> = method
            .parameters()
            .skip(self.positional.len())
            .filter(|parameter| parameter.is_required() && !is_given(parameter.name()))
            .map(Parameter::name)
            .collect();
        match missing.as_slice() {
            [] => Ok(()),
            [one] => Err(format!("the argument {one} is missing: {}", method.signature())),
            some => Err(format!("the arguments {} are missing: {}", some.join(", "), method.signature())),
        }
    }
}

/// A value without a description: JSON where it is some, else text.
pub(crate) fn guessed(word: &str, stdin: &mut dyn Read) -> Result<Value, String> {
    value_of(word, "item", None, stdin)
}

fn value_of(
    word: &str,
    name: &str,
    parameter: Option<(&Description, Parameter<'_>)>,
    stdin: &mut dyn Read,
) -> Result<Value, String> {
    let schema = parameter.map(|(description, parameter)| description.resolved(parameter.schema()));
    let types = match (parameter, schema) {
        (Some((description, _)), Some(schema)) => description.types(schema),
        _ => Vec::new(),
    };
    let format = schema.map(|schema| text(schema, "format")).unwrap_or_default();
    if word == STDIN {
        let bytes = all_of(stdin).map_err(|reason| format!("reading stdin for the argument {name}: {reason}"))?;
        return match types.as_slice() == ["string"] && format != "binary" {
            true => {
                String::from_utf8(bytes).map(Value::Text).map_err(|_| format!("{name} is a text, and stdin no UTF-8"))
            }
            false => Ok(Value::Bytes(bytes.into())),
        };
    }
    if types.as_slice() == ["string"] {
        return Ok(match format {
            "binary" => Value::Bytes(Bytes::copy_from_slice(word.as_bytes())),
            _ => Value::Text(word.to_owned()),
        });
    }
    let takes = |name: &str| types.is_empty() || types.contains(&name);
    match json::parse(word) {
        Some(value) if takes(type_of(&value)) || (takes("number") && type_of(&value) == "integer") => Ok(value),
        _ if takes("string") => Ok(Value::Text(word.to_owned())),
        _ => {
            let wanted = schema.map(spelled).unwrap_or_default();
            Err(format!("the argument {name} is to be {wanted}, in JSON, and {word:?} is not"))
        }
    }
}

fn all_of(stdin: &mut dyn Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stdin.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_alphabetic() || first == '_')
        && text.chars().all(|c| c.is_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn description() -> Description {
        let document = r##"{"methods": [
            {"name": "repeat", "params": [
                {"name": "text", "required": true, "schema": {"type": "string"}},
                {"name": "times", "required": false, "schema": {"anyOf": [{"type": "integer"}, {"type": "null"}]}},
                {"name": "mark", "required": false, "schema": {"$ref": "#/components/schemas/Mark"}}
            ]},
            {"name": "store", "params": [{"name": "data", "required": true, "schema": {"type": "string", "format": "binary"}}]},
            {"name": "any", "params": [{"name": "value", "required": true, "schema": {}}]},
            {"name": "pow", "paramStructure": "by-position", "params": [{"name": "argument1", "required": true, "schema": {"type": "number"}}]}
        ], "components": {"schemas": {"Mark": {"type": "object", "properties": {"sign": {"type": "string"}}, "required": ["sign"]}}}}"##;
        Description(json::parse(document).unwrap())
    }

    fn read(method: Option<&str>, words: &[&str]) -> Result<String, String> {
        let description = description();
        let known = method.map(|method| (&description, description.method(method).unwrap()));
        let given = Given::read(words.iter().map(OsString::from).collect(), known, &mut &b"from stdin"[..])?;
        let named = Value::map(given.named);
        Ok(format!("{} {}", json::line(&given.positional.into()), json::line(&named)))
    }

    #[test]
    fn types_decide_where_there_are_any() {
        for (method, words, read_as) in [
            (None, &["42", "hi", "{\"a\":1}", "null"][..], "[42,\"hi\",{\"a\":1},null] {}"),
            (None, &["1", "b=2", "c=x=y"], "[1] {\"b\":2,\"c\":\"x=y\"}"),
            (Some("repeat"), &["42", "3"], "[\"42\",3] {}"),
            (Some("repeat"), &["null", "times=null"], "[\"null\"] {\"times\":null}"),
            (Some("repeat"), &["text=a=b", "mark={\"sign\":\"!\"}"], "[] {\"text\":\"a=b\",\"mark\":{\"sign\":\"!\"}}"),
            (Some("repeat"), &["-"], "[\"from stdin\"] {}"),
            (Some("store"), &["foo"], "[\"Zm9v\"] {}"),
            (Some("any"), &["42"], "[42] {}"),
            (Some("any"), &["forty two"], "[\"forty two\"] {}"),
            (Some("pow"), &["2"], "[2] {}"),
        ] {
            assert_eq!(read(method, words).as_deref(), Ok(read_as), "{words:?}");
        }
    }

    #[test]
    fn what_does_not_fit_is_told_with_what_would() {
        for (method, words, reason) in [
            (
                "repeat",
                &[][..],
                "the argument text is missing: repeat(text: string, times?: integer | null, mark?: Mark)",
            ),
            ("repeat", &["times=2"], "the argument text is missing"),
            ("repeat", &["a", "many=2"], "no parameter is called \"many\": repeat(text: string"),
            ("repeat", &["a=b"], "a text with = in it is written text=…"),
            ("repeat", &["a", "text=b"], "the argument text is given twice"),
            ("repeat", &["text=a", "text=b"], "the argument text is given twice"),
            ("repeat", &["text=a", "2"], "\"2\" stands behind arguments with names"),
            ("repeat", &["a", "two"], "the argument times is to be integer | null, in JSON, and \"two\" is not"),
            ("pow", &["argument1=2"], "its parameters have no names: pow(argument1: number)"),
        ] {
            let error = read(Some(method), words).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }
}
