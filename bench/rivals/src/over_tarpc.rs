//! tarpc with its default settings, over a Unix socket with bincode.

use bytes::Bytes;
use futures::StreamExt;
use panpipe_bench_measure::concurrent::{self, Peer};
use panpipe_bench_measure::{Measured, Outcome, Task, announce};
use tarpc::server::{BaseChannel, Channel};
use tarpc::tokio_serde::formats::Bincode;
use tarpc::{client, context, serde_transport::unix};

#[tarpc::service]
trait Methods {
    async fn echo(message: Bytes) -> Bytes;
}

#[derive(Clone)]
struct Server;

impl Methods for Server {
    async fn echo(self, _: context::Context, message: Bytes) -> Bytes {
        message
    }
}

pub(crate) async fn serve(path: &str) -> Outcome<()> {
    let mut incoming = unix::listen(path, Bincode::default).await?;
    announce(&format!("unix:{path}"))?;
    while let Some(transport) = incoming.next().await {
        let requests = BaseChannel::with_defaults(transport?).execute(Server.serve());
        tokio::spawn(requests.for_each(async |request| {
            tokio::spawn(request);
        }));
    }
    Ok(())
}

pub(crate) async fn measure(task: Task, path: &str) -> Outcome<Measured> {
    concurrent::measure(task, async || {
        let transport = unix::connect(path, Bincode::default).await?;
        Ok(MethodsClient::new(client::Config::default(), transport).spawn())
    })
    .await
}

impl Peer for MethodsClient {
    async fn send(&mut self, _: &Bytes) -> Outcome<()> {
        Err("tarpc has no messages one way".into())
    }

    async fn call(&mut self, message: &Bytes) -> Outcome<impl AsRef<[u8]> + Send> {
        Ok(self.echo(context::current(), message.clone()).await?)
    }
}
