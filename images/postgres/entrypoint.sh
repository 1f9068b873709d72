#!/bin/bash
# Make a database cluster on the first start, then become the server.
# POSTGRES_USER, POSTGRES_PASSWORD, POSTGRES_DB, PGDATA and /docker-entrypoint-initdb.d mean what
# they mean to the official image; arguments starting with a dash go to the server.
set -euo pipefail

case "${1:-}" in
"" | -*) set -- postgres "$@" ;;
esac
if [ "$1" != postgres ]; then
    exec "$@"
fi

user="${POSTGRES_USER:-postgres}"
database="${POSTGRES_DB:-$user}"

initialise() {
    if [ -z "${POSTGRES_PASSWORD:-}" ]; then
        echo "POSTGRES_PASSWORD is not set: the superuser needs a password" >&2
        exit 1
    fi
    # Everything is made in a folder aside and moved when complete, so that a start that was cut
    # short is repeated as a whole. PGDATA may be a mount point: it is filled, not replaced.
    new="$PGDATA/.new"
    mkdir -p "$PGDATA"
    rm -rf "$new"
    initdb --pgdata="$new" --username="$user" --pwfile=<(printf '%s' "$POSTGRES_PASSWORD") \
        --auth-local=trust --auth-host=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8 >/dev/null
    echo "host all all all scram-sha-256" >>"$new/pg_hba.conf"

    pg_ctl --pgdata="$new" --wait --silent --options="-c listen_addresses=''" start
    if [ "$database" != postgres ]; then
        createdb --username="$user" --maintenance-db=postgres "$database"
    fi
    for file in /docker-entrypoint-initdb.d/*; do
        case "$file" in
        *.sql) psql --username="$user" --dbname="$database" -v ON_ERROR_STOP=1 --quiet --file="$file" ;;
        *.sh) bash "$file" ;;
        esac
    done
    pg_ctl --pgdata="$new" --wait --silent --mode=fast stop

    # PG_VERSION goes last: it says that the rest is complete. What an interrupted move left is
    # replaced.
    for entry in "$new"/*; do
        name="$(basename "$entry")"
        if [ "$name" != PG_VERSION ]; then
            rm -rf "${PGDATA:?}/$name"
            mv "$entry" "$PGDATA"
        fi
    done
    mv "$new/PG_VERSION" "$PGDATA"
    rmdir "$new"
    echo "database cluster ready in $PGDATA: user $user, database $database"
}

if [ ! -s "$PGDATA/PG_VERSION" ]; then
    initialise
fi
chmod 0700 "$PGDATA"
shift
exec postgres -c listen_addresses='*' "$@"
