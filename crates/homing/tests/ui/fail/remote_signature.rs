#![allow(unused)]

use homing::Context;

#[homing::remote]
fn not_async(ctx: Context) -> homing::Result<()> {
    Ok(())
}

#[homing::remote]
async fn no_context() -> homing::Result<()> {
    Ok(())
}

#[homing::remote]
async fn borrowed_context(ctx: &Context) -> homing::Result<()> {
    Ok(())
}

#[homing::remote]
async fn no_result(ctx: Context) {}

#[homing::remote]
async fn not_a_result(ctx: Context) -> u64 {
    5
}

#[homing::remote]
async fn not_even_a_path(ctx: Context) -> (u8, u8) {
    (5, 5)
}

#[homing::remote]
async fn generic<T: Send>(ctx: Context, value: T) -> homing::Result<()>
where
    T: Clone,
{
    Ok(())
}

#[homing::remote]
async unsafe extern "C" fn qualified(ctx: Context) -> homing::Result<()> {
    Ok(())
}

#[homing::remote]
async fn opaque(ctx: Context) -> homing::Result<impl Send> {
    Ok(())
}

#[homing::remote]
struct Struct {
    field: i64,
}

struct Service;

impl Service {
    #[homing::remote]
    async fn method(&self, name: String) -> homing::Result<()> {
        Ok(())
    }
}

fn is_remote<M>(_: impl homing::Registered<M>) {}

fn main() {
    // The name is known in spite of the error.
    is_remote(not_async);
}
