#![deny(warnings, missing_docs, missing_debug_implementations, unreachable_pub)]
//! Functions that run in the primary region.

use homing::{Context, Remote, Repo};

/// Imports people.
#[homing::remote]
pub async fn import(_ctx: Context, mut names: Vec<String>) -> homing::Result<u64> {
    names.dedup();
    Ok(names.len() as u64)
}

#[homing::remote(name = "billing.close")]
async fn close(
    _: Context,
    a: i8,
    b: i16,
    c: i32,
    d: i64,
    e: Option<String>,
    f: (u8, bool),
    g: Vec<Vec<u8>>,
    h: std::collections::BTreeMap<String, f64>,
) -> homing::Result<(i64, Option<String>)> {
    let _ = (a, b, c, f, g, h);
    Ok((d, e))
}

#[homing::remote(idempotent, transactional, name = "both")]
async fn marked(_: Context) -> homing::Result<()> {
    Ok(())
}

/// Names a keyword, has no argument and another way to write its result.
#[homing::remote]
async fn r#move(_: homing::Context) -> Result<(), homing::Error> {
    Ok(())
}

/// The function's name is free inside it, and so are the names the macro uses.
#[homing::remote]
async fn total(_: Context, total: i64, repo: i64) -> homing::Result<i64> {
    let total = total + repo;
    Ok(total)
}

#[homing::remote]
#[cfg(any())]
async fn not_built(_: Missing) -> homing::Result<()> {
    Ok(())
}

/// Is replaced by [`struct@import`].
#[homing::remote]
#[deprecated = "call `import`"]
#[expect(unused_variables, reason = "attributes stay on the function")]
async fn old(_: Context, unused: bool) -> homing::Result<()> {
    Ok(())
}

/// Any error, with `?`.
#[homing::remote]
async fn reads(_: Context) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    let number: u8 = "5".parse()?;
    Ok(std::fs::read_to_string(number.to_string())?)
}

#[homing::remote]
async fn in_context(context: Context) -> anyhow::Result<u64> {
    let number: u8 = "5".parse()?;
    Ok(context.repo().execute("select 1", &[]).await? + u64::from(number))
}

#[homing::remote]
async fn with_io(_: Context) -> homing::Result<String> {
    Ok(std::fs::read_to_string("a")?)
}

struct Own;

impl From<Own> for homing::Error {
    fn from(_: Own) -> Self {
        homing::Error::failed("own")
    }
}

#[homing::remote]
async fn own(_: Context) -> Result<(), Own> {
    Err(Own)
}

/// A variable, a parameter and a field may have the name of a remote function.
fn names_are_free(import: u64, r#move: u64) -> u64 {
    struct Names {
        close: u64,
    }
    let total = import + r#move;
    let Names { close } = Names { close: total };
    let old = |marked: u64| marked + close;
    match old(1) {
        visible => visible,
    }
}

mod inner {
    #[homing::remote]
    pub(super) async fn visible(_: homing::Context) -> homing::Result<()> {
        Ok(())
    }
}

async fn _calls(repo: &Repo) -> homing::Result<()> {
    let _: u64 = import::call(repo, vec!["Ada".to_owned()]).await?;
    let h = Default::default();
    let _: (i64, Option<String>) = close::call(repo, 1, 2, 3, 4, None, (5, true), vec![], h).await?;
    let _: i64 = total::call(repo, 1, 2).await?;
    let syd = homing::Region::new("syd").unwrap();
    let _: i64 = total::call_in(repo, &syd, 1, 2).await?;
    let _: u64 = in_context::call(repo).await?;
    names_are_free(1, 2);
    inner::visible::call(repo).await?;
    r#move::call(repo).await
}

fn name<R: Remote>(_: fn() -> R) -> &'static str {
    R::NAME
}

fn main() {
    assert_eq!(name(import), "import");
    assert_eq!(name(close), "billing.close");
    assert_eq!(name(marked), "both");
    const { assert!(marked::IDEMPOTENT && marked::TRANSACTIONAL && !import::IDEMPOTENT && !import::TRANSACTIONAL) };
    assert_eq!(name(r#move), "move");
    assert_eq!(name(total), "total");
    assert_eq!(name(old), "old");
    assert_eq!(name(inner::visible), "visible");

    #[homing::remote]
    async fn local(_: Context) -> homing::Result<()> {
        Ok(())
    }
    assert_eq!(name(local), "local");
    use inner::visible;
    let visible = name(visible);
    assert_eq!(visible, "visible");
}
