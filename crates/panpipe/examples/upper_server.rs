//! The founding example's server: takes what a client sends, upper-cases it and sends it back, for ever.

#[tokio::main(flavor = "current_thread")]
async fn main() -> panpipe::Result<()> {
    let upper = |message: panpipe::Bytes| async move { message.to_ascii_uppercase() };
    panpipe::plain::serve("tcp://localhost:9999?framing=raw", upper).await?.wait().await
}
