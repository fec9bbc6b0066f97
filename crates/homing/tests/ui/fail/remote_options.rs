#![allow(unused)]

use homing::Context;

#[homing::remote(timeout = 5, name)]
async fn unknown(ctx: Context) -> homing::Result<()> {
    Ok(())
}

#[homing::remote("billing.import")]
async fn unnamed(ctx: Context) -> homing::Result<()> {
    Ok(())
}

#[homing::remote(name = "a", name = "b")]
async fn twice(ctx: Context) -> homing::Result<()> {
    Ok(())
}

#[homing::remote(name = "")]
async fn empty(ctx: Context) -> homing::Result<()> {
    Ok(())
}

#[homing::remote(name = billing)]
async fn unquoted(ctx: Context) -> homing::Result<()> {
    Ok(())
}

fn main() {}
