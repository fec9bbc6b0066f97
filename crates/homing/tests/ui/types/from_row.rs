use homing::{FromRow, Repo};

#[derive(FromRow)]
struct Total {
    count: u64,
}

struct Plain;

async fn read(repo: Repo) -> homing::Result<()> {
    repo.query_as::<Plain>("select 1", &[]).await?;
    Ok(())
}

fn main() {}
