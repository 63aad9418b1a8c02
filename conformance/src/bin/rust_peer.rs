//! The peer of panpipe in Rust: on tokio, and in the role `serve-blocking` without.

use panpipe::Bytes;
use panpipe_conformance::{
    Answer, CallRequest, Failure, Job, Outcome, ServeRequest, Serving, read_request, tell, wait_for_end,
};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some("serve") => serve(read_request()?).await,
        Some("serve-blocking") => serve_blocking(read_request()?),
        Some("call") => call(read_request()?).await,
        role => Err(format!("no role is called {role:?}").into()),
    }
}

async fn serve(request: ServeRequest) -> Result<()> {
    let mut servers = Vec::new();
    for address in &request.addresses {
        servers.push(match address.contains("text=true") {
            true => panpipe::serve(address, |text: Bytes| async move { upper_text(&text) }).await?,
            false => panpipe::serve(address, |bytes: Bytes| async move { bytes.to_ascii_uppercase() }).await?,
        });
    }
    let pid = std::process::id();
    let serving = servers.iter().map(|server| Serving { address: server.address().to_owned(), pid });
    tell(&serving.collect::<Vec<_>>())?;
    tokio::task::spawn_blocking(wait_for_end).await??;
    Ok(())
}

/// A thread for each address.
fn serve_blocking(request: ServeRequest) -> Result<()> {
    let listen = |address: &String| panpipe::blocking::listen(address);
    let listeners = request.addresses.iter().map(listen).collect::<panpipe::Result<Vec<_>>>()?;
    let pid = std::process::id();
    let serving = listeners.iter().map(|listener| Serving { address: listener.address().to_owned(), pid });
    tell(&serving.collect::<Vec<_>>())?;
    for listener in listeners {
        std::thread::spawn(|| match listener.address().contains("text=true") {
            true => panpipe::blocking::serve(listener, |text| upper_text(&text)),
            false => panpipe::blocking::serve(listener, |bytes| bytes.to_ascii_uppercase()),
        });
    }
    Ok(wait_for_end()?)
}

fn upper_text(text: &[u8]) -> std::result::Result<String, std::str::Utf8Error> {
    std::str::from_utf8(text).map(str::to_uppercase)
}

async fn call(request: CallRequest) -> Result<()> {
    let texts = request.decoded_texts();
    for job in &request.jobs {
        let outcome = match run(job, &texts).await {
            Ok(answers) => Outcome::Opened { answers },
            Err(error) => Outcome::Failed(failure(&error)),
        };
        tell(&outcome)?;
    }
    Ok(())
}

async fn run(job: &Job, texts: &[Vec<u8>]) -> panpipe::Result<Vec<Answer>> {
    if job.listen {
        return panpipe::listen(&job.address).await.map(|_| Vec::new());
    }
    let peer = panpipe::connect(&job.address).await?;
    let mut answers = Vec::new();
    for step in &job.steps {
        let answer = match step {
            Some(text) => peer.call(&texts[*text]).await.map(Some),
            None => peer.recv().await,
        };
        let answer = match answer {
            Ok(Some(message)) => Answer::of(&message, texts),
            Ok(None) => Answer::Closed,
            Err(error) => Answer::Failure(failure(&error)),
        };
        let ends = answer.ends_job();
        answers.push(answer);
        if ends {
            break;
        }
    }
    Ok(answers)
}

fn failure(error: &panpipe::Error) -> Failure {
    let ran = match error.may_have_run() {
        panpipe::Ran::No => "no",
        panpipe::Ran::Maybe => "maybe",
    };
    Failure { code: error.code().to_owned(), ran: Some(ran.to_owned()), text: error.to_string() }
}
