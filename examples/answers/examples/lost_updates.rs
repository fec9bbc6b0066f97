//! Two callers change the same row at the same time. How do I keep both changes?
//!
//! Give the row a version. A change of a row that was changed since it was read is refused, and writes nothing. A form
//! sends back the version that its visitor has seen; a program reads the row again and repeats the change.
//!
//! ```sh
//! DATABASE_URL=postgres://postgres@127.0.0.1/postgres cargo run --example lost_updates
//! ```

use homing::prelude::*;

/// An article that several people edit.
#[derive(Debug, Entity)]
#[entity(table = "articles")]
pub struct Article {
    #[entity(key)]
    id: i64,
    title: String,
    /// Its text.
    pub body: String,
    /// How often it was changed.
    #[entity(version)]
    pub version: i32,
}

/// A form, which leaves the title as it is.
#[derive(Debug, Update)]
#[update(of = Article)]
pub struct Form {
    /// The new text.
    pub body: String,
    /// The version that the visitor has seen.
    #[update(version)]
    pub seen: i32,
}

/// Saves a form. If the article was changed since, returns what it is now as the error, for the visitor to decide.
///
/// # Errors
///
/// Those of the calls.
pub async fn save(repo: &Repo, id: i64, form: &Form) -> homing::Result<Result<Article, Article>> {
    match repo.update_columns(id, form).await {
        Err(error) if error.is_outdated() => Ok(Err(repo.one("where id = $1", &[&id]).await?)),
        saved => saved.map(Ok),
    }
}

/// Appends a line, whatever others write.
///
/// # Errors
///
/// Those of the calls; the last one if others were always faster.
pub async fn append(repo: &Repo, id: i64, line: &str) -> homing::Result<Article> {
    let mut attempts = 1..=MAX_ATTEMPTS;
    loop {
        let article: Article = repo.one("where id = $1", &[&id]).await?;
        let longer = Article { body: format!("{}{line}\n", article.body), ..article };
        match repo.update(&longer).await {
            Err(error) if error.is_outdated() && attempts.next().is_some() => {}
            appended => return appended,
        }
    }
}

#[tokio::main]
async fn main() -> homing::Result<()> {
    let node = Node::from_env()?.start().await?;
    let repo = node.repo();
    repo.batch_execute(SCHEMA).await?;
    let first = append(&repo, 1, "first").await?;
    append(&repo, 1, "second").await?;
    let refused = save(&repo, 1, &Form { body: "mine".into(), seen: first.version }).await?;
    println!("refused: {}", refused.is_err());
    node.shutdown().await;
    Ok(())
}

/// An article. Each change through an entity call counts its version.
pub const SCHEMA: &str = "
    create table if not exists articles (
        id bigint primary key, title text not null, body text not null default '', version int not null default 1);
    insert into articles values (1, 'News') on conflict do nothing";

const MAX_ATTEMPTS: usize = 20;
