-- Homing's table of outcomes: one row for each write with a key, written in the write's own transaction.
-- Run it in one transaction. It may run again, and keeps what is there.
select pg_catalog.pg_advisory_xact_lock(7307199717266846311);
-- Does not wait for synchronous replicas: a promoted one without the table gets one.
select pg_catalog.set_config('synchronous_commit', 'local', true);

create schema if not exists homing;
grant usage on schema homing to public;

-- Slot 0 has the keys of applications, the other slots those of five minutes each, in turn, so that they are emptied as a whole.
create table if not exists homing.outcome (
    slot smallint not null,
    key uuid not null,
    -- Null: the write is committed. A number: it was not committed when it was asked for, for the nth time.
    fence integer,
    fingerprint bigint not null,
    result bytea,
    at timestamptz not null default pg_catalog.clock_timestamp(),
    primary key (key, slot)
) partition by list (slot);
create table if not exists homing.outcome_0 partition of homing.outcome for values in (0);
create table if not exists homing.outcome_1 partition of homing.outcome for values in (1);
create table if not exists homing.outcome_2 partition of homing.outcome for values in (2);
create table if not exists homing.outcome_3 partition of homing.outcome for values in (3);
create table if not exists homing.outcome_4 partition of homing.outcome for values in (4);
create table if not exists homing.outcome_5 partition of homing.outcome for values in (5);
create table if not exists homing.outcome_6 partition of homing.outcome for values in (6);
create table if not exists homing.outcome_7 partition of homing.outcome for values in (7);
create table if not exists homing.outcome_8 partition of homing.outcome for values in (8);

-- A statement may carry the claim of a generated key. It can set what a call of homing.claim can set, and nothing else: neither
-- the fence nor the time. Nobody but the owner can read, change or remove rows.
grant insert (slot, key, fingerprint, result) on
    homing.outcome_1, homing.outcome_2, homing.outcome_3, homing.outcome_4,
    homing.outcome_5, homing.outcome_6, homing.outcome_7, homing.outcome_8
to public;

-- The functions run with the rights of their owner, so that a transaction may have any role when it claims its key.

-- Claims a key for the transaction, if it has written something, or always. Returns the id of the transaction.
create or replace function homing.claim(
    slot smallint, key uuid, fingerprint bigint, fence integer, always boolean, result bytea
) returns xid8 language plpgsql security definer set search_path = pg_catalog, pg_temp as $function$
begin
    if pg_current_xact_id_if_assigned() is null
        and (not always or current_setting('transaction_read_only')::boolean)
    then
        return null;
    end if;
    if fence = 0 then
        insert into homing.outcome (slot, key, fingerprint, result)
        values (claim.slot, claim.key, claim.fingerprint, claim.result);
    else
        update homing.outcome as o
        set fence = null, fingerprint = claim.fingerprint, result = claim.result, at = clock_timestamp()
        where o.slot = claim.slot and o.key = claim.key and o.fence = claim.fence;
        if not found then
            raise unique_violation using message = 'the key was claimed or settled by another request';
        end if;
    end if;
    return pg_current_xact_id();
end
$function$;

-- Looks for a key.
create or replace function homing.recall(slot smallint, key uuid, fingerprint bigint)
returns table (fence integer, is_same boolean, result bytea)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $function$
begin
    return query
        select o.fence, o.fingerprint = recall.fingerprint,
            case when o.fingerprint = recall.fingerprint then o.result end
        from homing.outcome as o
        where o.slot = recall.slot and o.key = recall.key;
end
$function$;

-- Settles a key: if it is not committed, it never will be by a request that was sent before. The fence counts how often that was
-- said, and a request says how much of it its caller was told.
create or replace function homing.settle(slot smallint, key uuid, fingerprint bigint)
returns table (fence integer, is_same boolean, result bytea)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $function$
begin
    -- The attempts that are under way end with this primary, so no synchronous replica has to confirm it. Only if one is so late
    -- that it reaches a promoted primary which lacks this row, it may run.
    perform set_config('synchronous_commit', 'local', true);
    insert into homing.outcome as o (slot, key, fence, fingerprint)
    values (settle.slot, settle.key, 1, settle.fingerprint)
    on conflict on constraint outcome_pkey do update
        set fence = o.fence + 1, at = clock_timestamp()
        where o.fence is not null;
    return query select * from homing.recall(settle.slot, settle.key, settle.fingerprint);
end
$function$;

-- Removes keys of a slot that have expired, and returns how many it removed one by one. Fails at once if the slot is in use.
create or replace function homing.prune(slot smallint) returns bigint
language plpgsql security definer set search_path = pg_catalog, pg_temp as $function$
declare
    kept interval := case slot when 0 then interval '1 day' else interval '15 minutes' end;
    partition text := format('homing.outcome_%s', slot);
    is_expired boolean;
    removed bigint;
begin
    perform set_config('synchronous_commit', 'local', true);
    if slot > 0 then
        execute format('lock table %s in access exclusive mode nowait', partition);
        execute format('select not exists (select from %s where at > now() - $1)', partition) into is_expired using kept;
        if is_expired then
            execute format('truncate %s', partition);
            return 0;
        end if;
    end if;
    execute format('delete from %1$s where ctid = any (array(select ctid from %1$s where at <= now() - $1 limit 10000))', partition)
    using kept;
    get diagnostics removed = row_count;
    return removed;
end
$function$;

grant execute on all functions in schema homing to public;
