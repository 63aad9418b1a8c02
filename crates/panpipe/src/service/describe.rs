//! What a service offers, as OpenRPC.

use panpipe_values::Value;

use super::{Inner, Method};

/// The method that answers with the document.
pub(super) const NAME: &str = "panpipe.describe";

pub(super) fn document(service: &Inner) -> Value {
    let mut topics: Vec<_> = service.topics.keys().map(String::as_str).collect();
    topics.sort_unstable();
    let info = [("title", service.title.as_str()), ("version", service.version.as_str())];
    Value::map([
        ("openrpc", "1.3.2".into()),
        ("info", Value::map(info)),
        ("methods", service.methods.iter().map(method).collect::<Vec<_>>().into()),
        ("x-panpipe-topics", topics.into()),
    ])
}

fn method(method: &Method) -> Value {
    let parameters = method.parameters.iter().enumerate().map(|(index, schema)| {
        let (schema, name) = (schema(), method.names.get(index));
        let name = name.map_or_else(|| format!("argument{}", index + 1), String::clone);
        Value::map([("name", name.into()), ("required", (!takes_nothing(&schema)).into()), ("schema", schema)])
    });
    // Names that nobody gave are for the eye only.
    let structure = if method.names.is_empty() { "by-position" } else { "either" };
    let mut entries: Vec<(&str, Value)> = vec![
        ("name", method.name.as_str().into()),
        ("paramStructure", structure.into()),
        ("params", parameters.collect::<Vec<_>>().into()),
        ("result", Value::map([("name", "result".into()), ("schema", (method.result)())])),
    ];
    if let Some(doc) = &method.doc {
        entries.push(("description", doc.as_str().into()));
    }
    if method.streams {
        entries.push(("x-panpipe", Value::map([("stream", true)])));
    }
    Value::map(entries)
}

/// Whether `null` fits, so that the argument may be left out.
fn takes_nothing(schema: &Value) -> bool {
    let is_null = |schema: &Value| schema.get("type").and_then(Value::as_str) == Some("null");
    schema.get("anyOf").and_then(Value::as_array).is_some_and(|any| any.iter().any(is_null))
}
