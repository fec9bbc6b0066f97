#!/bin/sh
# start-postgres primary REPLICA...      a primary, with a replication slot for each of these replicas
# start-postgres replica NAME PRIMARY    a streaming replica of the server at PRIMARY, which knows it as NAME
#
# An empty volume is filled first: by initdb, or by pg_basebackup from the primary. That happens in a folder beside the
# final one, which is renamed at the end, so an interrupted start begins again. A filled volume is used as it is.
# APP_PASSWORD and REPLICATION_PASSWORD are the passwords of the roles app and replicator.
set -eu

new=$PGDATA.new

make_primary() {
  rm -rf "$new"
  initdb --pgdata="$new" --username=postgres --encoding=UTF8 --locale=C.UTF-8 \
    --auth-local=trust --auth-host=scram-sha-256 >/dev/null
  # The superuser has no password, so it cannot connect over the network.
  {
    echo 'host all         all        all scram-sha-256'
    echo 'host replication replicator all scram-sha-256'
  } >>"$new/pg_hba.conf"
  pg_ctl --pgdata="$new" --options="-c listen_addresses=''" --wait --silent start
  psql --quiet --no-psqlrc --username=postgres --set=ON_ERROR_STOP=1 \
    --set=app="$APP_PASSWORD" --set=replication="$REPLICATION_PASSWORD" <<'SQL'
create role replicator login replication password :'replication';
create role app login password :'app';
-- Tells a timeline switch at once.
grant pg_monitor to app;
create database app owner app;
\connect app
-- For the page's button.
grant execute on function pg_wal_replay_pause(), pg_wal_replay_resume() to app;
SQL
  # A slot keeps the log that a replica has missed, up to max_slot_wal_keep_size.
  for replica in "$@"; do
    psql --quiet --no-psqlrc --username=postgres --set=ON_ERROR_STOP=1 --set=slot="$replica" >/dev/null <<'SQL'
select pg_create_physical_replication_slot(:'slot', true);
SQL
  done
  pg_ctl --pgdata="$new" --mode=fast --wait --silent stop
  mv "$new" "$PGDATA"
}

make_replica() {
  export PGPASSWORD="$REPLICATION_PASSWORD"
  for attempt in 1 2 3 4 5 6 7 8 9 10; do
    rm -rf "$new"
    if pg_basebackup --pgdata="$new" --wal-method=stream --checkpoint=fast --slot="$1" --write-recovery-conf \
      --dbname="host=$2 user=replicator application_name=$1 connect_timeout=10"; then
      unset PGPASSWORD
      mv "$new" "$PGDATA"
      return
    fi
    echo "start-postgres: attempt $attempt to copy the primary failed" >&2
    sleep 2
  done
  exit 1
}

role=$1
shift
case $role in
  primary) [ -d "$PGDATA" ] || make_primary "$@" ;;
  replica) [ -d "$PGDATA" ] || make_replica "$@" ;;
  *) echo "start-postgres: $role is neither primary nor replica" >&2; exit 2 ;;
esac

# The last two settings let a server notice within seconds that the other side of a link is gone.
exec postgres \
  -c listen_addresses='*' \
  -c jit=off \
  -c shared_buffers=32MB \
  -c max_slot_wal_keep_size=1GB \
  -c hot_standby_feedback=on \
  -c wal_retrieve_retry_interval=500ms \
  -c wal_receiver_status_interval=1s \
  -c wal_receiver_timeout=10s \
  -c wal_sender_timeout=10s
