//! tonic with its default settings, over a Unix socket: a unary method, and one that takes a stream.
//! The service and its client are what its generator would write.

use std::convert::Infallible;

use bytes::Bytes;
use panpipe_bench_measure::concurrent::{self, Peer};
use panpipe_bench_measure::{END, Measured, Outcome, Sink, Task, Workload, announce};
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::body::Body;
use tonic::client::Grpc as Client;
use tonic::codegen::{BoxFuture, Context, Poll, Service, http};
use tonic::server::{Grpc as Server, NamedService};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use tower::service_fn;

const ECHO: &str = "/rival.Methods/Echo";
const COUNT: &str = "/rival.Methods/Count";

/// Messages that may wait between whoever sends and the stream.
const WAITING: usize = 64;

#[derive(Clone, PartialEq, prost::Message)]
struct Payload {
    #[prost(bytes = "bytes", tag = "1")]
    content: Bytes,
}

pub(crate) async fn serve(path: &str) -> Outcome<()> {
    let listener = UnixListener::bind(path)?;
    announce(&format!("unix:{path}"))?;
    let incoming = UnixListenerStream::new(listener);
    Ok(tonic::transport::Server::builder().add_service(Methods).serve_with_incoming(incoming).await?)
}

#[derive(Clone)]
struct Methods;

impl NamedService for Methods {
    const NAME: &str = "rival.Methods";
}

impl Service<http::Request<Body>> for Methods {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let mut server = Server::new(ProstCodec::<Payload, Payload>::default());
        match request.uri().path() {
            ECHO => Box::pin(async move { Ok(server.unary(service_fn(echo), request).await) }),
            COUNT => Box::pin(async move { Ok(server.client_streaming(service_fn(count), request).await) }),
            _ => Box::pin(async { Ok(Status::unimplemented("").into_http()) }),
        }
    }
}

async fn echo(request: Request<Payload>) -> Result<Response<Payload>, Status> {
    Ok(Response::new(request.into_inner()))
}

async fn count(request: Request<Streaming<Payload>>) -> Result<Response<Payload>, Status> {
    let (mut messages, mut sink) = (request.into_inner(), Sink::default());
    let refused = |error: Box<dyn std::error::Error + Send + Sync>| Status::invalid_argument(error.to_string());
    while let Some(message) = messages.message().await? {
        sink.take(&message.content).map_err(refused)?;
    }
    let count = sink.take(END).map_err(refused)?.unwrap_or_default();
    Ok(Response::new(Payload { content: Bytes::copy_from_slice(&count) }))
}

pub(crate) async fn measure(task: Task, path: &str) -> Outcome<Measured> {
    let endpoint = Endpoint::from_shared(format!("unix:{path}"))?;
    let connect = async || Ok(Unary(Client::new(endpoint.connect().await?)));
    match task.workload {
        Workload::Stream => concurrent::stream(task, OneWay { client: connect().await?.0, stream: None }).await,
        _ => concurrent::measure(task, connect).await,
    }
}

#[derive(Clone)]
struct Unary(Client<Channel>);

impl Peer for Unary {
    async fn send(&mut self, _: &Bytes) -> Outcome<()> {
        Err("a unary method has a reply".into())
    }

    async fn call(&mut self, message: &Bytes) -> Outcome<impl AsRef<[u8]> + Send> {
        self.0.ready().await?;
        let request = Request::new(Payload { content: message.clone() });
        let codec = ProstCodec::<Payload, Payload>::default();
        let reply = self.0.unary(request, http::uri::PathAndQuery::from_static(ECHO), codec).await?;
        Ok(reply.into_inner().content)
    }
}

/// Messages are those of one stream, until the count is asked for.
struct OneWay {
    client: Client<Channel>,
    stream: Option<Sending>,
}

/// Where the messages go, and who waits for the reply to them all.
type Sending = (mpsc::Sender<Payload>, JoinHandle<Result<Response<Payload>, Status>>);

impl OneWay {
    fn stream(&mut self) -> &mut Sending {
        self.stream.get_or_insert_with(|| {
            let (sender, messages) = mpsc::channel(WAITING);
            let mut client = self.client.clone();
            let reply = tokio::spawn(async move {
                client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
                let messages = Request::new(ReceiverStream::new(messages));
                let codec = ProstCodec::<Payload, Payload>::default();
                client.client_streaming(messages, http::uri::PathAndQuery::from_static(COUNT), codec).await
            });
            (sender, reply)
        })
    }
}

impl Peer for OneWay {
    async fn send(&mut self, message: &Bytes) -> Outcome<()> {
        Ok(self.stream().0.send(Payload { content: message.clone() }).await?)
    }

    /// Ends the stream; the reply to it is the count.
    async fn call(&mut self, _: &Bytes) -> Outcome<impl AsRef<[u8]> + Send> {
        self.stream();
        let (sender, reply) = self.stream.take().ok_or("there is no stream")?;
        drop(sender);
        Ok(reply.await??.into_inner().content)
    }
}
