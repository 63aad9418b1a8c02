//! The types of a service, as its JSON Schemas tell them: what all languages can write.

use panpipe::Value;

use super::pascal;
use crate::description::{Description, alternatives, array, properties, reference, text, type_of};

/// A type.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Shape {
    Any,
    Nothing,
    Bool,
    Integer,
    Number,
    Text,
    Bytes,
    Time,
    Array(Box<Shape>),
    Tuple(Vec<Shape>),
    Map(Box<Shape>),
    /// One of several.
    Union(Vec<Shape>),
    /// One of these values.
    Literals(Vec<Value>),
    /// The record of this number.
    Record(usize),
}

/// A type with fields.
pub(super) struct Record {
    pub(super) name: String,
    pub(super) fields: Vec<Field>,
    /// What it was read from.
    schema: Value,
}

pub(super) struct Field {
    pub(super) name: String,
    pub(super) shape: Shape,
    pub(super) is_required: bool,
}

/// The types of a description, whose records are found while they are asked for.
pub(super) struct Shapes<'d> {
    description: &'d Description,
    pub(super) records: Vec<Record>,
    /// What records may not be called.
    reserved: &'static [&'static str],
}

impl Shape {
    /// The type without nothing, and whether it may be nothing.
    pub(super) fn optional(&self) -> (Shape, bool) {
        let Shape::Union(some) = self else { return (self.clone(), *self == Shape::Nothing) };
        let others: Vec<_> = some.iter().filter(|shape| **shape != Shape::Nothing).cloned().collect();
        let may_be_nothing = others.len() < some.len();
        match others.as_slice() {
            [one] => (one.clone(), may_be_nothing),
            _ => (Shape::Union(others), may_be_nothing),
        }
    }
}

impl<'d> Shapes<'d> {
    pub(super) fn new(description: &'d Description, reserved: &'static [&'static str]) -> Self {
        Shapes { description, records: Vec::new(), reserved }
    }

    /// The type that a schema tells; a record without a name is called after `place`.
    pub(super) fn of(&mut self, schema: &Value, place: &str) -> Shape {
        if let Some(name) = reference(schema) {
            let description = self.description;
            let found = description.schemas().find(|(known, _)| *known == name).map(|(_, schema)| schema);
            return found.map_or(Shape::Any, |found| self.of(found, name));
        }
        let constants: Vec<_> = schema.get("const").into_iter().chain(array(schema, "enum")).cloned().collect();
        if !constants.is_empty() {
            let can_be_written = |value: &Value| matches!(type_of(value), "string" | "integer" | "boolean" | "null");
            return if constants.iter().all(can_be_written) { Shape::Literals(constants) } else { Shape::Any };
        }
        let of_any = alternatives(schema);
        if !of_any.is_empty() {
            let mut some: Vec<Shape> = Vec::new();
            for alternative in of_any {
                match self.of(alternative, place) {
                    Shape::Any => return Shape::Any,
                    shape if some.contains(&shape) => {}
                    shape => some.push(shape),
                }
            }
            return if some.len() == 1 { some.remove(0) } else { Shape::Union(some) };
        }
        match (text(schema, "type"), text(schema, "format")) {
            ("null", _) => Shape::Nothing,
            ("boolean", _) => Shape::Bool,
            ("integer", _) => Shape::Integer,
            ("number", _) => Shape::Number,
            ("string", "binary") => Shape::Bytes,
            ("string", "date-time") => Shape::Time,
            ("string", _) => Shape::Text,
            ("array", _) => self.array(schema, place),
            ("object", _) => self.object(schema, place),
            _ => Shape::Any,
        }
    }

    fn array(&mut self, schema: &Value, place: &str) -> Shape {
        let items = array(schema, "prefixItems");
        if !items.is_empty() {
            return Shape::Tuple(items.iter().map(|item| self.of(item, place)).collect());
        }
        Shape::Array(Box::new(schema.get("items").map_or(Shape::Any, |item| self.of(item, place))))
    }

    fn object(&mut self, schema: &Value, place: &str) -> Shape {
        let Some(Value::Map(_)) = schema.get("properties") else {
            let value = schema.get("additionalProperties").filter(|value| matches!(value, Value::Map(_)));
            return Shape::Map(Box::new(value.map_or(Shape::Any, |value| self.of(value, place))));
        };
        if let Some(known) = self.records.iter().position(|record| record.schema == *schema) {
            return Shape::Record(known);
        }
        let mut name = pascal(if text(schema, "title").is_empty() { place } else { text(schema, "title") });
        while self.reserved.contains(&name.as_str()) || self.records.iter().any(|record| record.name == name) {
            name.push('_');
        }
        let number = self.records.len();
        // Known before its fields are, which may be of its own type.
        self.records.push(Record { name: name.clone(), fields: Vec::new(), schema: schema.clone() });
        let fields = properties(schema).map(|(field, schema, is_required)| Field {
            name: field.to_owned(),
            shape: self.of(schema, &format!("{name} {field}")),
            is_required,
        });
        let fields = fields.collect();
        self.records[number].fields = fields;
        Shape::Record(number)
    }

    /// Whether a value of the record can only be held by itself without end: its own field, or a field's.
    pub(super) fn holds_itself(&self, shape: &Shape, record: usize) -> bool {
        self.holds(shape, record, &mut Vec::new())
    }

    fn holds(&self, shape: &Shape, record: usize, seen: &mut Vec<usize>) -> bool {
        match shape {
            Shape::Record(found) if *found == record => true,
            Shape::Record(found) if seen.contains(found) => false,
            Shape::Record(found) => {
                seen.push(*found);
                self.records[*found].fields.iter().any(|field| self.holds(&field.shape, record, seen))
            }
            Shape::Tuple(some) | Shape::Union(some) => some.iter().any(|shape| self.holds(shape, record, seen)),
            _ => false,
        }
    }
}
