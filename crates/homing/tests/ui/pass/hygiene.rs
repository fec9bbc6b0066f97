#![allow(dead_code, non_camel_case_types)]
//! The application has names of its own for everything the generated code needs.

mod application {
    type Result<T> = ::std::result::Result<T, &'static str>;
    type Option = ();
    type Sync = ();
    struct Vec;
    struct String;
    struct Row;
    struct usize;
    trait ToSql {}
    trait Remote {}
    mod core {}
    mod std {}
    mod homing {}

    #[derive(::homing::Entity)]
    #[entity(table = "users")]
    pub struct User {
        #[entity(key)]
        id: i64,
        name: ::std::string::String,
    }

    #[derive(::homing::Insert)]
    #[insert(into = User)]
    pub struct NewUser {
        name: ::std::string::String,
    }

    #[derive(::homing::Update)]
    #[update(of = User)]
    pub struct Rename {
        name: ::std::option::Option<::std::string::String>,
    }

    #[derive(::homing::FromRow)]
    pub struct Named {
        name: ::std::string::String,
    }

    #[::homing::remote]
    pub async fn count(_: ::homing::Context, names: ::std::vec::Vec<i64>) -> ::homing::Result<i64> {
        check().map_or(Ok(0), |()| Ok(names.iter().sum()))
    }

    fn check() -> Result<()> {
        Err("a `Result` of its own")
    }
}

use homing::Context;

macro_rules! table {
    ($name:ident, $new:ident, $update:ident, $projection:ident, $key:ident, $value:ty) => {
        #[derive(homing::Entity)]
        #[entity(table = "values")]
        struct $name {
            #[entity(key)]
            first: $key,
            #[entity(key)]
            second: $key,
            value: $value,
        }

        #[derive(homing::Insert)]
        #[insert(into = $name)]
        struct $new {
            value: $value,
        }

        #[derive(homing::Update)]
        #[update(of = $name)]
        struct $update {
            value: $value,
        }

        #[derive(homing::FromRow)]
        struct $projection {
            value: $value,
        }
    };
}

table!(Value, NewValue, UpdateValue, Projection, i64, Option<String>);

macro_rules! function {
    ($name:ident, $context:ident, $argument:ident: $type:ty) => {
        #[homing::remote]
        async fn $name(ctx: $context, $argument: $type, other: u8) -> homing::Result<u8> {
            let _ = (ctx, $argument);
            Ok(other)
        }
    };
}

function!(from_macro, Context, argument: Option<String>);

fn main() {
    fn is_remote<R: homing::Remote>(_: R) {}
    is_remote(application::count());
    is_remote(from_macro());
}
