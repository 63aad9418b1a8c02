//! `panpipe describe`: what a service offers.

use std::process::ExitCode;

use panpipe::{Error, ErrorKind, Peer, Result};
use panpipe_link::Address;

use crate::arguments::Describe;
use crate::description::{Description, properties, spelled};
use crate::{json, report, visit};

pub(crate) fn run(arguments: Describe) -> Result<ExitCode> {
    let address = visit::address_of(&arguments.target.address, arguments.started.program)?;
    visit::at(&address, arguments.target.timeout, async |peer| {
        let description = of(peer, &address).await?;
        let text = match arguments.json {
            true => json::lines(&description.0) + "\n",
            false => report::escaped_lines(&readable(&description)),
        };
        report::print(&[text.as_bytes()])?;
        Ok(ExitCode::SUCCESS)
    })
}

/// The description of the other side, which must have one.
///
/// # Errors
/// `not-found` where it offers nothing, and those of a call.
pub(crate) async fn of(peer: &Peer, address: &Address) -> Result<Description> {
    Description::of(peer).await?.ok_or_else(|| {
        let error = Error::new(ErrorKind::NotFound, format!("describing {}", address.text())).at(address.text());
        error.because("the other side offers no service")
    })
}

fn readable(description: &Description) -> String {
    let (title, version) = description.title();
    let mut text = format!("{title} {version}\n");
    for method in description.methods() {
        text += &format!("\n  {}\n", method.signature());
        text.extend(method.doc().lines().map(|line| format!("      {line}\n")));
    }
    for (name, schema) in description.schemas() {
        text += &format!("\n  {name}\n");
        for (field, schema, is_required) in properties(schema) {
            text += &format!("      {field}{}: {}\n", if is_required { "" } else { "?" }, spelled(schema));
        }
    }
    if !description.topics().is_empty() {
        text += &format!("\n  topics: {}\n", description.topics().join(", "));
    }
    text
}
