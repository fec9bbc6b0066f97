use homing::{Context, Registered, Repo};

async fn plain(_ctx: Context, _name: String) -> homing::Result<()> {
    Ok(())
}

#[homing::remote]
async fn import(_ctx: Context, _names: Vec<String>) -> homing::Result<u64> {
    Ok(5)
}

fn is_remote<M>(_: impl Registered<M>) {}

async fn calls(repo: &Repo) -> homing::Result<()> {
    is_remote(plain);
    let _: u64 = import::call(repo, "Ada").await?;
    let _: String = import::call(repo, vec![]).await?;
    let _: u64 = import::call(repo).await?;
    Ok(())
}

fn main() {}
