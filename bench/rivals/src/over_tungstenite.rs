//! tokio-tungstenite's echo over TCP. In flight all that a read brought is answered, or asked anew, in one flush.

use bytes::Bytes;
use futures::{FutureExt, SinkExt, StreamExt};
use panpipe_bench_measure::concurrent::{self, Peer};
use panpipe_bench_measure::{Measured, Outcome, Rate, Role, Sink, Task, Workload, announce, check, message};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, accept_async, connect_async};

pub(crate) async fn serve(role: Role) -> Outcome<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    announce(&format!("ws://{}", listener.local_addr()?))?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(answer(role, stream));
    }
}

async fn answer(role: Role, stream: TcpStream) -> Outcome<()> {
    let mut socket = accept_async(stream).await?;
    let mut sink = Sink::default();
    while let Some(message) = socket.next().await {
        let mut message = message?;
        loop {
            let reply = match role {
                Role::Echo if message.is_binary() => Some(message),
                Role::Sink => sink.take(&message.into_data())?.map(|count| Message::binary(count.to_vec())),
                _ => None,
            };
            if let Some(reply) = reply {
                socket.feed(reply).await?;
            }
            match socket.next().now_or_never() {
                Some(Some(next)) => message = next?,
                _ => break,
            }
        }
        socket.flush().await?;
    }
    Ok(())
}

pub(crate) async fn measure(task: Task, address: &str) -> Outcome<Measured> {
    match task.workload {
        Workload::RoundTrip => concurrent::round_trips(task, Client(connect(address).await?)).await,
        Workload::Stream => concurrent::stream(task, Client(connect(address).await?)).await,
        Workload::Crowd => {
            let mut peers = Vec::new();
            for _ in 0..task.count {
                peers.push(Client(connect(address).await?));
            }
            concurrent::calls(task, peers).await
        }
        Workload::InFlight => in_flight(task, connect(address).await?).await,
        Workload::Topics | Workload::Subscribers => Err("this contender has no topics".into()),
    }
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn connect(address: &str) -> Outcome<Socket> {
    let (socket, _) = connect_async(address).await?;
    if let MaybeTlsStream::Plain(stream) = socket.get_ref() {
        stream.set_nodelay(true)?;
    }
    Ok(socket)
}

/// Keeps the window full: for every reply another request.
async fn in_flight(task: Task, mut socket: Socket) -> Outcome<Measured> {
    let messages: Vec<_> = (0..task.count).map(|number| Bytes::from(message(task.size, number))).collect();
    let mut rate = Rate::begin(task.span, task.count);
    for message in &messages {
        socket.feed(Message::Binary(message.clone())).await?;
    }
    socket.flush().await?;
    let (mut next, mut outstanding) = (0, task.count);
    while outstanding > 0 {
        let mut reply = socket.next().await;
        loop {
            let Some(answer) = reply else { return Err("the server has closed".into()) };
            let message = &messages[next % task.count];
            check(&answer?.into_data(), message, next < task.count)?;
            next += 1;
            if rate.tick() {
                socket.feed(Message::Binary(message.clone())).await?;
            } else {
                outstanding -= 1;
            }
            match socket.next().now_or_never() {
                Some(another) if outstanding > 0 => reply = another,
                _ => break,
            }
        }
        socket.flush().await?;
    }
    rate.end()
}

struct Client(Socket);

impl Peer for Client {
    async fn send(&mut self, message: &Bytes) -> Outcome<()> {
        Ok(self.0.send(Message::Binary(message.clone())).await?)
    }

    async fn call(&mut self, message: &Bytes) -> Outcome<impl AsRef<[u8]> + Send> {
        self.send(message).await?;
        match self.0.next().await {
            Some(reply) => Ok(reply?.into_data()),
            None => Err("the server has closed".into()),
        }
    }
}
