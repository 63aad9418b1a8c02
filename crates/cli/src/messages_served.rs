//! What `panpipe serve` offers at an address that means plain messages: its handlers as they are.

use std::pin::Pin;
use std::sync::Arc;

use panpipe::Bytes;
use panpipe_link::Address;

use crate::arguments::Handler;

type Answer = Pin<Box<dyn Future<Output = Result<Vec<u8>, String>> + Send>>;

/// The handler of plain messages at an address.
pub(crate) fn handler(handler: &Handler, address: &Address) -> impl panpipe::plain::Handler + use<> {
    let program = handler.program_for(address);
    let (upper, is_text) = (handler.upper, address.text_messages);
    move |message: Bytes| -> Answer {
        if let Some(program) = &program {
            let program = Arc::clone(program);
            return Box::pin(async move { program.answer(message).await });
        }
        let answer = match upper {
            // What arrives with `text=true` is UTF-8 already.
            true if is_text => String::from_utf8_lossy(&message).to_uppercase().into_bytes(),
            true => message.to_ascii_uppercase(),
            false => message.to_vec(),
        };
        Box::pin(std::future::ready(Ok(answer)))
    }
}
