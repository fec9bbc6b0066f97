//! The statements, in the order in which they run. Later ones use what earlier ones have made.

use std::fmt;

/// What a program calls.
#[derive(Debug)]
pub(super) enum Calls {
    /// `query` with this text.
    Statement(&'static str),

    /// `batch_execute` with this text.
    Script(&'static str),

    /// A transaction that sends these with `query`.
    Transaction(&'static [&'static str]),
}

use Calls::{Script, Statement, Transaction};

impl fmt::Display for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = |sql: &str| format!("`{}`", sql.replace('|', "\\|").replace("{database}", "name"));
        match self {
            Statement("") => f.write_str("an empty text"),
            Statement(sql) => f.write_str(&code(sql)),
            Script(sql) => write!(f, "{} (`batch_execute`)", code(sql)),
            Transaction(statements) => {
                let all: Vec<_> = statements.iter().map(|sql| code(sql)).collect();
                write!(f, "in a transaction: {}", all.join(", "))
            }
        }
    }
}

pub(super) const SETUP: &str = "
    create table parents (id int primary key);
    create table children (id int primary key, parent int references parents deferrable initially immediate);
    create table words (id serial primary key, word text not null unique, length int check (length > 0));
    create table notes (id int primary key, note text);
    create table events (id int, kind text) partition by range (id);
    create table events_small partition of events for values from (0) to (1000);
    create unlogged table scratch (id int);
    create sequence tickets;
    create type mood as enum ('calm', 'glad');
    create view long_words as select word from words where length > 3;
    create materialized view counts as select count(*) as words from words;
    create function add(a int, b int) returns int language sql stable as 'select a + b';
    create function remember(text) returns int language sql as 'insert into words (word) values ($1) returning id';
    create function remember_quietly(text) returns void language plpgsql as
        $$ begin insert into words (word) values ($1); exception when read_only_sql_transaction then null; end $$;
    create procedure remember_two(text, text) language plpgsql as
        $$ begin perform remember($1); commit; perform remember($2); end $$;
    insert into parents values (1), (2);
    insert into words (word, length) values ('one', 3), ('three', 5);
    insert into events values (1, 'first')";

pub(super) const GROUPS: &[(&str, &[Calls])] = &[
    (
        "Reads",
        &[
            Statement("select id, word, length from words order by id"),
            Statement("select word from words where length > 3 for update"),
            Statement("select word from words for no key update skip locked"),
            Statement("select word from words where id = 1 for share nowait"),
            Statement("with long as (select word from words where length > 3) select * from long"),
            Statement(
                "with recursive n (i) as (select 1 union all select i + 1 from n where i < 5) select sum(i) from n",
            ),
            Statement("select rank() over (order by length desc), word from words"),
            Statement(
                "select w.word, e.kind from words w left join lateral (select kind from events where id = w.id) e on true",
            ),
            Statement("select * from words tablesample system (100)"),
            Statement("values (1, 'a'), (2, 'b')"),
            Statement("table parents"),
            Statement("select * from long_words"),
            Statement("select * from counts"),
            Statement("select add(1, 2)"),
            Statement("select random() < 2"),
            Statement("select now() <= clock_timestamp()"),
            Statement("select string_agg(word, ',' order by id) from words"),
            Statement("select jsonb_agg(w order by id) from words w"),
            Statement("select column_name::text from information_schema.columns where table_name = 'words' order by 1"),
            Statement("select pg_size_pretty(0::bigint)"),
            Statement("select pg_sleep(0)"),
            Statement("explain (costs off) select * from words where id = 1"),
            Statement("explain (costs off) delete from words"),
            Statement("show work_mem"),
            Statement("select current_setting('server_version_num')::int > 140000"),
            Statement("/* a comment */ select 1 -- and another"),
            Statement(""),
        ],
    ),
    (
        "Rows that change",
        &[
            Statement("insert into words (word, length) values ('four', 4), ('five', 4)"),
            Statement("insert into words (word) values ('six') returning id, word"),
            Statement("insert into words (word) values ('six') on conflict do nothing"),
            Statement(
                "insert into words (word) values ('six') on conflict (word) do update set length = 3 returning length",
            ),
            Statement("insert into words (word) select 'n' || i from generate_series(1, 3) i"),
            Statement("insert into words default values"),
            Statement("update words set length = 2 where word like 'n_'"),
            Statement("update words set length = p.id from parents p where p.id = words.id returning word, length"),
            Statement("update words set length = 1 where false"),
            Statement("delete from words where word = 'n3' returning word"),
            Statement("delete from words using parents where parents.id = length and word = 'n2'"),
            Statement(
                "merge into notes using words on notes.id = words.id when not matched then insert values (words.id, word)",
            ),
            Statement(
                "with gone as (delete from notes where id > 3 returning note) select note from gone order by note",
            ),
            Statement("with new as (insert into notes values (99, 'new') returning id) select id from new"),
            Statement(
                "explain (analyze, costs off, timing off, summary off) insert into notes values (98, 'explained')",
            ),
            Statement("select remember('by a function') > 0"),
            Statement("select remember_quietly('by a function that ignores refusals')"),
            Statement("call remember_two('by a procedure', 'after its commit')"),
            Statement("do $$ begin perform remember('by a block'); end $$"),
            Statement("insert into events values (2, 'second')"),
            Statement("truncate notes"),
            Script("insert into notes values (1, 'a'); update notes set note = 'b'; insert into notes values (2, 'c')"),
        ],
    ),
    (
        "Errors",
        &[
            Statement("insert into words (word) values ('one')"),
            Statement("insert into words (word, length) values ('none', 0)"),
            Statement("insert into children values (1, 77)"),
            Statement("insert into events values (5000, 'no partition')"),
            Statement("select 1 / (length - length) from words"),
            Statement("selec 1"),
            Statement("select * from nowhere"),
            Statement("select nothing from words"),
            Statement("select 'sad'::mood"),
            Statement("select 1; select 2"),
            Script("insert into notes values (3, 'd'); insert into notes values (3, 'e')"),
        ],
    ),
    (
        "Sequences, unlogged tables, large objects",
        &[
            Statement("select nextval('tickets')"),
            Statement("select setval('tickets', 40)"),
            Statement("select last_value from tickets"),
            Statement("select currval('tickets')"),
            Statement("select lastval()"),
            Transaction(&["select nextval('tickets')", "select currval('tickets')", "select lastval()"]),
            Statement("insert into scratch values (1) returning id"),
            Statement("select * from scratch"),
            Statement("select lo_create(4242)"),
            Statement("select lo_from_bytea(4243, 'abcdef')"),
            Statement("select lo_put(4243, 3, 'DEF')"),
            Statement("select lo_get(4243)"),
            Statement("select lo_unlink(4242)"),
            Transaction(&["select lo_open(4243, 393216)", "select lowrite(0, 'xyz')", "select lo_close(0)"]),
            Statement("select loid from pg_largeobject_metadata, lateral (select oid as loid) o order by 1"),
        ],
    ),
    (
        "Temporary tables, settings and other state of a session",
        &[
            Statement("create temp table t (id int)"),
            Statement("create temporary table t as select 1"),
            Statement("create or replace temp view v as select 1"),
            Statement("select 1 as id into temp t"),
            Statement("set work_mem = '8MB'"),
            Statement("set local work_mem = '8MB'"),
            Statement("set role pg_monitor"),
            Statement("set session authorization default"),
            Statement("reset all"),
            Statement("discard all"),
            Statement("select set_config('work_mem', '8MB', false)"),
            Statement("load 'auto_explain'"),
            Statement("set constraints all deferred"),
            Transaction(&["set local work_mem = '8MB'", "show work_mem"]),
            Transaction(&[
                "set constraints all deferred",
                "insert into children values (1, 3)",
                "insert into parents values (3)",
            ]),
        ],
    ),
    (
        "Locks and messages",
        &[
            Statement("select pg_advisory_lock(1)"),
            Statement("select pg_advisory_unlock_all()"),
            Statement("select pg_advisory_xact_lock(1)"),
            Statement("select pg_try_advisory_xact_lock(1)"),
            Statement("lock table words"),
            Transaction(&["lock table words in share mode", "select count(*) from words"]),
            Transaction(&["select pg_advisory_xact_lock(1)", "select pg_try_advisory_xact_lock(1)"]),
            Statement("listen news"),
            Statement("unlisten *"),
            Statement("notify news, 'hello'"),
            Statement("select pg_notify('news', 'hello')"),
            Statement("select pg_logical_emit_message(true, 'prefix', 'hello') is not null"),
        ],
    ),
    (
        "Transactions, cursors, prepared statements",
        &[
            Statement("begin"),
            Statement("start transaction read only"),
            Statement("commit"),
            Statement("rollback"),
            Statement("savepoint s"),
            Statement("prepare transaction 'p'"),
            Statement("commit prepared 'p'"),
            Statement("rollback prepared 'p'"),
            Script("begin; insert into notes values (10, 'x'); commit"),
            Statement("set transaction isolation level serializable"),
            Transaction(&["select 1", "commit"]),
            Transaction(&["savepoint s"]),
            Transaction(&["set transaction isolation level serializable"]),
            Statement("declare c cursor for select 1"),
            Statement("fetch next from c"),
            Transaction(&[
                "declare c cursor for select id from words order by id",
                "fetch 2 from c",
                "move 1 in c",
                "close c",
            ]),
            Transaction(&["declare c cursor with hold for select 1"]),
            Statement("prepare p as select 1"),
            Statement("execute p"),
            Statement("deallocate all"),
            Statement("select txid_current() > 0"),
            Statement("select pg_current_xact_id_if_assigned() is null"),
        ],
    ),
    (
        "COPY",
        &[
            Statement("copy words to stdout"),
            Statement("copy words from stdin"),
            Statement("copy words to '/dev/null'"),
            Statement("copy notes from '/dev/null'"),
            Statement("copy notes from program 'printf ''20\\tcopied\\n'''"),
        ],
    ),
    (
        "Schema",
        &[
            Statement("create table things (id int primary key, name text)"),
            Statement("create table more_things (like things including all)"),
            Statement("create table copies as select id, word from words"),
            Statement("select id, word into more_copies from words"),
            Statement("alter table things add column size int default 7"),
            Statement("insert into things (id, name) values (1, 'a') returning *"),
            Statement("select * from things"),
            Statement("alter table things rename column name to title"),
            Statement("select * from things"),
            Statement("create index on things (title)"),
            Statement("create index concurrently things_by_size on things (size)"),
            Statement("create table events_large partition of events for values from (1000) to (9000)"),
            Statement("insert into events values (5000, 'now there is one')"),
            Statement("create view titles as select title from things"),
            Statement("create materialized view sizes as select sum(size) from things"),
            Statement("refresh materialized view counts"),
            Statement("select * from counts"),
            Statement("create function twice(int) returns int language sql immutable as 'select 2 * $1'"),
            Statement("select twice(4)"),
            Statement(
                "create function stamp() returns trigger language plpgsql as $$ begin new.size = 8; return new; end $$",
            ),
            Statement("create trigger stamp before insert on things for each row execute function stamp()"),
            Statement("insert into things values (2, 'b') returning size"),
            Statement("create rule no_delete as on delete to things do instead nothing"),
            Statement("delete from things"),
            Statement("create type pair as (a int, b text)"),
            Statement("select (row(1, 'x')::pair).b"),
            Statement("alter type mood add value 'sad'"),
            Statement("select 'sad'::mood::text"),
            Statement("create domain positive as int check (value > 0)"),
            Statement("select (-1)::positive"),
            Statement("create schema extra"),
            Statement("create table extra.t (id int)"),
            Statement("create statistics on id, title from things"),
            Statement("create aggregate product(int) (sfunc = int4mul, stype = int)"),
            Statement("select product(i) from generate_series(1, 5) i"),
            Statement("create publication everything for all tables"),
            Statement("create role reader_of_{database}"),
            Statement("grant select on things to reader_of_{database}"),
            Statement("alter default privileges grant select on tables to reader_of_{database}"),
            Statement("revoke select on things from reader_of_{database}"),
            Statement("comment on table things is 'all sorts'"),
            Statement("create policy mine on things using (true)"),
            Statement("drop table copies, more_copies"),
            Statement("drop table if exists nowhere"),
        ],
    ),
    (
        "The server",
        &[
            Statement("vacuum words"),
            Statement("vacuum (analyze) words"),
            Statement("analyze words"),
            Statement("reindex table words"),
            Statement("reindex index concurrently words_pkey"),
            Statement("cluster words using words_pkey"),
            Statement("checkpoint"),
            Statement("alter system set work_mem = '5MB'"),
            Statement("select pg_reload_conf()"),
            Statement("alter system reset work_mem"),
            Statement("select pg_switch_wal() is not null"),
            Statement("select pg_create_restore_point('here') is not null"),
            Statement("select pg_cancel_backend(0)"),
            Statement("select pg_stat_reset()"),
            Statement("alter database {database} set lock_timeout = '9s'"),
            Statement("create database other_{database}"),
            Statement("drop database other_{database}"),
        ],
    ),
];
