//! A client in TypeScript.

use panpipe::Value;

use super::shape::{Field, Shape, Shapes};
use super::{Names, camel, divided, pascal};
use crate::description::{Description, Method};
use crate::json;

const RESERVED: &[&str] = &["Client", "Peer", "Items", "CallOptions", "Date", "Uint8Array", "Promise", "Record"];
const MEMBERS: &[&str] = &["constructor", "peer"];
const WORDS: &[&str] = &[
    "arguments",
    "await",
    "break",
    "call",
    "case",
    "catch",
    "class",
    "const",
    "continue",
    "debugger",
    "default",
    "delete",
    "do",
    "else",
    "enum",
    "eval",
    "export",
    "extends",
    "false",
    "finally",
    "for",
    "function",
    "if",
    "implements",
    "import",
    "in",
    "instanceof",
    "interface",
    "let",
    "more",
    "new",
    "null",
    "package",
    "private",
    "protected",
    "public",
    "return",
    "static",
    "super",
    "switch",
    "this",
    "throw",
    "true",
    "try",
    "typeof",
    "var",
    "void",
    "while",
    "with",
    "yield",
];

pub(super) fn client(description: &Description) -> String {
    let mut shapes = Shapes::new(description, RESERVED);
    let mut members = Names::new(MEMBERS);
    let methods: Vec<_> = description.methods().map(|each| method(each, &mut shapes, &mut members)).collect();
    let uses_items = description.methods().any(Method::streams);
    let mut text = format!("// Written by panpipe stubs from {}.\n", super::told(description));
    let types = if uses_items { "CallOptions, type Items, type Peer" } else { "CallOptions, type Peer" };
    text += &format!("import {{ options, type {types} }} from \"panpipe\";\n");
    for record in &shapes.records {
        text += &format!("\nexport interface {} {{\n", record.name);
        for Field { name, shape, is_required } in &record.fields {
            let mark = if *is_required { "" } else { "?" };
            text += &format!("  {}{mark}: {};\n", key(name), type_of(shape, &shapes));
        }
        text += "}\n";
    }
    text += "\nexport class Client {\n  constructor(readonly peer: Peer) {}\n";
    text += &methods.concat();
    text + "}\n"
}

fn method(method: Method<'_>, shapes: &mut Shapes<'_>, members: &mut Names) -> String {
    let name = members.free(camel(method.name()));
    let (positional, named) = divided(method);
    let mut names = Names::new(WORDS);
    let mut parameters = Vec::new();
    let mut arguments = vec![json::line(&method.name().into())];
    for parameter in positional {
        let shape = shapes.of(parameter.schema(), &format!("{} {}", method.name(), parameter.name()));
        let argument = names.free(camel(parameter.name()));
        let mark = if parameter.is_required() { "" } else { " = null" };
        parameters.push(format!("{argument}: {}{mark}", type_of(&shape, shapes)));
        arguments.push(argument);
    }
    if named.is_empty() {
        arguments.push("options(call)".to_owned());
    } else {
        let fields = named.iter().map(|parameter| {
            let shape = shapes.of(parameter.schema(), &format!("{} {}", method.name(), parameter.name()));
            let mark = if parameter.is_required() { "" } else { "?" };
            format!("{}{mark}: {}", key(parameter.name()), type_of(&shape, shapes))
        });
        let fields = fields.collect::<Vec<_>>().join("; ");
        let default = if named.iter().any(|parameter| parameter.is_required()) { "" } else { " = {}" };
        parameters.push(format!("more: {{ {fields} }}{default}"));
        arguments.push("options({ ...call, named: more })".to_owned());
    }
    if method.takes_stream() {
        parameters.push("input: AsyncIterable<unknown> | Iterable<unknown>".to_owned());
        let last = arguments.len() - 1;
        arguments[last] = arguments[last]
            .replace("options(call)", "options({ ...call, input })")
            .replace("...call, n", "...call, input, n");
    }
    parameters.push("call: CallOptions = {}".to_owned());
    let result = shapes.of(method.result(), &format!("{} result", pascal(method.name())));
    let result = type_of(&result, shapes);
    let (returns, calls) = match method.streams() {
        true => (format!("Items<{result}>"), format!("stream<{result}>")),
        false => (format!("Promise<{result}>"), "call".to_owned()),
    };
    let mut text = "\n".to_owned();
    if !method.doc().is_empty() {
        let doc = method.doc().replace("*/", "* /");
        text += "  /**\n";
        text.extend(doc.lines().map(|line| format!("   * {line}\n").replace("   * \n", "   *\n")));
        text += "   */\n";
    }
    text += &format!("  {name}({}): {returns} {{\n", parameters.join(", "));
    text + &format!("    return this.peer.{calls}({});\n  }}\n", arguments.join(", "))
}

fn type_of(shape: &Shape, shapes: &Shapes<'_>) -> String {
    let each = |some: &[Shape]| some.iter().map(|shape| type_of(shape, shapes)).collect::<Vec<_>>();
    match shape {
        Shape::Any => "any".to_owned(),
        Shape::Nothing => "null".to_owned(),
        Shape::Bool => "boolean".to_owned(),
        Shape::Integer | Shape::Number => "number".to_owned(),
        Shape::Text => "string".to_owned(),
        Shape::Bytes => "Uint8Array".to_owned(),
        Shape::Time => "Date".to_owned(),
        Shape::Array(item) => format!("Array<{}>", type_of(item, shapes)),
        Shape::Tuple(some) => format!("[{}]", each(some).join(", ")),
        Shape::Map(value) => format!("Record<string, {}>", type_of(value, shapes)),
        Shape::Union(some) => each(some).join(" | "),
        Shape::Literals(values) => values.iter().map(json::line).collect::<Vec<_>>().join(" | "),
        Shape::Record(number) => shapes.records[*number].name.clone(),
    }
}

fn key(name: &str) -> String {
    let is_plain = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if is_plain { name.to_owned() } else { json::line(&Value::from(name)) }
}
