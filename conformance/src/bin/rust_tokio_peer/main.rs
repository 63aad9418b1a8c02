//! The peer of the panpipe protocol in Rust, on tokio.

mod checks;
mod meetings;
mod service;
mod warnings;

use panpipe::{Bytes, Peer, Policy, Ran, Server, Update, Value, connect, serve};
use panpipe_conformance::{
    CheckRequest, Failure, KilledRequest, Outcomes, ServeRequest, Serving, ValuesRequest, read_request, tell,
    wait_for_end, wait_for_line,
};
use tokio::signal::unix::{SignalKind, signal};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    warnings::to_stderr();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve"] => serve_all(read_request()?).await,
        ["child", address] => Ok(serve(address, &service::service(None)?).await?.wait().await?),
        ["check"] => check(read_request()?).await,
        ["values"] => values(read_request()?).await,
        ["meet"] => meetings::meet(read_request()?).await,
        ["subscribe"] => subscribe(&read_request::<String>()?).await,
        ["killed"] => killed(read_request()?).await,
        _ => Err(format!("there is nothing to do for {arguments:?}").into()),
    }
}

async fn serve_all(request: ServeRequest) -> Result<()> {
    let service = service::service(request.log)?;
    let mut servers = Vec::new();
    for address in &request.addresses {
        servers.push(serve(address, &service).await?);
    }
    let pid = std::process::id();
    tell(&servers.iter().map(|server| Serving { address: server.address().to_owned(), pid }).collect::<Vec<_>>())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        ended = tokio::task::spawn_blocking(wait_for_end) => ended??,
        _ = terminate.recv() => {
            for closing in servers.into_iter().map(|server| tokio::spawn(Server::close(server))).collect::<Vec<_>>() {
                closing.await??;
            }
        }
    }
    // A thread waits for stdin, which nobody closes after SIGTERM.
    std::process::exit(0)
}

async fn check(request: CheckRequest) -> Result<()> {
    let mut own = Vec::new();
    for address in &request.own {
        own.push(serve(address, &service::service(None)?).await?);
    }
    for address in request.addresses.iter().map(String::as_str).chain(own.iter().map(Server::address)) {
        checks::run(address).await?;
    }
    Ok(())
}

/// Hands each of so many values from its source to the server and what comes back to the source again.
async fn values(request: ValuesRequest) -> Result<()> {
    let (source, server) = (connect(&request.source).await?, connect(&request.address).await?);
    for number in 0..request.count {
        let handed_on: panpipe::Result<()> = async {
            let value: Value = source.call("take", number).await?;
            let back: Value = server.call("values", (value,)).await?;
            source.call("back", (back,)).await
        }
        .await;
        tell(&handed_on.err().map(|error| Failure::of(&error)))?;
    }
    Ok(())
}

/// Subscribes, and takes until the suite writes a line; then tells how much was missed.
async fn subscribe(address: &str) -> Result<()> {
    let peer = connect(address).await?;
    let mut flood = peer.subscribe::<Value>("flood", Policy::DropOldest).await?;
    tell(&())?;
    let mut missed = 0;
    let mut over = tokio::task::spawn_blocking(wait_for_line);
    loop {
        tokio::select! {
            update = flood.next() => match update.ok_or("it has ended")?? {
                Update::Lagged(count) => missed += count,
                Update::Item(_) => {}
            },
            _ = &mut over => return Ok(tell(&missed)?),
        }
    }
}

/// Makes so many calls at once of each server that it is told of, which may be killed.
async fn killed(request: KilledRequest) -> Result<()> {
    while let Some(address) = wait_for_line()? {
        let peer = connect(&address).await?;
        let calls: Vec<_> = (0..request.calls).map(|number| begin(&peer, number)).collect();
        let mut outcomes = Outcomes::default();
        for (number, call) in calls.into_iter().enumerate() {
            match call.await {
                Ok((same, bytes)) if same == number && bytes == payload(number) => outcomes.answered.push(number),
                Ok((other, _)) => outcomes.crossed.push((number, other)),
                Err(error) if error.may_have_run() == Ran::No => outcomes.no.push(number),
                Err(_) => outcomes.maybe.push(number),
            }
        }
        tell(&outcomes)?;
    }
    Ok(())
}

fn begin(peer: &Peer, number: usize) -> panpipe::Call<'_, (usize, Bytes)> {
    peer.call("begin", (number, 0, payload(number)))
}

fn payload(number: usize) -> Bytes {
    Bytes::from(vec![number as u8; 1500])
}
