//! `panpipe stubs`: a client with types, written from what a service says of itself.

mod python;
mod rust;
mod shape;
mod typescript;

use std::process::ExitCode;

use clap::ValueEnum;
use panpipe::Result;

use crate::arguments::Stubs;
use crate::description::{Description, Method, Parameter};
use crate::{describe, report, visit};

/// A language that clients are written in.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Language {
    /// TypeScript, for Node.js and browsers
    Ts,
    /// Python, for panpipe.aio
    Py,
    /// Rust, on tokio
    Rust,
}

pub(crate) fn run(arguments: Stubs) -> Result<ExitCode> {
    let address = visit::address_of(&arguments.target.address, arguments.started.program)?;
    visit::at(&address, arguments.target.timeout, async |peer| {
        let description = describe::of(peer, &address).await?;
        let write = match arguments.lang {
            Language::Ts => typescript::client,
            Language::Py => python::client,
            Language::Rust => rust::client,
        };
        report::print(&[write(&description).as_bytes()])?;
        Ok(ExitCode::SUCCESS)
    })
}

/// The parameters of a method, as a client gives them: by position up to the first that may be left out, where names
/// can be used, and the others by name.
fn divided(method: Method<'_>) -> (Vec<Parameter<'_>>, Vec<Parameter<'_>>) {
    let parameters: Vec<_> = method.parameters().collect();
    let first_named = match method.has_names() {
        true => parameters.iter().position(|parameter| !parameter.is_required()).unwrap_or(parameters.len()),
        false => parameters.len(),
    };
    (parameters[..first_named].to_vec(), parameters[first_named..].to_vec())
}

/// What a client was written from, for a comment of one line.
fn told(description: &Description) -> String {
    let (title, version) = description.title();
    report::escaped(&format!("{title} {version}"))
}

/// The words of a name, whatever divides them: `growPlant`, `grow_plant` and `garden.grow` are two words each.
fn words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut begins = true;
    let mut was_lower = false;
    for c in name.chars() {
        if !c.is_alphanumeric() {
            begins = true;
            continue;
        }
        if begins || (was_lower && c.is_uppercase()) {
            words.push(String::new());
        }
        begins = false;
        was_lower = c.is_lowercase() || c.is_numeric();
        if let Some(word) = words.last_mut() {
            word.extend(c.to_lowercase());
        }
    }
    if !words.first().is_some_and(|word| word.starts_with(char::is_alphabetic)) {
        words.insert(0, "x".to_owned());
    }
    words
}

fn snake(name: &str) -> String {
    words(name).join("_")
}

fn pascal(name: &str) -> String {
    words(name).iter().map(|word| capital(word)).collect()
}

fn camel(name: &str) -> String {
    let words = words(name);
    words.iter().enumerate().map(|(at, word)| if at == 0 { word.clone() } else { capital(word) }).collect()
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// Gives the names of a scope that are taken, or mean something else, an underscore.
struct Names {
    taken: Vec<String>,
    reserved: &'static [&'static str],
}

impl Names {
    fn new(reserved: &'static [&'static str]) -> Self {
        Names { taken: Vec::new(), reserved }
    }

    fn free(&mut self, name: String) -> String {
        let mut free = name;
        while self.taken.contains(&free) || self.reserved.contains(&free.as_str()) {
            free.push('_');
        }
        self.taken.push(free.clone());
        free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Rust's services say of an enum, a type in itself, and names that no language takes.
    const DOCUMENT: &str = r##"{"info": {"title": "odd", "version": "1"}, "methods": [
        {"name": "draw", "paramStructure": "by-position", "params": [
            {"name": "argument1", "required": true, "schema": {"title": "Figure", "oneOf": [
                {"const": "Dot"},
                {"type": "object", "properties": {"Line": {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "number"}]}}, "required": ["Line"]}
            ]}},
            {"name": "argument2", "required": false, "schema": {"anyOf": [{"type": "string"}, {"type": "null"}]}}
        ], "result": {"schema": {"$ref": "#/components/schemas/tree.Node"}}},
        {"name": "class", "description": "Ends no */ comment", "params": [{"name": "for", "required": true, "schema": {}}],
         "result": {"schema": {"type": "object", "additionalProperties": {"type": "boolean"}}}, "x-panpipe": {"stream": true}}
    ], "components": {"schemas": {"tree.Node": {"type": "object", "properties": {
        "left": {"anyOf": [{"$ref": "#/components/schemas/tree.Node"}, {"type": "null"}]},
        "all of it": {"type": "array", "items": {"$ref": "#/components/schemas/tree.Node"}}
    }, "required": ["left"]}}}}"##;

    #[track_caller]
    fn writes(client: fn(&Description) -> String, parts: &[&str]) {
        let text = client(&Description(crate::json::parse(DOCUMENT).unwrap()));
        for part in parts {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }

    #[test]
    fn odd_types_and_names_have_a_place_in_each_language() {
        writes(
            typescript::client,
            &[
                "draw(argument1: \"Dot\" | DrawArgument1, argument2: string | null = null, call",
                "export interface DrawArgument1 {\n  Line: [number, number];\n}",
                "export interface TreeNode {\n  left: TreeNode | null;\n  \"all of it\"?: Array<TreeNode>;\n}",
                "   * Ends no * / comment",
                "class(for_: any, call: CallOptions = {}): Items<Record<string, boolean>> {",
            ],
        );
        writes(
            python::client,
            &[
                "async def draw(self, argument1: Literal[\"Dot\"] | DrawArgument1, argument2: str | None = None) -> TreeNode:",
                "TreeNode = TypedDict(\"TreeNode\", {\n    \"left\": \"TreeNode | None\",\n    \"all of it\": \"NotRequired[list[TreeNode]]\",\n})",
                "def class_(self, for_: Any) -> AsyncIterator[dict[str, bool]]:",
                "self.peer.stream(\"class\", for_)",
            ],
        );
        writes(
            rust::client,
            &[
                "pub async fn draw(&self, argument1: panpipe::Value, argument2: Option<String>) -> panpipe::Result<TreeNode> {",
                "    pub left: Option<Box<TreeNode>>,\n    #[serde(rename = \"all of it\", default",
                "    pub all_of_it: Option<Vec<TreeNode>>,\n",
                "pub fn class(&self, for_: panpipe::Value) -> panpipe::Stream<std::collections::BTreeMap<String, bool>> {",
            ],
        );
    }

    #[test]
    fn names_are_divided_into_words() {
        for (name, snakes, pascals, camels) in [
            ("growPlant", "grow_plant", "GrowPlant", "growPlant"),
            ("garden.grow-now", "garden_grow_now", "GardenGrowNow", "gardenGrowNow"),
            ("2fast", "x_2fast", "X2fast", "x2fast"),
            ("!", "x", "X", "x"),
        ] {
            assert_eq!((snake(name).as_str(), pascal(name).as_str(), camel(name).as_str()), (snakes, pascals, camels));
        }
        let mut names = Names::new(&["class"]);
        assert_eq!([names.free("class".into()), names.free("a".into()), names.free("a".into())], ["class_", "a", "a_"]);
    }
}
