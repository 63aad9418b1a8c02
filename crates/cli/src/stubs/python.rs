//! A client in Python, for `panpipe.aio`.

use panpipe::Value;

use super::shape::{Field, Shape, Shapes};
use super::{Names, divided, pascal, snake};
use crate::description::{Description, Method, Parameter};
use crate::json;

const RESERVED: &[&str] =
    &["Any", "AsyncIterable", "AsyncIterator", "Client", "Iterable", "Literal", "NotRequired", "Peer", "TypedDict"];
const WORDS: &[&str] = &[
    "and",
    "as",
    "assert",
    "async",
    "await",
    "break",
    "class",
    "continue",
    "def",
    "del",
    "elif",
    "else",
    "except",
    "finally",
    "for",
    "from",
    "global",
    "if",
    "import",
    "in",
    "is",
    "lambda",
    "more",
    "nonlocal",
    "not",
    "or",
    "pass",
    "peer",
    "raise",
    "reply",
    "return",
    "self",
    "try",
    "while",
    "with",
    "yield",
    "input_items",
];

pub(super) fn client(description: &Description) -> String {
    let mut shapes = Shapes::new(description, RESERVED);
    let mut members = Names::new(WORDS);
    let methods: Vec<_> = description.methods().map(|each| method(each, &mut shapes, &mut members)).collect();
    let mut text = format!("\"\"\"Written by panpipe stubs from {}.\"\"\"\n\n", quoted(&super::told(description)));
    text += "from __future__ import annotations\n\n";
    text += "from collections.abc import AsyncIterable, AsyncIterator, Iterable\nfrom datetime import datetime\n";
    text += "from typing import Any, Literal, NotRequired, TypedDict\n\nfrom panpipe.aio import Peer\n\n";
    text += "_LEFT_OUT: Any = object()\n\n";
    for record in &shapes.records {
        let fields: Vec<_> = record.fields.iter().map(|field| typed(field, &shapes)).collect();
        let is_plain = |field: &Field| is_identifier(&field.name);
        text += &match record.fields.iter().all(is_plain) {
            true => {
                let lines: String = fields.iter().map(|(name, kind)| format!("    {name}: {kind}\n")).collect();
                let lines = if lines.is_empty() { "    pass\n".to_owned() } else { lines };
                format!("\nclass {}(TypedDict):\n{lines}\n", record.name)
            }
            false => {
                let lines: String = fields
                    .iter()
                    .map(|(name, kind)| format!("    {}: \"{}\",\n", text_of(name), kind.replace('"', "'")))
                    .collect();
                format!("\n{} = TypedDict(\"{}\", {{\n{lines}}})\n\n", record.name, record.name)
            }
        };
    }
    text += "\nclass Client:\n    def __init__(self, peer: Peer) -> None:\n        self.peer = peer\n";
    text + &methods.concat()
}

fn typed<'f>(field: &'f Field, shapes: &Shapes<'_>) -> (&'f str, String) {
    let kind = type_of(&field.shape, shapes);
    (&field.name, if field.is_required { kind } else { format!("NotRequired[{kind}]") })
}

fn method(method: Method<'_>, shapes: &mut Shapes<'_>, members: &mut Names) -> String {
    let name = members.free(snake(method.name()));
    let (positional, named) = divided(method);
    let mut names = Names::new(WORDS);
    let mut parameters = vec!["self".to_owned()];
    let mut arguments = vec![text_of(method.name())];
    let mut kind_of = |parameter: &Parameter<'_>| {
        let shape = shapes.of(parameter.schema(), &format!("{} {}", method.name(), parameter.name()));
        type_of(&shape, shapes)
    };
    for parameter in &positional {
        let argument = names.free(snake(parameter.name()));
        let default = if parameter.is_required() { "" } else { " = None" };
        parameters.push(format!("{argument}: {}{default}", kind_of(parameter)));
        arguments.push(argument);
    }
    let mut before = String::new();
    if method.takes_stream() {
        parameters.push("input_items: AsyncIterable[Any] | Iterable[Any]".to_owned());
    }
    if !named.is_empty() {
        parameters.push("*".to_owned());
        let mut entries = Vec::new();
        for parameter in &named {
            let argument = names.free(snake(parameter.name()));
            let default = if parameter.is_required() { "" } else { " = _LEFT_OUT" };
            parameters.push(format!("{argument}: {}{default}", kind_of(parameter)));
            entries.push(format!("{}: {argument}", text_of(parameter.name())));
        }
        before = format!("        more = {{{}}}\n", entries.join(", "));
        before += "        more = {name: value for name, value in more.items() if value is not _LEFT_OUT}\n";
        arguments.push("**more".to_owned());
    }
    let result = shapes.of(method.result(), &format!("{} result", pascal(method.name())));
    let result = type_of(&result, shapes);
    let (define, returns) = match method.streams() {
        true => ("def", format!("AsyncIterator[{result}]")),
        false => ("async def", result),
    };
    let mut text = format!("\n    {define} {name}({}) -> {returns}:\n", parameters.join(", "));
    if !method.doc().is_empty() {
        let lines: Vec<_> = method.doc().lines().collect();
        text += &format!("        \"\"\"{}\"\"\"\n", quoted(&lines.join("\n        ")).replace("        \n", "\n"));
    }
    text += &before;
    let peer = if method.takes_stream() { "self.peer.options(input=input_items)" } else { "self.peer" };
    let (verb, arguments) = if method.streams() { ("stream", arguments) } else { ("call", arguments) };
    let wait = if method.streams() { "" } else { "await " };
    text += &format!("        reply: {returns} = {wait}{peer}.{verb}({})\n", arguments.join(", "));
    text + "        return reply\n"
}

fn type_of(shape: &Shape, shapes: &Shapes<'_>) -> String {
    let union = |some: &[Shape]| {
        let mut kinds: Vec<_> = some.iter().map(|shape| type_of(shape, shapes)).collect();
        kinds.dedup();
        kinds.join(" | ")
    };
    match shape {
        Shape::Any => "Any".to_owned(),
        Shape::Nothing => "None".to_owned(),
        Shape::Bool => "bool".to_owned(),
        Shape::Integer => "int".to_owned(),
        Shape::Number => "float".to_owned(),
        Shape::Text => "str".to_owned(),
        Shape::Bytes => "bytes".to_owned(),
        Shape::Time => "datetime".to_owned(),
        Shape::Array(item) => format!("list[{}]", type_of(item, shapes)),
        // They arrive as lists, whose places have no types of their own.
        Shape::Tuple(some) => format!("list[{}]", union(some)),
        Shape::Map(value) => format!("dict[str, {}]", type_of(value, shapes)),
        Shape::Union(some) => union(some),
        Shape::Literals(values) => {
            let values: Vec<_> = values.iter().map(literal).collect();
            format!("Literal[{}]", values.join(", "))
        }
        Shape::Record(number) => shapes.records[*number].name.clone(),
    }
}

fn literal(value: &Value) -> String {
    match value {
        Value::Nil => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        other => json::line(other),
    }
}

/// A text as Python writes it; JSON's way is one of Python's.
fn text_of(text: &str) -> String {
    json::line(&Value::from(text))
}

/// What stands inside of a docstring.
fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

fn is_identifier(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !WORDS.contains(&name)
}
