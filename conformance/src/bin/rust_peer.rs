//! The peer of panpipe in Rust, on tokio.

use std::time::Duration;

use panpipe::Bytes;
use panpipe::plain::{Connection, Server};
use panpipe_conformance::{
    Answer, CallRequest, Failure, Flow, Job, Outcome, ServeRequest, Serving, Step, read_request, tell, wait_for_end,
    wait_for_line,
};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve"] => serve(read_request()?).await,
        ["call"] => call(read_request()?).await,
        ["child", address] => Ok(start_server(address).await?.wait().await?),
        _ => Err(format!("there is nothing to do for {arguments:?}").into()),
    }
}

async fn serve(request: ServeRequest) -> Result<()> {
    let mut servers = Vec::new();
    for address in &request.addresses {
        servers.push(start_server(address).await?);
    }
    let pid = std::process::id();
    let serving = servers.iter().map(|server| Serving { address: server.address().to_owned(), pid });
    tell(&serving.collect::<Vec<_>>())?;
    tokio::task::spawn_blocking(wait_for_end).await??;
    Ok(())
}

async fn start_server(address: &str) -> panpipe::Result<Server> {
    match address.contains("text=true") {
        true => panpipe::plain::serve(address, |text: Bytes| async move { upper_text(&text) }).await,
        false => panpipe::plain::serve(address, |bytes: Bytes| async move { bytes.to_ascii_uppercase() }).await,
    }
}

fn upper_text(text: &[u8]) -> std::result::Result<String, std::str::Utf8Error> {
    std::str::from_utf8(text).map(str::to_uppercase)
}

async fn call(request: CallRequest) -> Result<()> {
    let texts = request.decoded_texts();
    for job in &request.jobs {
        let outcome = match run(job, &texts).await {
            Ok(answers) => Outcome::Opened { answers },
            Err(error) => Outcome::Failed(Failure::of(&error)),
        };
        tell(&outcome)?;
    }
    Ok(())
}

async fn run(job: &Job, texts: &[Vec<u8>]) -> panpipe::Result<Vec<Answer>> {
    let count = job.connections.max(1);
    let mut peers = Vec::new();
    if job.listen {
        let listener = panpipe::plain::listen(&job.address).await?;
        if !job.steps.is_empty() {
            let _ = tell(&[Serving { address: listener.address().to_owned(), pid: std::process::id() }]);
            while peers.len() < count {
                peers.extend(listener.accept().await?);
            }
        }
    } else {
        for _ in 0..count {
            peers.push(panpipe::plain::connect(&job.address).await?);
        }
    }
    let mut answers = Vec::new();
    for peer in peers {
        let mut progress = Progress::default();
        for step in &job.steps {
            let answer = match step {
                Step::Call(text) => answer_of(peer.call(&texts[*text]).await.map(Some), texts),
                Step::Recv => answer_of(peer.recv().await, texts),
                Step::Pause(_) => {
                    let _ = tell(&Outcome::Opened { answers: std::mem::take(&mut answers) });
                    let _ = tokio::task::spawn_blocking(wait_for_line).await;
                    continue;
                }
                Step::Calls { calls } => {
                    // They are on their way before the first is awaited.
                    let calls: Vec<_> = texts[..*calls].iter().map(|text| peer.call(text)).collect();
                    let mut many = Vec::new();
                    for call in calls {
                        many.push(answer_of(call.await.map(Some), texts));
                    }
                    Answer::Many(many)
                }
                Step::Flow(flow) => progress.flow(&peer, *flow, texts).await.unwrap_or_else(|answer| answer),
            };
            let ends = answer.ends_job();
            answers.push(answer);
            if ends {
                break;
            }
        }
        // What could not be written any more, the steps have told.
        let _ = peer.close().await;
    }
    Ok(answers)
}

/// How many texts flows have sent and received on a connection.
#[derive(Default)]
struct Progress {
    sent: usize,
    received: usize,
}

impl Progress {
    async fn flow(&mut self, peer: &Connection, flow: Flow, texts: &[Vec<u8>]) -> std::result::Result<Answer, Answer> {
        let texts = &texts[..flow.of];
        let sending = async {
            for count in 0..flow.send {
                let text = &texts[self.sent % flow.of];
                self.sent += 1;
                match limited(flow, peer.send(text)).await {
                    Some(sent) => sent.map_err(|error| Answer::Failure(Failure::of(&error)))?,
                    None => return Ok(count),
                }
            }
            Ok(flow.send)
        };
        let receiving = async {
            for count in 0..flow.recv {
                match limited(flow, peer.recv()).await {
                    Some(Ok(Some(message))) if message == texts[self.received % flow.of] => self.received += 1,
                    Some(received) => return Err(answer_of(received, texts)),
                    None => return Ok(count),
                }
            }
            Ok(flow.recv)
        };
        let (sent, received) = tokio::try_join!(sending, receiving)?;
        Ok(Answer::Flowed { sent, received })
    }
}

/// What `waiting` brings; dropping it gives it up.
async fn limited<T>(flow: Flow, waiting: impl Future<Output = T>) -> Option<T> {
    match flow.within {
        0 => Some(waiting.await),
        within => tokio::time::timeout(Duration::from_millis(within), waiting).await.ok(),
    }
}

fn answer_of(received: panpipe::Result<Option<Bytes>>, texts: &[Vec<u8>]) -> Answer {
    match received {
        Ok(Some(message)) => Answer::of(&message, texts),
        Ok(None) => Answer::Closed,
        Err(error) => Answer::Failure(Failure::of(&error)),
    }
}
