//! A client in Rust, on tokio.

use panpipe::Value;

use super::shape::{Field, Shape, Shapes};
use super::{Names, divided, pascal, snake};
use crate::description::{Description, Method};
use crate::json;

const RESERVED: &[&str] = &["Box", "Client", "Option", "Result", "Self", "String", "Vec"];
const WORDS: &[&str] = &[
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn", "else",
    "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop", "macro", "match", "mod",
    "move", "mut", "override", "priv", "pub", "ref", "return", "self", "static", "struct", "super", "trait", "true",
    "try", "type", "typeof", "unsafe", "unsized", "use", "virtual", "where", "while", "yield",
];

pub(super) fn client(description: &Description) -> String {
    let mut shapes = Shapes::new(description, RESERVED);
    let mut members = Names::new(WORDS);
    let methods: Vec<_> = description.methods().map(|each| method(each, &mut shapes, &mut members)).collect();
    let mut text = format!("//! Written by panpipe stubs from {}.\n", super::told(description));
    for (number, record) in shapes.records.iter().enumerate() {
        text += &format!(
            "\n#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]\npub struct {} {{\n",
            record.name
        );
        let mut names = Names::new(WORDS);
        for field in &record.fields {
            text += &field_of(field, &mut names, number, &shapes);
        }
        text += "}\n";
    }
    text += "\npub struct Client(pub panpipe::Peer);\n\nimpl Client {";
    text += &methods.join("\n");
    text + "}\n"
}

fn field_of(field: &Field, names: &mut Names, record: usize, shapes: &Shapes<'_>) -> String {
    let name = names.free(snake(&field.name));
    let (inner, may_be_nothing) = field.shape.optional();
    let mut kind = type_of(&inner, shapes);
    if shapes.holds_itself(&inner, record) {
        kind = format!("Box<{kind}>");
    }
    let mut attributes = Vec::new();
    if name != field.name {
        attributes.push(format!("rename = {}", json::line(&Value::from(field.name.as_str()))));
    }
    if !field.is_required {
        attributes.push("default, skip_serializing_if = \"Option::is_none\"".to_owned());
    }
    if may_be_nothing || !field.is_required {
        kind = format!("Option<{kind}>");
    }
    let attributes = match attributes.is_empty() {
        true => String::new(),
        false => format!("    #[serde({})]\n", attributes.join(", ")),
    };
    format!("{attributes}    pub {name}: {kind},\n")
}

fn method(method: Method<'_>, shapes: &mut Shapes<'_>, members: &mut Names) -> String {
    let name = members.free(snake(method.name()));
    let (positional, named) = divided(method);
    let mut names = Names::new(WORDS);
    let mut parameters = Vec::new();
    let mut arguments = Vec::new();
    for parameter in positional {
        let shape = shapes.of(parameter.schema(), &format!("{} {}", method.name(), parameter.name()));
        let argument = names.free(snake(parameter.name()));
        parameters.push(format!("{argument}: {}", type_of(&shape, shapes)));
        arguments.push(argument);
    }
    let mut before = String::new();
    if !named.is_empty() {
        before += "        #[derive(serde::Serialize)]\n        struct More {\n";
        let mut given = Vec::new();
        for parameter in named {
            let shape = shapes.of(parameter.schema(), &format!("{} {}", method.name(), parameter.name()));
            let argument = names.free(snake(parameter.name()));
            let mut kind = type_of(&shape, shapes);
            let mut attributes = format!("rename = {}", json::line(&Value::from(parameter.name())));
            if !parameter.is_required() {
                kind = format!("Option<{}>", type_of(&shape.optional().0, shapes));
                attributes += ", skip_serializing_if = \"Option::is_none\"";
            }
            before += &format!("            #[serde({attributes})]\n            {argument}: {kind},\n");
            parameters.push(format!("{argument}: {kind}"));
            given.push(argument);
        }
        before += "        }\n";
        arguments.push(format!("panpipe::Named(More {{ {} }})", given.join(", ")));
    }
    let tuple = if arguments.is_empty() { "()".to_owned() } else { format!("({},)", arguments.join(", ")) };
    let parameters: String = parameters.iter().map(|parameter| format!(", {parameter}")).collect();
    let result = shapes.of(method.result(), &format!("{} result", pascal(method.name())));
    let result = type_of(&result, shapes);
    let wire_name = json::line(&Value::from(method.name()));
    let mut text = "\n".to_owned();
    text.extend(method.doc().lines().map(|line| format!("    /// {line}\n").replace("/// \n", "///\n")));
    let (define, returns, call) = match (method.streams(), method.takes_stream()) {
        (false, false) => {
            ("async fn", format!("panpipe::Result<{result}>"), format!("call({wire_name}, {tuple}).await"))
        }
        (true, false) => ("fn", format!("panpipe::Stream<{result}>"), format!("stream({wire_name}, {tuple})")),
        (false, true) => (
            "fn",
            format!("(panpipe::Arguments<panpipe::Value>, panpipe::Call<'_, {result}>)"),
            format!("call_with_stream({wire_name}, {tuple})"),
        ),
        (true, true) => (
            "fn",
            format!("(panpipe::Arguments<panpipe::Value>, panpipe::Stream<{result}>)"),
            format!("stream_with_stream({wire_name}, {tuple})"),
        ),
    };
    text += &format!("    pub {define} {name}(&self{parameters}) -> {returns} {{\n{before}");
    text + &format!("        self.0.{call}\n    }}\n")
}

fn type_of(shape: &Shape, shapes: &Shapes<'_>) -> String {
    match shape {
        Shape::Any => "panpipe::Value".to_owned(),
        Shape::Nothing => "()".to_owned(),
        Shape::Bool => "bool".to_owned(),
        Shape::Integer => "i64".to_owned(),
        Shape::Number => "f64".to_owned(),
        Shape::Text => "String".to_owned(),
        Shape::Bytes => "panpipe::Bytes".to_owned(),
        Shape::Time => "panpipe::Timestamp".to_owned(),
        Shape::Array(item) => format!("Vec<{}>", type_of(item, shapes)),
        Shape::Tuple(some) => {
            let some: String = some.iter().map(|shape| format!("{}, ", type_of(shape, shapes))).collect();
            format!("({})", some.trim_end())
        }
        Shape::Map(value) => format!("std::collections::BTreeMap<String, {}>", type_of(value, shapes)),
        Shape::Union(_) => match shape.optional() {
            (Shape::Union(_), _) => "panpipe::Value".to_owned(),
            (one, _) => format!("Option<{}>", type_of(&one, shapes)),
        },
        Shape::Literals(values) => match values.iter().all(|value| value.as_str().is_some()) {
            true => "String".to_owned(),
            false => "panpipe::Value".to_owned(),
        },
        Shape::Record(number) => shapes.records[*number].name.clone(),
    }
}
