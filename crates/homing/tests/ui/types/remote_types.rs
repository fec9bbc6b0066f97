use std::rc::Rc;

use homing::Context;

struct Opaque;

#[homing::remote]
async fn context_forgotten(_names: Vec<String>) -> homing::Result<()> {
    Ok(())
}

#[homing::remote]
async fn other_error(_ctx: Context) -> Result<u64, String> {
    Ok(5)
}

#[homing::remote]
async fn cannot_travel(_ctx: Context, _count: u64, _what: Opaque) -> homing::Result<()> {
    Ok(())
}

#[homing::remote]
async fn cannot_return(_ctx: Context) -> homing::Result<Opaque> {
    Ok(Opaque)
}

#[homing::remote]
async fn not_send(_ctx: Context) -> homing::Result<u64> {
    let shared = Rc::new(5);
    std::future::ready(()).await;
    Ok(*shared)
}

fn main() {}
