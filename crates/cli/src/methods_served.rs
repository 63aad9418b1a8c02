//! What `panpipe serve` offers at an address that means calls: its handlers as methods, and for the plain peers of such an
//! address as they are.

use std::sync::Arc;

use panpipe::{Bytes, HandlerError, Service, Value};
use panpipe_link::{Address, PLAIN};

use crate::arguments::Handler;
use crate::messages_served;
use crate::program::Program;

/// The service of a handler, at an address.
pub(crate) fn service(handler: &Handler, address: &Address) -> Service {
    let service = Service::new().title("panpipe serve", env!("CARGO_PKG_VERSION"));
    let accepts_plain = address.accepts.as_ref().is_some_and(|accepts| accepts.framing.is_some());
    let service = match accepts_plain {
        true => service.plain(messages_served::handler(handler, &address.for_peer_of(PLAIN))),
        false => service,
    };
    match handler.program_for(address) {
        Some(program) => {
            let doc = format!("Runs {}: its argument is stdin, its stdout the reply", handler.command());
            let run = move |input: Value| {
                let program = Arc::clone(&program);
                async move { run(&program, input).await }
            };
            service.method("run", run).parameters(["input"]).doc(doc)
        }
        None if handler.upper => {
            let upper = |text: String| async move { Ok(text.to_uppercase()) };
            service.method("upper", upper).parameters(["text"]).doc("The text in upper case")
        }
        None => {
            let echo = |value: Value| async move { Ok(value) };
            service.method("echo", echo).parameters(["value"]).doc("The value itself")
        }
    }
}

/// Text is answered with text where it can be, and bytes with bytes.
async fn run(program: &Program, input: Value) -> Result<Value, HandlerError> {
    let (input, is_text) = match input {
        Value::Text(text) => (Bytes::from(text), true),
        Value::Bytes(bytes) => (bytes, false),
        _ => return Err(HandlerError::new("input is to be a text or bytes").code("invalid-arguments")),
    };
    let ends_a_line = input.ends_with(b"\n");
    let mut output = program.answer(input).await.map_err(HandlerError::new)?;
    if !is_text {
        return Ok(Value::Bytes(output.into()));
    }
    // As in a shell's $(…): a text that ends no line is answered with one that ends none.
    if !ends_a_line && output.last() == Some(&b'\n') {
        output.pop();
    }
    Ok(String::from_utf8(output).map_or_else(|error| Value::Bytes(error.into_bytes().into()), Value::Text))
}
