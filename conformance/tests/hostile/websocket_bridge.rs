//! A WebSocket before a socket of the suite's or a server's, for a client that reaches nothing else.

use std::io::{Read, Write};
use std::thread;

use crate::Result;
use crate::peer::Peer;
use crate::stream::{Listener, Stream};
use crate::written_websocket::{BINARY, CLOSE, Frame, Sender, goodbye, message, welcome};

/// The address by which `client` reaches what listens at `address`: mostly the same.
pub(crate) fn reached_by(client: Peer, address: String) -> std::io::Result<String> {
    if !client.only_knows_websockets() {
        return Ok(address);
    }
    let listener = Listener::tcp()?;
    let reached = format!("ws://{}?protocol=panpipe", listener.place()?);
    thread::spawn(move || {
        while let Ok(stream) = listener.accept() {
            let address = address.clone();
            // Whichever end breaks off, the other is judged by what it says.
            thread::spawn(move || carry(stream, &address).map_err(crate::text));
        }
    });
    Ok(reached)
}

/// Carries bytes both ways until one end has no more.
fn carry(mut client: Stream, address: &str) -> Result<()> {
    welcome(&mut client)?;
    let mut server = Stream::connect(address)?;
    let (mut from_server, mut to_client) = (server.try_clone()?, client.try_clone()?);
    thread::spawn(move || {
        let mut buffer = [0; 16 << 10];
        while let Ok(count @ 1..) = from_server.read(&mut buffer) {
            if to_client.write_all(&message(BINARY, &buffer[..count], Sender::Server)).is_err() {
                return;
            }
        }
        let _ = to_client.write_all(&goodbye(Sender::Server));
    });
    while let Some(frame) = Frame::read(&mut client, Sender::Client)?.filter(|frame| frame.opcode != CLOSE) {
        server.write_all(&frame.payload)?;
    }
    Ok(server.end_output()?)
}
