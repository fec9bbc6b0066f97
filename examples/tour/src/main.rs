//! Runs the tour on this node and prints it. With only `DATABASE_URL` the node is its own primary.

use homing::Node;

#[tokio::main]
async fn main() -> homing::Result<()> {
    let node = tour::register(Node::from_env()?).start().await?;
    tour::migrate(&node.repo()).await?;
    for line in tour::tour(&node.repo()).await? {
        println!("{line}");
    }
    node.shutdown().await;
    Ok(())
}
