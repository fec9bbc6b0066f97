# Prints the folders in which PostgreSQL's server programs are, of those where homing-testbed looks (Binaries::find). Fails if
# there are none.
found=1
for folder in "$(pg_config --bindir)" /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /usr/lib/postgresql*/bin \
  /usr/libexec/postgresql* /opt/homebrew/opt/postgresql*/bin /usr/local/opt/postgresql*/bin \
  /Applications/Postgres.app/Contents/Versions/*/bin /opt/local/lib/postgresql*/bin /usr/local/pgsql*/bin \
  "$(dirname "$(command -v initdb)")"; do
  if [ -f "$folder/initdb" ] && [ -f "$folder/postgres" ] && [ -f "$folder/pg_basebackup" ]; then
    echo "$folder"
    found=0
  fi
done
exit $found
