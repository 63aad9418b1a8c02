//! The founding example's client: sends a message, prints the answer and closes.

#[tokio::main(flavor = "current_thread")]
async fn main() -> panpipe::Result<()> {
    let peer = panpipe::plain::connect("tcp://localhost:9999?framing=raw").await?;
    let reply = peer.call("Hello, server!").await?;
    println!("{}", String::from_utf8_lossy(&reply));
    peer.close().await
}
