//! What a service says of itself: the OpenRPC document that `panpipe.describe` answers with.

use panpipe::{ErrorKind, Peer, Result, Value};

/// The document of a service.
pub(crate) struct Description(pub(crate) Value);

/// A method of a service, as its document has it.
#[derive(Clone, Copy)]
pub(crate) struct Method<'d>(&'d Value);

/// A parameter of a method.
#[derive(Clone, Copy)]
pub(crate) struct Parameter<'d>(&'d Value);

impl Description {
    /// The description of the other side; `None` where it has none.
    pub(crate) async fn of(peer: &Peer) -> Result<Option<Self>> {
        match peer.describe().await {
            Ok(document) => Ok(Some(Description(document))),
            Err(error) if error.kind() == ErrorKind::NotFound && error.remote().is_some() => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn methods(&self) -> impl Iterator<Item = Method<'_>> {
        array(&self.0, "methods").iter().map(Method)
    }

    pub(crate) fn method(&self, name: &str) -> Option<Method<'_>> {
        self.methods().find(|method| method.name() == name)
    }

    pub(crate) fn topics(&self) -> Vec<&str> {
        array(&self.0, "x-panpipe-topics").iter().filter_map(Value::as_str).collect()
    }

    /// The title and the version.
    pub(crate) fn title(&self) -> (&str, &str) {
        let info = |key| self.0.get("info").and_then(|info| info.get(key)).and_then(Value::as_str).unwrap_or_default();
        (info("title"), info("version"))
    }

    /// The schemas that others refer to by their names.
    pub(crate) fn schemas(&self) -> impl Iterator<Item = (&str, &Value)> {
        let schemas = self.0.get("components").and_then(|components| components.get("schemas"));
        entries(schemas).filter_map(|(name, schema)| Some((name.as_str()?, schema)))
    }

    /// The schema itself where it is a reference.
    pub(crate) fn resolved<'d>(&'d self, schema: &'d Value) -> &'d Value {
        let Some(name) = reference(schema) else { return schema };
        self.schemas().find(|(known, _)| *known == name).map_or(schema, |(_, schema)| schema)
    }

    /// The JSON types that a value of this schema may have; none where it may have any.
    pub(crate) fn types<'d>(&'d self, schema: &'d Value) -> Vec<&'d str> {
        let schema = self.resolved(schema);
        if let Some(name) = schema.get("type").and_then(Value::as_str) {
            return vec![name];
        }
        if let Some(names) = schema.get("type").and_then(Value::as_array) {
            return names.iter().filter_map(Value::as_str).collect();
        }
        let constants = schema.get("const").into_iter().chain(array(schema, "enum"));
        let mut types: Vec<_> = constants.map(type_of).collect();
        for alternative in alternatives(schema) {
            match self.types(alternative) {
                any if any.is_empty() => return Vec::new(),
                known => types.extend(known),
            }
        }
        types
    }
}

impl<'d> Method<'d> {
    pub(crate) fn name(self) -> &'d str {
        text(self.0, "name")
    }

    /// What it does, for people; empty where nothing is said.
    pub(crate) fn doc(self) -> &'d str {
        text(self.0, "description")
    }

    pub(crate) fn parameters(self) -> impl Iterator<Item = Parameter<'d>> {
        array(self.0, "params").iter().map(Parameter)
    }

    /// Whether arguments may be given by name.
    pub(crate) fn has_names(self) -> bool {
        text(self.0, "paramStructure") != "by-position"
    }

    /// The schema of the reply, or of the items of a stream.
    pub(crate) fn result(self) -> &'d Value {
        self.0.get("result").and_then(|result| result.get("schema")).unwrap_or(&Value::Nil)
    }

    /// Whether it answers with a stream.
    pub(crate) fn streams(self) -> bool {
        self.says("stream")
    }

    /// Whether its caller streams arguments to it.
    pub(crate) fn takes_stream(self) -> bool {
        self.says("arguments")
    }

    fn says(self, what: &str) -> bool {
        self.0.get("x-panpipe").and_then(|more| more.get(what)) == Some(&Value::Bool(true))
    }

    /// How it is called, as `upper(text: string) -> string`.
    pub(crate) fn signature(self) -> String {
        let parameters: Vec<_> = self.parameters().map(Parameter::signature).collect();
        let arrow = if self.streams() { "-> stream of" } else { "->" };
        let more = if self.takes_stream() { ", takes a stream" } else { "" };
        format!("{}({}) {arrow} {}{more}", self.name(), parameters.join(", "), spelled(self.result()))
    }
}

impl<'d> Parameter<'d> {
    pub(crate) fn name(self) -> &'d str {
        text(self.0, "name")
    }

    pub(crate) fn is_required(self) -> bool {
        self.0.get("required") == Some(&Value::Bool(true))
    }

    pub(crate) fn schema(self) -> &'d Value {
        self.0.get("schema").unwrap_or(&Value::Nil)
    }

    fn signature(self) -> String {
        let mark = if self.is_required() { "" } else { "?" };
        format!("{}{mark}: {}", self.name(), spelled(self.schema()))
    }
}

/// A schema in a few words, as `array of integer`.
pub(crate) fn spelled(schema: &Value) -> String {
    if let Some(name) = reference(schema) {
        return name.to_owned();
    }
    if let Some(format) = schema.get("format").and_then(Value::as_str) {
        match format {
            "binary" => return "bytes".to_owned(),
            "date-time" => return "time".to_owned(),
            _ => {}
        }
    }
    let any_of = |schemas: &mut dyn Iterator<Item = &Value>| schemas.map(spelled).collect::<Vec<_>>().join(" | ");
    let constants: Vec<_> = schema.get("const").into_iter().chain(array(schema, "enum")).collect();
    if !constants.is_empty() {
        return constants.into_iter().map(crate::json::line).collect::<Vec<_>>().join(" | ");
    }
    match alternatives(schema) {
        [] => {}
        some => return any_of(&mut some.iter()),
    }
    match (text(schema, "type"), text(schema, "title")) {
        ("object", title) if !title.is_empty() => title.to_owned(),
        ("object", _) => match schema.get("additionalProperties") {
            Some(value @ Value::Map(_)) => format!("map of {}", spelled(value)),
            _ => object(schema),
        },
        ("array", _) => match (schema.get("prefixItems"), schema.get("items")) {
            (Some(Value::Array(items)), _) => {
                format!("[{}]", items.iter().map(spelled).collect::<Vec<_>>().join(", "))
            }
            (_, Some(item)) => format!("array of {}", spelled(item)),
            _ => "array".to_owned(),
        },
        ("", _) => "any".to_owned(),
        (name, _) => name.to_owned(),
    }
}

fn object(schema: &Value) -> String {
    let fields: Vec<_> = properties(schema)
        .map(|(name, schema, is_required)| format!("{name}{}: {}", if is_required { "" } else { "?" }, spelled(schema)))
        .collect();
    if fields.is_empty() { "object".to_owned() } else { format!("{{{}}}", fields.join(", ")) }
}

/// The fields of an object: name, schema, and whether it must be there.
pub(crate) fn properties(schema: &Value) -> impl Iterator<Item = (&str, &Value, bool)> {
    let required = array(schema, "required");
    entries(schema.get("properties")).filter_map(move |(name, field)| {
        let name = name.as_str()?;
        Some((name, field, required.iter().any(|required| required.as_str() == Some(name))))
    })
}

/// The schemas of which one fits.
pub(crate) fn alternatives(schema: &Value) -> &[Value] {
    match array(schema, "anyOf") {
        [] => array(schema, "oneOf"),
        some => some,
    }
}

/// The name of the schema that this one refers to.
pub(crate) fn reference(schema: &Value) -> Option<&str> {
    schema.get("$ref").and_then(Value::as_str)?.rsplit('/').next()
}

/// What JSON calls the type of a value.
pub(crate) fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Nil => "null",
        Value::Bool(_) => "boolean",
        Value::Integer(_) => "integer",
        Value::Float(_) => "number",
        Value::Text(_) | Value::Bytes(_) | Value::Time(_) => "string",
        Value::Array(_) => "array",
        Value::Map(_) => "object",
    }
}

pub(crate) fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

pub(crate) fn array<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value.get(key).and_then(Value::as_array).unwrap_or_default()
}

fn entries(value: Option<&Value>) -> impl Iterator<Item = (&Value, &Value)> {
    let entries = match value {
        Some(Value::Map(entries)) => entries.as_slice(),
        _ => &[],
    };
    entries.iter().map(|(key, value)| (key, value))
}
