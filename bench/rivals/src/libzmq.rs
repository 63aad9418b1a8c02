//! libzmq with its default settings: DEALER and ROUTER for calls, PUSH and PULL for messages one way.

use std::sync::OnceLock;

use panpipe_bench_measure::{Measured, Outcome, Rate, Role, Sink, Task, Workload, announce, blocking, check, message};
use zmq::{Context, Message, SNDMORE, Socket, SocketType};

use crate::path;

pub(crate) fn serve(role: Role, address: &str) -> Outcome<()> {
    let endpoint = endpoint(address)?;
    match role {
        Role::Echo => {
            let router = bind(SocketType::ROUTER, &endpoint)?;
            announce(address)?;
            loop {
                let client = router.recv_msg(0)?;
                let request = router.recv_msg(0)?;
                router.send(client, SNDMORE)?;
                router.send(request, 0)?;
            }
        }
        Role::Sink => {
            let pull = bind(SocketType::PULL, &endpoint)?;
            let counts = bind(SocketType::PUSH, &for_counts(&endpoint))?;
            announce(address)?;
            let (mut sink, mut message) = (Sink::default(), Message::new());
            loop {
                pull.recv(&mut message, 0)?;
                if let Some(count) = sink.take(&message)? {
                    counts.send(&count[..], 0)?;
                }
            }
        }
        Role::Topics(_) => Err("topics are not compared".into()),
    }
}

pub(crate) fn measure(task: Task, address: &str) -> Outcome<Measured> {
    let endpoint = endpoint(address)?;
    match task.workload {
        Workload::InFlight => in_flight(task, &connect(SocketType::DEALER, &endpoint)?),
        Workload::Stream => {
            let output = connect(SocketType::PUSH, &endpoint)?;
            let input = connect(SocketType::PULL, &for_counts(&endpoint))?;
            blocking::measure(task, &mut Peer { output, input: Some(input) })
        }
        _ => {
            let output = connect(SocketType::DEALER, &endpoint)?;
            blocking::measure(task, &mut Peer { output, input: None })
        }
    }
}

/// Keeps the window full: for every reply another request.
fn in_flight(task: Task, dealer: &Socket) -> Outcome<Measured> {
    let messages: Vec<_> = (0..task.count).map(|number| message(task.size, number)).collect();
    let mut rate = Rate::begin(task.span, task.count);
    for message in &messages {
        dealer.send(message, 0)?;
    }
    let (mut reply, mut next, mut outstanding) = (Message::new(), 0, task.count);
    while outstanding > 0 {
        dealer.recv(&mut reply, 0)?;
        // Replies come in order, and the next request is the same message again.
        let message = &messages[next % task.count];
        check(&reply, message, next < task.count)?;
        next += 1;
        if rate.tick() {
            dealer.send(message, 0)?;
        } else {
            outstanding -= 1;
        }
    }
    rate.end()
}

/// A socket that messages go to, and another one for replies where they do not come back through the first.
struct Peer {
    output: Socket,
    input: Option<Socket>,
}

impl blocking::Peer for Peer {
    fn send(&mut self, message: &[u8]) -> Outcome<()> {
        Ok(self.output.send(message, 0)?)
    }

    fn call(&mut self, message: &[u8]) -> Outcome<impl AsRef<[u8]>> {
        self.output.send(message, 0)?;
        let reply = self.input.as_ref().unwrap_or(&self.output).recv_msg(0)?;
        Ok(Reply(reply))
    }
}

struct Reply(Message);

impl AsRef<[u8]> for Reply {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

fn bind(kind: SocketType, endpoint: &str) -> Outcome<Socket> {
    let socket = context().socket(kind)?;
    socket.bind(endpoint)?;
    Ok(socket)
}

fn connect(kind: SocketType, endpoint: &str) -> Outcome<Socket> {
    let socket = context().socket(kind)?;
    socket.connect(endpoint)?;
    Ok(socket)
}

/// One for the process, with the thread that does the I/O.
fn context() -> &'static Context {
    static CONTEXT: OnceLock<Context> = OnceLock::new();
    CONTEXT.get_or_init(Context::new)
}

fn endpoint(address: &str) -> Outcome<String> {
    Ok(format!("ipc://{}", path(address)?))
}

fn for_counts(endpoint: &str) -> String {
    format!("{endpoint}-counts")
}
