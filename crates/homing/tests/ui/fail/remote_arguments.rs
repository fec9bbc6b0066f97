#![allow(unused)]

use std::collections::HashMap;
use std::path::Path;

use homing::Context;

#[homing::remote]
async fn borrowed(
    _ctx: Context,
    name: &str,
    ids: &[i64],
    path: &Path,
    ages: HashMap<&'static str, i32>,
    mut count: &mut u64,
) -> homing::Result<()> {
    Ok(())
}

#[homing::remote]
async fn patterns(ctx: Context, (a, b): (i64, i64), _: String, ref c: String, d: impl Into<String>) -> homing::Result<()> {
    Ok(())
}

#[homing::remote]
async fn many(ctx: Context, a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8, h: u8, i: u8, j: u8, k: u8, l: u8, m: u8, n: u8, o: u8, p: u8, q: u8, r: u8) -> homing::Result<()> {
    Ok(())
}

#[homing::remote]
async fn conditional(ctx: Context, #[cfg(unix)] mode: u32) -> homing::Result<()> {
    Ok(())
}

#[homing::remote]
async fn everything(name: &str, _: u8) {}

fn main() {}
