//! JSON Schemas of Rust types, without a derive: from what a type asks of serde when it is read.
//!
//! A type is read again and again from a reader that makes up what it is asked for and notes it, until nothing new is
//! asked: another variant of each enum at each time, and fields last that cannot be read from made-up values.

use std::any::TypeId;

use bytes::Bytes;
use panpipe_values::{DEPTH_MAX, Timestamp, Value};
use serde::de::value::{Error, SeqDeserializer, StrDeserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error as _, MapAccess, SeqAccess, VariantAccess,
    Visitor,
};

/// The schema of a type that can be read. What it does not tell is left out: `{}` is anything.
pub(super) fn schema_of<T: DeserializeOwned + 'static>() -> Value {
    let mut node = Node::default();
    // Types end, but enums of enums of enums take long.
    for _ in 0..1000 {
        let mut run = Run::default();
        let _ = T::deserialize(Tracer { node: &mut node, run: &mut run });
        if !run.learnt {
            break;
        }
    }
    node.schema()
}

/// The schema of a type that need only be written, which tells nothing without a value: of the simplest types.
pub(super) fn schema_of_result<T: 'static>() -> Value {
    macro_rules! known {
        ($($type:ty)*) => {
            match TypeId::of::<T>() {
                $(id if id == TypeId::of::<$type>() => schema_of::<$type>(),)*
                id if id == TypeId::of::<&'static str>() => schema_of::<String>(),
                _ => anything(),
            }
        };
    }
    known! { () bool i8 i16 i32 i64 u8 u16 u32 u64 isize usize f32 f64 char String Bytes Timestamp Vec<String> }
}

fn anything() -> Value {
    Value::Map(Vec::new())
}

fn of_type(name: &str) -> Value {
    Value::map([("type", name)])
}

/// What is known of a type at one place.
#[derive(Default)]
struct Node {
    shape: Option<Shape>,
    /// Reading it again tells nothing new.
    known: bool,
    /// It cannot be read from what is made up.
    failed: bool,
}

enum Shape {
    Plain(Value),
    /// Of a variant that is only a name.
    NoContent,
    Optional(Box<Node>),
    Array(Box<Node>),
    Tuple(Vec<Node>),
    Map(Box<Node>),
    Struct {
        name: &'static str,
        fields: Vec<(&'static str, Node)>,
    },
    Enum {
        name: &'static str,
        variants: Vec<(&'static str, Node)>,
    },
}

impl Node {
    fn schema(&self) -> Value {
        match &self.shape {
            None | Some(Shape::NoContent) => anything(),
            Some(Shape::Plain(schema)) => schema.clone(),
            Some(Shape::Optional(inner)) => Value::map([("anyOf", vec![inner.schema(), of_type("null")])]),
            Some(Shape::Array(item)) => Value::map([("type", "array".into()), ("items", item.schema())]),
            Some(Shape::Tuple(items)) => Value::map([
                ("type", "array".into()),
                ("prefixItems", items.iter().map(Node::schema).collect::<Vec<_>>().into()),
                ("minItems", Value::Integer(items.len() as i128)),
                ("maxItems", Value::Integer(items.len() as i128)),
            ]),
            Some(Shape::Map(value)) => {
                Value::map([("type", "object".into()), ("additionalProperties", value.schema())])
            }
            Some(Shape::Struct { name, fields }) => object(name, fields),
            Some(Shape::Enum { name, variants }) => choice(name, variants),
        }
    }
}

fn object(name: &str, fields: &[(&str, Node)]) -> Value {
    let required = fields.iter().filter(|(_, node)| !matches!(node.shape, Some(Shape::Optional(_))));
    let mut entries = vec![
        ("type", "object".into()),
        ("properties", Value::map(fields.iter().map(|(name, node)| (*name, node.schema())))),
        ("required", required.map(|(name, _)| *name).collect::<Vec<_>>().into()),
    ];
    if !name.is_empty() {
        entries.insert(0, ("title", name.into()));
    }
    Value::map(entries)
}

fn choice(name: &str, variants: &[(&str, Node)]) -> Value {
    let is_bare = |node: &Node| matches!(node.shape, Some(Shape::NoContent));
    if variants.iter().all(|(_, node)| is_bare(node)) {
        let names: Vec<_> = variants.iter().map(|(variant, _)| *variant).collect();
        return Value::map([("title", Value::from(name)), ("type", "string".into()), ("enum", names.into())]);
    }
    let one = variants.iter().map(|(variant, node)| match is_bare(node) {
        true => Value::map([("const", *variant)]),
        false => Value::map([
            ("type", "object".into()),
            ("properties", Value::map([(*variant, node.schema())])),
            ("required", vec![*variant].into()),
        ]),
    });
    Value::map([("title", Value::from(name)), ("oneOf", one.collect::<Vec<_>>().into())])
}

/// One time that the type is read.
#[derive(Default)]
struct Run {
    /// Something was asked for that was not known.
    learnt: bool,
    /// The types that are being read: one that is in itself ends there.
    open: Vec<&'static str>,
    depth: usize,
}

struct Tracer<'n> {
    node: &'n mut Node,
    run: &'n mut Run,
}

/// Notes what is asked for, the first time.
fn note<'n>(node: &'n mut Node, run: &mut Run, shape: impl FnOnce() -> Shape) -> &'n mut Shape {
    run.learnt |= node.shape.is_none();
    node.shape.get_or_insert_with(shape)
}

/// Reads what is inside; notes when there is no more to learn there, and whether it can be read at all.
fn inside<T>(node: &mut Node, run: &mut Run, read: impl FnOnce(Tracer<'_>) -> Result<T, Error>) -> Result<T, Error> {
    if run.depth == DEPTH_MAX {
        return Err(Error::custom("nested too deep"));
    }
    let before = std::mem::take(&mut run.learnt);
    run.depth += 1;
    let outcome = read(Tracer { node, run });
    run.depth -= 1;
    // What was learnt may make it succeed the next time.
    if !run.learnt && !node.known {
        (node.known, node.failed) = (true, outcome.is_err());
        run.learnt = true;
    }
    run.learnt |= before;
    outcome
}

/// Reads a type that has a name; one that is in itself ends there.
fn named<T>(run: &mut Run, name: &'static str, read: impl FnOnce(&mut Run) -> Result<T, Error>) -> Result<T, Error> {
    if run.open.contains(&name) {
        return Err(Error::custom("a type in itself"));
    }
    run.open.push(name);
    let outcome = read(run);
    run.open.pop();
    outcome
}

macro_rules! plain {
    ($($method:ident $visit:ident($made:expr) $schema:expr;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            note(self.node, self.run, || Shape::Plain($schema));
            visitor.$visit($made)
        }
    )*};
}

fn integer(least: Option<i64>, most: Option<i64>) -> Value {
    let bounds = [("minimum", least), ("maximum", most)];
    let bounds = bounds.into_iter().filter_map(|(name, bound)| Some((name, Value::from(bound?))));
    Value::map(std::iter::once(("type", "integer".into())).chain(bounds))
}

fn text_of(format: &str) -> Value {
    Value::map([("type", "string"), ("format", format)])
}

// Numbers are 1, which more types take than 0.
impl<'de> Deserializer<'de> for Tracer<'_> {
    type Error = Error;

    plain! {
        deserialize_bool visit_bool(false) of_type("boolean");
        deserialize_i8 visit_i8(1) integer(Some(i8::MIN.into()), Some(i8::MAX.into()));
        deserialize_i16 visit_i16(1) integer(Some(i16::MIN.into()), Some(i16::MAX.into()));
        deserialize_i32 visit_i32(1) integer(Some(i32::MIN.into()), Some(i32::MAX.into()));
        deserialize_i64 visit_i64(1) integer(None, None);
        deserialize_i128 visit_i128(1) integer(None, None);
        deserialize_u8 visit_u8(1) integer(Some(0), Some(u8::MAX.into()));
        deserialize_u16 visit_u16(1) integer(Some(0), Some(u16::MAX.into()));
        deserialize_u32 visit_u32(1) integer(Some(0), Some(u32::MAX.into()));
        deserialize_u64 visit_u64(1) integer(Some(0), None);
        deserialize_u128 visit_u128(1) integer(Some(0), None);
        deserialize_f32 visit_f32(1.0) of_type("number");
        deserialize_f64 visit_f64(1.0) of_type("number");
        deserialize_char visit_char('a') of_type("string");
        deserialize_str visit_borrowed_str("") of_type("string");
        deserialize_string visit_borrowed_str("") of_type("string");
        deserialize_identifier visit_borrowed_str("") of_type("string");
        deserialize_bytes visit_borrowed_bytes(&[]) text_of("binary");
        deserialize_byte_buf visit_borrowed_bytes(&[]) text_of("binary");
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        note(self.node, self.run, || Shape::Plain(anything()));
        visitor.visit_unit()
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_any(visitor)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        note(self.node, self.run, || Shape::Plain(of_type("null")));
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let Tracer { node, run } = self;
        match note(node, run, || Shape::Optional(Box::default())) {
            Shape::Optional(inner) if !inner.failed => inside(inner, run, |inner| visitor.visit_some(inner)),
            _ => visitor.visit_none(),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Error> {
        let Tracer { node, run } = self;
        if name == Timestamp::SERDE_NAME {
            note(node, run, || Shape::Plain(text_of("date-time")));
            return visitor.visit_newtype_struct(SeqDeserializer::new([0i64, 0].into_iter()));
        }
        named(run, name, |run| visitor.visit_newtype_struct(Tracer { node, run }))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let Tracer { node, run } = self;
        match note(node, run, || Shape::Array(Box::default())) {
            Shape::Array(item) => visitor.visit_seq(Items { nodes: std::slice::from_mut(item), next: 0, run }),
            // A type that asks for something else at each time.
            _ => Err(changed()),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Error> {
        let Tracer { node, run } = self;
        match note(node, run, || Shape::Tuple((0..len).map(|_| Node::default()).collect())) {
            Shape::Tuple(nodes) => visitor.visit_seq(Items { nodes, next: 0, run }),
            _ => Err(changed()),
        }
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        let Tracer { node, run } = self;
        named(run, name, |run| Tracer { node, run }.deserialize_tuple(len, visitor))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let Tracer { node, run } = self;
        match note(node, run, || Shape::Map(Box::default())) {
            Shape::Map(value) => visitor.visit_map(Entry { value, key: Node::default(), given: false, run }),
            _ => Err(changed()),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let Tracer { node, run } = self;
        named(run, name, |run| give_fields(node, run, name, fields, visitor))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let Tracer { node, run } = self;
        named(run, name, |run| give_variant(node, run, name, variants, visitor))
    }
}

fn changed() -> Error {
    Error::custom("a type that is read in different ways")
}

fn give_fields<'de, V: Visitor<'de>>(
    node: &mut Node,
    run: &mut Run,
    name: &'static str,
    fields: &'static [&'static str],
    visitor: V,
) -> Result<V::Value, Error> {
    let shape = || Shape::Struct { name, fields: fields.iter().map(|name| (*name, Node::default())).collect() };
    let Shape::Struct { fields, .. } = note(node, run, shape) else { return Err(changed()) };
    // What fails ends the reading, and so comes last.
    let (good, bad): (Vec<_>, Vec<_>) = (0..fields.len()).partition(|index| !fields[*index].1.failed);
    let order = good.into_iter().chain(bad).collect();
    visitor.visit_map(Fields { fields, order, next: 0, run })
}

fn give_variant<'de, V: Visitor<'de>>(
    node: &mut Node,
    run: &mut Run,
    name: &'static str,
    variants: &'static [&'static str],
    visitor: V,
) -> Result<V::Value, Error> {
    let shape = || Shape::Enum { name, variants: variants.iter().map(|name| (*name, Node::default())).collect() };
    let Shape::Enum { variants, .. } = note(node, run, shape) else { return Err(changed()) };
    let unknown = variants.iter().position(|(_, node)| !node.known);
    let good = || variants.iter().position(|(_, node)| !node.failed);
    let Some(index) = unknown.or_else(good) else { return Err(Error::custom("no variant can be read")) };
    let (variant, node) = &mut variants[index];
    inside(node, run, |tracer| visitor.visit_enum(Variant { name: variant, tracer }))
}

/// One item of an array, or all of a tuple.
struct Items<'n> {
    nodes: &'n mut [Node],
    next: usize,
    run: &'n mut Run,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        let Some(node) = self.nodes.get_mut(self.next).filter(|node| !node.failed) else { return Ok(None) };
        self.next += 1;
        inside(node, self.run, |item| seed.deserialize(item)).map(Some)
    }
}

/// One entry of a map.
struct Entry<'n> {
    key: Node,
    value: &'n mut Node,
    given: bool,
    run: &'n mut Run,
}

impl<'de> MapAccess<'de> for Entry<'_> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        if self.given || self.value.failed {
            return Ok(None);
        }
        self.given = true;
        // What is learnt of the key is not kept.
        let mut run = Run { depth: self.run.depth, ..Run::default() };
        inside(&mut self.key, &mut run, |key| seed.deserialize(key)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        inside(self.value, self.run, |value| seed.deserialize(value))
    }
}

struct Fields<'n> {
    fields: &'n mut [(&'static str, Node)],
    order: Vec<usize>,
    next: usize,
    run: &'n mut Run,
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        let Some(index) = self.order.get(self.next) else { return Ok(None) };
        seed.deserialize(StrDeserializer::new(self.fields[*index].0)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        let index = self.order[self.next];
        self.next += 1;
        inside(&mut self.fields[index].1, self.run, |field| seed.deserialize(field))
    }
}

struct Variant<'n> {
    name: &'static str,
    tracer: Tracer<'n>,
}

impl<'de, 'n> EnumAccess<'de> for Variant<'n> {
    type Error = Error;
    type Variant = Tracer<'n>;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Tracer<'n>), Error> {
        Ok((seed.deserialize(StrDeserializer::<Error>::new(self.name))?, self.tracer))
    }
}

impl<'de> VariantAccess<'de> for Tracer<'_> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        note(self.node, self.run, || Shape::NoContent);
        Ok(())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Error> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_tuple(len, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Error> {
        give_fields(self.node, self.run, "", fields, visitor)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashSet};
    use std::net::IpAddr;
    use std::num::NonZeroU16;

    use serde::Deserialize;
    use serde_json::{Value as Json, json};

    use super::*;

    fn schema<T: DeserializeOwned + 'static>() -> Json {
        schema_of::<T>().to().unwrap()
    }

    #[test]
    fn of_plain_types() {
        assert_eq!(schema::<u8>(), json!({"type": "integer", "minimum": 0, "maximum": 255}));
        assert_eq!(schema::<u64>(), json!({"type": "integer", "minimum": 0}));
        assert_eq!(
            schema::<Vec<HashSet<bool>>>(),
            json!({"type": "array", "items": {"type": "array", "items": {"type": "boolean"}}})
        );
        assert_eq!(
            schema::<BTreeMap<u8, f32>>(),
            json!({"type": "object", "additionalProperties": {"type": "number"}})
        );
        let pair = json!([{"type": "string"}, {"anyOf": [{"type": "string", "format": "binary"}, {"type": "null"}]}]);
        assert_eq!(
            schema::<(char, Option<Bytes>)>(),
            json!({"type": "array", "prefixItems": pair, "minItems": 2, "maxItems": 2})
        );
        assert_eq!(schema::<Timestamp>(), json!({"type": "string", "format": "date-time"}));
        assert_eq!(schema::<()>(), json!({"type": "null"}));
        assert_eq!(schema::<Value>(), json!({}));
        assert_eq!(schema_of_result::<&'static str>(), schema_of::<String>());
        assert_eq!(schema_of_result::<IpAddr>(), anything());
    }

    #[derive(Deserialize)]
    enum Color {
        Red,
        Green,
    }

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only their shape counts")]
    enum Shape {
        Dot,
        Line(i64, i64),
        Tree(Vec<Shape>),
        Area { color: Color, owner: Option<Owner> },
    }

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only their shape counts")]
    struct Owner {
        address: IpAddr,
        port: NonZeroU16,
        friends: Vec<Owner>,
        best: Option<Box<Owner>>,
        age: Age,
    }

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only their shape counts")]
    struct Age(u8);

    #[test]
    fn of_structs_that_hold_themselves_and_what_cannot_be_made_up() {
        let owner = json!({
            "title": "Owner",
            "type": "object",
            "properties": {
                "address": {"type": "string"},
                "port": {"type": "integer", "minimum": 0, "maximum": 65535},
                "friends": {"type": "array", "items": {}},
                "best": {"anyOf": [{}, {"type": "null"}]},
                "age": {"type": "integer", "minimum": 0, "maximum": 255},
            },
            "required": ["address", "port", "friends", "age"],
        });
        assert_eq!(schema::<Owner>(), owner);
        let color = json!({"title": "Color", "type": "string", "enum": ["Red", "Green"]});
        assert_eq!(schema::<Color>(), color);
        let line = json!({"type": "array", "prefixItems": [{"type": "integer"}, {"type": "integer"}], "minItems": 2, "maxItems": 2});
        let area = json!({
            "type": "object",
            "properties": {"color": color, "owner": {"anyOf": [owner, {"type": "null"}]}},
            "required": ["color"],
        });
        assert_eq!(
            schema::<Shape>(),
            json!({"title": "Shape", "oneOf": [
                {"const": "Dot"},
                {"type": "object", "properties": {"Line": line}, "required": ["Line"]},
                {"type": "object", "properties": {"Tree": {"type": "array", "items": {}}}, "required": ["Tree"]},
                {"type": "object", "properties": {"Area": area}, "required": ["Area"]},
            ]})
        );
    }

    #[test]
    fn of_types_that_serde_reads_whole_first_is_anything() {
        #[derive(Deserialize)]
        #[serde(tag = "kind")]
        #[expect(dead_code, reason = "only their shape counts")]
        enum Tagged {
            One { x: u8 },
        }
        assert_eq!(schema::<Tagged>(), json!({}));
        assert_eq!(schema::<(Tagged, u8)>()["prefixItems"], json!([{}, {}]));
    }
}
