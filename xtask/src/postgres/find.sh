# Succeeds if PostgreSQL's server programs are where homing-testbed looks for them (Binaries::find).
for folder in "$(pg_config --bindir)" /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /usr/lib/postgresql*/bin \
  /usr/libexec/postgresql* /opt/homebrew/opt/postgresql*/bin /usr/local/opt/postgresql*/bin \
  /Applications/Postgres.app/Contents/Versions/*/bin /opt/local/lib/postgresql*/bin /usr/local/pgsql*/bin \
  "$(dirname "$(command -v initdb)")"; do
  [ -f "$folder/initdb" ] && [ -f "$folder/postgres" ] && [ -f "$folder/pg_basebackup" ] && exit
done
exit 1
