//! The founding example's client, calling a method: prints the answer and closes.

#[tokio::main(flavor = "current_thread")]
async fn main() -> panpipe::Result<()> {
    let peer = panpipe::connect("tcp://localhost:9999").await?;
    let reply: String = peer.call("upper", "Hello, server!").await?;
    println!("{reply}");
    peer.close().await
}
